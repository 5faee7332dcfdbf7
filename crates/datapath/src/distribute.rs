//! Frames handed from the lcore that received them to the lcore that serves them, and replies handed back.
//!
//! An lcore that receives an ATA command for an export that another lcore owns (`owner.rs`) hands its frame over by a
//! ring: each port has one for each lcore. The owner serves the frames that it is handed as if its own rx queue had brought them. If it has a
//! queue pair of the port, it replies by that. Else its port queue of the port is a *detached* one, without a queue pair: the
//! reply returns by another ring to an lcore that has one, which sends it.
//!
//! A ring keeps the order of the frames that one lcore hands over. The rings have room for every mbuf of the port. A request
//! for which there is no room is dropped: served elsewhere it could overtake, or be overtaken. A reply waits in the detached queue.

use std::sync::{
    Arc, Weak,
    atomic::{Ordering, fence},
};

use aoe_target::{MacAddr, PortId, PortSet};
use dpdk::{BURST, Burst, EalStarted, FrameReceiver, FrameSender, Mbuf, Mempool, RxMbuf, TxMbuf, frame_ring};

use crate::owner::Owners;
pub use crate::owner::owner_of;

/// By what a port's frames are distributed, beside the ATA commands, which come to the owner of their export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DistributeBy {
    /// By nothing: all else is served where it arrives.
    Export,
    /// By the destination address: the port has one for each queue, in their order. Replies come from the address that the
    /// request was sent to.
    Address(Vec<MacAddr>),
}

/// A port whose frames more than one lcore serves.
#[derive(Debug, Clone)]
pub struct DistributedPort {
    /// Its number, 0 to 63.
    pub port: PortId,
    /// The number of the lcore that polls each of its queues, each another one.
    pub lcores: Vec<usize>,
    /// By what.
    pub by: DistributeBy,
    /// Frames that each ring holds. No other lcore can serve a frame, so it ought to be every mbuf of the port.
    pub capacity: u32,
    /// The node of the rings' memory; `None` is any.
    pub numa_node: Option<u32>,
}

/// The parts of the lcores in distributing a port's frames.
#[derive(Debug)]
pub struct Parts {
    /// Those of its queues, in their order: [`crate::PortQueue::distributed`].
    pub queues: Vec<Distribution>,
    /// Those of the lcores without a queue of it, with their numbers: [`crate::PortQueue::detached`].
    pub others: Vec<(usize, DetachedPart)>,
}

/// One port queue's part in distributing its port's frames.
#[derive(Debug)]
pub struct Distribution {
    by: DistributeBy,
    owners: Owners,
    /// This queue among the port's; of a detached one, none of theirs.
    queue: usize,
    /// By the lcore's number; its own has no ring.
    outboxes: Vec<Outbox>,
    /// The lcores with a queue of the port, in the order of the queues.
    lcores: Vec<usize>,
    inbox: FrameReceiver,
    /// Replies that lcores with a detached queue have made, where they come to this one.
    returned: Option<FrameReceiver>,
    /// Held until this lcore hands over nothing any more.
    serving: Option<Arc<()>>,
    /// The lcores that may still hand over requests or replies of this port.
    all_serving: Weak<()>,
    /// One frame on its way to a ring.
    copy: Vec<RxMbuf>,
    counters: DistributionCounters,
}

/// The part of an lcore without a queue of the port.
#[derive(Debug)]
pub struct DetachedPart {
    pub(crate) part: Distribution,
    pub(crate) replies: ReturnRing,
}

/// The way to another lcore's inbox.
#[derive(Debug)]
struct Outbox {
    ring: Option<FrameSender>,
    /// Frames of a burst that are to go there. Never more than its capacity, [`BURST`].
    frames: Vec<RxMbuf>,
}

/// The way of a detached queue's replies to an lcore that sends them.
#[derive(Debug)]
pub(crate) struct ReturnRing {
    ring: FrameSender,
    /// Replies without room in the ring yet. Its memory is there from the start.
    waiting: Vec<RxMbuf>,
    /// Flushes that left some waiting.
    full: u64,
}

