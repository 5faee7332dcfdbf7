//! One thread's way into a bdev, as a data path has it: it writes and reads patterns, and counts what ends.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use dpdk::Mempool;
use spdk::{Bdev, CompletionQueue, CurrentThread, Io, IoChannel, IoKind, Outcome, Sectors};

use crate::step::eal;

/// Where the data starts in a frame.
const PAYLOAD: u16 = 36;

/// Sectors of each read and write.
pub(crate) const SECTORS: u32 = 8;

/// Mbufs of a bench: the most I/Os that it has in flight.
pub(crate) const FRAMES: u32 = 1023;

/// What an I/O was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    kind: IoKind,
    /// Its place, in units of [`SECTORS`].
    place: u64,
    pattern: u8,
}

pub(crate) struct Bench {
    channel: IoChannel,
    queue: CompletionQueue<Asked>,
    pool: Arc<Mempool>,
    in_flight: Cell<u32>,
    /// The first sector of place 0.
    shift: Cell<u64>,
    failed: RefCell<Vec<(IoKind, Outcome)>>,
}

/// The byte that fills a place in round `round`.
pub(crate) fn pattern(place: u64, round: u8) -> u8 {
    u8::try_from(place % 251).expect("below 251").wrapping_add(round)
}

impl Bench {
    /// A way into `bdev` for the current SPDK thread.
    pub(crate) fn open(bdev: &Bdev, name: &str) -> Self {
        let queue = CompletionQueue::new(2048).expect("an aio context");
        let channel = IoChannel::open(bdev, &queue).expect("a channel");
        let pool =
            Mempool::new(eal(), name, FRAMES, spdk::private_size::<Asked>(), 8192, None).expect("memory");
        Self {
            channel,
            queue,
            pool,
            in_flight: Cell::new(0),
            shift: Cell::new(0),
            failed: RefCell::default(),
        }
    }

    pub(crate) fn submit(&self, kind: IoKind, place: u64, round: u8) {
        let mut frame = self.pool.alloc().expect("an mbuf");
        let bytes = SECTORS as usize * 512;
        assert!(frame.resize(usize::from(PAYLOAD) + bytes));
        let pattern = pattern(place, round);
        let fill = if kind == IoKind::Write { pattern } else { 0xee };
        frame.data_mut().fill(fill);
        let sectors = match kind {
            IoKind::Flush => Sectors::default(),
            _ => Sectors { first: self.shift.get() + place * u64::from(SECTORS), count: SECTORS },
        };
        let io = Io { kind, sectors, payload: PAYLOAD };
        let asked = Asked { kind, place, pattern };
        CurrentThread::with(|thread| self.channel.submit(thread, &self.queue, io, frame, asked))
            .expect("room in the queue");
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// Lays all places so many sectors further back.
    pub(crate) fn shift(&self, sectors: u64) {
        self.shift.set(sectors);
    }

    /// Looks at what has ended, and at the data of reads. True when nothing is in flight.
    pub(crate) fn ended(&self) -> bool {
        self.queue.advance();
        while let Some(done) = self.queue.poll() {
            self.in_flight.set(self.in_flight.get() - 1);
            let Asked { kind, place, pattern } = *done.context();
            if done.outcome() != Outcome::Done {
                self.failed.borrow_mut().push((kind, done.outcome()));
            } else if kind == IoKind::Read {
                let data = &done.frame().data()[usize::from(PAYLOAD)..];
                assert!(data.iter().all(|byte| *byte == pattern), "place {place}: {:?}", &data[..8]);
            }
        }
        self.in_flight.get() == 0
    }

    /// What has failed since the last call.
    pub(crate) fn take_failed(&self) -> Vec<(IoKind, Outcome)> {
        self.failed.take()
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }
}
