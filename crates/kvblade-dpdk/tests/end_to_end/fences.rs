//! Fences: a reservation is answered when what was admitted before has ended.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aoe_initiator::Initiator;
use aoe_initiator::initiator::Export;
use aoe_initiator::wire::{Mac, Reply, reserve_frame};
use serde_json::json;

use crate::lab::{Lab, PATIENCE, QUIET, find, until};
use crate::shutdown::{SLOW, in_flight, slow_export};

/// The new holder of the disk.
const HOLDER: [u8; 6] = [2, 0, 0, 0, 0, 0x99];

/// A forced reservation for [`HOLDER`], and its tag.
fn reservation(initiator: &mut Initiator, export: &Export) -> (u32, Vec<u8>) {
    let envelope = initiator.envelope(export);
    (envelope.tag, reserve_frame(&envelope, 2, &[Mac(HOLDER)]))
}

/// The tags of the next replies, in the order of their arrival.
#[track_caller]
fn replies(initiator: &mut Initiator, count: usize) -> Vec<u32> {
    let begun = Instant::now();
    let mut tags = Vec::new();
    while tags.len() < count {
        assert!(begun.elapsed() < PATIENCE, "{tags:x?}");
        let frame = initiator.receive_raw(Duration::from_secs(1)).unwrap();
        let reply = frame.as_deref().map(|frame| Reply::parse(frame).unwrap());
        tags.extend(reply.filter(Reply::is_response).map(|reply| reply.tag));
    }
    tags
}

#[test]
fn a_forced_reservation_is_answered_after_the_writes_admitted_before_it() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    slow_export(&mut rpc, 3_000_000);
    let mut initiator = lab.initiator(0);
    let slow = find(&mut initiator, SLOW);
    let before = in_flight(&mut initiator, &slow, &mut rpc);
    let (reserved, frame) = reservation(&mut initiator, &slow);
    initiator.send_raw(&frame).unwrap();
    let order = replies(&mut initiator, before.len() + 1);
    assert_eq!(order.last(), Some(&reserved), "{order:x?}");
    assert_eq!(order[..before.len()].iter().copied().collect::<BTreeSet<_>>(), before);
    let state = rpc.call("aoe_get_exports", serde_json::Value::Null)[1]["initiator_state"].clone();
    assert!(state["reservation"].to_string().contains("02:00:00:00:00:99"), "{state}");
    target.stop();
}

#[test]
fn a_reservation_before_which_a_bdev_does_not_complete_is_not_answered_until_it_has() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    // Beyond the time that a fence waits.
    slow_export(&mut rpc, 20_000_000);
    let mut initiator = lab.initiator(0);
    let slow = find(&mut initiator, SLOW);
    let before = in_flight(&mut initiator, &slow, &mut rpc);
    let (_, frame) = reservation(&mut initiator, &slow);
    initiator.send_raw(&frame).unwrap();
    until("the reservation to be dropped", || rpc.drops(0, "not_fenced") == 1);
    // A retransmission finds the state saved, and is no more answered than the first one.
    initiator.send_raw(&frame).unwrap();
    until("its retransmission to be dropped", || rpc.drops(0, "not_fenced") == 2);
    let address = json!({ "shelf": SLOW.shelf, "slot": SLOW.slot });
    rpc.refused("aoe_clear_initiator_state", address, -16, &["still in flight at the bdev"]);
    assert_eq!(rpc.under_way(), before.len() as u64, "the bdev still has them");
    assert_eq!(replies(&mut initiator, before.len()).into_iter().collect::<BTreeSet<_>>(), before);
    until("the change to hold", || target.log().contains("it holds now"));
    let (reserved, frame) = reservation(&mut initiator, &slow);
    initiator.send_raw(&frame).unwrap();
    assert_eq!(replies(&mut initiator, 1), [reserved]);
    initiator.drain().unwrap();
    assert_eq!(initiator.receive_raw(QUIET).unwrap(), None);
    target.stop();
}
