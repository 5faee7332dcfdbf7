//! The meaning of an answered write: on stable media, unless the operator chose otherwise.

use std::fs;

use aoe_initiator::wire::{AtaRequest, Reply, opcode};
use aoe_initiator::{Initiator, ShelfSlot};
use serde_json::{Value, json};

use crate::initiator_state::{ata_request, mac};
use crate::lab::{Lab, PATIENCE, Target, answer, find, until};

/// Writes to each export.
const WRITES: u64 = 5;

/// Counters of the export in this place of the list.
fn counters(target: &Target, place: usize) -> [u64; 4] {
    let stats = target.rpc().call("aoe_get_stats", Value::Null);
    ["writes", "write_flushes", "fua_writes", "ata_errors"]
        .map(|name| stats["exports"][place][name].as_u64().unwrap_or_else(|| panic!("no {name} in {stats}")))
}

/// Writes one sector each time.
fn write(initiator: &mut Initiator, slot: u8) {
    let export = find(initiator, ShelfSlot::new(1, slot));
    for lba in 1..=WRITES {
        initiator.write(&export, lba, &[slot; 512]).unwrap();
    }
    let mut back = vec![0; 512 * usize::try_from(WRITES).unwrap()];
    initiator.read(&export, 1, &mut back).unwrap();
    assert!(back.iter().all(|byte| *byte == slot));
}

/// The target with these SPDK calls in its configuration and these exports.
fn start(lab: &Lab, calls: &[Value], exports: &[&str]) -> Target {
    let config = lab.path("config.json");
    let document = json!({ "subsystems": [{ "subsystem": "bdev", "config": calls }] });
    fs::write(&config, document.to_string()).unwrap();
    let mut options = vec!["--config", config.to_str().unwrap()];
    exports.iter().for_each(|export| options.extend(["-e", *export]));
    lab.start(&options)
}

fn call(method: &str, params: Value) -> Value {
    json!({ "method": method, "params": params })
}

fn aio(name: &str, file: &str, block_size: u32) -> Value {
    call("bdev_aio_create", json!({ "name": name, "filename": file, "block_size": block_size }))
}

#[test]
fn each_write_to_a_file_is_flushed_once_unless_the_operator_said_otherwise() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let mut initiator = lab.initiator(0);
    let [through, back] = ["through", "back"].map(|name| lab.file(name));
    let exports = [
        format!("1.1=spdk-aio:{through}"),
        format!("1.2=spdk-aio:{back},cache=write-back"),
        "1.3=malloc:8M".into(),
    ];
    let target = lab.start(&["-e", &exports[0], "-e", &exports[1], "-e", &exports[2]]);
    for (place, slot, flushes) in [(0, 1, WRITES), (1, 2, 0), (2, 3, 0)] {
        write(&mut initiator, slot);
        assert_eq!(counters(&target, place), [WRITES, flushes, 0, 0], "1.{slot}");
        let export = find(&mut initiator, ShelfSlot::new(1, slot));
        initiator.flush(&export).unwrap();
    }
    let mut rpc = target.rpc();
    let listed = rpc.call("aoe_get_exports", Value::Null);
    let modes: Vec<&Value> = (0..3).map(|place| &listed[place]["cache"]).collect();
    assert_eq!(modes, ["write-through", "write-back", "write-through"]);
    let saved = rpc.call("framework_get_config", json!({ "name": "aoe" }));
    let saved: Vec<&Value> = (0..3).map(|place| &saved[place]["params"]["cache"]).collect();
    assert_eq!(saved, [&Value::Null, &json!("write-back"), &Value::Null], "{saved:?}");
    let log = target.log();
    for words in
        ["write-through: a write is on stable media", "write-back: a power failure may lose", "in memory: "]
    {
        assert!(log.contains(words), "{log}");
    }
    target.stop();
}

#[test]
fn a_write_is_not_answered_before_its_flush_is_over() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let [through, back] = ["through", "back"].map(|name| lab.file(name));
    let exports = [format!("1.1=spdk-aio:{through}"), format!("1.2=spdk-aio:{back},cache=write-back")];
    let mut eal = lab.eal();
    eal.extend(["-l".to_owned(), "0".to_owned()]);
    let mut command = lab.command(&eal, &["-e", &exports[0], "-e", &exports[1]]);
    command.env("LD_PRELOAD", lab.library("hold_fdatasync"));
    let target = lab.start_command(command);
    let mut initiator = lab.initiator(0);
    let [flushed, unflushed] = [1, 2].map(|slot| find(&mut initiator, ShelfSlot::new(1, slot)));
    let envelope = initiator.envelope(&flushed);
    initiator.send_raw(&AtaRequest::write(3, 1).frame(&envelope, &[0x5a; 512])).unwrap();
    let mut rpc = target.rpc();
    until("the write is done and its flush is not", || {
        rpc.under_way() == 1 && fs::read(&through).unwrap()[3 * 512..4 * 512] == [0x5a; 512]
    });
    // The lcore goes on: what needs no flush is answered, many turns later the flushed write still is not.
    for lba in 0..100 {
        let envelope = initiator.envelope(&unflushed);
        initiator.send_raw(&AtaRequest::write(lba, 1).frame(&envelope, &[1; 512])).unwrap();
        let reply = initiator.receive_raw(PATIENCE).unwrap().expect("an answer");
        let reply = Reply::parse(&reply).unwrap();
        assert_eq!(reply.address, unflushed.address, "only what is not flushed is answered: {reply:?}");
    }
    assert_eq!(rpc.under_way(), 1);
    // Its end is that of a target with a request that no bdev answers.
    drop(target);
}

