//! rx and tx: one lcore's queue pair of a port.

use std::{fmt, mem::MaybeUninit, sync::Arc};

use crate::{
    Mempool, RxMbuf, TxMbuf,
    gate::{Direction, Gate},
    packet_ring::PacketRing,
    started_port::StartedPort,
};

/// Frames taken from or given to a queue at once.
pub const BURST: usize = BURST_U16 as usize;
pub(crate) const BURST_U16: u16 = 32;

/// Frames of one rx burst, taken out one by one.
#[derive(Debug)]
pub struct Burst {
    mbufs: [MaybeUninit<RxMbuf>; BURST],
    next: usize,
    end: usize,
}

impl Burst {
    /// An empty burst.
    pub const fn new() -> Self {
        Self { mbufs: [const { MaybeUninit::uninit() }; BURST], next: 0, end: 0 }
    }

    /// The frames that are not yet taken out.
    #[inline]
    pub fn frames(&self) -> &[RxMbuf] {
        let frames = &self.mbufs[self.next..self.end];
        // SAFETY: `fill` initialised the elements from `next` to `end`, and none of them is taken out yet. MaybeUninit has
        // RxMbuf's layout.
        unsafe { std::slice::from_raw_parts(frames.as_ptr().cast(), frames.len()) }
    }

    /// Frees the frames still in the burst, and calls `fill` to put frames at its start. Returns the number of frames that
    /// `fill` reports.
    #[inline]
    pub(crate) fn fill(&mut self, fill: impl FnOnce(&mut [MaybeUninit<RxMbuf>; BURST]) -> usize) -> usize {
        if self.next != self.end {
            self.for_each(drop);
        }
        let filled = fill(&mut self.mbufs);
        self.next = 0;
        self.end = filled;
        filled
    }

    /// Takes each frame out of the burst and keeps those that `keep` gives back.
    #[inline]
    pub fn retain(&mut self, mut keep: impl FnMut(RxMbuf) -> Option<RxMbuf>) {
        let (start, end) = (self.next, self.end);
        // What is kept is written behind this, to places whose frames have been taken out.
        self.end = start;
        for index in start..end {
            // SAFETY: `fill` initialised mbufs[start..end], and each is taken out once.
            let frame = unsafe { self.mbufs[index].assume_init_read() };
            if let Some(frame) = keep(frame) {
                self.mbufs[self.end].write(frame);
                self.end += 1;
            }
        }
    }

    /// Takes all frames out, one by one. Its own indices stay in registers meanwhile.
    #[inline(always)]
    pub fn drain(&mut self, mut each: impl FnMut(RxMbuf)) {
        let (next, end) = (self.next, self.end);
        // Before the first one is out.
        self.next = end;
        for place in &self.mbufs[next..end] {
            // SAFETY: `fill` initialised mbufs[next..end], and each is taken out once: none is the burst's any more.
            each(unsafe { place.assume_init_read() });
        }
    }

    /// Moves frames to the burst's end, as many as there is room for; the others stay, in order.
    pub fn append(&mut self, frames: &mut Vec<RxMbuf>) {
        let count = frames.len().min(BURST - self.end);
        for frame in frames.drain(..count) {
            self.mbufs[self.end].write(frame);
            self.end += 1;
        }
    }

    /// Prefetches the first cache line of every frame.
    #[inline]
    pub fn prefetch(&self) {
        self.frames().iter().for_each(RxMbuf::prefetch);
    }
}

impl Default for Burst {
    fn default() -> Self {
        Self::new()
    }
}

impl Iterator for Burst {
    type Item = RxMbuf;

