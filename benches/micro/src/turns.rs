//! An lcore on a ring port that is given a burst of requests before each of its turns.
//!
//! In a turn it answers the burst of the turn before, which the bdev has finished in between, and takes the next one
//! up to its submission: a turn is all that the target does for [`Kind::burst`] requests, from rx to tx. Making the
//! requests and looking at the answers is not part of it.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aoe_target::ExportId;
use datapath::Lcore;
use dpdk::{Mempool, PeerRing, Port, ring_port};
use ring_lab::frames;
use serde_json::json;
use spdk::Poller;

use crate::Kind;

/// The bdevs: one that moves no data, and memory.
const BDEVS: [&str; 2] = ["null", "malloc"];

/// The slot on shelf 1 where one of them is exported.
const SLOT: u8 = 1;

/// Blocks of 512 bytes of each bdev: 32 MiB.
const BLOCKS: u64 = 65536;

/// An lcore that can be given bursts.
pub struct Turns {
    lcore: Lcore,
    peer: PeerRing,
    /// Where the requests are made.
    outside: Arc<Mempool>,
    _ports: Vec<Port>,
    load: Option<Load>,
    /// The bdev that is exported now.
    exported: Option<&'static str>,
    /// Requests of the turn before.
    under_way: usize,
    /// Answers that the last turn gave, which nobody has looked at.
    unseen: usize,
    /// Begin of the last turn.
    begun: Instant,
}

/// What each burst consists of.
struct Load {
    kind: Kind,
    frames: Vec<Vec<u8>>,
}

/// Rounds of the reactor between two turns. Memory's I/O ends by a message to its own SPDK thread, which runs eight of
/// them a round (lib/thread/thread.c, SPDK_MSG_BATCH_SIZE): so a burst takes four and one.
const ROUNDS: u32 = 8;

thread_local! {
    static DRIVER: RefCell<Option<Poller>> = const { RefCell::new(None) };
}

/// Runs SPDK's app on this thread, with a null and a malloc bdev, and calls `step` until it returns false. Between two
/// calls the reactor comes around often enough for the bdevs to finish what they have. The app's exit code: not 0 if
/// it did not start.
pub fn run(step: impl FnMut(&mut Turns) -> bool + 'static) -> i32 {
    run_every(ROUNDS, step)
}

/// As [`run`], with so many rounds of the reactor between two calls. One is enough for the null bdev, which completes all
/// that it has in each.
pub fn run_every(every: u32, mut step: impl FnMut(&mut Turns) -> bool + 'static) -> i32 {
    let bdev = |method, name| json!({ "method": method, "params": { "name": name, "num_blocks": BLOCKS, "block_size": 512 } });
    let bdevs = [bdev("bdev_null_create", "null"), bdev("bdev_malloc_create", "malloc")];
    ring_lab::run("turns", "0", &bdevs, move || {
        let mut turns = Some(Turns::new());
        let mut rounds = 0;
        let driver = Poller::register(Duration::ZERO, move || {
            rounds += 1;
            if rounds % every != 0 {
                return true;
            }
            if turns.as_mut().is_some_and(&mut step) {
                return true;
            }
            // Everything that is SPDK's or DPDK's goes before the app does.
            turns = None;
            DRIVER.take();
            ring_lab::stop(0);
            true
        });
        DRIVER.set(Some(driver.expect("a poller")));
    })
}

impl Turns {
    fn new() -> Self {
        let (number, peer) = ring_port(ring_lab::eal(), "wire", 64).expect("a ring port");
        let pool = |name| ring_lab::mempool(name, 1023, 9216);
        let mut ports = Vec::new();
        let queue = ring_lab::port_queue(&mut ports, number, &pool("port"));
        let lcore = Lcore::new(vec![queue]).expect("an lcore");
        let outside = pool("outside");
        Self {
            lcore,
            peer,
            outside,
            _ports: ports,
            load: None,
            exported: None,
            under_way: 0,
            unseen: 0,
            begun: Instant::now(),
        }
    }

    /// The names of the bdevs.
    pub fn bdevs() -> impl Iterator<Item = &'static str> {
        BDEVS.into_iter()
    }

    /// What the bursts from now on consist of: requests of `kind` to the export of `bdev`, at different places of it.
    ///
    /// # Panics
    /// Without such a bdev, or with requests in flight.
    pub fn load(&mut self, bdev: &'static str, kind: Kind) {
        assert_eq!(self.under_way, 0, "settled");
        if self.exported != Some(bdev) {
            if self.exported.is_some() {
                self.lcore.remove(ExportId(0), || ());
                // In which its channel is closed.
                self.lcore.turn();
            }
            let opened = ring_lab::open(bdev);
            let export = ring_lab::export(0, &format!("1.{SLOT}"), &opened);
            self.lcore.add(export, &opened).expect("the table is empty");
            self.exported = Some(bdev);
        }
        let frames = (0u32..).take(kind.burst).map(|tag| kind.frame(SLOT, tag, BLOCKS));
        self.load = Some(Load { kind, frames: frames.collect() });
    }

    /// A burst in, and one turn, which answers the burst before and takes this one to its bdev; how long that took.
    ///
    /// # Panics
    /// If the burst before was not answered by then, or not as it should be: then this is not the load that was
    /// to be measured.
    pub fn turn(&mut self) -> Duration {
        let unseen = std::mem::take(&mut self.unseen);
        self.answered(unseen);
        let load = self.load.as_ref().expect("a load");
        for request in &load.frames {
            let mut frame = self.outside.alloc().expect("the pool holds several bursts");
            assert!(frame.resize(request.len()));
            frame.data_mut().copy_from_slice(request);
            self.peer.send(frame).expect("the ring holds a burst");
        }
        let burst = load.frames.len();
        self.begun = Instant::now();
        measured_turn(&mut self.lcore);
        let took = self.begun.elapsed();
        self.unseen = std::mem::replace(&mut self.under_way, burst);
        took
    }

    /// Time since the begin of the last turn: right before the next one, that of the turn and of SPDK's loop around it.
    #[must_use]
    pub fn since_turn(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Two turns without a burst, after which nothing is in flight.
    ///
    /// # Panics
    /// As [`Turns::turn`].
    pub fn settle(&mut self) {
        let unseen = std::mem::take(&mut self.unseen);
        self.answered(unseen);
        self.lcore.turn();
        self.lcore.turn();
        let before = std::mem::take(&mut self.under_way);
        self.answered(before);
    }

    fn answered(&self, requests: usize) {
        let load = self.load.as_ref().expect("a load");
        let mut answers = 0;
        while let Some(frame) = self.peer.receive() {
            let data = frame.data();
            assert_eq!(data.len(), load.kind.reply_len(), "an answer's length");
            assert_eq!(frames::status(data), (0x40, 0), "an answer's status and error");
            answers += 1;
        }
        assert_eq!(answers, requests, "answers to the burst before, in one turn");
    }
}

/// What callgrind collects: keep its name, and keep it a function.
#[inline(never)]
fn measured_turn(lcore: &mut Lcore) {
    lcore.turn();
}

/// Where callgrind writes what it has collected and starts anew: keep its name, and keep it a function.
#[inline(never)]
pub fn end_of_part(part: u64) {
    std::hint::black_box(part);
}
