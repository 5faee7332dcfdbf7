//! A port queue: one lcore's rx and tx queue pair of a port, with what the lcore must know of the port and its counters.
//!
//! An lcore that owns exports which a port without a queue pair for it reaches has a *detached* port queue of that port: other
//! lcores hand it requests, and send its replies ([`crate::distribute`]).

use std::sync::Arc;

use aoe_target::{
    DropCounters, DropReason, Export, MacAddr, PortCounters, PortId, PortLimits, Reply, emit_advertisement,
};
use dpdk::{Burst, Mbuf, Mempool, RxMbuf, RxQueue, TxMbuf, TxQueue};

use crate::{
    budget::Room,
    capture::Taps,
    distribute::{Distribution, DistributionCounters, ReturnRing},
    pacing,
};

mod capture;
mod distributed;
mod setup;

/// Bytes at the start of a frame that parsing wants in one piece (`Request::parse`), with a VLAN tag.
const HEAD: usize = 64 + dpdk::VLAN_TAG;

/// A queue pair of a port. Written for each frame, so it shares no cache line with another lcore's data on the heap; nor
/// the line beside it, which CPUs fetch along.
#[repr(align(128))]
#[derive(Debug)]
pub struct PortQueue {
    /// Among its lcore's queues.
    index: usize,
    port: PortId,
    mac: MacAddr,
    limits: PortLimits,
    /// One lcore of each port sends its advertisements.
    advertises: bool,
    coalesces_tx: bool,
    /// Replies come from one of several addresses of the port.
    has_addresses: bool,
    /// The port has several addresses, or captures copy its frames: bursts are looked at frame by frame.
    inspects: bool,
    /// It has a part in distributing frames, or captures copy its frames: there is something to do before a flush.
    attends: bool,
    /// Requests of this queue began in this turn.
    submitted: bool,
    /// Its mbufs and its requests in flight.
    room: Room,
    /// Before the queues: frames in its rings are freed before their mempools.
    distribution: Option<Box<Distribution>>,
    /// `None` of a detached one.
    rx: Option<RxQueue>,
    tx: Tx,
    mempool: Arc<Mempool>,
    counters: PortCounters,
    drops: DropCounters,
    taps: Option<Box<Taps>>,
}

/// The way that replies leave by.
#[derive(Debug)]
enum Tx {
    /// The lcore's tx queue.
    Queue(TxQueue),
    /// Another lcore's.
    Returned(ReturnRing),
}

const _: () = assert!(align_of::<PortQueue>() == 128 && size_of::<PortQueue>().is_multiple_of(128));

/// A port queue's counters at one moment.
#[derive(Debug, Clone, Copy)]
pub struct PortQueueStats {
    /// The port.
    pub port: PortId,
    /// Number of the rx queue among the port's; `None` of a detached port queue.
    pub queue: Option<u16>,
    /// Frames and bytes.
    pub counters: PortCounters,
    /// Frames without an answer, by reason.
    pub drops: DropCounters,
    /// Replies that wait for room in the NIC's ring now, or in the ring to the lcore that sends them.
    pub tx_waiting: usize,
    /// Frames handed to other lcores and by them; zeros where one lcore serves all frames of the port.
    pub distribution: DistributionCounters,
}

impl PortQueue {
    /// Its index among its lcore's queues.
    #[inline]
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    #[inline]
    pub(crate) fn port(&self) -> PortId {
        self.port
    }

    #[inline]
    pub(crate) fn mac(&self) -> MacAddr {
        self.mac
    }

    #[inline]
    pub(crate) fn limits(&self) -> PortLimits {
        self.limits
    }

    /// Whether it sends its port's advertisements.
    pub(crate) fn advertises(&self) -> bool {
        self.advertises
    }

    /// The counters so far.
    pub(crate) fn stats(&self) -> PortQueueStats {
        let mut drops = self.drops;
        let mut distribution = self.distribution.as_ref().map(|part| part.counters()).unwrap_or_default();
        match &self.tx {
            Tx::Queue(tx) => drops.add(DropReason::TxLinkDown, tx.lost()),
            Tx::Returned(ring) => distribution.return_ring_full = ring.full(),
        }
        PortQueueStats {
            port: self.port,
            queue: self.rx.as_ref().map(RxQueue::number),
            counters: self.counters,
            drops,
            tx_waiting: self.tx_waiting(),
            distribution,
        }
    }

    /// Fills `burst` with frames that have arrived, at most `most`; where the port has several addresses, it keeps those that
    /// this queue serves. Returns how many arrived.
    #[inline]
    pub(crate) fn receive(&mut self, burst: &mut Burst, most: usize) -> usize {
        let Some(rx) = &mut self.rx else { return 0 };
        let received = rx.poll_at_most(burst, most);
        burst.prefetch();
        if self.inspects {
            self.inspect(burst);
        }
        received
    }

    /// Counts a received frame and makes it exclusive, with its head in one piece. `None` if it was dropped. A PMD that
    /// shares or splits mbufs costs a copy here; none does for an Ethernet port whose mbufs have room for whole frames.
    #[inline(always)]
    pub(crate) fn accept(&mut self, frame: RxMbuf) -> Option<Mbuf> {
        self.counters.rx_frames += 1;
        self.counters.rx_bytes += frame.frame_len() as u64;
        match frame.into_exclusive_segment() {
            Ok(frame) => Some(frame),
            Err(frame) => self.accept_other(frame),
        }
    }

