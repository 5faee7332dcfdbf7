//! A disk that does not answer: its initiator gets device faults, and nobody else notices.

use std::time::Duration;

use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::{Body, Reply};
use serde_json::Value;

use crate::lab::{Lab, QUIET, find, until};
use crate::shutdown::{SLOW, in_flight, slow_export};

#[test]
fn a_disk_that_does_not_answer_is_degraded_until_it_does() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M", "--io-timeout", "2"]);
    let mut rpc = target.rpc();
    slow_export(&mut rpc, 12_000_000);
    let mut initiator = lab.initiator(0);
    let (slow, other) = (find(&mut initiator, SLOW), find(&mut initiator, ShelfSlot::new(1, 1)));
    let mut missing = in_flight(&mut initiator, &slow, &mut rpc);
    let count = missing.len();
    while !missing.is_empty() {
        let frame = initiator.receive_raw(Duration::from_secs(60)).unwrap().expect("each is answered");
        let reply = Reply::parse(&frame).unwrap();
        let Body::Ata(registers) = &reply.body else { continue };
        assert!(missing.remove(&reply.tag), "answered twice: {reply:?}");
        assert_eq!((registers.status, registers.error), (0x61, 0x04), "{reply:?}");
    }
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
