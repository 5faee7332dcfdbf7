//! What an operator says of an export, as initiators see it: parts of a bdev, blocks larger than a sector, names,
//! buffers, and who is answered.

use std::fs;
use std::sync::atomic::AtomicBool;

use aoe_initiator::{ShelfSlot, load};
use serde_json::{Value, json};

use crate::lab::{Lab, QUIET, SECTORS, find, random_load};

const FIRST: ShelfSlot = ShelfSlot::new(1, 1);
const SECOND: ShelfSlot = ShelfSlot::new(1, 2);

/// Blocks of the bdev `m4`, and the sector at which a bdev's second part begins: inside a block.
const BLOCKS: u64 = 1024;
const CUT: u64 = 4093;

/// A configuration with a malloc bdev and a file of 4096-byte blocks.
fn large_blocks(lab: &Lab) -> String {
    let config = lab.path("config.json");
    let params = json!({ "name": "m4", "num_blocks": BLOCKS, "block_size": 4096 });
    let file = json!({ "name": "f4", "filename": lab.file("blocks"), "block_size": 4096 });
    let document = json!({ "subsystems": [{ "subsystem": "bdev", "config": [
        { "method": "bdev_malloc_create", "params": params },
        { "method": "bdev_aio_create", "params": file },
    ] }] });
    fs::write(&config, document.to_string()).unwrap();
    config.to_str().unwrap().to_owned()
}

#[test]
fn two_parts_of_memory_in_4096_byte_blocks_keep_what_was_written_where_they_meet() {
    lab::needs_root!();
    two_parts_meet("m4", BLOCKS * 8);
}

#[test]
fn two_parts_of_a_file_in_4096_byte_blocks_keep_what_was_written_where_they_meet() {
    lab::needs_root!();
    two_parts_meet("f4", SECTORS);
}

fn two_parts_meet(bdev: &str, bdev_sectors: u64) {
    let lab = Lab::new(9000);
    let config = large_blocks(&lab);
    let first = format!("1.1={bdev},length={CUT}");
    let second = format!("1.2={bdev},offset={CUT}");
    let target = lab.start(&["--config", &config, "-e", &first, "-e", &second]);
    let sizes = [CUT, bdev_sectors - CUT];
    let mut initiator = lab.initiator(0);
    let exports = [FIRST, SECOND].map(|address| find(&mut initiator, address));
    for (export, size) in exports.iter().zip(sizes) {
        assert_eq!(initiator.identify(export).unwrap().sectors, size);
    }
    // One sector a request and three: no request is a whole block.
    for sectors in [1, 3] {
        let spec = random_load(sectors);
        let stop = AtomicBool::new(false);
        // The last 64 sectors of the first part and the first 64 of the second: the block they share is written all
        // the time, by both.
        let specs = [
            load::LoadSpec { first_lba: CUT - 64, sectors: Some(64), ..spec },
            load::LoadSpec { first_lba: 0, sectors: Some(64), ..spec },
        ];
        std::thread::scope(|scope| {
            let loads = [0, 1].map(|index| {
                let (export, spec, size) = (&exports[index], &specs[index], sizes[index]);
                let (link, stop) = (lab.link(0), &stop);
                scope.spawn(move || {
                    let mut ledger = load::ledger_for(spec, size).unwrap();
                    let report = load::run_verified(link, export, size, spec, stop, &mut ledger).unwrap();
                    assert_eq!(report.failures(), 0, "{report:?}");
                    assert!(
                        report.verified.unwrap().writes_acknowledged > 0 && report.reads > 0,
                        "{report:?}"
                    );
                    ledger
                })
            });
            let ledgers = loads.map(|load| load.join().unwrap());
            for ((export, spec), ledger) in exports.iter().zip(&specs).zip(&ledgers) {
                assert_eq!(load::sweep(lab.link(0), export, ledger, spec).unwrap(), ledger.written());
            }
        });
    }
    target.stop();
}

#[test]
fn names_buffers_and_access_lists_are_what_was_said_and_are_saved() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let mut initiator = lab.initiator(0);
    let own = initiator.link().mac().to_string();
    let named = "1.1=malloc:1M,serial=S 1,model=M,firmware=F1,buffers=32,allow=".to_owned() + &own;
    let denied = "1.2=malloc:1M,deny=".to_owned() + &own;
    let target = lab.start(&["-e", &named, "-e", &denied]);
    let export = find(&mut initiator, FIRST);
    assert_eq!(export.buffer_count, 32);
    let identity = initiator.identify(&export).unwrap();
    assert_eq!((identity.serial.as_str(), identity.model.as_str()), ("S 1", "M"));
    assert_eq!(initiator.discover(SECOND, 5 * QUIET).unwrap(), [], "a denied initiator gets no reply");

    let mut rpc = target.rpc();
    let listed = rpc.call("aoe_get_exports", Value::Null);
    assert_eq!((&listed[0]["serial"], &listed[0]["buffers"]), (&json!("S 1"), &json!(32)));
    assert_eq!((&listed[0]["allow"], &listed[1]["deny"]), (&json!([own]), &json!([own])));
    let saved = rpc.call("framework_get_config", json!({ "name": "aoe" }));
    assert_eq!(
        saved[0]["params"],
        json!({ "shelf": 1, "slot": 1, "bdev_name": "malloc1.1", "buffers": 32, "allow": [own], "serial": "S 1",
            "model": "M", "firmware": "F1" })
    );
    // Only another initiator is allowed.
    rpc.call("bdev_malloc_create", json!({ "name": "third", "num_blocks": 64, "block_size": 512 }));
    rpc.call(
        "aoe_create_export",
        json!({ "shelf": 1, "slot": 3, "bdev_name": "third", "allow": ["52:54:00:00:00:01"] }),
    );
    assert_eq!(initiator.discover(ShelfSlot::new(1, 3), 5 * QUIET).unwrap(), []);
    target.stop();
}

#[test]
fn a_part_that_is_not_there_and_blocks_that_hold_no_sectors_are_refused() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    rpc.call("bdev_malloc_create", json!({ "name": "odd", "num_blocks": 64, "block_size": 1536 }));
    for (params, code, part) in [
        (json!({ "bdev_name": "odd" }), -22, "blocks of 1536 bytes"),
        (json!({ "bdev_name": "malloc1.1", "offset": 2048 }), -22, "at most 2047"),
        (json!({ "bdev_name": "malloc1.1", "offset": 2040, "length": 9 }), -22, "at most 8"),
        (json!({ "bdev_name": "malloc1.1", "buffers": 1 }), -32602, "from 2 to 512"),
    ] {
        let mut params = params;
        params["shelf"] = 1.into();
        params["slot"] = 2.into();
        rpc.refused("aoe_create_export", params, code, &[part]);
    }
    target.stop();
}
