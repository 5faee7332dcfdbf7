//! A port queue: one lcore's rx and tx queue pair of a port, with what the lcore must know of the port and its counters.
//!
//! An lcore that owns exports which a port without a queue pair for it reaches has a *detached* port queue of that port: other
//! lcores hand it requests, and send its replies ([`crate::distribute`]).

use std::sync::Arc;

use aoe_target::{
    DropCounters, DropReason, Export, MacAddr, PortCounters, PortId, PortLimits, Reply, emit_advertisement,
};
use dpdk::{Burst, Mbuf, Mempool, RxInterrupts, RxMbuf, RxQueue, TxMbuf, TxQueue};

use crate::{
    budget::Room,
    distribute::{DetachedPart, Distribution, DistributionCounters, ReturnRing},
    owner::Owners,
    pacing,
};

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
    /// A queue pair of `port`. `advertises` on one queue of each port. All mbufs of its mempool may hold requests in flight,
    /// but for a reserve: see [`PortQueue::with_mbufs`].
    pub fn new(
        port: PortId,
        mac: MacAddr,
        limits: PortLimits,
        queues: (RxQueue, TxQueue),
        advertises: bool,
    ) -> Self {
        let (rx, tx) = queues;
        let mempool = Arc::clone(rx.mempool());
        let (room, rx, tx) = (Room::of(mempool.size()), Some(rx), Tx::Queue(tx));
        Self {
            index: 0,
            port,
            mac,
            limits,
            advertises,
            coalesces_tx: false,
            has_addresses: false,
            submitted: false,
            room,
            distribution: None,
            rx,
            tx,
            mempool,
            counters: PortCounters::default(),
            drops: DropCounters::default(),
        }
    }

    /// The port queue of an lcore without a queue pair of `port`, with its part in distributing the port's frames. `mac` is the
    /// port's, `mempool` the one that its frames are received into, of which `mbufs` may hold requests in flight on this
    /// lcore, but for a reserve.
    #[must_use]
    pub fn detached(
        port: PortId,
        mac: MacAddr,
        limits: PortLimits,
        mempool: Arc<Mempool>,
        mbufs: u32,
        part: DetachedPart,
    ) -> Self {
        let DetachedPart { part, replies } = part;
        let replies = replies.with_room(mempool.size() as usize);
        Self {
            index: 0,
            port,
            mac,
            limits,
            advertises: false,
            coalesces_tx: false,
            has_addresses: part.has_addresses(),
            submitted: false,
            room: Room::of(mbufs),
            distribution: Some(Box::new(part)),
            rx: None,
            tx: Tx::Returned(replies),
            mempool,
            counters: PortCounters::default(),
            drops: DropCounters::default(),
        }
    }

    /// The same queue, for a PMD that makes a system call for each tx burst: it holds replies for a turn in which further
    /// requests came, so that more leave with one call.
    #[must_use]
    pub fn coalescing_tx(mut self) -> Self {
        self.coalesces_tx = true;
        self
    }

    /// The same queue, for a mempool that other queues share, or whose mbufs its rings hold: `mbufs` of them may hold requests
    /// in flight, but for a reserve.
    #[must_use]
    pub fn with_mbufs(mut self, mbufs: u32) -> Self {
        self.room = Room::of(mbufs);
        self
    }

    /// The same queue, which takes its part in distributing its port's frames.
    #[must_use]
    pub fn distributed(mut self, part: Distribution) -> Self {
        self.has_addresses = part.has_addresses();
        self.distribution = Some(Box::new(part));
        self
    }

    /// Whether other lcores hand it frames.
    #[must_use]
    pub fn is_distributed(&self) -> bool {
        self.distribution.is_some()
    }

    /// The owners of exports, where there are several lcores.
    pub(crate) fn owners(&self) -> Option<&Owners> {
        self.distribution.as_ref().map(|part| part.owners())
    }

    /// Its index among its lcore's queues.
    #[inline]
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Says which of its lcore's queues it is.
    pub(crate) fn set_index(&mut self, index: usize) {
        self.index = index;
    }

    #[inline]
    pub(crate) fn port(&self) -> PortId {
        self.port
    }

    #[inline]
    pub(crate) fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Whether it serves requests to this address, too, which is another queue's.
    #[cold]
    pub(crate) fn serves_address(&self, destination: MacAddr) -> bool {
        self.distribution.as_ref().is_some_and(|part| part.has_address(destination))
    }

    /// The address that a request is answered from: the one that it was sent to, or the queue's own.
    #[cold]
    fn address_for(&self, frame: &Mbuf) -> MacAddr {
        match frame.data().first_chunk() {
            Some(&[a, b, c, d, e, f, _]) if self.serves_address(MacAddr([a, b, c, d, e, f])) => {
                MacAddr([a, b, c, d, e, f])
            }
            _ => self.mac,
        }
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
            counters: self.counters,
            drops,
            tx_waiting: self.tx_waiting(),
            distribution,
        }
    }

    /// Adds the rx queue's interrupt to `interrupts`, if it has one.
    pub(crate) fn add_interrupt(&self, interrupts: &mut RxInterrupts) -> dpdk::Result<()> {
        self.rx.as_ref().map_or(Ok(()), |rx| interrupts.add(rx))
    }

    /// Fills `burst` with frames that have arrived, at most `most`; where the port has several addresses, it keeps those that
    /// this queue serves. Returns how many arrived.
    #[inline]
    pub(crate) fn receive(&mut self, burst: &mut Burst, most: usize) -> usize {
        let Some(rx) = &mut self.rx else { return 0 };
        let received = rx.poll_at_most(burst, most);
        burst.prefetch();
        if self.has_addresses
            && let Some(part) = &mut self.distribution
        {
            part.distribute(burst, &self.mempool);
        }
        received
    }

    /// Hands a frame to the lcore of this number, with the next [`PortQueue::send_handed_over`]. It counts as received where it is
    /// served.
    #[cold]
    #[inline(never)]
    pub(crate) fn hand_over(&mut self, lcore: u16, frame: Mbuf) {
        let length = frame.frame_len() as u64;
        let frame = match &mut self.distribution {
            Some(part) => part.hand_over(lcore, frame),
            None => Err(frame),
        };
        match frame {
            Ok(()) => {
                self.counters.rx_frames -= 1;
                self.counters.rx_bytes -= length;
            }
            Err(frame) => self.drop(frame, DropReason::RingFull),
        }
    }

    /// Sends the frames that are to go to other lcores. Those without room in a ring are dropped.
    #[inline]
    pub(crate) fn send_handed_over(&mut self) {
        let Some(part) = &mut self.distribution else { return };
        let (counters, drops) = (&mut self.counters, &mut self.drops);
        part.send(|frame| {
            counters.rx_frames += 1;
            counters.rx_bytes += frame.frame_len() as u64;
            drops.count(DropReason::RingFull);
        });
    }

    /// Fills `burst` with frames that other lcores handed over, at most `most`. Returns how many.
    pub(crate) fn take_over(&mut self, burst: &mut Burst, most: usize) -> usize {
        let Some(part) = &mut self.distribution else { return 0 };
        let frames = part.take_over(burst, most);
        burst.prefetch();
        frames
    }

    /// Whether no frame that another lcore handed over is still to be served.
    pub(crate) fn is_inbox_empty(&self) -> bool {
        self.distribution.as_ref().is_none_or(|part| part.is_inbox_empty())
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
    #[inline]
    fn send(&mut self, frame: Mbuf) {
        let frame = match frame.into_tx() {
            Ok(frame) => frame,
            Err(frame) => return self.drop(frame, DropReason::NoRoom),
        };
        let bytes = frame.frame_len() as u64;
        let pushed = match &mut self.tx {
            Tx::Queue(tx) => tx.push(frame).map(|()| {
                self.counters.tx_frames += 1;
                self.counters.tx_bytes += bytes;
            }),
            // It counts where it is sent.
            Tx::Returned(ring) => ring.push(frame),
        };
        if let Err(frame) = pushed {
            self.refuse(frame);
        }
    }

    /// Drops a reply for which there is no place. There are as many places as its mempool has mbufs; only frames of other
    /// pools could exceed that.
    #[cold]
    fn refuse(&mut self, frame: TxMbuf) {
        self.drop(frame.into_mbuf(), DropReason::NoRoom);
    }

    /// Queues the replies that other lcores have made for this queue to send.
    #[inline(never)]
    fn queue_returned(&mut self) {
        let mut burst = Burst::new();
        while let Some(part) = &mut self.distribution
            && part.take_returned(&mut burst) > 0
        {
            for frame in &mut burst {
                match frame.into_exclusive() {
                    Ok(frame) => self.send(frame),
                    // A reply's bytes are its own.
                    Err(shared) => {
                        self.drops.count(DropReason::NoRoom);
                        drop(shared);
                    }
                }
            }
        }
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
        if self.distribution.as_ref().is_some_and(|part| part.sends_for_others()) {
            self.queue_returned();
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

    /// The lcore receives nothing more and has nothing in flight.
    pub(crate) fn retire(&mut self) {
        if let Some(part) = &mut self.distribution {
            part.retire();
        }
    }

    /// Whether other lcores have made replies that this queue has to send, or may make some.
    pub(crate) fn awaits_replies(&self) -> bool {
        self.distribution.as_ref().is_some_and(|part| part.awaits_replies())
    }

    /// Takes a new address in place of `old`, where that is this queue's, and new limits.
    pub(crate) fn change(&mut self, old: MacAddr, new: MacAddr, limits: PortLimits) {
        if self.mac == old {
            self.mac = new;
        }
        self.limits = limits;
    }
}
