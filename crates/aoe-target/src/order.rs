//! The order table: which of an lcore's requests may start, and which wait for earlier ones.
//!
//! # Contract
//!
//! Every read, write and TRIM enters the table before its first bdev I/O and leaves it when its reply is made, retries,
//! flushes and further ranges included. Of two requests of one export whose sectors overlap, and of which one is a write or
//! TRIM, the later one to enter starts when the earlier one has left. Reads do not wait for reads. TRIM counts as all
//! sectors from its first to its last.
//!
//! A request is a suspected copy of one that has not left, if initiator, operation, first sector and length are the same.
//! It gets no bdev I/O of its own as long as the original is there. When the original has its outcome, and before it
//! leaves, the caller takes the copies one by one ([`OrderTable::pop_copy`]), newest first, and answers each from the
//! original's outcome:
//!
//! - a copy of a read with the original's data. No overlapping write was acknowledged in between: it would wait for the
//!   original.
//! - a copy of a write or TRIM only if its data are the original's. With other data it is a later request, and has its
//!   place in the order as one.
//!
//! A flush has no sectors and no copies: it covers what was written when it was submitted, which a later one may not.
//!
//! All memory is there from the start. A read or write that meets nobody costs the same whatever the table holds.

use aoe_wire::MacAddr;
use ata::{Lba, SectorCount};

use crate::export::ExportId;
use crate::io::{BdevIo, BdevOp};

mod waiting;

#[cfg(test)]
mod tests;

/// Sectors of a granule. A request is found by its first sector's, so that it reaches into the next one at most.
const GRANULE: u64 = 16;

/// Buckets of the hash table of granules. Neighbouring granules have neighbouring buckets.
const BUCKETS: usize = 2048;

const MASK: usize = BUCKETS - 1;

/// Milliseconds after which a copy is a retransmission for certain: initiators repeat a request after as long or longer. Two
/// processes of one initiator may ask the same at the same time, and both wait for an answer.
const RETRANSMISSION: u64 = 100;

/// Bit of [`Slot::watched`]: the request's [`Rare`] is in use. Without it, that is all zeros.
const RARE: u32 = 1 << 31;

/// A request's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// The place of a request that has no order: a flush, a question about health.
    pub const NONE: Self = Self(0);

    /// Its number: 0 for none, at most the table's capacity.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What becomes of a request that met others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It starts.
    Start(Place),
    /// It is to be parked, until [`OrderTable::pop_ready`] returns it.
    Wait(Place),
    /// It is to be parked as a copy, until [`OrderTable::pop_copy`] returns it. A copy that turns out to be none comes by
    /// [`OrderTable::pop_ready`].
    Copy(Place),
    /// The table has no room.
    Full,
}

/// The requests of one lcore that have not been answered. `T` is what the caller parks for a request that waits.
#[derive(Debug)]
pub struct OrderTable<T> {
    buckets: Box<[Bucket; BUCKETS]>,
    /// By place; 0 is none.
    slots: Box<[Slot]>,
    rare: Box<[Rare<T>]>,
    /// The first free slot; the others follow by `next`.
    free: u32,
    /// The newest request that does not fit the granules; the others follow by `next`.
    wide: u32,
    /// Requests that may start, oldest first; they follow by `follower`.
    ready: [u32; 2],
    /// The number of the next request that waits.
    sequence: u64,
}

/// The requests that start in a granule.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// The newest; the others follow by `next`.
    head: u32,
    /// Writes among them.
    changes: u32,
}

/// What is written for each request.
#[derive(Clone, Copy, Debug)]
struct Slot {
    first: Lba,
    export: ExportId,
    source: MacAddr,
    /// Length of the payload.
    sectors: SectorCount,
    bucket: u16,
    op: Kind,
    next: u32,
    /// 0 for the newest, and while free.
    prev: u32,
    /// Requests that wait for this one or are its copies, and [`RARE`]; 0 while free. Never 0 of slot 0, which is none.
    watched: u32,
}

/// The operations that have an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Trim,
}

