//! The lcore's whole turn on a real EAL port, without any interface, hugepage or second process: a port made of two
//! rings, at whose far end a small target answers, loses, repeats and falsifies as a test demands.
//!
//! EAL starts once in a process; each test has a port and pools of its own names.

mod disk;
mod eal;
mod load;
mod refused;

use std::sync::atomic::{AtomicU32, Ordering};

use aoeperf::discover::{Found, Route};
use aoeperf::engine::{Engine, Phase};
use aoeperf::options::{self, Options};
use aoeperf::ports::{self, PortQueue};
use dpdk::{Burst, PeerRing, ring_port};

use crate::disk::Disk;
use crate::eal::start_eal;

/// Turns after which something that should have come has not. Not a time: what a turn waits for comes in the next
/// few, but for retransmits, which take 100 ms.
const MOST_TURNS: u32 = 50_000_000;

/// The options of a command line.
fn options(line: &str) -> Options {
    let words = std::iter::once("aoeperf").chain(line.split_whitespace()).map(Into::into);
    options::parse(words).unwrap_or_else(|refusal| panic!("{line}: {refusal:?}")).options
}

/// A started ring port, and its far end.
fn queue(options: &Options) -> (PortQueue, PeerRing) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let eal = start_eal();
    let name = format!("perf{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let (number, peer) = ring_port(eal, &name, 1024).expect("a ring port");
    let info = dpdk::port::info(eal, number).expect("it exists");
    let queue = ports::start_alone(eal, &info, Some(9000), options.initiators).expect("it starts");
    (queue, peer)
}

/// The discovered properties of a disk that answers on these queues.
fn found(disk: &Disk, queues: std::ops::Range<usize>) -> Found {
    let routes = queues
        .map(|queue| Route { queue, mac: disk.mac(queue), buffer_count: disk.buffer_count, max_sectors: 16 })
        .collect();
    Found { address: disk.address, sectors: disk.sectors(), config: Vec::new(), routes }
}

/// Turns, with the far ends answering in between, until `done` says so.
#[track_caller]
fn turn_until(engine: &mut Engine, mut far: impl FnMut(), what: &str, mut done: impl FnMut(&Engine) -> bool) {
    let mut burst = Burst::new();
    for _ in 0..MOST_TURNS {
        engine.turn(&mut burst);
        far();
        if done(engine) {
            return;
        }
    }
    panic!("{what}: not after {MOST_TURNS} turns; {:?}", engine.complaints());
}

/// Ends the load: nothing is outstanding afterwards.
#[track_caller]
fn drain(engine: &mut Engine, far: impl FnMut()) {
    engine.begin(Phase::Drain);
    turn_until(engine, far, "the rest", |engine| engine.outstanding() == 0);
}
