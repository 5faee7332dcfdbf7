//! Disks that fail or hang: what was not made durable is never acknowledged, and nobody else notices.

use std::collections::BTreeSet;
use std::fs;

use aoe_initiator::ShelfSlot;
use aoe_initiator::initiator::{Export, Initiator};
use aoe_initiator::wire::{AtaRequest, Body, Reply, SECTOR};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::commands::prints;
use crate::faulty_file::{FaultyFile, Operation};
use crate::files::Loop;
use crate::lab::{Lab, PATIENCE, QUIET, SECTORS, Target, find, until};
use crate::rpc::Rpc;

const DISK: ShelfSlot = ShelfSlot::new(1, 1);
const OTHER: ShelfSlot = ShelfSlot::new(1, 2);

/// Bytes of a disk.
const BYTES: usize = 16 * 1024 * SECTOR;

/// Sectors of a write.
const PAGE: u8 = 8;

/// A write's data.
const DATA: [u8; PAGE as usize * SECTOR] = [0x5a; PAGE as usize * SECTOR];

/// The answer of a disk that failed: its status and error.
const FAULT: (u8, u8) = (0x61, 0x04);

/// Sends so many writes, of a page each, from page `first` on. Returns their tags.
fn send_writes(initiator: &mut Initiator, export: &Export, first: u64, count: u64) -> BTreeSet<u32> {
    let send = |page| {
        let envelope = initiator.envelope(export);
        let frame = AtaRequest::write(page * u64::from(PAGE), PAGE).frame(&envelope, &DATA);
        initiator.send_raw(&frame).unwrap();
        envelope.tag
    };
    (first..first + count).map(send).collect()
}

/// The answers to all of these, which come once each.
#[track_caller]
fn answers(initiator: &mut Initiator, mut missing: BTreeSet<u32>) -> Vec<(u8, u8)> {
    let mut answers = Vec::new();
    while !missing.is_empty() {
        let frame = initiator.receive_raw(PATIENCE).unwrap().expect("each is answered");
        let reply = Reply::parse(&frame).unwrap();
        // Another initiator at this interface asks the other export.
        let Body::Ata(registers) = &reply.body else { continue };
        if reply.address == OTHER {
            continue;
        }
        assert!(missing.remove(&reply.tag), "answered twice: {reply:?}");
        answers.push((registers.status, registers.error));
    }
    answers
}

/// What bdev_get_bdevs shows of a bdev's file.
fn shown(rpc: &mut Rpc, bdev: &str) -> Value {
    rpc.call("bdev_get_bdevs", json!({ "name": bdev }))[0]["driver_specific"]["file"].clone()
}

/// Waits until an export is degraded. Returns the reason.
#[track_caller]
fn degraded(rpc: &mut Rpc, address: ShelfSlot) -> String {
    until("the export to be degraded", || {
        rpc.state(address.shelf, address.slot).as_deref() == Some("degraded")
    });
    let exports = rpc.call("aoe_get_exports", Value::Null);
    let shown = exports.as_array().unwrap().iter().find(|export| export["slot"] == address.slot).unwrap();
    shown["reason"].as_str().unwrap_or_default().to_owned()
}

/// Stops every thread of the target while `work` goes on.
#[track_caller]
fn while_stopped(target: &Target, work: impl FnOnce()) {
    target.daemon.signal(Signal::SIGSTOP).unwrap();
    let tasks = format!("/proc/{}/task", target.daemon.pid());
    until("all threads to be stopped", || {
        let mut stats =
            fs::read_dir(&tasks).unwrap().map(|task| fs::read_to_string(task.unwrap().path().join("stat")));
        stats.all(|stat| stat.is_ok_and(|stat| stat.contains(") T ")))
    });
    work();
    target.daemon.signal(Signal::SIGCONT).unwrap();
}