    /// [`PortQueue::accept`] of a frame that shares its bytes or has several segments.
    #[cold]
    #[inline(never)]
    fn accept_other(&mut self, frame: RxMbuf) -> Option<Mbuf> {
        let mut frame = match frame.into_exclusive() {
            Ok(frame) => frame,
            Err(shared) => self.copy_of(&shared)?,
        };
        if frame.segments() > 1 && frame.data().len() < HEAD.min(frame.frame_len()) && !frame.linearize() {
            self.drop(frame, DropReason::NoRoom);
            return None;
        }
        Some(frame)
    }

    /// A copy of a frame that may not be written; `None`, and a drop is counted, if there is no mbuf or room for it.
    fn copy_of(&mut self, shared: &Mbuf) -> Option<Mbuf> {
        let Some(mut own) = self.alloc() else {
            self.drops.count(DropReason::NoMbuf);
            return None;
        };
        if !own.copy_from(shared) {
            self.drop(own, DropReason::NoRoom);
            return None;
        }
        Some(own)
    }

    /// A fresh mbuf of its mempool.
    pub(crate) fn alloc(&self) -> Option<Mbuf> {
        self.mempool.alloc()
    }

    /// The mbufs of its mempool, which it may share with others.
    pub(crate) fn mempool_size(&self) -> usize {
        self.mempool.size() as usize
    }

    /// Its mbufs and its requests in flight.
    #[inline(always)]
    pub(crate) fn room(&self) -> Room {
        self.room
    }

    /// Counts a request of this queue that is in flight from now on.
    #[inline(always)]
    pub(crate) fn begin_request(&mut self) {
        self.room.started();
        self.submitted = true;
    }

    /// Counts the end of a request of this queue.
    #[inline(always)]
    pub(crate) fn end_request(&mut self) {
        self.room.ended();
    }

    /// Writes a reply over its request and queues it.
    #[inline(always)]
    pub(crate) fn reply(&mut self, export: &Export, reply: &Reply, mut frame: Mbuf) {
        // A write's data may lie in further segments, which a reply has no use for.
        let mac = if self.has_addresses { self.address_for(&frame) } else { self.mac };
        let written = frame.resize_to_one_segment(reply.frame_len())
            && reply.emit(frame.data_mut(), mac, export, self.limits).is_some();
        if written { self.send(frame) } else { self.drop(frame, DropReason::NoRoom) }
    }

    /// Queues an advertisement of `export` for `destination`, in `frame`.
    pub(crate) fn advertise(&mut self, export: &Export, destination: MacAddr, mut frame: Mbuf) {
        let room = frame.room();
        let length = frame
            .resize(room)
            .then(|| emit_advertisement(frame.data_mut(), self.mac, destination, export, self.limits))
            .flatten();
        if !length.is_some_and(|length| frame.resize(length)) {
            return self.drop(frame, DropReason::NoRoom);
        }
        if let Some(vlan) = export.vlan() {
            frame.tag(vlan.get());
        }
        self.counters.advertisements += 1;
        self.send(frame);
    }

    /// Queues a frame that is complete but for its tag. Without the tag it must not leave its VLAN, so it is dropped if
    /// there is no room for it.
    #[inline(always)]
    fn send(&mut self, frame: Mbuf) {
        let frame = match frame.into_tx() {
            Ok(frame) => frame,
            Err(frame) => return self.refuse(frame),
        };
        let Tx::Queue(tx) = &mut self.tx else { return self.return_reply(frame) };
        let bytes = frame.frame_len() as u64;
        match tx.push(frame) {
            Ok(()) => {
                self.counters.tx_frames += 1;
                self.counters.tx_bytes += bytes;
            }
            Err(frame) => self.refuse(frame.into_mbuf()),
        }
    }

    /// [`PortQueue::send`] of a detached queue. The reply counts where it is sent.
    #[cold]
    #[inline(never)]
    fn return_reply(&mut self, frame: TxMbuf) {
        let Tx::Returned(ring) = &mut self.tx else { return self.refuse(frame.into_mbuf()) };
        if let Err(frame) = ring.push(frame) {
            self.refuse(frame.into_mbuf());
        }
    }

    /// Drops a reply for whose tag there is no room, or for which there is no place. There are as many places as its mempool
    /// has mbufs; only frames of other pools could exceed that.
    #[cold]
    #[inline(never)]
    fn refuse(&mut self, frame: Mbuf) {
        self.drop(frame, DropReason::NoRoom);
    }

    /// Frees a frame that gets no answer, and counts why.
    #[inline]
    pub(crate) fn drop(&mut self, frame: Mbuf, reason: DropReason) {
        self.drops.count(reason);
        drop(frame);
    }

    /// Hands the replies of this turn to the NIC, unless they are held. Whether it took any.
    #[inline]
    pub(crate) fn flush(&mut self) -> bool {
        if self.attends {
            self.attend();
        }
        let submitted = std::mem::take(&mut self.submitted);
        match &mut self.tx {
            Tx::Queue(tx) => {
                let replies = tx.waiting();
                if replies == 0 || self.coalesces_tx && pacing::holds(replies, submitted) {
                    return self.coalesces_tx && tx.push_on();
                }
                tx.flush() > 0
            }
            Tx::Returned(ring) => ring.waiting() > 0 && ring.flush() > 0,
        }
    }

    /// Replies that wait for room.
    fn tx_waiting(&self) -> usize {
        match &self.tx {
            Tx::Queue(tx) => tx.waiting(),
            Tx::Returned(ring) => ring.waiting(),
        }
    }

    /// Whether a turn can make replies leave.
    pub(crate) fn has_replies(&self) -> bool {
        self.tx_waiting() > 0 || matches!(&self.tx, Tx::Queue(tx) if tx.is_held_up())
    }
}
