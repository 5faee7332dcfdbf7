//! The life of an export when something fails on the way: an lcore without resources, a bdev that does not answer, a bdev that
//! goes, comes back and grows.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use aoe_initiator::wire::SECTOR;
use aoe_initiator::{ShelfSlot, load};
use lab::Daemon;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::files::Loop;
use crate::lab::{Lab, PATIENCE, SECTORS, find, hear, random_load, until};
use crate::shutdown::{SLOW, all_answered, in_flight, slow_export};

const FIRST: ShelfSlot = ShelfSlot::new(1, 1);

/// A library that leaves all reactors but the first without AIO contexts, as long as a file exists.
fn io_setup_that_fails(lab: &Lab) -> (PathBuf, PathBuf) {
    (lab.library("fail_io_setup"), lab.path("no-aio"))
}

/// A target on two lcores with that library.
fn with_failing_io_setup(lab: &Lab, library: &PathBuf, file: &PathBuf, options: &[&str]) -> Command {
    let mut eal = lab.eal();
    eal.extend(["-l".to_owned(), "0-1".to_owned()]);
    let mut command = lab.command(&eal, options);
    command.env("LD_PRELOAD", library).env("FAIL_IO_SETUP", file);
    command
}

#[test]
fn an_lcore_that_can_not_start_ends_the_start_with_its_reason() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let (library, file) = io_setup_that_fails(&lab);
    fs::write(&file, "").unwrap();
    let mut command = with_failing_io_setup(&lab, &library, &file, &["-e", "1.1=malloc:1M"]);
    let mut daemon = Daemon::start(&mut command).unwrap();
    let status = daemon.wait(PATIENCE).unwrap();
    let log = daemon.log().unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("lcore 1") && last.contains("io_setup"), "{log}");
    assert_eq!(lab.sockets_and_locks(), Vec::<String>::new());
}

#[test]
fn a_creation_that_one_lcore_refuses_is_rolled_back_and_can_be_repeated() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let (library, file) = io_setup_that_fails(&lab);
    let disk = lab.file("disk");
    let target = lab.start_command(with_failing_io_setup(&lab, &library, &file, &[]));
    let mut rpc = target.rpc();
    rpc.call("bdev_aio_create", json!({ "name": "f", "filename": disk, "block_size": 512 }));
    let export = json!({ "shelf": 1, "slot": 1, "bdev_name": "f" });
    fs::write(&file, "").unwrap();
    for _ in 0..3 {
        rpc.refused("aoe_create_export", export.clone(), -12, &["lcore 1", "no I/O channel"]);
        assert_eq!(rpc.state(1, 1), None);
    }
    // Nothing holds the bdev, neither its address nor its id.
    rpc.call("bdev_aio_delete", json!({ "name": "f" }));
    rpc.call("bdev_aio_create", json!({ "name": "f", "filename": disk, "block_size": 512 }));
    fs::remove_file(&file).unwrap();
    rpc.call("aoe_create_export", export);
    let mut initiator = lab.initiator(0);
    let found = find(&mut initiator, FIRST);
    initiator.write(&found, 3, &[0x42; SECTOR]).unwrap();
    rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 1 }));
    assert_eq!(fs::read(&disk).unwrap()[3 * SECTOR..4 * SECTOR], [0x42; SECTOR]);
    target.stop();
}

fn slow(extra: Value) -> Value {
    let mut params = json!({ "shelf": SLOW.shelf, "slot": SLOW.slot });
    params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    params
}

