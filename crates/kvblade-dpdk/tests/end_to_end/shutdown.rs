//! The end: what is in flight is answered, what was acknowledged is kept, nothing is left behind.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aoe_initiator::initiator::{Export, Initiator};
use aoe_initiator::wire::{AtaRequest, Reply, SECTOR};
use aoe_initiator::{ShelfSlot, load};
use lab::Daemon;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::lab::{Lab, PATIENCE, QUIET, SECTORS, find, random_load, until};
use crate::rpc::Rpc;

/// The address of [`slow_export`].
pub(crate) const SLOW: ShelfSlot = ShelfSlot::new(1, 3);

const IN_FLIGHT: u64 = 16;

/// Exports a disk whose every I/O takes that many microseconds. It becomes slow once it is exported: SPDK's modules read a
/// new bdev first.
pub(crate) fn slow_export(rpc: &mut Rpc, microseconds: u64) {
    rpc.call("bdev_malloc_create", json!({ "name": "below", "num_blocks": SECTORS, "block_size": 512 }));
    slow_export_of("below", rpc, microseconds);
}

/// As [`slow_export`], on a bdev of which it takes whether it can abort.
pub(crate) fn slow_export_of(below: &str, rpc: &mut Rpc, microseconds: u64) {
    let delays = ["avg_read", "p99_read", "avg_write", "p99_write"];
    let mut params = json!({ "base_bdev_name": below, "name": "slow" });
    for delay in delays {
        params[format!("{delay}_latency")] = 1.into();
    }
    rpc.call("bdev_delay_create", params);
    rpc.call("aoe_create_export", json!({ "shelf": SLOW.shelf, "slot": SLOW.slot, "bdev_name": "slow" }));
    for delay in delays {
        let params = json!({ "delay_bdev_name": "slow", "latency_type": delay, "latency_us": microseconds });
        rpc.call("bdev_delay_update_latency", params);
    }
}

/// Sends reads and writes that the bdev then has, and returns their tags.
pub(crate) fn in_flight(initiator: &mut Initiator, export: &Export, rpc: &mut Rpc) -> BTreeSet<u32> {
    let mut tags = BTreeSet::new();
    for lba in 0..IN_FLIGHT {
        let envelope = initiator.envelope(export);
        tags.insert(envelope.tag);
        let frame = if lba % 2 == 0 {
            AtaRequest::read(lba, 1).frame(&envelope, &[])
        } else {
            AtaRequest::write(lba, 1).frame(&envelope, &[0x77; SECTOR])
        };
        initiator.send_raw(&frame).unwrap();
    }
    until("all requests to be in flight", || rpc.under_way() == IN_FLIGHT);
    tags
}

/// Collects the answers to all of them, each success.
#[track_caller]
pub(crate) fn all_answered(initiator: &mut Initiator, tags: &BTreeSet<u32>, wait: Duration) {
    let mut missing = tags.clone();
    let deadline = Instant::now() + wait;
    while !missing.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(frame) = initiator.receive_raw(left).unwrap() else {
            panic!("{missing:?} were not answered")
        };
        let reply = Reply::parse(&frame).unwrap();
        if tags.contains(&reply.tag) {
            assert_eq!(reply.breaches(), Vec::<String>::new(), "{reply:?}");
            assert!(missing.remove(&reply.tag), "a second answer: {reply:?}");
            let aoe_initiator::wire::Body::Ata(registers) = reply.body else { panic!("{reply:?}") };
            assert!(!registers.failed(), "{reply:?}");
        }
    }
}

fn answers_what_is_in_flight(signal: Signal) {
    let lab = Lab::new(1500);
    let target = lab.start_on("0-1", &["-e", "1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    slow_export(&mut rpc, 2_000_000);
    let mut initiator = lab.initiator(0);
    let slow = find(&mut initiator, SLOW);
    let tags = in_flight(&mut initiator, &slow, &mut rpc);
    let (status, log) = target.end(signal);
    assert_eq!(status.code(), Some(0), "{log}");
    all_answered(&mut initiator, &tags, QUIET);
    assert_eq!(lab.sockets_and_locks(), Vec::<String>::new());
    assert!(!log.contains("ERROR spdk") && !log.contains("without an answer"), "{log}");
}

#[test]
fn sigterm_answers_what_is_in_flight_and_exits_with_0() {
    lab::needs_root!();
    answers_what_is_in_flight(Signal::SIGTERM);
}

#[test]
fn sigint_answers_what_is_in_flight_and_exits_with_0() {
    lab::needs_root!();
    answers_what_is_in_flight(Signal::SIGINT);
}

#[test]
fn a_stop_under_load_loses_no_acknowledged_write() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let file = lab.file("disk");
    let options = ["-e".to_owned(), format!("1.1=aio:{file}")];
    let options = [options[0].as_str(), options[1].as_str()];
    let mut spec = random_load(16);
    spec.duration = 10 * PATIENCE;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let target = lab.start(&options);
        let mut initiator = lab.initiator(0);
        let export = find(&mut initiator, ShelfSlot::new(1, 1));
        let mut ledger = load::ledger_for(&spec, SECTORS).unwrap();
        let (link, stop) = (lab.link(0), AtomicBool::new(false));
        let target = std::thread::scope(|scope| {
            let load = scope.spawn(|| load::run_verified(link, &export, SECTORS, &spec, &stop, &mut ledger));
            let mut rpc = target.rpc();
            until("writes", || {
                rpc.call("aoe_get_stats", serde_json::Value::Null)["exports"][0]["written_bytes"]
                    .as_u64()
                    .unwrap()
                    > 0
            });
            let (status, log) = target.end(signal);
            assert_eq!(lab.sockets_and_locks(), Vec::<String>::new());
            // The initiator goes on asking; the target that comes back, on the same interface, answers.
            let again = lab.start(&options);
            let mut rpc = again.rpc();
            until("writes", || {
                rpc.call("aoe_get_stats", serde_json::Value::Null)["exports"][0]["written_bytes"]
                    .as_u64()
                    .unwrap()
                    > 0
            });
            stop.store(true, Ordering::Relaxed);
            let report = load.join().unwrap().unwrap();
            assert_eq!(status.code(), Some(0), "{log}");
            assert_eq!(report.failures(), 0, "{report:?}");
            again
        });
        assert_eq!(load::sweep(lab.link(0), &export, &ledger, &spec).unwrap(), ledger.written());
        target.stop();
    }
}