/// What one queue's part counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DistributionCounters {
    /// Frames handed to other lcores.
    pub handed_over: u64,
    /// Frames that others handed to this lcore.
    pub taken_over: u64,
    /// Frames for other lcores that were dropped, as their ring was full.
    pub ring_full: u64,
    /// Replies of other lcores that this queue sent.
    pub returned: u64,
    /// Of a detached queue: turns at whose end replies waited, as the ring to the lcore that sends them was full.
    pub return_ring_full: u64,
}

impl Distribution {
    /// The parts of `queues` queues of a port, in their order, where lcore n polls queue n and there are no other lcores. Rings
    /// hold `capacity` frames each: see [`DistributedPort::capacity`].
    ///
    /// # Errors
    /// As [`Distribution::among`].
    pub fn over(
        eal: EalStarted,
        port: PortId,
        queues: usize,
        by: &DistributeBy,
        capacity: u32,
        numa_node: Option<u32>,
    ) -> dpdk::Result<Vec<Self>> {
        let lcores = (0..queues).collect();
        let port = DistributedPort { port, lcores, by: by.clone(), capacity, numa_node };
        let parts = Self::among(eal, queues, &[port])?;
        Ok(parts.into_iter().flat_map(|parts| parts.queues).collect())
    }

    /// The parts of `lcores` lcores, numbered from 0, in distributing the frames of these ports; for each port in turn.
    ///
    /// # Errors
    /// What [`frame_ring`] says. `EINVAL` for a port without a queue, or a number of an lcore past `lcores`.
    pub fn among(eal: EalStarted, lcores: usize, ports: &[DistributedPort]) -> dpdk::Result<Vec<Parts>> {
        let mut polled = vec![PortSet::EMPTY; lcores];
        for port in ports {
            for lcore in &port.lcores {
                let added = polled.get_mut(*lcore).map(|polled| polled.insert(port.port));
                if !matches!(added, Some(Ok(true))) {
                    return Err(invalid());
                }
            }
        }
        let polled: Arc<[PortSet]> = polled.into();
        ports.iter().map(|port| parts_of(eal, &polled, port)).collect()
    }

    /// The counters so far.
    pub(crate) fn counters(&self) -> DistributionCounters {
        self.counters
    }

    /// The owners of exports, as its lcore sees them.
    pub(crate) fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Whether no frame that another lcore handed over is still to be served.
    pub(crate) fn is_inbox_empty(&self) -> bool {
        self.inbox.is_empty()
    }

    /// Fills `burst` with frames that other lcores handed over, at most `most`. Returns how many.
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

    /// The port has the address `new` in place of `old`, if that is one of several.
    pub(crate) fn change_address(&mut self, old: MacAddr, new: MacAddr) {
        if let DistributeBy::Address(addresses) = &mut self.by {
            addresses.iter_mut().filter(|address| **address == old).for_each(|address| *address = new);
        }
    }

    /// Whether the port has several addresses.
    pub(crate) fn has_addresses(&self) -> bool {
        matches!(self.by, DistributeBy::Address(_))
    }

    /// Hands a frame to the lcore of this number, with the next [`Distribution::send`].
    ///
    /// # Errors
    /// The frame, if there is no such lcore or [`BURST`] frames for it have not been sent.
    pub(crate) fn hand_over(&mut self, lcore: u16, frame: Mbuf) -> Result<(), Mbuf> {
        match self.outboxes.get_mut(usize::from(lcore)) {
            Some(Outbox { ring: Some(_), frames }) if frames.len() < BURST => {
                frames.push(frame.into());
                Ok(())
            }
            _ => Err(frame),
        }
    }

    /// Sends what was handed over since the last call. Calls `dropped` for each frame that a ring has no room for.
    pub(crate) fn send(&mut self, mut dropped: impl FnMut(RxMbuf)) {
        for Outbox { ring, frames } in &mut self.outboxes {
            let Some(ring) = ring else { continue };
            if frames.is_empty() {
                continue;
            }
            self.counters.handed_over += ring.send(frames) as u64;
            self.counters.ring_full += frames.len() as u64;
            frames.drain(..).for_each(&mut dropped);
        }
    }

