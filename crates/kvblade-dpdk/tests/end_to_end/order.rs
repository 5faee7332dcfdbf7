//! Case C1: no acknowledged write is undone by an older copy, on two lcores of which one is interrupted now and then.

use std::process::{Child, Command, Stdio};

use aoe_initiator::wire::{AtaRequest, Body, Envelope, Reply, ata, opcode};
use aoe_initiator::{Initiator, ShelfSlot};

use crate::lab::{Lab, QUIET, find, require};
use crate::spreading::{command, owned_by};

const ROUNDS: u8 = 120;
/// Sectors of a request.
const SECTORS: u8 = 2;
const BYTES: usize = 1024;

/// A real-time process on CPU 1, which it has for 20 ms of each 27 ms.
struct Hog(Child);

impl Hog {
    fn start() -> Self {
        let script = "import time\nwhile True:\n    end = time.monotonic() + 0.02\n    while time.monotonic() < end: pass\n    \
                      time.sleep(0.007)\n";
        let mut command = Command::new(require("chrt"));
        command.args(["-f", "10", "taskset", "-c", "1", "python3", "-c", script]);
        Self(command.stdin(Stdio::null()).spawn().expect("chrt, taskset and python3"))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it has ended");
    }
}

/// A frame with this tag.
fn frame(
    initiator: &Initiator,
    to: &aoe_initiator::initiator::Export,
    tag: u32,
    data: Option<u8>,
) -> Vec<u8> {
    let envelope = Envelope { dst: to.mac, src: initiator.link().mac(), address: to.address, tag };
    let (aflags, opcode) = match data {
        Some(_) => (ata::AFLAG_LBA48 | ata::AFLAG_WRITE, opcode::WRITE_EXT),
        None => (ata::AFLAG_LBA48, opcode::READ_EXT),
    };
    let request = AtaRequest { aflags, feature: 0, count: SECTORS, opcode, lba: 8 };
    request.frame(&envelope, &data.map(|byte| vec![byte; BYTES]).unwrap_or_default())
}

/// Waits for the answers to `missing`, and returns the last one's data.
fn answers(initiator: &mut Initiator, missing: &mut Vec<u32>, at_least: usize) -> Vec<u8> {
    let due = missing.len() - at_least;
    let mut data = Vec::new();
    while missing.len() > due {
        let bytes = initiator.receive_raw(100 * QUIET).unwrap().expect("an answer");
        let reply = Reply::parse(&bytes).unwrap();
        if let Body::Ata(answer) = &reply.body
            && missing.contains(&reply.tag)
        {
            assert_eq!(answer.status & 1, 0, "{reply:?}");
            data = answer.data.to_vec();
            missing.retain(|tag| *tag != reply.tag);
        }
    }
    data
}

fn no_write_is_undone(address: ShelfSlot) {
    let lab = Lab::new(1500);
    let export = format!("{address}=malloc:8M");
    let target = lab.start_command(command(&lab, &["--spread", "software", "-e", &export]));
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, address);
    let hog = Hog::start();
    let mut tag = 1000;
    for round in 0..ROUNDS {
        let (a, b) = (2 * round % 250 + 1, 2 * round % 250 + 2);
        let mut missing = Vec::new();
        let mut send = |initiator: &Initiator, data: Option<u8>, missing: &mut Vec<u32>| {
            tag += 1;
            missing.push(tag);
            initiator.send_raw(&frame(initiator, &export, tag, data)).unwrap();
        };
        send(&initiator, Some(a), &mut missing);
        send(&initiator, Some(a), &mut missing);
        answers(&mut initiator, &mut missing, 1);
        send(&initiator, Some(b), &mut missing);
        let all = missing.len();
        answers(&mut initiator, &mut missing, all);
        send(&initiator, None, &mut missing);
        let data = answers(&mut initiator, &mut missing, 1);
        assert_eq!(data, vec![b; BYTES], "round {round}: the acknowledged write was undone");
    }
    drop(hog);
    target.stop();
}

#[test]
fn no_acknowledged_write_is_undone_on_the_interrupted_lcore() {
    lab::needs_root!();
    no_write_is_undone(owned_by(1));
}

#[test]
fn no_acknowledged_write_is_undone_beside_an_interrupted_lcore() {
    lab::needs_root!();
    no_write_is_undone(owned_by(0));
}
