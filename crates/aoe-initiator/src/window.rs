//! The outstanding requests: tags, timers, and the classification of each reply. No socket, no clock of its
//! own.
//!
//! A tag is a slot's index in its low 8 bits and a sequence number above, bit 31 clear as the Linux driver
//! keeps it, so that a reply is matched without a search and a reply to an earlier use of the slot is
//! recognised as such. A retransmit carries the tag of the first copy: whichever copy is answered first
//! completes the request, the answer to the other is counted as a duplicate.

use std::time::{Duration, Instant};

/// Most requests a window can hold; the slot's index takes 8 bits of the tag.
pub const MAX_WINDOW: usize = 256;

const INDEX_BITS: u32 = 8;
const TAG_MASK: u32 = 0x7fff_ffff;
const SEQUENCE_MASK: u32 = TAG_MASK >> INDEX_BITS;

/// When to send a request again, and when to give up on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmit {
    /// Wait before the first retransmit. It doubles with each one.
    pub first: Duration,
    /// The wait grows no longer than this.
    pub longest: Duration,
    /// Give up when this long has passed since the first copy.
    pub give_up: Duration,
}

impl Default for Retransmit {
    /// 200 ms, at most 1 s, given up after 10 s. The Linux driver starts at 16.5 s, which would make every
    /// test of a lost frame that slow.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(1),
            give_up: Duration::from_secs(10),
        }
    }
}

/// The counters of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Requests begun.
    pub requests: u64,
    /// Requests answered.
    pub completed: u64,
    /// Copies sent after the first.
    pub retransmits: u64,
    /// Requests given up on.
    pub given_up: u64,
    /// Replies to a request answered already.
    pub duplicates: u64,
    /// Replies to no request of this window.
    pub unexpected: u64,
}

/// A place in the window and the tag of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Below the window's size; free for others once the request is over.
    pub slot: usize,
    /// Tag to send.
    pub tag: u32,
}

/// The meaning of a received tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The answer to an outstanding request, which is over now.
    Completes {
        /// Its slot.
        slot: usize,
        /// Time since its first copy was sent.
        latency: Duration,
        /// Copies sent, 1 without retransmits.
        copies: u32,
    },
    /// Another answer to a request that is over.
    Duplicate,
    /// Nothing this window asked.
    Unexpected,
}

/// The consequence of an expired timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Send the slot's frame again; the timer is restarted.
    Resend(usize),
    /// The request is over without an answer.
    GaveUp {
        /// Its slot.
        slot: usize,
        /// Copies sent.
        copies: u32,
    },
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Tag of the present or last request; 0 before the first.
    tag: u32,
    outstanding: bool,
    copies: u32,
    first_sent: Instant,
    due: Instant,
    wait: Duration,
}

/// The outstanding requests of one queue.
#[derive(Debug)]
pub struct Window {
    slots: Box<[Slot]>,
    free: Vec<usize>,
    sequence: u32,
    timing: Retransmit,
    /// No timer runs out before this.
    next_due: Instant,
    counters: Counters,
}

impl Window {
    /// A window of `size` requests, clamped to 1..=[`MAX_WINDOW`].
    pub fn new(size: usize, timing: Retransmit, now: Instant) -> Self {
        let size = size.clamp(1, MAX_WINDOW);
        let idle =
            Slot { tag: 0, outstanding: false, copies: 0, first_sent: now, due: now, wait: timing.first };
        Self {
            slots: vec![idle; size].into(),
            free: (0..size).rev().collect(),
            sequence: 0,
            timing,
            next_due: now + timing.give_up,
            counters: Counters::default(),
        }
    }

    /// Most requests at a time.
    pub fn size(&self) -> usize {
        self.slots.len()
    }

    /// Requests begun and not over.
    pub fn outstanding(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether another request may begin.
    pub fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// The counters.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Begins a request whose first copy is sent at `now`, unless the window is full.
    #[inline]
    pub fn begin(&mut self, now: Instant) -> Option<Issued> {
        let index = self.free.pop()?;
        // Sequence numbers start at 1 so that no tag is 0, the tag of advertisements.
        self.sequence = (self.sequence + 1) & SEQUENCE_MASK;
        if self.sequence == 0 {
            self.sequence = 1;
        }
        let low = u32::try_from(index).unwrap_or(0);
        let tag = self.sequence << INDEX_BITS | low;
        let due = now + self.timing.first;
        self.slots[index] =
            Slot { tag, outstanding: true, copies: 1, first_sent: now, due, wait: self.timing.first };
        self.next_due = self.next_due.min(due);
        self.counters.requests += 1;
        Some(Issued { slot: index, tag })
    }

    /// Judges the tag of a received reply.
    #[inline]
    pub fn arrive(&mut self, tag: u32, now: Instant) -> Arrival {
        let index = (tag & ((1 << INDEX_BITS) - 1)) as usize;
        let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.outstanding && slot.tag == tag) else {
            return self.not_outstanding(index, tag);
        };
        slot.outstanding = false;
        self.counters.completed += 1;
        self.free.push(index);
        Arrival::Completes {
            slot: index,
            latency: now.saturating_duration_since(slot.first_sent),
            copies: slot.copies,
        }
    }

    #[cold]
    fn not_outstanding(&mut self, index: usize, tag: u32) -> Arrival {
        // Half the sequence space is the past; it is 4 million requests long.
        let age = self.sequence.wrapping_sub(tag >> INDEX_BITS) & SEQUENCE_MASK;
        let used = self.slots.get(index).is_some_and(|slot| slot.tag != 0);
        if used && tag & !TAG_MASK == 0 && tag >> INDEX_BITS != 0 && age <= SEQUENCE_MASK / 2 {
            self.counters.duplicates += 1;
            Arrival::Duplicate
        } else {
            self.counters.unexpected += 1;
            Arrival::Unexpected
        }
    }

    /// Whether [`Window::expire`] could find anything at `now`.
    #[inline]
    pub fn may_expire(&self, now: Instant) -> bool {
        now >= self.next_due
    }

    /// When the next timer runs out at the earliest, if any runs.
    pub fn next_due(&self) -> Option<Instant> {
        (self.outstanding() > 0).then_some(self.next_due)
    }

    /// Hands each timer that ran out to `each`.
    pub fn expire(&mut self, now: Instant, mut each: impl FnMut(Expiry)) {
        if !self.may_expire(now) {
            return;
        }
        let mut next = now + self.timing.give_up;
        for (index, slot) in self.slots.iter_mut().enumerate().filter(|(_, slot)| slot.outstanding) {
            if slot.due > now {
                next = next.min(slot.due);
            } else if now.saturating_duration_since(slot.first_sent) >= self.timing.give_up {
                slot.outstanding = false;
                self.free.push(index);
                self.counters.given_up += 1;
                each(Expiry::GaveUp { slot: index, copies: slot.copies });
            } else {
                slot.copies += 1;
                slot.wait = (slot.wait * 2).min(self.timing.longest);
                slot.due = (now + slot.wait).min(slot.first_sent + self.timing.give_up);
                next = next.min(slot.due);
                self.counters.retransmits += 1;
                each(Expiry::Resend(index));
            }
        }
        self.next_due = next;
    }
}

#[cfg(test)]
mod tests;
