//! A queue of ATA requests to one export: frames built once per slot, sent and received in batches.
//!
//! The caller's turn is: [`Queue::poll`] (take replies, send again what is overdue), then [`Queue::submit`]
//! while there is room, then [`Queue::flush`]. Nothing is allocated after [`Queue::new`].

use crate::error::{Error, Result};
use crate::link::{Link, RxBatch, TxBatch};
use crate::sector::fill_random;
use crate::window::{Arrival, Counters, Expiry, Retransmit, Window};
use crate::wire::{
    ATA_DATA_OFFSET, AtaReply, AtaRequest, Body, Envelope, HEADER_LEN, Mac, Reply, SECTOR, ShelfSlot, command,
};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The outcome of a request.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// The registers and the data asked for, to the byte.
    Done(AtaReply<'a>),
    /// An ATA failure.
    Failed {
        /// Status register.
        status: u8,
        /// Error register.
        error: u8,
    },
    /// An AoE error reply.
    Refused {
        /// AoE error code.
        code: u8,
    },
    /// Fewer bytes than asked for.
    Short {
        /// Bytes of data that came.
        got: usize,
    },
    /// No answer in time.
    NoAnswer,
}

impl Outcome<'_> {
    /// The outcome as an error, for a caller to whom anything but [`Outcome::Done`] is one. `waited` is for
    /// how long the queue's timing tries.
    pub fn error(&self, address: ShelfSlot, request: &AtaRequest, waited: Duration) -> Error {
        let what = request.to_string();
        match *self {
            Self::Done(reply) => {
                Error::ShortData { address, what, got: reply.data.len(), wanted: request.bytes_in() }
            }
            Self::Failed { status, error } => Error::Ata { address, what, status, error },
            Self::Refused { code } => Error::Aoe { address, what, code },
            Self::Short { got } => Error::ShortData { address, what, got, wanted: request.bytes_in() },
            Self::NoAnswer => Error::NoAnswer { address, what, waited },
        }
    }
}

/// A request that is over.
#[derive(Clone, Copy, Debug)]
pub struct Completion<'a> {
    /// The caller's value from [`Queue::submit`].
    pub context: u64,
    /// The tag it had.
    pub tag: u32,
    /// The request.
    pub request: AtaRequest,
    /// From the first copy sent to the answer.
    pub latency: Duration,
    /// Copies sent.
    pub copies: u32,
    /// The outcome.
    pub outcome: Outcome<'a>,
}

/// An event that [`Queue::poll`] passes to its caller.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A request is over.
    Completion(Completion<'a>),
    /// Another answer to the request that had this tag and is over.
    Duplicate {
        /// The tag.
        tag: u32,
    },
}

struct Slot {
    frame: Box<[u8]>,
    len: usize,
    tag: u32,
    context: u64,
    request: AtaRequest,
    /// Bytes of data the reply must have.
    wanted: usize,
}

/// A queue of requests to one export over one link.
pub struct Queue {
    link: Link,
    peer: Mac,
    address: ShelfSlot,
    window: Window,
    slots: Box<[Slot]>,
    /// Slots to send at the next flush.
    unsent: VecDeque<usize>,
    rx: RxBatch,
    tx: TxBatch,
    foreign: u64,
    tx_refused: u64,
}

impl Queue {
    /// A queue of `depth` requests (clamped to 1..=256) to the export `address` at the MAC address `peer`, of up to
    /// `max_sectors` sectors each.
    pub fn new(
        link: Link,
        peer: Mac,
        address: ShelfSlot,
        depth: usize,
        max_sectors: u8,
        timing: Retransmit,
    ) -> Self {
        let window = Window::new(depth, timing, Instant::now());
        // Not a power of two apart, so that the headers of all slots do not fall into one set of the L1
        // cache.
        let room = (ATA_DATA_OFFSET + usize::from(max_sectors.max(1)) * SECTOR).next_multiple_of(64) + 64;
        let slots = (0..window.size())
            .map(|_| {
                let mut frame = vec![0u8; room].into_boxed_slice();
                if let Some(header) = frame.first_chunk_mut::<HEADER_LEN>() {
                    Envelope { dst: peer, src: link.mac(), address, tag: 0 }.emit(command::ATA, header);
                }
                Slot { frame, len: 0, tag: 0, context: 0, request: AtaRequest::bare(0), wanted: 0 }
            })
            .collect();
        let depth = window.size();
        Self {
            link,
            peer,
            address,
            window,
            slots,
            unsent: VecDeque::with_capacity(depth),
            rx: RxBatch::new(room),
            tx: TxBatch::new(),
            foreign: 0,
            tx_refused: 0,
        }
    }

    /// Fills the data part of every slot with random bytes, for writes that leave it as it is.
    pub fn prime(&mut self, seed: u64) {
        for (slot, seed) in self.slots.iter_mut().zip(seed..) {
            fill_random(seed, &mut slot.frame[ATA_DATA_OFFSET..]);
        }
    }

    /// The link, back to its owner.
    pub fn into_link(self) -> Link {
        self.link
    }

    /// The link.
    pub const fn link(&self) -> &Link {
        &self.link
    }

    /// Requests begun and not over.
    pub fn outstanding(&self) -> usize {
        self.window.outstanding()
    }

    /// Whether [`Queue::submit`] will take a request.
    pub fn has_room(&self) -> bool {
        self.window.has_room()
    }

