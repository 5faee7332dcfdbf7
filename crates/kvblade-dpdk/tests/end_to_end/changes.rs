//! Exports that go on with other options, or with another bdev, while they are used.

use std::sync::atomic::{AtomicBool, Ordering};

use aoe_initiator::wire::SECTOR;
use aoe_initiator::{Retransmit, ShelfSlot, load};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::lab::{Lab, PATIENCE, QUIET, SECTORS, find, hear, random_load, timing, until};
use crate::rpc::Rpc;

const DISK: ShelfSlot = ShelfSlot::new(1, 1);

/// Parameters for the export, and these.
fn of_disk(extra: Value) -> Value {
    let mut params = json!({ "shelf": DISK.shelf, "slot": DISK.slot });
    params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    params
}

/// SPDK's aio bdevs of these names, all on one file.
fn bdevs_of_one_file(rpc: &mut Rpc, file: &str, names: &[&str]) {
    for name in names {
        rpc.call("bdev_aio_create", json!({ "name": name, "filename": file, "block_size": 512 }));
    }
}

/// Runs a verified load on the export 1.1 while `change` changes something, which no request may notice.
pub(crate) fn under_verified_load(lab: &Lab, change: impl FnOnce()) {
    let export = find(&mut lab.initiator(0), DISK);
    let mut spec = random_load(16);
    spec.duration = 10 * PATIENCE;
    let (link, stop) = (lab.link(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut ledger = load::ledger_for(&spec, SECTORS).unwrap();
            let report = load::run_verified(link, &export, SECTORS, &spec, &stop, &mut ledger).unwrap();
            (report, ledger)
        });
        let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(change));
        stop.store(true, Ordering::Relaxed);
        let (report, ledger) = load.join().unwrap();
        changed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert_eq!(report.failures(), 0, "{report:?}");
        assert!(report.verified.unwrap().writes_acknowledged > 0);
        assert_eq!(load::sweep(lab.link(0), &export, &ledger, &spec).unwrap(), ledger.written());
    });
}

#[test]
fn an_export_goes_on_with_another_bdev_and_loses_nothing_that_was_acknowledged() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let disk = lab.file("disk");
    for (lcores, cache) in [("0", "write-back"), ("0-1", "write-through")] {
        let target = lab.start_on(lcores, &[]);
        let mut rpc = target.rpc();
        bdevs_of_one_file(&mut rpc, &disk, &["one", "other"]);
        rpc.call("aoe_create_export", of_disk(json!({ "bdev_name": "one", "cache": cache })));
        under_verified_load(&lab, || {
            for round in 0..40 {
                let name = if round % 2 == 0 { "other" } else { "one" };
                let replaced = rpc.call("aoe_replace_bdev", of_disk(json!({ "bdev_name": name })));
                assert_eq!(
                    (&replaced["bdev"]["name"], &replaced["bdev_name"], &replaced["state"]),
                    (&json!(name), &json!(name), &json!("online"))
                );
            }
        });
        // It is the same export: it has counted on. Nothing holds the bdev that it does not use.
        let stats = rpc.call("aoe_get_stats", Value::Null);
        assert_eq!(stats["exports"].as_array().unwrap().len(), 1);
        assert!(stats["exports"][0]["writes"].as_u64().unwrap() > 0);
        rpc.call("bdev_aio_delete", json!({ "name": "other" }));
        assert_eq!(rpc.state(1, 1).as_deref(), Some("online"));
        let saved = rpc.call("framework_get_config", json!({ "name": "aoe" }));
        assert_eq!(saved[0]["params"]["bdev_name"], "one");
        target.stop();
    }
}

