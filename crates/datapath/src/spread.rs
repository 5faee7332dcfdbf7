//! rx, from lcore to lcore: a port's frames spread over its lanes where the NIC does not do it.
//!
//! Each lane polls its own rx queue, keeps the frames that are its own, and hands the others over rings to the lanes
//! whose they are; it serves what others handed to it as if its queue had brought it, and answers by its own tx
//! queue. An mbuf of one queue's mempool is freed by the lcore that answered it, into that lcore's own cache.

use aoe_target::{MacAddr, PortId};
use dpdk::{BURST, Burst, EalStarted, FrameReceiver, FrameSender, Mbuf, Mempool, frame_ring};

use crate::{Lcore, lane::Lane};

/// How a port's frames are dealt to its lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpreadBy {
    /// By the initiator's address and the request's tag: [`lane_of`].
    Hash,
    /// By the station address they are for: the port has one for each lane, in their order.
    Address(Vec<MacAddr>),
}

/// A lane's part in spreading its port's frames.
#[derive(Debug)]
pub struct Spread {
    by: SpreadBy,
    /// This lane among the port's.
    own: usize,
    /// By lane; its own has no ring.
    peers: Vec<Peer>,
    inbox: FrameReceiver,
    /// Frames of a burst that this lane serves. Never more than its capacity, [`BURST`].
    kept: Vec<Mbuf>,
    /// One frame on its way to a ring.
    copy: Vec<Mbuf>,
    counters: SpreadCounters,
}

/// Another lane.
#[derive(Debug)]
struct Peer {
    ring: Option<FrameSender>,
    /// Frames of a burst that are to go there. Never more than its capacity, [`BURST`].
    outgoing: Vec<Mbuf>,
}

/// What a lane's spreading counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpreadCounters {
    /// Frames handed to other lanes.
    pub handed_over: u64,
    /// Frames that others handed to this lane.
    pub taken_over: u64,
    /// Frames of other lanes that this one served, as their ring was full.
    pub ring_full: u64,
}

impl Spread {
    /// The parts of `lanes` lanes of a port, in their order. Rings hold `capacity` frames each. When frames are dealt
    /// by address, no other lane can serve them, so the rings must have room for every mbuf of the port.
    ///
    /// # Errors
    /// What [`frame_ring`] says.
    pub fn over(
        eal: EalStarted,
        port: PortId,
        lanes: usize,
        by: &SpreadBy,
        capacity: u32,
        numa_node: Option<u32>,
    ) -> dpdk::Result<Vec<Self>> {
        let mut outgoing: Vec<Vec<Peer>> = (0..lanes).map(|_| Vec::with_capacity(lanes)).collect();
        let mut inboxes = Vec::with_capacity(lanes);
        for to in 0..lanes {
            let (mut ends, inbox) = frame_ring(
                eal,
                &format!("aoe_p{}l{to}", port.0),
                capacity,
                lanes.saturating_sub(1).max(1),
                numa_node,
            )?;
            for (from, peers) in outgoing.iter_mut().enumerate() {
                let ring = if from == to { None } else { ends.pop() };
                peers.push(Peer { ring, outgoing: Vec::with_capacity(BURST) });
            }
            inboxes.push(inbox);
        }
        let parts = outgoing.into_iter().zip(inboxes).enumerate().map(|(own, (peers, inbox))| Self {
            by: by.clone(),
            own,
            peers,
            inbox,
            kept: Vec::with_capacity(BURST),
            copy: Vec::with_capacity(1),
            counters: SpreadCounters::default(),
        });
        Ok(parts.collect())
    }

    /// The counters so far.
    pub(crate) fn counters(&self) -> SpreadCounters {
        self.counters
    }

    /// True if no other lane has handed over a frame that is still to be served.
    pub(crate) fn is_inbox_empty(&self) -> bool {
        self.inbox.is_empty()
    }

    /// The lane that is to serve a frame.
    #[inline]
    fn lane_for(&self, frame: &[u8]) -> usize {
        match &self.by {
            SpreadBy::Hash => lane_of(frame, self.peers.len()).unwrap_or(self.own),
            SpreadBy::Address(addresses) => {
                let to = frame.get(..6).unwrap_or_default();
                addresses.iter().position(|address| address.0 == to).unwrap_or(self.own)
            }
        }
    }

    /// Hands the frames of a burst to the lanes whose they are. `kept` has those that this lane is to serve: its own,
    /// and those whose ring is full.
    #[inline]
    fn deal(&mut self, burst: &mut Burst, mempool: &Mempool) {
        for frame in burst {
            let lane = self.lane_for(frame.data());
            if lane != self.own {
                self.peers[lane].outgoing.push(frame);
                continue;
            }
            if matches!(self.by, SpreadBy::Address(_)) && asks_every_station(frame.data()) {
                self.hand_copies(&frame, mempool);
            }
            self.kept.push(frame);
        }
        for peer in &mut self.peers {
            let Some(ring) = &mut peer.ring else { continue };
            if peer.outgoing.is_empty() {
                continue;
            }
            self.counters.handed_over += ring.send(&mut peer.outgoing) as u64;
            self.counters.ring_full += peer.outgoing.len() as u64;
            self.kept.append(&mut peer.outgoing);
        }
    }

