//! Bdevs of SPDK on top of files: volumes, a RAID 0, and sectors smaller than a block.

use std::fs;

use serde_json::{Value, json};
use spdk::IoKind;

use crate::modes::Shared;
use crate::step::{Step, asks, chain, once};

pub(crate) fn all() -> Vec<(&'static str, Step)> {
    vec![
        ("a_volume_stands_on_a_file", volume()),
        ("a_raid0_stands_on_files", raid()),
        ("sectors_are_smaller_than_blocks", sectors()),
    ]
}

fn does(method: &'static str, params: Value) -> Step {
    asks(method, params, |answer| assert!(answer.get("error").is_none(), "{answer}"))
}

fn closes(shared: &Shared) -> Step {
    let this = shared.clone();
    once(move || drop(this.bench.take()))
}

fn volume() -> Step {
    let shared = Shared::new("volumes");
    let (old, cleared) = (shared.path.clone(), shared.path.clone());
    let size = 64 << 20;
    chain(vec![
        once(move || fs::write(old, vec![0xaa; size]).expect("room")),
        does("bdev_file_create", json!({ "name": "volumes", "filename": shared.path })),
        // Zeroed by fallocate.
        does(
            "bdev_lvol_create_lvstore",
            json!({ "bdev_name": "volumes", "lvs_name": "s", "cluster_sz": 1 << 20, "clear_method": "write_zeroes" }),
        ),
        once(move || {
            let data = fs::read(cleared).expect("there");
            assert!(data[size / 2..].iter().all(|byte| *byte == 0), "zeroes");
        }),
        does(
            "bdev_lvol_create",
            json!({ "lvs_name": "s", "lvol_name": "v", "size_in_mib": 16, "thin_provision": true }),
        ),
        shared.opens("s/v"),
        shared.each(IoKind::Write, 500, 1),
        shared.each(IoKind::Read, 500, 1),
        shared.each(IoKind::Unmap, 500, 1),
        shared.no_failures(),
        closes(&shared),
        does("bdev_lvol_delete", json!({ "name": "s/v" })),
        does("bdev_lvol_delete_lvstore", json!({ "lvs_name": "s" })),
        shared.delete("volumes"),
    ])
}

fn raid() -> Step {
    let [shared, second] = ["raid-a", "raid-b"].map(Shared::new);
    chain(vec![
        does("bdev_file_create", json!({ "name": "raid-a", "filename": shared.path })),
        does("bdev_file_create", json!({ "name": "raid-b", "filename": second.path, "sync": "none" })),
        does(
            "bdev_raid_create",
            json!({ "name": "r0", "raid_level": "raid0", "base_bdevs": ["raid-a", "raid-b"], "strip_size_kb": 4 }),
        ),
        shared.opens("r0"),
        shared.each(IoKind::Write, 600, 2),
        shared.each(IoKind::Read, 600, 2),
        shared.no_failures(),
        closes(&shared),
        does("bdev_raid_delete", json!({ "name": "r0" })),
        shared.delete("raid-a"),
        second.delete("raid-b"),
    ])
}

fn sectors() -> Step {
    let shared = Shared::new("sectors");
    let shifted = shared.clone();
    chain(vec![
        shared.create("sectors", json!({ "block_size": 4096 })),
        // Each I/O is a part of two blocks.
        once(move || shifted.with(|bench| bench.shift(3))),
        shared.each(IoKind::Write, 400, 3),
        shared.each(IoKind::Read, 400, 3),
        shared.no_failures(),
        shared.delete("sectors"),
        once(|| assert_eq!(crate::step::list(), Vec::<String>::new())),
    ])
}