/// The operator needs an end in bounded time that is not taken for a good one, the number of requests left, every acknowledged
/// write of the other disks, and nothing in the way of the next start. The target reaches this by giving up on the whole
/// process; the issue on files and disks that do not answer (13) will end the requests of the one bdev instead, and with
/// it the exit code of this test becomes 0.
#[test]
fn a_bdev_that_does_not_answer_does_not_keep_it_from_ending() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let file = lab.file("healthy");
    let options = ["-e", "1.1=malloc:1M", "-e", &format!("1.2=aio:{file}")];
    let target = lab.start(&options);
    let mut rpc = target.rpc();
    slow_export(&mut rpc, 600_000_000);
    let mut initiator = lab.initiator(0);
    let slow = find(&mut initiator, SLOW);
    in_flight(&mut initiator, &slow, &mut rpc);
    let healthy = find(&mut initiator, ShelfSlot::new(1, 2));
    initiator.write(&healthy, 7, &[0x3c; SECTOR]).unwrap();
    let (status, log) = target.end(Signal::SIGTERM);
    assert!(
        status.code().is_some_and(|code| code != 0),
        "an exit that reports failure, not a crash: {status}: {log}"
    );
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("16 requests") && last.contains("without an answer"), "{log}");
    assert_eq!(lab.sockets_and_locks(), Vec::<String>::new());
    assert_eq!(
        std::fs::read(&file).unwrap()[7 * SECTOR..8 * SECTOR],
        [0x3c; SECTOR],
        "acknowledged, so kept"
    );
    let again = lab.start(&options);
    let mut sector = [0; SECTOR];
    initiator.read(&healthy, 7, &mut sector).unwrap();
    assert_eq!(sector, [0x3c; SECTOR]);
    again.stop();
}

#[test]
fn a_signal_during_the_start_ends_it_and_leaves_nothing() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    for moment in ["Reactor started", "port started", "export=1.1", "export=1.2"] {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let mut command = lab.command(&lab.eal(), &["-e", "1.1=malloc:1M", "-e", "1.2=malloc:1M"]);
            let mut daemon = Daemon::start(&mut command).unwrap();
            daemon.wait_for_log(moment, PATIENCE).unwrap();
            daemon.signal(signal).unwrap();
            let status = daemon.wait(PATIENCE).unwrap();
            let log = daemon.log().unwrap();
            // 0 if the start was over by then; no crash in any case.
            assert!(matches!(status.code(), Some(0 | 1)), "{moment}, {signal}: {status}: {log}");
            assert!(!log.contains("panicked"), "{log}");
            assert_eq!(lab.sockets_and_locks(), Vec::<String>::new(), "{moment}, {signal}: {log}");
        }
    }
}

#[test]
fn a_call_under_way_does_not_keep_it_from_ending() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    slow_export(&mut rpc, 2_000_000);
    let mut initiator = lab.initiator(0);
    let slow = find(&mut initiator, SLOW);
    let tags = in_flight(&mut initiator, &slow, &mut rpc);
    rpc.send("aoe_delete_export", json!({ "shelf": SLOW.shelf, "slot": SLOW.slot }));
    let mut other = target.rpc();
    until("the delete to have begun", || other.state(SLOW.shelf, SLOW.slot).as_deref() != Some("online"));
    let (status, log) = target.end(Signal::SIGTERM);
    assert_eq!(status.code(), Some(0), "{log}");
    all_answered(&mut initiator, &tags, QUIET);
    assert_eq!(lab.sockets_and_locks(), Vec::<String>::new());
}