#[test]
fn force_frees_the_address_of_a_bdev_that_does_not_answer() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    slow_export(&mut rpc, 300_000_000);
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, SLOW);
    in_flight(&mut initiator, &export, &mut rpc);
    // A plain deletion waits, and its caller learns what it waits for.
    let mut waiting = target.rpc();
    waiting.send("aoe_delete_export", slow(json!({})));
    until("the deletion to begin", || rpc.state(1, 3).as_deref() == Some("deleting"));
    rpc.refused("aoe_delete_export", slow(json!({})), -16, &["1.3", "being deleted"]);
    let refusal = waiting.receive().unwrap().unwrap_err();
    assert_eq!(refusal.code, -16, "{}", refusal.message);
    for part in ["1.3 takes no new requests", "bdev 'slow'", "for 10 s", "force"] {
        assert!(refusal.message.contains(part), "{}", refusal.message);
    }
    rpc.refused("aoe_create_export", slow(json!({ "bdev_name": "malloc1.1" })), -16, &["being deleted"]);

    rpc.call("aoe_delete_export", slow(json!({ "force": true })));
    let listed = rpc.call("aoe_get_exports", Value::Null);
    let quarantined = listed.as_array().unwrap().iter().find(|export| export["slot"] == 3).unwrap();
    assert_eq!((&quarantined["state"], &quarantined["in_flight"]), (&json!("quarantined"), &json!(16)));
    rpc.refused("aoe_delete_export", slow(json!({ "force": true })), -2, &["no export 1.3"]);
    // The address is free for another bdev at once; the sectors that may still be written are not.
    rpc.refused(
        "aoe_create_export",
        slow(json!({ "bdev_name": "slow" })),
        -16,
        &["'slow'", "requests in flight of 1.3", "by force"],
    );
    rpc.call("bdev_malloc_create", json!({ "name": "fresh", "num_blocks": SECTORS, "block_size": 512 }));
    rpc.call("aoe_create_export", slow(json!({ "bdev_name": "fresh" })));
    let again = find(&mut initiator, SLOW);
    initiator.write(&again, 5, &[0x33; SECTOR]).unwrap();
    let (status, log) = target.end(Signal::SIGTERM);
    assert_eq!(status.code(), Some(1), "{log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("16 requests") && last.contains("without an answer"), "{log}");
}

#[test]
fn what_is_quarantined_is_answered_and_its_bdev_is_free_when_the_bdev_has_answered() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start_on("0-1", &["-e", "1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    slow_export(&mut rpc, 3_000_000);
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, SLOW);
    let tags = in_flight(&mut initiator, &export, &mut rpc);
    let mut waiting = target.rpc();
    waiting.send("aoe_delete_export", slow(json!({})));
    until("the deletion to begin", || rpc.state(1, 3).as_deref() == Some("deleting"));
    rpc.call("aoe_delete_export", slow(json!({ "force": true })));
    let refusal = waiting.receive().unwrap().unwrap_err();
    assert!(refusal.message.contains("1.3 was deleted by force meanwhile"), "{}", refusal.message);
    assert_eq!(rpc.state(1, 3).as_deref(), Some("quarantined"));
    all_answered(&mut initiator, &tags, PATIENCE);
    until("the quarantine to end", || rpc.state(1, 3).is_none());
    // The descriptor is closed: the bdev can be exported again, and deleted.
    rpc.call("aoe_create_export", slow(json!({ "bdev_name": "slow" })));
    rpc.call("aoe_delete_export", slow(json!({})));
    rpc.call("bdev_delay_delete", json!({ "name": "slow" }));
    rpc.call("bdev_malloc_delete", json!({ "name": "below" }));
    target.stop();
}

