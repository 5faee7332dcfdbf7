//! Frames handed from the lcore that received them to the lcore that serves them, and replies handed back.
//!
//! An lcore that receives an ATA command for an export that another lcore owns (`owner.rs`) hands its frame over by a
//! ring: each port has one for each lcore. The owner serves the frames that it is handed as if its own rx queue had brought them. If it has a
//! queue pair of the port, it replies by that. Else its port queue of the port is a *detached* one, without a queue pair: the
//! reply returns by another ring to an lcore that has one, which sends it.
//!
//! A ring keeps the order of the frames that one lcore hands over. The rings have room for every mbuf of the port. A request
//! for which there is no room is dropped: served elsewhere it could overtake, or be overtaken. A reply waits in the detached queue.

mod frame_kinds;
mod parts;
mod return_ring;

use std::sync::{
    Arc, Weak,
    atomic::{Ordering, fence},
};

use aoe_target::MacAddr;
use dpdk::{BURST, Burst, FrameReceiver, FrameSender, Mbuf, Mempool, RxMbuf};

use crate::owner::Owners;
pub use crate::owner::owner_of;
use frame_kinds::{asks_every_address, is_for_one_export};
pub use parts::{DetachedPart, DistributedPort, Parts};
pub(crate) use return_ring::ReturnRing;

/// By what a port's frames are distributed, beside the ATA commands, which come to the owner of their export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DistributeBy {
    /// By nothing: all else is served where it arrives.
    Export,
    /// By the destination address: the port has one for each queue, in their order. Replies come from the address that the
    /// request was sent to.
    Address(Vec<MacAddr>),
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

/// The way to another lcore's inbox.
#[derive(Debug)]
struct Outbox {
    ring: Option<FrameSender>,
    /// Frames of a burst that are to go there. Never more than its capacity, [`BURST`].
    frames: Vec<RxMbuf>,
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
    /// The part of an lcore with this queue of the port, or with none. `outboxes` are by the lcores' numbers.
    fn new(
        by: DistributeBy,
        owners: Owners,
        queue: Option<usize>,
        lcores: Vec<usize>,
        outboxes: Vec<Option<FrameSender>>,
        inbox: FrameReceiver,
        serving: &Arc<()>,
    ) -> Self {
        let outbox = |ring| Outbox { ring, frames: Vec::with_capacity(BURST) };
        Self {
            by,
            owners,
            queue: queue.unwrap_or(usize::MAX),
            outboxes: outboxes.into_iter().map(outbox).collect(),
            lcores,
            inbox,
            returned: None,
            serving: Some(Arc::clone(serving)),
            all_serving: Arc::downgrade(serving),
            copy: Vec::with_capacity(1),
            counters: DistributionCounters::default(),
        }
    }

    /// Has the queue send the replies that come by this ring.
    fn send_for_others(&mut self, returned: FrameReceiver) {
        self.returned = Some(returned);
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