#[test]
fn every_option_is_changed_under_load() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let target = lab.start_on("0-1", &["-e", "1.1=malloc:16M"]);
    let mut rpc = target.rpc();
    let update = "aoe_update_export";
    let mut initiator = lab.initiator(0);
    let macs = json!([lab.link(0).mac().to_string()]);
    under_verified_load(&lab, || {
        for (name, value) in [
            ("buffers", json!(64)),
            ("io_timeout", json!(20)),
            ("iops", json!(100_000)),
            ("bandwidth", json!(1_u64 << 35)),
            ("initiator_iops", json!(90_000)),
            ("initiator_bandwidth", json!(1_u64 << 34)),
            ("serial", json!("another")),
            ("model", json!("another model")),
            ("firmware", json!("9")),
            ("allow", macs.clone()),
            ("deny", json!(["02:00:00:00:00:99"])),
            ("cache", json!("write-back")),
            ("length", json!(2 * SECTORS - 8)),
        ] {
            let changed = rpc.call(update, of_disk(json!({ name: value })));
            assert_eq!((&changed[name], &changed["state"]), (&value, &json!("online")));
            let listed = rpc.call("aoe_get_exports", Value::Null);
            assert_eq!(listed, json!([changed]));
        }
        // Advertisements of before have come meanwhile.
        initiator.drain().unwrap();
        let export = find(&mut initiator, DISK);
        assert_eq!(export.buffer_count, 64);
        let identity = initiator.identify(&export).unwrap();
        assert_eq!((identity.sectors, identity.serial.as_str()), (2 * SECTORS - 8, "another"));
        let reset = ["buffers", "length", "serial", "cache", "iops", "allow"];
        let changed = rpc.call(update, of_disk(json!({ "reset": reset, "model": "last" })));
        assert_eq!(
            (&changed["buffers"], &changed["length"], &changed["iops"]),
            (&json!(16), &Value::Null, &Value::Null)
        );
        assert_eq!(
            (&changed["model"], &changed["firmware"], &changed["allow"]),
            (&json!("last"), &json!("9"), &json!([]))
        );
    });

    // What an initiator does notice: a part of the disk, and whether it takes writes.
    let export = find(&mut initiator, DISK);
    initiator.write(&export, 8, &[0x88; SECTOR]).unwrap();
    initiator.drain().unwrap();
    let changed = rpc.call(update, of_disk(json!({ "offset": 8, "length": 100, "read_only": true })));
    assert_eq!(changed["size_bytes"], 100 * SECTOR);
    hear(&mut initiator, &[DISK]);
    let mut sector = [0; SECTOR];
    initiator.read(&export, 0, &mut sector).unwrap();
    assert_eq!((sector, initiator.identify(&export).unwrap().sectors), ([0x88; SECTOR], 100));
    initiator.write(&export, 0, &[0x11; SECTOR]).unwrap_err();
    // An export that is only read lets nobody write its bdev; one that writes has it to itself.
    rpc.refused("bdev_lvol_create_lvstore", json!({ "bdev_name": "malloc1.1", "lvs_name": "l" }), -1, &[]);
    rpc.call(update, of_disk(json!({ "reset": ["offset", "length", "read_only"] })));
    rpc.refused("bdev_lvol_create_lvstore", json!({ "bdev_name": "malloc1.1", "lvs_name": "l" }), -1, &[]);
    initiator.write(&export, 0, &[0x11; SECTOR]).unwrap();
    initiator.read(&export, 8, &mut sector).unwrap();
    assert_eq!(sector, [0x88; SECTOR]);
    // Who is not allowed any more gets no answer.
    rpc.call(update, of_disk(json!({ "deny": macs })));
    initiator.set_timing(Retransmit { give_up: QUIET, ..timing() });
    initiator.identify(&export).unwrap_err();
    rpc.call(update, of_disk(json!({ "deny": [] })));
    initiator.set_timing(timing());
    initiator.identify(&export).unwrap();
    target.stop();
}