    /// Hands the frames of a burst that go to another address of the port to its queue, with the next
    /// [`Distribution::send`]; the burst keeps the others.
    #[cold]
    pub(crate) fn distribute(&mut self, burst: &mut Burst, mempool: &Mempool) {
        burst.retain(|frame| {
            if is_for_one_export(frame.data()) {
                // Its owner is known when it is routed.
                return Some(frame);
            }
            let queue = self.queue_for(frame.data());
            if queue != self.queue
                && let Some(outbox) = self.lcores.get(queue).and_then(|lcore| self.outboxes.get_mut(*lcore))
                && outbox.ring.is_some()
            {
                // A burst has no more frames than there are places.
                outbox.frames.push(frame);
                return None;
            }
            if asks_every_address(frame.data()) {
                self.hand_copies(&frame, mempool);
            }
            Some(frame)
        });
    }

    /// The queue that serves a frame other than an ATA command to one export.
    fn queue_for(&self, frame: &[u8]) -> usize {
        match &self.by {
            DistributeBy::Export => self.queue,
            DistributeBy::Address(addresses) => {
                let to = frame.get(..6).unwrap_or_default();
                addresses.iter().position(|address| address.0 == to).unwrap_or(self.queue)
            }
        }
    }

    /// Gives every other queue a copy, which it answers from its own address. A queue that gets none, for want of an mbuf
    /// or of room in its ring, is a path that the initiator does not learn of this time: it asks again.
    #[cold]
    fn hand_copies(&mut self, frame: &Mbuf, mempool: &Mempool) {
        for lcore in &self.lcores {
            let Some(Outbox { ring: Some(ring), .. }) = self.outboxes.get_mut(*lcore) else { continue };
            let Some(mut copy) = mempool.alloc() else { continue };
            if copy.copy_from(frame) {
                self.copy.push(copy.into());
                self.counters.handed_over += ring.send(&mut self.copy) as u64;
                self.copy.clear();
            }
        }
    }

    /// Whether replies of other lcores come to this queue.
    #[inline]
    pub(crate) fn sends_for_others(&self) -> bool {
        self.returned.is_some()
    }

    /// Fills `burst` with replies that other lcores have made. Returns how many.
    pub(crate) fn take_returned(&mut self, burst: &mut Burst) -> usize {
        let Some(ring) = &mut self.returned else { return 0 };
        let replies = ring.receive(burst);
        self.counters.returned += replies as u64;
        replies
    }

    /// The lcore hands over nothing more, but for the requests of lcores that do.
    pub(crate) fn retire(&mut self) {
        self.serving = None;
    }

    /// Whether a reply of another lcore is there or may come.
    pub(crate) fn awaits_replies(&self) -> bool {
        let Some(returned) = &self.returned else { return false };
        if self.all_serving.strong_count() > 0 {
            return true;
        }
        // What the last of them put into the ring is seen below.
        fence(Ordering::Acquire);
        !returned.is_empty()
    }
}

impl ReturnRing {
    /// The ring, with room for so many replies that wait for room in it: the mbufs of the port.
    pub(crate) fn with_room(mut self, replies: usize) -> Self {
        self.waiting.reserve_exact(replies);
        self
    }

    /// Queues a reply.
    ///
    /// # Errors
    /// The reply, if as many wait as the port has mbufs: then it is of another mempool.
    pub(crate) fn push(&mut self, reply: TxMbuf) -> Result<(), TxMbuf> {
        if self.waiting.len() == self.waiting.capacity() {
            return Err(reply);
        }
        self.waiting.push(reply.into_mbuf().into());
        Ok(())
    }

    /// Puts waiting replies into the ring. Returns how many.
    pub(crate) fn flush(&mut self) -> usize {
        let sent = self.ring.send(&mut self.waiting);
        self.full += u64::from(!self.waiting.is_empty());
        sent
    }

