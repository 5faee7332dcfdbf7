//! A disk that does not answer: its initiator gets device faults, and nobody else notices.

use std::collections::BTreeSet;
use std::time::Duration;

use aoe_initiator::ShelfSlot;
use aoe_initiator::initiator::Initiator;
use aoe_initiator::wire::{Body, Reply};
use serde_json::{Value, json};

use crate::lab::{Lab, QUIET, SECTORS, find, until};
use crate::shutdown::{SLOW, in_flight, slow_export, slow_export_of};

/// Receives a device fault for each of these requests, once.
fn all_faulted(initiator: &mut Initiator, mut missing: BTreeSet<u32>) {
    while !missing.is_empty() {
        let frame = initiator.receive_raw(Duration::from_secs(60)).unwrap().expect("each is answered");
        let reply = Reply::parse(&frame).unwrap();
        let Body::Ata(registers) = &reply.body else { continue };
        assert!(missing.remove(&reply.tag), "answered twice: {reply:?}");
        assert_eq!((registers.status, registers.error), (0x61, 0x04), "{reply:?}");
    }
}

#[test]
fn a_disk_that_does_not_answer_is_degraded_until_it_does() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M", "--io-timeout", "2"]);
    let mut rpc = target.rpc();
    // A raid bdev can't abort.
    let members = ["m0", "m1"];
    for name in members {
        rpc.call("bdev_malloc_create", json!({ "name": name, "num_blocks": SECTORS, "block_size": 512 }));
    }
    let raid = json!({ "name": "raid", "raid_level": "raid0", "strip_size_kb": 4, "base_bdevs": members });
    rpc.call("bdev_raid_create", raid);
    slow_export_of("raid", &mut rpc, 12_000_000);
    let mut initiator = lab.initiator(0);
    let (slow, other) = (find(&mut initiator, SLOW), find(&mut initiator, ShelfSlot::new(1, 1)));
    let tags = in_flight(&mut initiator, &slow, &mut rpc);
    let count = tags.len();
    all_faulted(&mut initiator, tags);
    until("the export to be degraded", || rpc.state(1, 3).as_deref() == Some("degraded"));
    let exports = rpc.call("aoe_get_exports", Value::Null);
    let shown = exports.as_array().unwrap().iter().find(|export| export["slot"] == 3).unwrap();
    let reason = shown["reason"].as_str().unwrap_or_default();
    assert!(reason.contains(&format!("{count} requests without an answer")), "{reason}");
    assert_eq!((&shown["io_timeout"], rpc.state(1, 1).as_deref()), (&2.into(), Some("online")));
    // The other export is served meanwhile.
    initiator.read(&other, 0, &mut [0; 512]).unwrap();
    until("the export to be well again", || rpc.state(1, 3).as_deref() == Some("online"));
    assert!(initiator.receive_raw(QUIET).unwrap().is_none(), "a second answer");
    let log = target.log();
    let lines = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!((lines("degraded: its disk leaves"), lines("its disk answers again")), (1, 1), "{log}");
    target.stop();
}

/// Its bdev would answer after ten minutes. It is asked to abort instead: the export recovers, and the bdev is free.
#[test]
fn a_disk_that_can_abort_gives_requests_past_their_deadline_back() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M", "--io-timeout", "1"]);
    let mut rpc = target.rpc();
    slow_export(&mut rpc, 600_000_000);
    let mut initiator = lab.initiator(0);
    let slow = find(&mut initiator, SLOW);
    let tags = in_flight(&mut initiator, &slow, &mut rpc);
    let count = tags.len();
    all_faulted(&mut initiator, tags);
    until("the bdev to have given all back", || rpc.under_way() == 0);
    assert_eq!(rpc.state(SLOW.shelf, SLOW.slot).as_deref(), Some("online"));
    let stats = rpc.call("aoe_get_stats", Value::Null);
    let exports = stats["exports"].as_array().unwrap();
    let counted = exports.iter().find(|export| export["slot"] == SLOW.slot).unwrap();
    for counter in ["timeouts", "aborts", "late_completions"] {
        assert_eq!(counted[counter], count, "{counter}: {counted}");
    }
    assert_eq!((&counted["written_bytes"], &counted["ata_errors"]), (&0.into(), &count.into()));
    assert!(initiator.receive_raw(QUIET).unwrap().is_none(), "a second answer");
    // SPDK answers that when all channels into it are closed.
    rpc.call("aoe_delete_export", json!({ "shelf": SLOW.shelf, "slot": SLOW.slot }));
    rpc.call("bdev_delay_delete", json!({ "name": "slow" }));
    target.stop();
}
