//! A port's frames distributed over lcores by software: each export's ATA commands come to one lcore, its *owner*, whatever
//! queue or MAC address they arrive by. Requests for the same sectors meet in the owner's order table, and nowhere else.
//!
//! Each port queue polls its own rx queue, keeps the frames that are its own, and hands the others over rings to the
//! queues that serve them; it serves the frames that it is handed as if its rx queue had brought them, and replies by its
//! own tx queue. An mbuf of one queue's mempool is freed by the lcore that answered it, into that lcore's own cache.
//!
//! The owner is a hash of shelf and slot, so queues need not know the exports, and ports with the same lcores agree on it.
//! A ring keeps the order of the frames that one queue hands over. What it has no room for is dropped: served elsewhere it
//! could overtake, or be overtaken.

use aoe_target::{MacAddr, PortId};
use dpdk::{BURST, Burst, EalStarted, FrameReceiver, FrameSender, Mbuf, Mempool, RxMbuf, frame_ring};

/// By what a port's frames are distributed to its queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DistributeBy {
    /// ATA commands by export: [`owner_of`]. All else is served where it arrives.
    Export,
    /// The same; and all else by the destination address: the port has one for each queue, in their order. Replies come
    /// from the address that the request was sent to.
    Address(Vec<MacAddr>),
}

/// One port queue's part in distributing its port's frames.
#[derive(Debug)]
pub struct Distribution {
    by: DistributeBy,
    /// This queue among the port's.
    own: usize,
    /// By queue; its own has no ring.
    peers: Vec<Peer>,
    inbox: FrameReceiver,
    /// One frame on its way to a ring.
    copy: Vec<RxMbuf>,
    counters: DistributionCounters,
}

/// Another queue of the port.
#[derive(Debug)]
struct Peer {
    ring: Option<FrameSender>,
    /// Frames of a burst that are to go there. Never more than its capacity, [`BURST`].
    outgoing: Vec<RxMbuf>,
}

/// What one queue's part counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DistributionCounters {
    /// Frames handed to other queues.
    pub handed_over: u64,
    /// Frames that others handed to this queue.
    pub taken_over: u64,
    /// Frames of other queues that were dropped, as their ring was full.
    pub ring_full: u64,
}

impl Distribution {
    /// The parts of `queues` queues of a port, in their order. Rings hold `capacity` frames each. No other queue can serve a
    /// frame, so the rings ought to have room for every mbuf of the port.
    ///
    /// # Errors
    /// What [`frame_ring`] says.
    pub fn over(
        eal: EalStarted,
        port: PortId,
        queues: usize,
        by: &DistributeBy,
        capacity: u32,
        numa_node: Option<u32>,
    ) -> dpdk::Result<Vec<Self>> {
        let mut outgoing: Vec<Vec<Peer>> = (0..queues).map(|_| Vec::with_capacity(queues)).collect();
        let mut inboxes = Vec::with_capacity(queues);
        for to in 0..queues {
            let (mut ends, inbox) = frame_ring(
                eal,
                &format!("aoe_p{}l{to}", port.0),
                capacity,
                queues.saturating_sub(1).max(1),
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
            copy: Vec::with_capacity(1),
            counters: DistributionCounters::default(),
        });
        Ok(parts.collect())
    }

    /// The counters so far.
    pub(crate) fn counters(&self) -> DistributionCounters {
        self.counters
    }

    /// Whether no frame that another queue handed over is still to be served.
    pub(crate) fn is_inbox_empty(&self) -> bool {
        self.inbox.is_empty()
    }

    /// Fills `burst` with frames that other queues handed over, at most `most`. Returns how many.
    pub(crate) fn take_over(&mut self, burst: &mut Burst, most: usize) -> usize {
        let frames = self.inbox.receive_at_most(burst, most);
        self.counters.taken_over += frames as u64;
        frames
    }

    /// Whether one of the port's queues has this address.
    #[cold]
    pub(crate) fn has_address(&self, address: MacAddr) -> bool {
        matches!(&self.by, DistributeBy::Address(addresses) if addresses.contains(&address))
    }