    /// Replies that wait for room.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Flushes that left some waiting.
    pub(crate) fn full(&self) -> u64 {
        self.full
    }
}

fn invalid() -> dpdk::Error {
    dpdk::Error { call: "rte_ring_create", errno: 22 }
}

/// The parts of all lcores in distributing the frames of one port.
fn parts_of(eal: EalStarted, polled: &Arc<[PortSet]>, port: &DistributedPort) -> dpdk::Result<Parts> {
    let DistributedPort { port: PortId(number), lcores, by, capacity, numa_node } = port;
    if lcores.is_empty() {
        return Err(invalid());
    }
    let ring = |name: String, senders: usize| frame_ring(eal, &name, *capacity, senders.max(1), *numa_node);
    let all = polled.len();
    let mut outboxes: Vec<Vec<Outbox>> = (0..all).map(|_| Vec::with_capacity(all)).collect();
    let mut inboxes = Vec::with_capacity(all);
    for to in 0..all {
        let (mut ends, inbox) = ring(format!("aoe_p{number}l{to}"), all - 1)?;
        for (from, outboxes) in outboxes.iter_mut().enumerate() {
            let ring = if from == to { None } else { ends.pop() };
            outboxes.push(Outbox { ring, frames: Vec::with_capacity(BURST) });
        }
        inboxes.push(inbox);
    }
    let serving = Arc::new(());
    let part_of = |(lcore, (outboxes, inbox)): (usize, (Vec<Outbox>, FrameReceiver))| Distribution {
        by: by.clone(),
        owners: Owners::new(lcore, Arc::clone(polled)),
        queue: lcores.iter().position(|polling| *polling == lcore).unwrap_or(usize::MAX),
        outboxes,
        lcores: lcores.clone(),
        inbox,
        returned: None,
        serving: Some(Arc::clone(&serving)),
        all_serving: Arc::downgrade(&serving),
        copy: Vec::with_capacity(1),
        counters: DistributionCounters::default(),
    };
    let parts = outboxes.into_iter().zip(inboxes).enumerate().map(part_of);
    let mut parts: Vec<Option<Distribution>> = parts.map(Some).collect();
    let queues = lcores.iter().filter_map(|lcore| parts[*lcore].take());
    let mut queues: Vec<Distribution> = queues.collect();
    let detached: Vec<(usize, Distribution)> =
        parts.into_iter().enumerate().filter_map(|(lcore, part)| Some((lcore, part?))).collect();
    // Their replies are shared by the queues.
    let mut rings = Vec::new();
    for (nth, queue) in queues.iter_mut().enumerate() {
        let senders = (nth..detached.len()).step_by(lcores.len()).count();
        if senders > 0 {
            let (ends, returned) = ring(format!("aoe_p{number}r{nth}"), senders)?;
            queue.returned = Some(returned);
            rings.push(ends);
        }
    }
    let mut others = Vec::with_capacity(detached.len());
    for (nth, (lcore, part)) in detached.into_iter().enumerate() {
        let ring = rings[nth % lcores.len()].pop().ok_or_else(invalid)?;
        others
            .push((lcore, DetachedPart { part, replies: ReturnRing { ring, waiting: Vec::new(), full: 0 } }));
    }
    Ok(Parts { queues, others })
}

/// Where AoE's header starts, behind a tag if the port left one.
#[inline]
fn aoe_offset(frame: &[u8]) -> usize {
    if frame.get(12..14) == Some(&[0x81, 0x00]) { 18 } else { 14 }
}

/// Whether a frame is an ATA command to one export.
#[cold]
fn is_for_one_export(frame: &[u8]) -> bool {
    const ATA: u8 = 0;
    let at = aoe_offset(frame);
    match frame.get(at - 2..at + 6) {
        Some(&[0x88, 0xa2, _, _, high, low, slot, ATA]) => (high, low) != (0xff, 0xff) && slot != 0xff,
        _ => false,
    }
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