#[test]
fn an_fdatasync_that_fails_takes_all_writes_of_its_group_with_it_and_every_later_one() {
    const GROUP: usize = 16;
    lab::needs_root!();
    let lab = Lab::new(9000);
    let disk = FaultyFile::mount(&lab, "faulty", BYTES);
    let export = format!("1.1={},sync=group", disk.text());
    let target = lab.start(&["-e", &export, "-e", "1.2=malloc:1M"]);
    let mut rpc = target.rpc();
    let mut initiator = lab.initiator(0);
    let [export, other] = [DISK, OTHER].map(|address| find(&mut initiator, address));
    initiator.write(&export, 0, &DATA).unwrap();
    let syncs = shown(&mut rpc, "file1.1")["fdatasyncs"].as_u64().unwrap();

    // All of them end while no lcore looks, so that one fdatasync is to cover them.
    disk.hold(Operation::Write);
    let tags = send_writes(&mut initiator, &export, 1, GROUP as u64);
    disk.wait_for_held(tags.len());
    disk.fail(Operation::Sync, Errno::EIO);
    while_stopped(&target, || {
        disk.heal(Operation::Write);
        disk.release();
    });
    assert_eq!(answers(&mut initiator, tags), [FAULT; GROUP]);
    let file = shown(&mut rpc, "file1.1");
    assert_eq!((&file["fdatasyncs"], &file["largest_group"]), (&json!(syncs + 1), &json!(GROUP)), "{file}");

    // A new one would succeed and mean nothing.
    disk.heal(Operation::Sync);
    let reason = degraded(&mut rpc, DISK);
    assert!(reason.contains(disk.text()) && reason.contains("fdatasync: Input/output error"), "{reason}");
    let before = [Operation::Write, Operation::Sync].map(|operation| disk.count(operation));
    initiator.write(&export, 8, &DATA).unwrap_err();
    assert_eq!([Operation::Write, Operation::Sync].map(|operation| disk.count(operation)), before);
    let mut page = [0; DATA.len()];
    initiator.read(&export, 0, &mut page).unwrap();
    assert_eq!(page, DATA);
    initiator.write(&other, 0, &DATA).unwrap();
    assert!(prints(&lab, &["kvstat"]).contains("degraded"));

    // Made anew, it is well.
    prints(&lab, &["kvdel", "1", "1", "t0"]);
    prints(&lab, &["kvadd", "1", "1", "t0", disk.text(), "--sync", "group"]);
    let export = find(&mut initiator, DISK);
    initiator.write(&export, 8, &DATA).unwrap();
    assert_eq!(rpc.state(1, 1).as_deref(), Some("online"));
    assert!(disk.count(Operation::Sync) > before[1]);
    assert_eq!(disk.bytes(8 * SECTOR, DATA.len()), DATA);
    target.stop();
}

#[test]
fn an_fdatasync_of_spdks_own_bdev_that_fails_shows_in_the_state_of_the_export() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let disk = FaultyFile::mount(&lab, "faulty", BYTES);
    let path = format!("spdk-aio:{}", disk.text());
    let target = lab.start(&["-e", &format!("1.1={path}"), "-e", "1.2=malloc:1M"]);
    let mut rpc = target.rpc();
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, DISK);
    initiator.write(&export, 0, &DATA).unwrap();
    disk.fail(Operation::Sync, Errno::EIO);
    let tags = send_writes(&mut initiator, &export, 1, 4);
    assert_eq!(answers(&mut initiator, tags), [FAULT; 4]);
    disk.heal(Operation::Sync);
    let reason = degraded(&mut rpc, DISK);
    assert!(reason.contains(disk.text()) && reason.contains("fdatasync: Input/output error"), "{reason}");
    assert!(prints(&lab, &["kvstat"]).contains("degraded"));
    let syncs = disk.count(Operation::Sync);
    initiator.write(&export, 8, &DATA).unwrap_err();
    assert_eq!(disk.count(Operation::Sync), syncs, "a new one would succeed and mean nothing");
    let mut page = [0; DATA.len()];
    initiator.read(&export, 0, &mut page).unwrap();
    assert_eq!(page, DATA);
    assert_eq!(rpc.state(1, 2).as_deref(), Some("online"));
    prints(&lab, &["kvdel", "1", "1", "t0"]);
    prints(&lab, &["kvadd", "1", "1", "t0", &path]);
    let export = find(&mut initiator, DISK);
    initiator.write(&export, 8, &DATA).unwrap();
    assert_eq!(rpc.state(1, 1).as_deref(), Some("online"));
    target.stop();
}

