//! Mutated frames against the built program: it goes on, accounts for each frame, and serves others meanwhile.
//!
//! `KVBLADE_WIRE_SECONDS` is how long it lasts in place of [`FRAMES`] frames, `KVBLADE_WIRE_SEED` another seed than
//! [`SEED`]. `scripts/fuzz SECONDS wire` runs it under AddressSanitizer.

mod mutator;

use std::time::{Duration, Instant};

use aoe_initiator::link::{BATCH, RxBatch, TxBatch};
use aoe_initiator::wire::{AtaRequest, Envelope, Mac};
use aoe_initiator::{Link, ShelfSlot, load};
use serde_json::{Value, json};

use crate::lab::{Lab, PATIENCE, Target, find, until};
use crate::process_faults::{mixed, under_load};
use crate::rpc::Rpc;
use mutator::Mutator;

const FRAMES: u64 = 60_000;
const SEED: u64 = 0x5eed;
const MTU: u16 = 9000;

/// Served to the mutated frames, the marks and the load.
const ATTACKED: ShelfSlot = ShelfSlot::new(1, 1);
const MARKED: ShelfSlot = ShelfSlot::new(1, 9);
const SERVED: ShelfSlot = ShelfSlot::new(1, 2);

/// The VLAN and sender of marks. No wildcard of another VLAN and no other sender reaches their export.
const MARK_VLAN: u8 = 100;
const MARK_SENDER: Mac = Mac([2, 0, 0, 0, 0, 0xaa]);

/// Mutated frames between two marks: less than the port's ring holds, so that none is lost on the way.
const BETWEEN_MARKS: usize = 4 * BATCH;
/// Marks between two times that the export's initiator state is cleared: a mask would keep the senders off.
const BETWEEN_CLEARS: u64 = 16;

/// A number in the environment.
pub(crate) fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: must be a number")))
}

/// Sends frames and waits until the target has looked at all of them.
pub(crate) struct Sender {
    link: Link,
    tx: TxBatch,
    rx: RxBatch,
    mac: Mac,
    marks: u32,
}

impl Sender {
    pub(crate) fn new(link: Link, mac: Mac) -> Self {
        Self { link, tx: TxBatch::new(), rx: RxBatch::new(64), mac, marks: 0 }
    }

    pub(crate) fn send(&mut self, frames: &[Vec<u8>]) {
        let mut rest = frames;
        while !rest.is_empty() {
            let sent = self.tx.send(&self.link, rest.iter().map(Vec::as_slice)).unwrap();
            rest = &rest[sent..];
        }
    }

    /// An IDENTIFY that nothing but a mark is, until it is answered: the frames before it have been looked at.
    pub(crate) fn mark(&mut self) {
        self.marks += 1;
        let envelope = Envelope { dst: self.mac, src: MARK_SENDER, address: MARKED, tag: self.marks };
        let mut frame = AtaRequest::identify().frame(&envelope, &[]);
        frame.splice(12..12, [0x81, 0, 0, MARK_VLAN]);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            self.link.send(&frame).unwrap();
            let sent = Instant::now();
            while sent.elapsed() < Duration::from_secs(2) {
                if self.answered() {
                    return;
                }
                self.link.wait(Duration::from_millis(100)).unwrap();
            }
        }
        panic!("mark {} is not answered: the target serves no more", self.marks);
    }

    /// Takes what has come in. The kernel takes the tag off.
    fn answered(&mut self) -> bool {
        let (mut found, wanted) = (false, self.marks.to_be_bytes());
        while self.rx.receive(&self.link, BATCH).unwrap() > 0 {
            for frame in self.rx.frames() {
                let aoe = if frame[12..14] == [0x81, 0] { 16 } else { 12 };
                let is_mark = frame.len() >= aoe + 12 && frame[..6] == MARK_SENDER.0;
                found |= is_mark && frame[aoe + 8..aoe + 12] == wanted;
            }
        }
        found
    }
}

