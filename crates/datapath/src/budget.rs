//! Budgets: how many requests in flight an export may have, so that one bdev or one initiator does not take every mbuf.
//!
//! Each request in flight holds an mbuf of the port queue that it came in by. A queue's mbufs, less those of its rings and
//! its reserve, are its *capacity*. Three rules decide on a request, in this order:
//!
//! 1. An export may have as many requests in flight as the queue has capacity left. So a bdev that does not answer takes
//!    half of the capacity, two of them two thirds, and the rest stays for others (the dynamic threshold of Choudhury and Hahne, by
//!    which switches share their memory). As long as this rule admits, initiators are not told apart.
//! 2. An initiator that has fewer requests in flight on the export than the export advertises (`buffers`) may use the
//!    capacity to its end.
//! 3. On an export whose bdev has completed something lately, such an initiator may also use the half of the *reserve* that
//!    is kept for it. The other half stays for what is answered at once: discovery, and faults of requests past their
//!    deadline.
//!
//! What no rule admits is dropped as [`DropReason::ExportFull`](aoe_target::DropReason::ExportFull). An initiator takes a drop as a
//! sign of congestion and sends less.
//!
//! The first rule is two loads, an addition and a comparison. When it does not admit, the export is *tracked*: the
//! requests of each of its initiators are counted ([`Paths`]) until few are in flight.

use aoe_target::{ExportId, InitiatorHash, MacAddr};

/// A queue's mbufs and its requests in flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    in_flight: u32,
    capacity: u32,
    /// Beyond the capacity, for exports that are well.
    well: u32,
}

/// The reserve of a queue is this part of its mbufs.
const RESERVE_PART: u32 = 8;

impl Room {
    /// The room of a queue with so many mbufs beside those of its rings.
    pub(crate) const fn of(mbufs: u32) -> Self {
        let reserve = mbufs / RESERVE_PART;
        Self { in_flight: 0, capacity: mbufs - reserve, well: reserve / 2 }
    }

    /// Whether an export with this load gets no further request by the first rule.
    #[inline(always)]
    pub(crate) fn is_short(&self, load: Load) -> bool {
        // Both are numbers of mbufs, far below a flag.
        self.in_flight + load.0 >= self.capacity
    }

    #[inline(always)]
    pub(crate) fn started(&mut self) {
        self.in_flight += 1;
    }

    #[inline(always)]
    pub(crate) fn ended(&mut self) {
        self.in_flight -= 1;
    }

    /// Whether a further request is admitted. `load` is the export's, `own` the requests that the initiator has in flight
    /// there, `advertised` what it may have. `is_well`: the bdev has completed something lately.
    pub(crate) fn admits(&self, load: Load, own: u32, advertised: u32, is_well: bool) -> bool {
        let keeps_to_it = own < advertised;
        self.in_flight.saturating_add(load.in_flight()) < self.capacity
            || keeps_to_it && self.in_flight < self.capacity
            || keeps_to_it && is_well && self.in_flight < self.capacity + self.well
    }

    /// Whether an export with this load need not be tracked any more: it is far from any limit, so it is not tracked again
    /// soon.
    pub(crate) fn is_ample(&self, load: Load) -> bool {
        load.in_flight() <= self.capacity / 16 && self.in_flight <= self.capacity / 2
    }
}

/// An export's requests in flight on an lcore, with a flag in each of the five highest bits. A flag makes the load larger than
/// any capacity, so that [`Room::is_short`] looks at all with one comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load(u32);

impl Load {
    const TRACKED: u32 = 1 << 31;
    const FENCED: u32 = 1 << 30;
    const ELSEWHERE: u32 = 1 << 29;
    const LIMITED: u32 = 1 << 28;
    const TIMED: u32 = 1 << 27;
    const FLAGS: u32 = Self::TRACKED | Self::FENCED | Self::ELSEWHERE | Self::LIMITED | Self::TIMED;

    /// Requests in flight.
    #[inline(always)]
    pub(crate) fn in_flight(self) -> u32 {
        self.0 & !Self::FLAGS
    }

    #[inline(always)]
    pub(crate) fn started(&mut self) {
        self.0 += 1;
    }

    #[inline(always)]
    pub(crate) fn ended(&mut self) {
        self.0 -= 1;
    }

    /// Whether the requests of each initiator are counted.
    #[inline(always)]
    pub(crate) fn is_tracked(self) -> bool {
        self.0 & Self::TRACKED != 0
    }

    /// Whether the end of a request takes more than counting it.
    #[inline(always)]
    pub(crate) fn is_watched(self) -> bool {
        self.0 & (Self::TRACKED | Self::FENCED | Self::TIMED) != 0
    }

    /// Whether its requests are timed ([`crate::timing`]).
    pub(crate) fn is_timed(self) -> bool {
        self.0 & Self::TIMED != 0
    }

    pub(crate) fn set_timed(&mut self, timed: bool) {
        self.0 = self.0 & !Self::TIMED | if timed { Self::TIMED } else { 0 };
    }

    /// Another lcore owns the export ([`crate::owner`]).
    pub(crate) fn set_elsewhere(&mut self) {
        self.0 |= Self::ELSEWHERE;
    }