/// What is written only for requests that meet others.
#[derive(Debug)]
struct Rare<T> {
    /// End of its sectors.
    end: Lba,
    /// Earlier requests that it waits for.
    blockers: u32,
    /// Its number among those that waited; 0 for one that did not.
    sequence: u64,
    /// Its newest copy; the others follow by `follower`.
    copies: u32,
    /// The request that it is a copy of.
    original: u32,
    /// The next in the list of copies, or of those that may start.
    follower: u32,
    parked: Option<T>,
    /// When it was parked, in milliseconds.
    at: u64,
    /// The tag that it is answered under, if it is not its own.
    tag: Option<[u8; 4]>,
}

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self {
            end: Lba(0),
            blockers: 0,
            sequence: 0,
            copies: 0,
            original: 0,
            follower: 0,
            parked: None,
            at: 0,
            tag: None,
        }
    }
}

#[inline(always)]
fn bucket_of(export: ExportId, first: Lba) -> usize {
    // A number of exports far apart, so that their disks' beginnings are.
    let granule = (first.0 / GRANULE) as usize;
    granule.wrapping_add((export.0 as usize).wrapping_mul(0x9e37_79b1)) & MASK
}

impl<T> OrderTable<T> {
    /// A table for so many requests. Allocates; nothing else here does.
    ///
    /// # Panics
    /// For 2^32 requests or more.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let count = u32::try_from(capacity).expect("far fewer mbufs than 2^32");
        let slot = |place| Slot {
            first: Lba(0),
            export: ExportId(0),
            source: MacAddr([0; 6]),
            sectors: SectorCount(0),
            bucket: 0,
            op: Kind::Read,
            next: if place < count { place + 1 } else { 0 },
            prev: 0,
            // Slot 0 is none, so `leave_unmet` has nothing to do for it.
            watched: u32::from(place == 0),
        };
        Self {
            buckets: Box::new([Bucket::default(); BUCKETS]),
            slots: (0..=count).map(slot).collect(),
            rare: (0..=count).map(|_| Rare::default()).collect(),
            free: u32::from(count > 0),
            wide: 0,
            ready: [0; 2],
            sequence: 0,
        }
    }

    /// Enters a request that overlaps no other: then it may start. `None` for every other one, and those that have no order or
    /// no granule: [`OrderTable::enter_slowly`].
    #[inline(always)]
    pub fn enter(&mut self, export: ExportId, io: &BdevIo, source: MacAddr) -> Option<Place> {
        let bucket = bucket_of(export, io.lba);
        let before = self.buckets[bucket.wrapping_sub(1) & MASK];
        let own = self.buckets[bucket];
        let after = self.buckets[(bucket + 1) & MASK];
        let (met, op, changes) = match io.op {
            BdevOp::Read => (before.changes | own.head | after.changes, Kind::Read, 0),
            BdevOp::Write => (before.head | own.head | after.head, Kind::Write, 1),
            _ => return None,
        };
        let place = self.free;
        if place == 0 || u64::from(io.sectors.0) > GRANULE {
            return None;
        }
        if met | self.wide != 0 {
            return self.enter_beside(export, io.lba, io.sectors, op, source);
        }
        let slot = &mut self.slots[place as usize];
        self.free = slot.next;
        slot.first = io.lba;
        slot.export = export;
        slot.source = source;
        slot.sectors = io.sectors;
        #[expect(clippy::cast_possible_truncation, reason = "one of 2048")]
        let number = bucket as u16;
        slot.bucket = number;
        slot.op = op;
        slot.next = 0;
        self.buckets[bucket] = Bucket { head: place, changes };
        Some(Place(place))
    }

    /// A request leaves, if no other waits for it or is its copy. Whether it has: else [`OrderTable::pop_copy`], then [`OrderTable::leave`].
    #[inline(always)]
    #[must_use]
    pub fn leave_unmet(&mut self, place: Place) -> bool {
        let slot = &mut self.slots[place.0 as usize];
        if slot.next | slot.prev | slot.watched != 0 {
            return self.leave_others(place);
        }
        slot.next = self.free;
        self.buckets[usize::from(slot.bucket) & MASK] = Bucket::default();
        self.free = place.0;
        true
    }

    /// Whether a request that waited may start: [`OrderTable::pop_ready`].
    #[inline]
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.ready[0] != 0
    }
}