/// Frames in, replies out and drops of port 0.
pub(crate) fn account(rpc: &mut Rpc) -> (u64, u64, u64, Value) {
    let stats = rpc.call("aoe_get_stats", Value::Null);
    let port = &stats["ports"][0];
    let count = |name: &str| port[name].as_u64().unwrap();
    let drops = port["drops"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    (count("rx_frames"), count("tx_frames") - count("advertisements"), drops, port.clone())
}

/// Every frame that came in has one reply or one drop: each VLAN has one export at most, so that wildcards have too.
#[track_caller]
pub(crate) fn accounts_for_every_frame(rpc: &mut Rpc) -> (u64, u64, u64, Value) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let account = account(rpc);
        if account.0 == account.1 + account.2 {
            return account;
        }
        let (frames, replies, drops, port) = &account;
        assert!(Instant::now() < deadline, "{frames} frames, {replies} replies, {drops} drops: {port:#}");
    }
}

/// A target with the export that is attacked and that of the marks on port 0, and that of the load on port 1.
pub(crate) fn start(lab: &Lab) -> Target {
    let marked = format!("1.9@0=malloc:1M,vlan={MARK_VLAN},allow={MARK_SENDER}");
    lab.start(&["-e", "1.1@0=malloc:8M", "-e", &marked, "-e", "1.2@1=malloc:8M"])
}

#[test]
fn mutated_frames_are_all_accounted_for_and_nobody_else_notices() {
    lab::needs_root!();
    let lab = Lab::with_ports(MTU, 2);
    let target = start(&lab);
    let (seed, seconds) = (setting("KVBLADE_WIRE_SEED").unwrap_or(SEED), setting("KVBLADE_WIRE_SECONDS"));
    let attacked = find(&mut lab.initiator(0), ATTACKED);
    let spec = mixed(seed);
    let begun = Instant::now();
    let mut sent = 0;
    let ledger = under_load(&lab, 1, SERVED, &spec, || {
        let mut sender = Sender::new(lab.link(0), attacked.mac);
        let mut mutator = Mutator::new(seed, attacked.mac, ATTACKED, usize::from(MTU));
        let mut rpc = target.rpc();
        let on = |sent| seconds.map_or(sent < FRAMES, |limit| begun.elapsed() < Duration::from_secs(limit));
        let mut marks = 0;
        while on(sent) {
            let frames: Vec<Vec<u8>> = (0..BETWEEN_MARKS).map(|_| mutator.next_frame()).collect();
            sender.send(&frames);
            sender.mark();
            sent += BETWEEN_MARKS as u64;
            marks += 1;
            if marks % BETWEEN_CLEARS == 0 {
                rpc.call("aoe_clear_initiator_state", json!({ "shelf": 1, "slot": 1 }));
            }
        }
    });
    let mut rpc = target.rpc();
    let (frames, replies, drops, port) = accounts_for_every_frame(&mut rpc);
    let rate = u128::from(frames) * 1000 / begun.elapsed().as_millis();
    println!(
        "hostile_wire: seed {seed:#x}, {sent} frames sent, {frames} came in, {replies} replies, {drops} drops, {rate} a second"
    );
    println!("hostile_wire: {}", port["drops"]);
    // A frame with half a VLAN tag does not leave the kernel.
    assert!(frames * 100 > sent * 95, "{frames} of {sent} frames came in");
    let named = port["drops"].as_object().unwrap().values().filter(|count| **count != 0).count();
    assert!(named >= 10, "the mutator has become tame: {:#}", port["drops"]);
    let export = find(&mut lab.initiator(1), SERVED);
    assert!(ledger.written() > 0);
    assert_eq!(load::sweep(lab.link(1), &export, &ledger, &spec).unwrap(), ledger.written());
    assert_eq!(rpc.state(1, 1).as_deref(), Some("online"));
    until("requests in flight to end", || target.rpc().under_way() == 0);
    let log = target.log();
    for word in ["panicked", "AddressSanitizer", "ERROR"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
    target.stop();
}