    /// Gives every other lane a copy, which it answers from its own station address. One that gets none, for want of
    /// an mbuf or of room in its ring, is a path that the initiator does not learn of this time: it asks again.
    #[cold]
    fn hand_copies(&mut self, frame: &Mbuf, mempool: &Mempool) {
        for peer in &mut self.peers {
            let Some(ring) = &mut peer.ring else { continue };
            let Some(mut copy) = mempool.alloc() else { continue };
            if copy.copy_from(frame) {
                self.copy.push(copy);
                self.counters.handed_over += ring.send(&mut self.copy) as u64;
                self.copy.clear();
            }
        }
    }
}

/// Where AoE's header starts, behind a tag if the port left one.
#[inline]
fn aoe_offset(frame: &[u8]) -> usize {
    if frame.get(12..14) == Some(&[0x81, 0x00]) { 18 } else { 14 }
}

/// The lane, of `lanes`, that serves a request when they are spread by hash: by the initiator's address and the tag,
/// which is another one in each request that Linux, iPXE or Windows make. `None` for a frame that ends before that.
///
/// The product with an odd constant near 2^64 divided by the golden ratio spreads what is in sequence evenly
/// (Knuth, The Art of Computer Programming 6.4, "Fibonacci hashing"); its upper half is scaled to the lanes.
#[inline]
#[must_use]
pub fn lane_of(frame: &[u8], lanes: usize) -> Option<usize> {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let source = frame.get(6..12)?;
    let tag = aoe_offset(frame) + 6;
    let tag = frame.get(tag..tag + 4)?;
    let address =
        u64::from_be_bytes([0, 0, source[0], source[1], source[2], source[3], source[4], source[5]]);
    let tag = u64::from(u32::from_be_bytes([tag[0], tag[1], tag[2], tag[3]]));
    // Linux counts in the upper half of the tag and has its clock in the lower, WinAoE counts in little endian.
    let mixed = (tag ^ tag.rotate_right(16)).wrapping_add(address).wrapping_mul(GOLDEN);
    let scaled = (mixed >> 32) * lanes as u64;
    Some((scaled >> 32) as usize)
}

/// True for a question to all stations which disks they have: query/config that only reads or tests, to a group
/// address. Whatever changes something is served once.
#[cold]
fn asks_every_station(frame: &[u8]) -> bool {
    let Some(first) = frame.first() else { return false };
    let at = aoe_offset(frame);
    let (ethertype, header) = (frame.get(at - 2..at), frame.get(at..at + 16));
    let (Some([0x88, 0xa2]), Some(header)) = (ethertype, header) else { return false };
    let is_response = header[0] & 0x08 != 0;
    first & 1 == 1 && !is_response && header[5] == 1 && header[15] & 0x0f <= 2
}

impl Lane {
    /// Has the lane take its part in spreading its port's frames.
    #[must_use]
    pub fn spread(mut self, part: Spread) -> Self {
        self.spread = Some(Box::new(part));
        self
    }

    /// True if other lanes hand it frames.
    #[must_use]
    pub fn is_spread(&self) -> bool {
        self.spread.is_some()
    }
}

impl Lcore {
    /// Serves those frames of a burst that are this lane's, and hands the others over.
    #[inline(never)]
    pub(crate) fn deal(&mut self, lane: usize, burst: &mut Burst) {
        let Lane { spread, rx, .. } = &mut self.lanes[lane];
        let Some(spread) = spread else { return };
        spread.deal(burst, rx.mempool());
        burst.refill(&mut spread.kept);
        self.serve(lane, burst);
    }

    /// Serves a burst of what other lanes handed to this one. True if there was anything.
    #[inline(never)]
    pub(crate) fn take_over(&mut self, lane: usize) -> bool {
        let Some(spread) = &mut self.lanes[lane].spread else { return false };
        let mut burst = Burst::new();
        let frames = spread.inbox.receive(&mut burst);
        if frames == 0 {
            return false;
        }
        spread.counters.taken_over += frames as u64;
        burst.prefetch();
        self.serve(lane, &mut burst);
        true
    }

    /// When the lcore is stopping: serves what was handed to it. True if there was anything.
    #[cold]
    pub(crate) fn finish_inboxes(&mut self) -> bool {
        let mut busy = false;
        for lane in 0..self.lanes.len() {
            busy |= self.take_over(lane);
        }
        busy
    }

    /// True if no lane has frames that others handed to it.
    pub(crate) fn are_inboxes_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.spread.as_ref().is_none_or(|spread| spread.is_inbox_empty()))
    }
}

#[cfg(test)]
mod tests;
