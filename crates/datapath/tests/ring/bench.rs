//! What a scenario works on: an lcore on a port made of two rings, with a malloc and an aio bdev.

use std::sync::Arc;

use aoe_target::DropReason;
use datapath::{DegradedChanges, Lcore};
use dpdk::{Mbuf, Mempool, PeerRing, Port, ring_port};
use ring_lab::{eal, export, mempool, port_queue};
use spdk::Bdev;

/// Frames each ring holds, less one.
pub(crate) const RING: u32 = 64;
/// Mbufs of the port's pool.
const MBUFS: u32 = 2047;

/// What became of a frame that a NIC receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It is in the rx ring.
    Taken,
    /// The rx ring is full.
    NoPlace,
    /// The port's mempool is empty.
    NoMbuf,
}

/// What a scenario works on.
pub(crate) struct Bench {
    pub(crate) lcore: Lcore,
    pub(crate) peer: PeerRing,
    /// Frames are made in a pool of their own, so that the port's can be counted.
    pub(crate) outside: Arc<Mempool>,
    pool: Arc<Mempool>,
    /// For scenarios that give it to the lcore.
    pub(crate) degraded_changes: DegradedChanges,
    /// For a second lcore.
    pub(crate) second_pool: Arc<Mempool>,
    /// Exported as 1.1.
    pub(crate) malloc: Bdev,
    /// Exported as 1.2.
    pub(crate) file: Bdev,
    _ports: Vec<Port>,
}

impl Bench {
    /// Fresh port, lcore and pools; bdevs m0 and f0 exported.
    pub(crate) fn set_up() -> Self {
        let (number, peer) = ring_port(eal(), "wire", RING).expect("a ring port");
        let pool = mempool("port", MBUFS, 9216);
        let outside = mempool("outside", 1023, 9216);
        let second_pool = mempool("second", 1023, 9216);
        let mut ports = Vec::new();
        let mut lcore = Lcore::new(vec![port_queue(&mut ports, number, &pool)]).expect("an lcore");
        let malloc = ring_lab::open("m0");
        let file = ring_lab::open("f0");
        lcore.add(export(0, "1.1", &malloc), &malloc).expect("the table is empty");
        lcore.add(export(1, "1.2", &file), &file).expect("another address");
        Self {
            lcore,
            peer,
            outside,
            pool,
            degraded_changes: DegradedChanges::default(),
            second_pool,
            malloc,
            file,
            _ports: ports,
        }
    }

    /// Every mbuf is where it came from, and nothing is in flight.
    pub(crate) fn is_quiet(&self) -> bool {
        let is_full = |pool: &Mempool| pool.available() == pool.size();
        let pools = [&self.pool, &self.outside, &self.second_pool];
        self.lcore.in_flight() == 0 && pools.iter().all(|pool| is_full(pool))
    }

    /// A frame of the initiator's.
    fn mbuf(&self, bytes: &[u8]) -> Mbuf {
        filled(self.outside.alloc().expect("a mbuf for the initiator"), bytes)
    }

    /// Sends a frame in an mbuf of the port's, as a NIC does.
    pub(crate) fn arrive(&self, bytes: &[u8]) -> Room {
        match self.pool.alloc().map(|frame| self.peer.send(filled(frame, bytes))) {
            Some(Ok(())) => Room::Taken,
            Some(Err(_)) => Room::NoPlace,
            None => Room::NoMbuf,
        }
    }

    /// Sends a frame in one segment; false if the ring is full.
    pub(crate) fn send(&self, bytes: &[u8]) -> bool {
        self.peer.send(self.mbuf(bytes)).is_ok()
    }

    /// Sends a frame in segments that end at `cuts`.
    pub(crate) fn send_segments(&self, bytes: &[u8], cuts: &[usize]) {
        let mut start = 0;
        let mut whole: Option<Mbuf> = None;
        for end in cuts.iter().copied().chain([bytes.len()]) {
            let segment = self.mbuf(&bytes[start..end]);
            start = end;
            match &mut whole {
                None => whole = Some(segment),
                Some(head) => head.chain(segment).expect("few segments"),
            }
        }
        self.peer.send(whole.expect("a first segment")).expect("room in the ring");
    }

    /// Mbufs of the port that are not in its pool.
    pub(crate) fn taken(&self) -> u32 {
        self.pool.size() - self.pool.available()
    }

    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.lcore.snapshot().queues.iter().map(|queue| queue.drops.get(reason)).sum()
    }

    /// Frames that the port has received.
    pub(crate) fn received(&self) -> u64 {
        self.lcore.snapshot().queues.iter().map(|queue| queue.counters.rx_frames).sum()
    }

    /// What is known of a scenario that failed.
    pub(crate) fn describe(&self) -> String {
        format!("mbufs: {} of {MBUFS}; {:?}", self.pool.available(), self.lcore.snapshot())
    }
}

fn filled(frame: Mbuf, bytes: &[u8]) -> Mbuf {
    ring_lab::filled(frame, bytes).expect("room for any frame")
}