    /// Whether its rates are limited ([`crate::rate_limits`]).
    pub(crate) fn is_limited(self) -> bool {
        self.0 & Self::LIMITED != 0
    }

    pub(crate) fn set_limited(&mut self, limited: bool) {
        self.0 = self.0 & !Self::LIMITED | if limited { Self::LIMITED } else { 0 };
    }

    /// The same load, as if its rates were not limited and its requests not timed.
    pub(crate) fn unlimited(mut self) -> Self {
        self.set_limited(false);
        self.set_timed(false);
        self
    }

    /// Says whether requests in flight were admitted before a fence ([`crate::fence`]).
    pub(crate) fn set_fenced(&mut self, fenced: bool) {
        self.0 = self.0 & !Self::FENCED | if fenced { Self::FENCED } else { 0 };
    }

    pub(crate) fn set_tracked(&mut self, tracked: bool) {
        self.0 = self.0 & !Self::TRACKED | if tracked { Self::TRACKED } else { 0 };
    }
}

/// What an export's bdev has completed, as it was at the last look: where nothing changes, the bdev does not answer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    completed: u64,
    changed_at: u64,
}

impl Progress {
    /// Whether the bdev completed something since the look before this one, or at most `recent` ago. `completed` is a number
    /// that grows with each completion.
    pub(crate) fn is_recent(&mut self, completed: u64, now: u64, recent: u64) -> bool {
        if completed != self.completed {
            *self = Self { completed, changed_at: now };
        }
        now.wrapping_sub(self.changed_at) <= recent
    }
}

/// The requests in flight of each initiator on tracked exports: a hash table with open addressing. Its memory is there from
/// the start, and there is room for as many paths as requests can be in flight.
#[derive(Debug)]
pub(crate) struct Paths {
    /// A power of two of them, at most half in use.
    entries: Box<[Entry]>,
    used: usize,
    hash: InitiatorHash,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Entry {
    initiator: [u8; 6],
    export: u32,
    /// 0 in an empty entry.
    in_flight: u32,
}

impl Paths {
    /// A table for so many requests in flight. `seed` is random.
    pub(crate) fn new(requests: usize, seed: u64) -> Self {
        let entries = requests.max(8).saturating_mul(2).next_power_of_two();
        Self { entries: vec![Entry::default(); entries].into(), used: 0, hash: InitiatorHash::new(seed) }
    }

    /// The requests in flight of an initiator on an export.
    pub(crate) fn in_flight(&self, initiator: MacAddr, export: ExportId) -> u32 {
        self.entries[self.find(initiator.0, export.0)].in_flight
    }

    /// Counts a request. Past the table's capacity it is not counted, which admits its initiator more than its due.
    pub(crate) fn started(&mut self, initiator: MacAddr, export: ExportId) {
        let index = self.find(initiator.0, export.0);
        if self.entries[index].in_flight == 0 {
            if self.used == self.entries.len() / 2 {
                return;
            }
            self.used += 1;
            self.entries[index] = Entry { initiator: initiator.0, export: export.0, in_flight: 0 };
        }
        self.entries[index].in_flight += 1;
    }

    /// Counts the end of a request.
    pub(crate) fn ended(&mut self, initiator: MacAddr, export: ExportId) {
        let index = self.find(initiator.0, export.0);
        match &mut self.entries[index].in_flight {
            0 => {}
            1 => self.remove(index),
            in_flight => *in_flight -= 1,
        }
    }

    /// Forgets all paths to an export. Looks at the whole table.
    pub(crate) fn forget(&mut self, export: ExportId) {
        for index in 0..self.entries.len() {
            // An entry from further behind may take the place of a removed one. None comes from before `index`: those are of
            // other exports.
            while self.entries[index].in_flight > 0 && self.entries[index].export == export.0 {
                self.remove(index);
            }
        }
    }

    /// The entry of a path, or the empty one that it would get.
    fn find(&self, initiator: [u8; 6], export: u32) -> usize {
        let mask = self.entries.len() - 1;
        let mut index = self.home(initiator, export);
        loop {
            let entry = &self.entries[index];
            if entry.in_flight == 0 || entry.initiator == initiator && entry.export == export {
                return index;
            }
            index = (index + 1) & mask;
        }
    }

    /// The entry at which the search for a path starts.
    fn home(&self, initiator: [u8; 6], export: u32) -> usize {
        // Their number is a power of two.
        self.hash.of(MacAddr(initiator), export) as usize & (self.entries.len() - 1)
    }

    /// Empties an entry, and moves those behind it up that the search would no longer find.
    fn remove(&mut self, index: usize) {
        let mask = self.entries.len() - 1;
        let (mut hole, mut next) = (index, (index + 1) & mask);
        while self.entries[next].in_flight > 0 {
            let Entry { initiator, export, .. } = self.entries[next];
            let home = self.home(initiator, export);
            // The way from home to `next` passes the hole.
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                self.entries[hole] = self.entries[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.entries[hole] = Entry::default();
        self.used -= 1;
    }
}

#[cfg(test)]
mod tests;