#[test]
fn changes_that_can_not_be_made_are_refused_in_words_and_leave_the_export_as_it_is() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:8M", "-e", "1.2=malloc:8M"]);
    let mut rpc = target.rpc();
    rpc.call("bdev_malloc_create", json!({ "name": "small", "num_blocks": SECTORS - 8, "block_size": 512 }));
    rpc.call(
        "bdev_malloc_create",
        json!({ "name": "odd", "num_blocks": SECTORS, "block_size": 512, "md_size": 8 }),
    );
    let before = rpc.call("aoe_get_exports", Value::Null);
    for (method, params, code, parts) in [
        (
            "aoe_update_export",
            json!({ "shelf": 1, "slot": 9, "buffers": 8 }),
            -2,
            &["no export 1.9", "1.1, 1.2"][..],
        ),
        (
            "aoe_update_export",
            json!({ "shelf": 1, "slot": 1, "vlan": 5, "buffers": 8 }),
            -2,
            &["1.1 in VLAN 5"],
        ),
        ("aoe_update_export", of_disk(json!({ "buffers": 1 })), -32602, &["buffers is 1", "from 2 to 512"]),
        (
            "aoe_update_export",
            of_disk(json!({ "cache": "none" })),
            -32602,
            &["'none'", "write-through or write-back"],
        ),
        ("aoe_update_export", of_disk(json!({ "allow": ["x"] })), -32602, &["'x'", "six bytes"]),
        (
            "aoe_update_export",
            of_disk(json!({ "reset": ["vlan"] })),
            -32602,
            &["'vlan'", "the options", "read_only"],
        ),
        (
            "aoe_update_export",
            of_disk(json!({ "reset": ["iops"], "iops": 5 })),
            -32602,
            &["iops", "leave it out"],
        ),
        (
            "aoe_update_export",
            of_disk(json!({ "bdev_name": "b" })),
            -32602,
            &["unknown parameter 'bdev_name'"],
        ),
        (
            "aoe_update_export",
            of_disk(json!({ "offset": SECTORS })),
            -22,
            &["offset is 16384", "at most 16383"],
        ),
        ("aoe_replace_bdev", of_disk(json!({})), -32602, &["bdev_name is missing"]),
        (
            "aoe_replace_bdev",
            of_disk(json!({ "bdev_name": "none" })),
            -19,
            &["no bdev 'none'", "'malloc1.1'"],
        ),
        (
            "aoe_replace_bdev",
            of_disk(json!({ "bdev_name": "small" })),
            -22,
            &["'small'", "16376", "at least these"],
        ),
        ("aoe_replace_bdev", of_disk(json!({ "bdev_name": "odd" })), -22, &["8 bytes of metadata"]),
        (
            "aoe_replace_bdev",
            of_disk(json!({ "bdev_name": "malloc1.2" })),
            -17,
            &["1.2", "like a second disk"],
        ),
    ] {
        rpc.refused(method, params, code, parts);
        assert_eq!(rpc.call("aoe_get_exports", Value::Null), before);
    }
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, DISK);
    initiator.write(&export, 0, &[1; SECTOR]).unwrap();
    // Nothing is left open of what was tried.
    rpc.call("bdev_malloc_delete", json!({ "name": "small" }));
    target.stop();
}

#[test]
fn an_export_without_its_bdev_is_served_by_another_one() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let disk = lab.file("disk");
    let target = lab.start_on("0-1", &["-e", "1.2=bdev:later"]);
    let mut rpc = target.rpc();
    bdevs_of_one_file(&mut rpc, &disk, &["one", "other"]);
    rpc.call("aoe_create_export", of_disk(json!({ "bdev_name": "one" })));
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, DISK);
    initiator.write(&export, 5, &[0x55; SECTOR]).unwrap();
    rpc.call("bdev_aio_delete", json!({ "name": "one" }));
    until("the export to be offline", || rpc.state(1, 1).as_deref() == Some("offline"));
    rpc.refused("aoe_replace_bdev", of_disk(json!({ "bdev_name": "one" })), -19, &["no bdev 'one'"]);
    rpc.call("aoe_update_export", of_disk(json!({ "serial": "offline" })));
    until("its channels to be closed, and the export to be served", || {
        rpc.send("aoe_replace_bdev", of_disk(json!({ "bdev_name": "other" })));
        rpc.receive().unwrap().is_ok()
    });
    until("the export to be online", || rpc.state(1, 1).as_deref() == Some("online"));
    let mut sector = [0; SECTOR];
    initiator.read(&export, 5, &mut sector).unwrap();
    assert_eq!((sector, initiator.identify(&export).unwrap().serial.as_str()), ([0x55; SECTOR], "offline"));

    // One that waits.
    rpc.call("bdev_malloc_create", json!({ "name": "now", "num_blocks": SECTORS, "block_size": 512 }));
    assert_eq!(rpc.state(1, 2).as_deref(), Some("waiting"));
    rpc.call("aoe_replace_bdev", json!({ "shelf": 1, "slot": 2, "bdev_name": "now" }));
    until("the export to be online", || rpc.state(1, 2).as_deref() == Some("online"));
    target.stop();
}