    /// The counters.
    pub const fn counters(&self) -> &Counters {
        self.window.counters()
    }

    /// Frames received that are no answer of this export: other exports, advertisements, what cannot be read.
    pub const fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Times the kernel had no room for a frame; it was sent later.
    pub const fn tx_refused(&self) -> u64 {
        self.tx_refused
    }

    /// When the next retransmit timer runs out at the earliest, if any runs.
    pub fn next_due(&self) -> Option<Instant> {
        self.window.next_due()
    }

    /// Puts a request into the window, to be sent by the next [`Queue::flush`]. `fill` writes the data of a
    /// write; what it leaves is what the slot's last write had. `false`: the window is full, nothing was
    /// done.
    ///
    /// # Panics
    /// If the request moves more sectors than the queue was made for.
    #[inline]
    pub fn submit(
        &mut self,
        now: Instant,
        context: u64,
        request: AtaRequest,
        fill: impl FnOnce(&mut [u8]),
    ) -> bool {
        let Some(issued) = self.window.begin(now) else { return false };
        let slot = &mut self.slots[issued.slot];
        slot.len = ATA_DATA_OFFSET + request.bytes_out();
        slot.wanted = request.bytes_in();
        slot.tag = issued.tag;
        slot.context = context;
        slot.request = request;
        slot.frame[20..24].copy_from_slice(&issued.tag.to_be_bytes());
        if let Some(registers) = slot.frame[HEADER_LEN..].first_chunk_mut::<12>() {
            request.emit(registers);
        }
        fill(&mut slot.frame[ATA_DATA_OFFSET..slot.len]);
        self.unsent.push_back(issued.slot);
        true
    }

    /// Sends what was submitted, as far as the kernel takes it; the rest goes out with the next flush.
    ///
    /// # Errors
    /// Those of [`Link::send`].
    #[inline]
    pub fn flush(&mut self) -> Result<()> {
        while !self.unsent.is_empty() {
            let slots = &self.slots;
            let frames = self.unsent.iter().map(|&index| &slots[index].frame[..slots[index].len]);
            let sent = self.tx.send(&self.link, frames)?;
            if sent == 0 {
                self.tx_refused += 1;
                break;
            }
            self.unsent.drain(..sent);
        }
        Ok(())
    }

    /// Takes the replies that are there and hands them to `each`, then sends again what is overdue. Does not
    /// wait. Returns the number of frames received.
    ///
    /// # Errors
    /// Those of [`Link::receive_now`] and [`Link::send`].
    #[inline]
    pub fn poll(&mut self, mut each: impl FnMut(Event<'_>)) -> Result<usize> {
        let received = self.rx.receive(&self.link, self.window.outstanding())?;
        if received > 0 {
            let now = Instant::now();
            for frame in self.rx.frames() {
                let reply = match Reply::parse(frame) {
                    Ok(reply) if reply.is_response() && reply.address == self.address && reply.tag != 0 => {
                        reply
                    }
                    _ => {
                        self.foreign += 1;
                        continue;
                    }
                };
                match self.window.arrive(reply.tag, now) {
                    Arrival::Completes { slot, latency, copies } => {
                        let slot = &self.slots[slot];
                        each(Event::Completion(Completion {
                            context: slot.context,
                            tag: slot.tag,
                            request: slot.request,
                            latency,
                            copies,
                            outcome: outcome(&reply, slot.wanted),
                        }));
                    }
                    Arrival::Duplicate => each(Event::Duplicate { tag: reply.tag }),
                    Arrival::Unexpected => {}
                }
            }
            self.expire(now, each)?;
        } else {
            self.expire(Instant::now(), each)?;
        }
        Ok(received)
    }

    #[inline]
    fn expire(&mut self, now: Instant, each: impl FnMut(Event<'_>)) -> Result<()> {
        if self.window.may_expire(now) { self.expire_due(now, each) } else { Ok(()) }
    }

    #[cold]
    fn expire_due(&mut self, now: Instant, mut each: impl FnMut(Event<'_>)) -> Result<()> {
        let (slots, unsent) = (&self.slots, &mut self.unsent);
        self.window.expire(now, |expiry| match expiry {
            Expiry::Resend(slot) => {
                if !unsent.contains(&slot) {
                    unsent.push_back(slot);
                }
            }
            Expiry::GaveUp { slot: index, copies } => {
                unsent.retain(|&waiting| waiting != index);
                let slot = &slots[index];
                each(Event::Completion(Completion {
                    context: slot.context,
                    tag: slot.tag,
                    request: slot.request,
                    latency: Duration::ZERO,
                    copies,
                    outcome: Outcome::NoAnswer,
                }));
            }
        });
        self.flush()
    }

    /// The MAC address that requests go to.
    pub const fn peer(&self) -> Mac {
        self.peer
    }
}

#[inline]
fn outcome<'a>(reply: &Reply<'a>, wanted: usize) -> Outcome<'a> {
    if reply.is_error() {
        return Outcome::Refused { code: reply.error };
    }
    let Body::Ata(mut registers) = reply.body else { return Outcome::Short { got: 0 } };
    if registers.failed() {
        return Outcome::Failed { status: registers.status, error: registers.error };
    }
    match registers.data.get(..wanted) {
        Some(data) => {
            registers.data = data;
            Outcome::Done(registers)
        }
        None => Outcome::Short { got: registers.data.len() },
    }
}