#[test]
fn a_read_or_write_that_fails_is_one_request_that_fails() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let disk = FaultyFile::mount(&lab, "faulty", BYTES);
    let target = lab.start(&["-e", &format!("1.1={},sync=group", disk.text())]);
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, DISK);
    initiator.write(&export, 0, &DATA).unwrap();
    let mut page = [0; DATA.len()];
    for (operation, errno, words) in [
        (Operation::Write, Errno::EIO, "a write of"),
        (Operation::Write, Errno::ENOSPC, "a write of"),
        (Operation::Read, Errno::EIO, "a read of"),
    ] {
        disk.fail(operation, errno);
        let failed = match operation {
            Operation::Read => initiator.read(&export, 0, &mut page),
            _ => initiator.write(&export, 8, &DATA),
        };
        failed.unwrap_err();
        let line = format!("{words} '{}' failed: {}", disk.text(), std::io::Error::from(errno));
        until("the failure to be logged", || target.log().contains(&line));
        disk.heal(operation);
        initiator.write(&export, 8, &DATA).unwrap();
        initiator.read(&export, 0, &mut page).unwrap();
        assert_eq!(page, DATA);
    }
    // No write that was acknowledged is lost.
    assert_eq!(target.rpc().state(1, 1).as_deref(), Some("online"));
    target.stop();
}

#[test]
fn disks_that_hang_are_degraded_until_they_go_on_and_others_are_served() {
    const HANGING: [ShelfSlot; 2] = [DISK, ShelfSlot::new(1, 3)];
    const COUNT: u64 = 8;
    lab::needs_root!();
    let lab = Lab::new(9000);
    let disks = ["file", "beneath"].map(|name| FaultyFile::mount(&lab, name, BYTES));
    // Its fdatasyncs wait in the kernel where no signal ends them, as on a disk that is suspended.
    let device = Loop::attach(disks[1].text());
    let device_path = device.0.clone();
    let exports = [
        format!("1.1={},sync=group", disks[0].text()),
        "1.2=malloc:1M".into(),
        format!("1.3={device_path},sync=group"),
    ];
    let mut options = vec!["--io-timeout", "2"];
    exports.iter().for_each(|export| options.extend(["-e", export.as_str()]));
    let target = lab.start(&options);
    // Dropped first, if the test fails: a process whose fdatasync hangs does not end.
    let (device, disks) = (device, disks);
    let mut rpc = target.rpc();
    let mut initiator = lab.initiator(0);
    let hanging = HANGING.map(|address| find(&mut initiator, address));
    let other = find(&mut initiator, OTHER);
    hanging.iter().for_each(|export| initiator.write(export, 0, &DATA).unwrap());

    // Their fdatasyncs are not answered, and no read of the file.
    disks.iter().for_each(|disk| disk.hold(Operation::Sync));
    disks[0].hold(Operation::Read);
    let mut tags = BTreeSet::new();
    for export in &hanging {
        tags.extend(send_writes(&mut initiator, export, 1, COUNT));
    }
    let envelope = initiator.envelope(&hanging[0]);
    tags.insert(envelope.tag);
    initiator.send_raw(&AtaRequest::read(SECTORS - u64::from(PAGE), PAGE).frame(&envelope, &[])).unwrap();
    let mut served = lab.initiator(0);
    for _ in 0..100 {
        served.write(&other, 0, &DATA).unwrap();
    }
    let count = tags.len();
    assert_eq!(answers(&mut initiator, tags), vec![FAULT; count]);
    for address in HANGING {
        let reason = degraded(&mut rpc, address);
        assert!(reason.contains("without an answer past io_timeout"), "{address}: {reason}");
    }
    assert_eq!(rpc.state(1, 2).as_deref(), Some("online"));
    served.write(&other, 0, &DATA).unwrap();

    for disk in &disks {
        disk.heal(Operation::Sync);
        disk.heal(Operation::Read);
        disk.release();
    }
    for address in HANGING {
        until("the export to be well again", || {
            rpc.state(address.shelf, address.slot).as_deref() == Some("online")
        });
    }
    until("all to be over", || rpc.under_way() == 0);
    while let Some(frame) = initiator.receive_raw(QUIET).unwrap() {
        assert_eq!(Reply::parse(&frame).unwrap().address, OTHER, "a second answer");
    }
    for export in &hanging {
        initiator.write(export, 800, &DATA).unwrap();
        let mut page = [0; DATA.len()];
        initiator.read(export, 800, &mut page).unwrap();
        assert_eq!(page, DATA);
    }
    target.stop();
    drop((device, disks));
}