/// The flush of what the bdev before has in its cache never ends: the export is served as before.
#[test]
fn a_bdev_that_does_not_end_its_flush_is_not_replaced() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let disk = lab.file("disk");
    let mut eal = lab.eal();
    eal.extend(["-l".to_owned(), "0".to_owned()]);
    let mut command = lab.command::<String, &str>(&eal, &[]);
    command.env("LD_PRELOAD", lab.library("hold_fdatasync"));
    let target = lab.start_command(command);
    let mut rpc = target.rpc();
    bdevs_of_one_file(&mut rpc, &disk, &["one", "other"]);
    rpc.call("aoe_create_export", of_disk(json!({ "bdev_name": "one", "cache": "write-back" })));
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, DISK);
    initiator.write(&export, 3, &[0x33; SECTOR]).unwrap();
    let mut replacing = target.rpc();
    replacing.send("aoe_replace_bdev", of_disk(json!({ "bdev_name": "other" })));
    until("the change to begin", || rpc.state(1, 1).as_deref() == Some("changing"));
    rpc.refused("aoe_update_export", of_disk(json!({ "buffers": 8 })), -16, &["1.1", "being changed"]);
    rpc.refused("aoe_delete_export", of_disk(json!({})), -16, &["1.1", "being changed"]);
    let refusal = replacing.receive().unwrap().unwrap_err();
    assert_eq!(refusal.code, -16, "{}", refusal.message);
    for part in ["'one'", "1.1", "for 10 s", "as before"] {
        assert!(refusal.message.contains(part), "{}", refusal.message);
    }
    until("the export to be served", || rpc.state(1, 1).as_deref() == Some("online"));
    let mut sector = [0; SECTOR];
    initiator.read(&export, 3, &mut sector).unwrap();
    assert_eq!(sector, [0x33; SECTOR]);
    assert!(
        rpc.drops(0, "export_held")
            <= rpc.call("aoe_get_stats", Value::Null)["ports"][0]["rx_frames"].as_u64().unwrap()
    );
    rpc.call("bdev_aio_delete", json!({ "name": "other" }));
    let (status, log) = target.end(Signal::SIGTERM);
    assert_eq!(status.code(), Some(1), "the flush is in flight still: {log}");
}

/// The flush of what the bdev before has in its cache is refused: aborted in one case, as the kernel takes no fdatasync, and failed
/// in the other. Without a flush that succeeded, the other bdev may lack what was acknowledged.
#[test]
fn a_bdev_whose_flush_is_refused_is_not_replaced() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let (disk, refuses) = (lab.file("disk"), lab.path("refuse"));
    std::fs::write(&refuses, "").unwrap();
    let mut eal = lab.eal();
    eal.extend(["-l".to_owned(), "0".to_owned()]);
    let mut command = lab.command::<String, &str>(&eal, &[]);
    command.env("LD_PRELOAD", lab.library("refuse_fdatasync")).env("REFUSE_FDATASYNC", &refuses);
    let target = lab.start_command(command);
    let mut rpc = target.rpc();
    bdevs_of_one_file(&mut rpc, &disk, &["aborts"]);
    for name in ["half", "mirrored", "other1", "other2"] {
        rpc.call("bdev_malloc_create", json!({ "name": name, "num_blocks": SECTORS, "block_size": 512 }));
    }
    // A raid1's flush reaches memory that nobody knows to be volatile; the bdev above has the next one fail.
    rpc.call(
        "bdev_raid_create",
        json!({ "name": "raid", "raid_level": "raid1", "strip_size_kb": 0, "base_bdevs": ["half", "mirrored"] }),
    );
    rpc.call("bdev_error_create", json!({ "base_name": "raid" }));
    rpc.call("bdev_wait_for_examine", Value::Null);
    let failing = json!({ "name": "EE_raid", "io_type": "flush", "error_type": "failure", "num": 1 });
    rpc.call("bdev_error_inject_error", failing);

    let mut initiator = lab.initiator(0);
    for (slot, bdev, other) in [(1, "aborts", "other1"), (2, "EE_raid", "other2")] {
        let options = json!({ "shelf": 1, "slot": slot, "bdev_name": bdev, "cache": "write-back" });
        rpc.call("aoe_create_export", options);
        let export = find(&mut initiator, ShelfSlot::new(1, slot));
        initiator.write(&export, 3, &[0x33; SECTOR]).unwrap();
        let replace = json!({ "shelf": 1, "slot": slot, "bdev_name": other });
        let parts = [&*format!("1.{slot}"), "as before", "has not brought to stable media"];
        rpc.refused("aoe_replace_bdev", replace.clone(), -12, &parts);
        until("the export to be served", || rpc.state(1, slot).as_deref() == Some("online"));
        let shown = rpc.call("aoe_get_exports", json!({ "shelf": 1, "slot": slot }));
        assert_eq!(shown[0]["bdev_name"], bdev);
        let mut sector = [0; SECTOR];
        initiator.read(&export, 3, &mut sector).unwrap();
        assert_eq!(sector, [0x33; SECTOR], "{bdev} has it");

        // The next flush succeeds.
        if slot == 1 {
            std::fs::remove_file(&refuses).unwrap();
        }
        assert_eq!(rpc.call("aoe_replace_bdev", replace)["bdev_name"], other);
        initiator.read(&export, 3, &mut sector).unwrap();
        assert_eq!(sector, [0; SECTOR], "{other} has never had it");
    }
    target.stop();
}