    #[inline]
    fn next(&mut self) -> Option<RxMbuf> {
        if self.next == self.end {
            return None;
        }
        let index = self.next;
        self.next += 1;
        // SAFETY: `fill` initialised mbufs[..end], and `next` passes each index once.
        Some(unsafe { self.mbufs[index].assume_init_read() })
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// The receiving half. Used by one thread at a time.
#[derive(Debug)]
pub struct RxQueue {
    port: Arc<StartedPort>,
    queue: u16,
    /// Not `Sync`: a rx queue is not safe for two threads (rte_ethdev.h).
    _not_sync: std::marker::PhantomData<std::cell::Cell<()>>,
}

impl RxQueue {
    pub(crate) fn new(port: Arc<StartedPort>, queue: u16) -> Self {
        Self { port, queue, _not_sync: std::marker::PhantomData }
    }

    /// Its number among the port's queues.
    pub fn number(&self) -> u16 {
        self.queue
    }

    /// Fills `burst` with the frames that have arrived, at most [`BURST`]; frames still in it are freed.
    /// Returns how many. Never blocks.
    #[inline]
    pub fn poll(&mut self, burst: &mut Burst) -> usize {
        self.poll_at_most(burst, BURST)
    }

    /// The same, of at most `most` frames, and at most [`BURST`].
    #[inline]
    pub fn poll_at_most(&mut self, burst: &mut Burst, most: usize) -> usize {
        let most = u16::try_from(most).unwrap_or(BURST_U16).min(BURST_U16);
        let _inside = match self.port.gate(self.queue, Direction::Rx) {
            None => None,
            Some(gate) => match gate.enter() {
                None => return burst.fill(|_| 0),
                inside => inside,
            },
        };
        burst.fill(|places| {
            // SAFETY: rte_eth_rx_burst (rte_ethdev.h) wants a started port, a set-up queue used by no other
            // thread, and room for `most` pointers: StartedPort, &mut self and the array of BURST give these. RxMbuf is
            // transparent over the pointer, and what is received is owned by the caller.
            let received = unsafe {
                dpdk_sys::dpdk_shim_rx_burst(self.port.number(), self.queue, places.as_mut_ptr().cast(), most)
            };
            usize::from(received)
        })
    }

    /// Its port, and its number in it.
    pub(crate) fn port_and_number(&self) -> (&Arc<StartedPort>, u16) {
        (&self.port, self.queue)
    }

    /// The mempool its frames come from.
    pub fn mempool(&self) -> &Arc<Mempool> {
        self.port.mempool(self.queue)
    }
}

/// The sending half, with the frames that wait for room in the NIC's ring. Used by one thread at a time.
///
/// What is pushed is sent in order, by the first flush that finds room; nothing is dropped here because a
/// ring is full.
pub struct TxQueue {
    port: Arc<StartedPort>,
    queue: u16,
    /// Those from `sent` on wait, the others are the NIC's and not to be looked at. Never grows beyond the
    /// capacity made at start.
    waiting: Vec<TxMbuf>,
    sent: usize,
    /// The ring of an af_packet port.
    ring: Option<Box<PacketRing>>,
    /// How often the port had been made again when this queue last looked.
    remade: u32,
}

impl TxQueue {
    pub(crate) fn new(port: Arc<StartedPort>, queue: u16, capacity: usize) -> Self {
        let ring = port.packet_slots().map(|slots| Box::new(PacketRing::new(slots)));
        Self { remade: port.remade(), port, queue, waiting: Vec::with_capacity(capacity), sent: 0, ring }
    }

    /// Queues a frame for the next flush.
    ///
    /// # Errors
    /// The frame, if as many as the mempool has are waiting already.
    #[inline]
    pub fn push(&mut self, frame: TxMbuf) -> Result<(), TxMbuf> {
        if self.waiting.len() == self.waiting.capacity() {
            self.forget_sent();
            if self.waiting.len() == self.waiting.capacity() {
                return Err(frame);
            }
        }
        self.waiting.push(frame);
        Ok(())
    }

    /// Frames that wait.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.waiting.len() - self.sent
    }

    /// The frames that wait.
    pub fn frames(&self) -> &[TxMbuf] {
        &self.waiting[self.sent..]
    }

    /// Frames that the port took since its start and could not send, as it counts them (a Linux interface that
    /// went down, behind af_packet). PMDs count by port: the first queue returns the port's number, the others 0. Reads the
    /// PMD's counters: for the control plane, at its pace.
    pub fn lost(&self) -> u64 {
        if self.queue > 0 {
            return 0;
        }
        self.port.tx_errors()
    }

    /// Hands waiting frames to the NIC, as many as it has room for. Returns how many it took. Never blocks.
    #[inline]
    pub fn flush(&mut self) -> usize {
        let _inside = match self.port.gate(self.queue, Direction::Tx) {
            None => None,
            Some(gate) => match gate.enter() {
                None => return 0,
                inside => inside,
            },
        };
        let mut taken = 0;
        while self.sent < self.waiting.len() {
            let mut count = u16::try_from(self.waiting.len() - self.sent).unwrap_or(BURST_U16).min(BURST_U16);
            if let Some(ring) = &mut self.ring {
                look_for_new_port(&self.port, &mut self.remade, ring);
                count = ring.room(count, self.port.socket(self.queue));
                if count == 0 {
                    break;
                }
            }
            // SAFETY: `sent` is below the vector's length.
            let frames = unsafe { self.waiting.as_mut_ptr().add(self.sent) }.cast();
            // SAFETY: rte_eth_tx_burst (rte_ethdev.h) wants a started port, a set-up queue used by no other thread
            // and `count` owned mbufs; it owns those it counts, the others stay ours.
            let consumed =
                unsafe { dpdk_sys::dpdk_shim_tx_burst(self.port.number(), self.queue, frames, count) };
            self.sent += usize::from(consumed);
            taken += usize::from(consumed);
            if let Some(ring) = &mut self.ring {
                ring.gave(consumed);
            }
            if consumed < count {
                break;
            }
        }
        if self.sent == self.waiting.len() {
            // SAFETY: the PMD owns every frame in the vector, so none may be dropped here; 0 elements are initialised.
            unsafe { self.waiting.set_len(0) };
            self.sent = 0;
        }
        taken
    }

    /// Whether the PMD may hold frames that it reports as sent, and that leave only by further calls of
    /// [`TxQueue::push_on`].
    #[inline]
    pub fn is_held_up(&self) -> bool {
        self.ring.as_ref().is_some_and(|ring| ring.is_waiting())
    }

    /// Makes frames leave that the PMD holds, if it is time. For each turn without a [`TxQueue::flush`]. Whether any left.
    #[inline]
    pub fn push_on(&mut self) -> bool {
        let Some(ring) = &mut self.ring else { return false };
        let Some(_inside) = self.port.gate(self.queue, Direction::Tx).and_then(Gate::enter) else {
            return false;
        };
        look_for_new_port(&self.port, &mut self.remade, ring);
        ring.kick_when_due(self.port.socket(self.queue))
    }

    /// Moves the waiting frames to the front, so that the capacity is theirs again.
    #[cold]
    fn forget_sent(&mut self) {
        let waiting = self.waiting();
        let start = self.waiting.as_mut_ptr();
        // SAFETY: `sent` is at most the vector's length.
        let rest = unsafe { start.add(self.sent) };
        // SAFETY: both ranges lie within the vector's length, and may overlap. The PMD owns the frames before `sent`; they
        // are overwritten, or cut off below, without being dropped.
        unsafe { std::ptr::copy(rest, start, waiting) };
        // SAFETY: the first `waiting` elements are the frames that are still owned, each once.
        unsafe { self.waiting.set_len(waiting) };
        self.sent = 0;
    }
}

/// Starts the ring again if its port was made again.
fn look_for_new_port(port: &StartedPort, remade: &mut u32, ring: &mut PacketRing) {
    let now = port.remade();
    if *remade != now {
        *remade = now;
        ring.reset();
    }
}

impl Drop for TxQueue {
    fn drop(&mut self) {
        // Leaves only frames that are still owned. They go before the port does, whose mempools are freed only
        // when they have all their mbufs back.
        self.forget_sent();
        self.waiting.clear();
    }
}

impl fmt::Debug for TxQueue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TxQueue")
            .field("port", &self.port.number())
            .field("queue", &self.queue)
            .field("waiting", &self.waiting())
            .finish()
    }
}
