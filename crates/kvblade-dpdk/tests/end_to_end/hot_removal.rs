//! A bdev removed while initiators use it.

use std::sync::atomic::{AtomicBool, Ordering};

use aoe_initiator::wire::{SECTOR, ata};
use aoe_initiator::{Error, ShelfSlot, load};
use serde_json::json;

use crate::lab::{Lab, PATIENCE, SECTORS, find, random_load, until};

const STAYS: ShelfSlot = ShelfSlot::new(1, 1);
const GOES: ShelfSlot = ShelfSlot::new(1, 2);

#[test]
fn a_removed_bdev_fails_its_io_with_a_device_fault_and_harms_no_other_and_its_name_is_free_again() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let target = lab.start_on("0-1", &["-e", "1.1=malloc:8M"]);
    let mut rpc = target.rpc();
    let mut initiator = lab.initiator(0);
    let stays = find(&mut initiator, STAYS);
    let mut spec = random_load(16);
    spec.duration = 10 * PATIENCE;
    let disk = json!({ "name": "gone", "num_blocks": SECTORS, "block_size": 512 });
    let (link, stop) = (lab.link(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut ledger = load::ledger_for(&spec, SECTORS).unwrap();
            let report = load::run_verified(link, &stays, SECTORS, &spec, &stop, &mut ledger).unwrap();
            assert_eq!(report.failures(), 0, "{report:?}");
            (report.verified.unwrap().writes_acknowledged, ledger)
        });
        let rounds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..5 {
                rpc.call("bdev_malloc_create", disk.clone());
                rpc.call("aoe_create_export", json!({ "shelf": 1, "slot": 2, "bdev_name": "gone" }));
                let goes = find(&mut initiator, GOES);
                initiator.write(&goes, 5, &[0x55; SECTOR]).unwrap();
                let removed = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    let link = lab.link(0);
                    let user = scope.spawn(|| {
                        let mut spec = spec;
                        spec.first_lba = 64;
                        load::run(link, &goes, SECTORS, &spec, &removed).unwrap()
                    });
                    until("I/O on the bdev", || {
                        let stats = rpc.call("aoe_get_stats", serde_json::Value::Null);
                        stats["exports"][1]["read_bytes"].as_u64().unwrap() > 0
                    });
                    rpc.call("bdev_malloc_delete", json!({ "name": "gone" }));
                    until("the export to be offline", || rpc.state(1, 2).as_deref() == Some("offline"));
                    let error = initiator.read(&goes, 5, &mut [0; SECTOR]).unwrap_err();
                    let Error::Ata { status, .. } = error else { panic!("{error}") };
                    assert_eq!(status, ata::DRDY | ata::DF | ata::ERR, "{error}");
                    removed.store(true, Ordering::Relaxed);
                    let report = user.join().unwrap();
                    assert!(
                        report.ata_failures > 0 && report.aoe_errors + report.short_replies == 0,
                        "{report:?}"
                    );
                    assert_eq!(report.unanswered, 0, "{report:?}");
                });
                rpc.refused("bdev_get_bdevs", json!({ "name": "gone" }), -19, &[]);
                rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 2 }));
                assert_eq!(rpc.state(1, 2), None);
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let (written, ledger) = load.join().unwrap();
        rounds.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert!(written > 0);
        assert_eq!(load::sweep(lab.link(0), &stays, &ledger, &spec).unwrap(), ledger.written());
    });
    target.stop();
}