#[test]
fn a_bdev_that_comes_back_under_its_name_is_served_again_by_itself_under_load() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let target = lab.start_on("0-1", &["-e", "1.1=malloc:8M"]);
    let mut rpc = target.rpc();
    let disk = |sectors: u64| json!({ "name": "gone", "num_blocks": sectors, "block_size": 512 });
    rpc.call("bdev_malloc_create", disk(SECTORS));
    rpc.call("aoe_create_export", json!({ "shelf": 1, "slot": 2, "bdev_name": "gone" }));
    let mut initiator = lab.initiator(0);
    let goes = find(&mut initiator, ShelfSlot::new(1, 2));
    let mut spec = random_load(16);
    (spec.duration, spec.first_lba) = (10 * PATIENCE, 64);
    let (link, stop) = (lab.link(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let user = scope.spawn(|| load::run(link, &goes, SECTORS, &spec, &stop).unwrap());
        let rounds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 1..4 {
                rpc.call("bdev_malloc_delete", json!({ "name": "gone" }));
                until("the export to be offline", || rpc.state(1, 2).as_deref() == Some("offline"));
                initiator.read(&goes, 5, &mut [0; SECTOR]).unwrap_err();
                rpc.call("bdev_malloc_create", disk(SECTORS * (1 + round)));
                until("the export to be served again", || rpc.state(1, 2).as_deref() == Some("online"));
                let pattern = [u8::try_from(round).unwrap(); SECTOR];
                initiator.write(&goes, 5, &pattern).unwrap();
                let mut read = [0; SECTOR];
                initiator.read(&goes, 5, &mut read).unwrap();
                assert_eq!(read, pattern);
                assert_eq!(initiator.identify(&goes).unwrap().sectors, SECTORS * (1 + round));
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let report = user.join().unwrap();
        rounds.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert_eq!((report.aoe_errors, report.short_replies, report.unanswered), (0, 0, 0), "{report:?}");
    });
    // A bdev that lacks sectors of the export does not suit, and the reason is listed; a larger one does.
    rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 2 }));
    rpc.call("aoe_create_export", json!({ "shelf": 1, "slot": 2, "bdev_name": "gone", "length": SECTORS }));
    rpc.call("bdev_malloc_delete", json!({ "name": "gone" }));
    rpc.call("bdev_malloc_create", disk(SECTORS / 2));
    until("the reason to be listed", || {
        let listed = rpc.call("aoe_get_exports", Value::Null);
        listed[1]["state"] == "offline"
            && listed[1]["reason"].as_str().is_some_and(|why| why.contains("'gone'"))
    });
    rpc.call("bdev_malloc_delete", json!({ "name": "gone" }));
    rpc.call("bdev_malloc_create", disk(SECTORS));
    until("the export to be served again", || rpc.state(1, 2).as_deref() == Some("online"));
    target.stop();
}

#[test]
fn a_file_that_grows_is_announced_with_its_new_size() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let disk = lab.file("disk");
    let target = lab.start_on("0-1", &["-e", &format!("1.1=spdk-aio:{disk}")]);
    let mut rpc = target.rpc();
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, FIRST);
    fs::OpenOptions::new().write(true).open(&disk).unwrap().set_len(2 * SECTORS * SECTOR as u64).unwrap();
    initiator.drain().unwrap();
    let name = rpc.call("aoe_get_exports", Value::Null)[0]["bdev"]["name"].clone();
    rpc.call("bdev_aio_rescan", json!({ "name": name }));
    hear(&mut initiator, &[FIRST]);
    assert_eq!(initiator.identify(&export).unwrap().sectors, 2 * SECTORS);
    initiator.write(&export, 2 * SECTORS - 1, &[0x99; SECTOR]).unwrap();
    target.stop();
    assert!(fs::read(&disk).unwrap().ends_with(&[0x99; SECTOR]));
}

#[test]
fn a_block_device_that_this_machine_uses_is_exported_read_only_or_not_at_all() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let device = Loop::attach(&lab.file("disk"));
    let target = lab.start(&[]);
    let mut rpc = target.rpc();
    rpc.call("bdev_aio_create", json!({ "name": "d", "filename": device.0, "block_size": 512 }));
    // A mount, a RAID and a volume group have it to themselves, as this does.
    let used = fs::OpenOptions::new().read(true).custom_flags(OFlag::O_EXCL.bits()).open(&device.0).unwrap();
    let export = |read_only| json!({ "shelf": 1, "slot": 1, "bdev_name": "d", "read_only": read_only });
    rpc.refused("aoe_create_export", export(false), -22, &["bdev d", &device.0, "in use", "read-only"]);
    rpc.call("aoe_create_export", export(true));
    rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 1 }));
    drop(used);
    rpc.call("aoe_create_export", export(false));
    target.stop();
}