#[test]
fn bdevs_that_stand_on_files_are_flushed_down_to_the_files() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let mut initiator = lab.initiator(0);
    let files: Vec<String> = ["large", "left", "right", "store"].iter().map(|name| lab.file(name)).collect();
    let raid =
        json!({ "name": "raid", "strip_size_kb": 4, "raid_level": "raid0", "base_bdevs": ["left", "right"] });
    let calls = [
        aio("large", &files[0], 4096),
        aio("left", &files[1], 512),
        aio("right", &files[2], 512),
        aio("store", &files[3], 512),
        call("bdev_raid_create", raid),
        call("bdev_malloc_create", json!({ "name": "memory", "num_blocks": 65536, "block_size": 512 })),
        call("bdev_passthru_create", json!({ "name": "over", "base_bdev_name": "memory" })),
    ];
    let target = start(&lab, &calls, &["1.1=large", "1.2=raid"]);
    let mut rpc = target.rpc();
    for (slot, bdev) in [(3, "store"), (4, "over")] {
        let store = json!({ "lvs_name": bdev, "bdev_name": bdev, "cluster_sz": 1 << 20 });
        rpc.call("bdev_lvol_create_lvstore", store);
        let lvol = json!({ "lvs_name": bdev, "lvol_name": "lv", "size_in_mib": 1 });
        let name = rpc.call("bdev_lvol_create", lvol);
        rpc.call("aoe_create_export", json!({ "shelf": 1, "slot": slot, "bdev_name": name }));
    }
    for (place, slot, flushes) in [(0, 1, WRITES), (1, 2, WRITES), (2, 3, WRITES), (3, 4, 0)] {
        write(&mut initiator, slot);
        assert_eq!(counters(&target, place), [WRITES, flushes, 0, 0], "1.{slot}");
    }
    target.stop();
}

#[test]
fn what_may_lose_acknowledged_writes_needs_the_operators_word() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let zoned =
        json!({ "name": "zoned", "base_bdev": "memory", "zone_capacity": 2048, "optimal_open_zones": 1 });
    let calls = [
        call("bdev_malloc_create", json!({ "name": "memory", "num_blocks": 8192, "block_size": 512 })),
        call("bdev_zone_block_create", zoned),
    ];
    let target = start(&lab, &calls, &["1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    let params = |slot: u8| json!({ "shelf": 1, "slot": slot, "bdev_name": "zoned" });
    let parts = ["bdev zoned: it is a bdev of kind \"zone_block\"", "power failure", "add cache=write-back"];
    rpc.refused("aoe_create_export", params(2), -22, &parts);
    let mut said = params(2);
    said["cache"] = "write-through".into();
    rpc.refused("aoe_create_export", said.clone(), -22, &parts);
    said["cache"] = "write-back".into();
    assert_eq!(rpc.call("aoe_create_export", said)["cache"], "write-back");
    rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 2 }));
    let mut reads = params(3);
    reads["read_only"] = true.into();
    assert_eq!(rpc.call("aoe_create_export", reads)["cache"], "write-through");
    target.stop();
}

#[test]
fn a_cache_turned_off_in_a_write_back_time_is_kept_and_is_off_in_the_next() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let mut initiator = lab.initiator(0);
    let own = mac(&initiator);
    let file = lab.file("disk");
    let through = format!("1.1=spdk-aio:{file}");
    let back = format!("{through},cache=write-back");
    let set = |feature| ata_request(own, AtaRequest { feature, ..AtaRequest::bare(opcode::SET_FEATURES) });
    let identify = ata_request(own, AtaRequest::identify());
    // Words 82 and 85: there, and on.
    let cache = |page: &[u8]| [82, 85].map(|word| page[36 + 2 * word] >> 5 & 1);
    let target = lab.start(&["-e", &back]);
    assert_eq!(cache(&answer(&mut initiator, &identify)), [1, 1]);
    assert_eq!(answer(&mut initiator, &set(0x82))[27], 0x40);
    write(&mut initiator, 1);
    assert_eq!(counters(&target, 0), [WRITES, WRITES, 0, 0], "turned off while it runs");
    target.stop();
    let target = lab.start(&["-e", &through]);
    assert_eq!(cache(&answer(&mut initiator, &identify)), [0, 0]);
    assert_eq!([0x02, 0x82].map(|feature| answer(&mut initiator, &set(feature))[27]), [0x41, 0x41]);
    write(&mut initiator, 1);
    assert_eq!(counters(&target, 0)[..2], [WRITES, WRITES]);
    target.stop();
    let target = lab.start(&["-e", &back]);
    assert_eq!(cache(&answer(&mut initiator, &identify)), [1, 0]);
    write(&mut initiator, 1);
    assert_eq!(counters(&target, 0)[..2], [WRITES, WRITES]);
    assert_eq!(answer(&mut initiator, &set(0x02))[27], 0x40);
    write(&mut initiator, 1);
    assert_eq!(counters(&target, 0)[..2], [2 * WRITES, WRITES]);
    target.stop();
}