    /// Whether the port has several addresses.
    pub(crate) fn has_addresses(&self) -> bool {
        matches!(self.by, DistributeBy::Address(_))
    }

    /// Hands the frames of a burst to the queues that serve them; the burst keeps those that this queue serves. Returns the
    /// number of frames dropped because a ring was full.
    pub(crate) fn distribute(&mut self, burst: &mut Burst, mempool: &Mempool) -> u64 {
        burst.retain(|frame| {
            let queue = self.queue_for(frame.data());
            if queue != self.own {
                self.peers[queue].outgoing.push(frame);
                return None;
            }
            if matches!(self.by, DistributeBy::Address(_)) && asks_every_address(frame.data()) {
                self.hand_copies(&frame, mempool);
            }
            Some(frame)
        });
        let mut dropped = 0;
        for peer in &mut self.peers {
            let Some(ring) = &mut peer.ring else { continue };
            if peer.outgoing.is_empty() {
                continue;
            }
            self.counters.handed_over += ring.send(&mut peer.outgoing) as u64;
            dropped += peer.outgoing.len() as u64;
            peer.outgoing.clear();
        }
        self.counters.ring_full += dropped;
        dropped
    }

    /// The queue that serves a frame.
    fn queue_for(&self, frame: &[u8]) -> usize {
        if let Some(owner) = owner_of(frame, self.peers.len()) {
            return owner;
        }
        match &self.by {
            DistributeBy::Export => self.own,
            DistributeBy::Address(addresses) => {
                let to = frame.get(..6).unwrap_or_default();
                addresses.iter().position(|address| address.0 == to).unwrap_or(self.own)
            }
        }
    }

    /// Gives every other queue a copy, which it answers from its own address. A queue that gets none, for want of an mbuf
    /// or of room in its ring, is a path that the initiator does not learn of this time: it asks again.
    #[cold]
    fn hand_copies(&mut self, frame: &Mbuf, mempool: &Mempool) {
        for peer in &mut self.peers {
            let Some(ring) = &mut peer.ring else { continue };
            let Some(mut copy) = mempool.alloc() else { continue };
            if copy.copy_from(frame) {
                self.copy.push(copy.into());
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

/// The queue, of `queues`, that serves an export's ATA commands. `None` for a frame that is none, or that means several
/// exports.
///
/// The product with an odd constant near 2^64 divided by the golden ratio distributes consecutive numbers evenly
/// (Knuth, The Art of Computer Programming 6.4, "Fibonacci hashing"); its upper half is scaled to the queues.
#[inline]
#[must_use]
pub fn owner_of(frame: &[u8], queues: usize) -> Option<usize> {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    const ATA: u8 = 0;
    let at = aoe_offset(frame);
    let &[0x88, 0xa2, _, _, high, low, slot, ATA] = frame.get(at - 2..at + 6)? else { return None };
    if (high, low) == (0xff, 0xff) || slot == 0xff {
        return None;
    }
    let address = u64::from(u32::from_be_bytes([0, high, low, slot]));
    // Slot 0 of shelf 0 is as good as any.
    let mixed = (address + 1).wrapping_mul(GOLDEN);
    let scaled = (mixed >> 32) * queues as u64;
    Some((scaled >> 32) as usize)
}

/// Whether a frame is a query/config to a group address that only reads or tests: then every address of the port
/// replies. A request that changes something is served once.
#[cold]
fn asks_every_address(frame: &[u8]) -> bool {
    let Some(first) = frame.first() else { return false };
    let at = aoe_offset(frame);
    let (ethertype, header) = (frame.get(at - 2..at), frame.get(at..at + 16));
    let (Some([0x88, 0xa2]), Some(header)) = (ethertype, header) else { return false };
    let is_response = header[0] & 0x08 != 0;
    first & 1 == 1 && !is_response && header[5] == 1 && header[15] & 0x0f <= 2
}

#[cfg(test)]
mod tests;
