//! The order table's part for requests that meet others.

use std::mem;

use aoe_wire::MacAddr;
use ata::{Lba, SectorCount};

use super::{
    BUCKETS, Bucket, Entry, GRANULE, Kind, MASK, OrderTable, Place, RARE, RETRANSMISSION, Rare, Slot,
    bucket_of,
};
use crate::export::ExportId;
use crate::io::{BdevIo, BdevOp};

/// Reads in one granule that are looked at for an original. A copy that is not recognised takes a bdev I/O of its own, and
/// no harm is done; a thousand initiators that read the same sector must not cost each of them a thousand looks.
const SEARCHED: usize = 32;

/// The bucket of a request that does not fit the granules.
const WIDE: u16 = u16::MAX;

/// The bucket of a copy that has its original's place in the order.
const NOWHERE: u16 = u16::MAX - 1;

impl Slot {
    /// A request that is in no bucket.
    fn outside(export: ExportId, source: MacAddr, op: Kind, first: Lba, sectors: SectorCount) -> Self {
        Self { first, export, source, sectors, bucket: NOWHERE, op, next: 0, prev: 0, watched: 0 }
    }
}

impl<T> OrderTable<T> {
    /// Enters a read or write that has others in its granules, or wide ones anywhere, if it overlaps none of them. So do
    /// neighbours: sequential requests.
    #[inline(never)]
    pub(super) fn enter_beside(
        &mut self,
        export: ExportId,
        first: Lba,
        sectors: SectorCount,
        op: Kind,
        source: MacAddr,
    ) -> Option<Place> {
        let end = first.end(sectors);
        let bucket = bucket_of(export, first);
        for nth in [bucket.wrapping_sub(1) & MASK, bucket, (bucket + 1) & MASK] {
            let Bucket { head, changes } = self.buckets[nth];
            // Of the reads, only one in the same granule can be the original of a read.
            if op == Kind::Read && changes == 0 && nth != bucket {
                continue;
            }
            let mut left = if op == Kind::Read && changes == 0 { SEARCHED } else { usize::MAX };
            let mut at = head;
            while at != 0 && left > 0 {
                let slot = &self.slots[at as usize];
                if slot.first < end && first < slot.first.end(slot.sectors) && slot.export == export {
                    return None;
                }
                at = slot.next;
                left -= 1;
            }
        }
        let mut at = self.wide;
        while at != 0 {
            let slot = &self.slots[at as usize];
            if slot.first < end && first < self.rare[at as usize].end && slot.export == export {
                return None;
            }
            at = slot.next;
        }
        let place = self.free;
        let new = Slot::outside(export, source, op, first, sectors);
        self.free = mem::replace(&mut self.slots[place as usize], new).next;
        self.link(place);
        Some(Place(place))
    }

    /// A request leaves those in its granule, if none of them waits for it or is its copy. Whether it has.
    #[inline(never)]
    pub(super) fn leave_others(&mut self, Place(place): Place) -> bool {
        if self.slots[place as usize].watched != 0 {
            return false;
        }
        self.unlink(place);
        let slot = &mut self.slots[place as usize];
        (slot.next, slot.prev) = (self.free, 0);
        self.free = place;
        true
    }

    /// Enters a request for which [`OrderTable::enter`] returned `None`. `range` is that of its sectors: of TRIM's first to
    /// last, of others `io`'s own. A request without an order starts, without a place.
    #[cold]
    #[inline(never)]
    pub fn enter_slowly(
        &mut self,
        export: ExportId,
        io: &BdevIo,
        range: (Lba, Lba),
        source: MacAddr,
    ) -> Entry {
        let op = match io.op {
            BdevOp::Read => Kind::Read,
            BdevOp::Write => Kind::Write,
            BdevOp::Trim => Kind::Trim,
            BdevOp::Flush | BdevOp::SmartData | BdevOp::SmartThresholds | BdevOp::SmartStatus => {
                return Entry::Start(Place::NONE);
            }
        };
        let (first, end) = range;
        let place = self.free;
        if place == 0 {
            return Entry::Full;
        }
        let mut new = Slot::outside(export, source, op, first, io.sectors);
        let is_wide = op == Kind::Trim || end.0 - first.0 > GRANULE;
        if is_wide {
            new.watched = RARE;
        }
        let original = self.original_of(&new, end);
        self.free = mem::replace(&mut self.slots[place as usize], new).next;
        if is_wide || original != 0 {
            self.rare[place as usize].end = end;
        }
        let waits = if original != 0 && op == Kind::Read { true } else { self.join(place) };
        if original != 0 {
            let newest = mem::replace(&mut self.rare[original as usize].copies, place);
            let slot = &mut self.slots[original as usize];
            slot.watched = (slot.watched + 1) | RARE;
            self.slots[place as usize].watched |= RARE;
            let rare = &mut self.rare[place as usize];
            (rare.original, rare.follower) = (original, newest);
            return Entry::Copy(Place(place));
        }
        if waits { Entry::Wait(Place(place)) } else { Entry::Start(Place(place)) }
    }

    /// Keeps `parked` for a request that waits, from `now` on, in milliseconds. Returns what an earlier copy of the same
    /// request left, if this one supersedes it: that one is a retransmission's, the `same` in all but its tag, and its
    /// initiator no longer waits for it. Or it has the `same_tag`, too.
    pub fn park(
        &mut self,
        place: Place,
        parked: T,
        now: u64,
        same: impl FnOnce(&T, &T) -> bool,
        same_tag: impl FnOnce(&T, &T) -> bool,
    ) -> Option<T> {
        let rare = &self.rare[place.0 as usize];
        let earlier = if rare.original == 0 { 0 } else { rare.follower };
        let old = &self.rare[earlier as usize];
        let is_superseded = old.parked.as_ref().is_some_and(|before| {
            let is_old = now.saturating_sub(old.at) >= RETRANSMISSION;
            (is_old || same_tag(before, &parked)) && same(before, &parked)
        });
        self.slots[place.0 as usize].watched |= RARE;
        let rare = &mut self.rare[place.0 as usize];
        (rare.parked, rare.at) = (Some(parked), now);
        if is_superseded { self.take_out(earlier) } else { None }
    }

    /// Puts `parked` in the place of what an earlier copy of the same request left, or the request itself, if that one waits and
    /// this one supersedes it: see [`OrderTable::park`]. Nothing else changes. Returns the earlier one and its place.
    ///
    /// # Errors
    /// `parked`, if there is nothing that it supersedes; and the place of its original, if that one runs and has no copies.
    #[expect(clippy::too_many_arguments, reason = "those of `enter_slowly` and of `park`")]
    pub fn replace(
        &mut self,
        export: ExportId,
        io: &BdevIo,
        source: MacAddr,
        parked: T,
        now: u64,
        same: impl FnOnce(&T, &T) -> bool,
        same_tag: impl FnOnce(&T, &T) -> bool,
    ) -> Result<(T, Place), (T, Place)> {
        let op = match io.op {
            BdevOp::Read => Kind::Read,
            BdevOp::Write => Kind::Write,
            // TRIM has its range in its data, and is not repeated under load.
            _ => return Err((parked, Place::NONE)),
        };
        let (first, end) = (io.lba, io.lba.end(io.sectors));
        let like = Slot::outside(export, source, op, first, io.sectors);
        let original = self.original_of(&like, end);
        let copy = self.rare[original as usize].copies;
        let place = if copy == 0 { original } else { copy };
        let earlier = &mut self.rare[place as usize];
        match &mut earlier.parked {
            Some(old)
                if (now.saturating_sub(earlier.at) >= RETRANSMISSION || same_tag(old, &parked))
                    && same(old, &parked) =>
            {
                earlier.at = now;
                Ok((mem::replace(old, parked), Place(place)))
            }
            Some(_) => Err((parked, Place::NONE)),
            None => Err((parked, Place(original))),
        }
    }

    /// Has a request that runs be answered under the tag of a copy for which there is no room.
    pub fn retag(&mut self, Place(place): Place, tag: [u8; 4]) {
        self.slots[place as usize].watched |= RARE;
        self.rare[place as usize].tag = Some(tag);
    }

    /// The tag that a request is to be answered under, if it is not its own.
    #[must_use]
    pub fn tag(&self, Place(place): Place) -> Option<[u8; 4]> {
        self.rare[place as usize].tag
    }

    /// Takes the newest copy of a request that has its outcome, to be answered from it. A copy of a read always is one; of a
    /// write or TRIM `is_copy` decides, by the data, and one that is none stays, as a request like any other.
    pub fn pop_copy(&mut self, original: Place, mut is_copy: impl FnMut(&T) -> bool) -> Option<T> {
        loop {
            let copy = self.rare[original.0 as usize].copies;
            if copy == 0 {
                return None;
            }
            self.forget_copy(copy);
            let is_read = self.slots[copy as usize].op == Kind::Read;
            if self.rare[copy as usize].parked.as_ref().is_some_and(|parked| is_read || is_copy(parked)) {
                return self.take_out(copy);
            }
        }
    }

    /// Takes a request that waits out of the table, without its turn. `None` for one that may start. Others may start then:
    /// [`OrderTable::pop_ready`].
    pub fn withdraw(&mut self, Place(place): Place) -> Option<T> {
        let rare = &self.rare[place as usize];
        if rare.blockers == 0 && rare.original == 0 { None } else { self.take_out(place) }
    }

    /// What is parked for a request that waits.
    pub fn parked_mut(&mut self, Place(place): Place) -> Option<&mut T> {
        self.rare[place as usize].parked.as_mut()
    }

    /// The next request that waits, after `place` in no order, for which `is_wanted`, and its export; from the first one on
    /// after [`Place::NONE`].
    pub fn find_parked(
        &self,
        Place(place): Place,
        mut is_wanted: impl FnMut(&T) -> bool,
    ) -> Option<(Place, ExportId)> {
        let after = (1u32..).zip(self.rare.iter().skip(1)).skip(place as usize);
        let (found, _) = { after }.find(|(_, rare)| rare.parked.as_ref().is_some_and(&mut is_wanted))?;
        Some((Place(found), self.slots[found as usize].export))
    }

    /// Calls `visit` with what is parked for each suspected copy of a request, also of a write whose data differ.
    pub fn for_each_copy(&mut self, Place(original): Place, mut visit: impl FnMut(&mut T)) {
        let mut copy = self.rare[original as usize].copies;
        while copy != 0 {
            let rare = &mut self.rare[copy as usize];
            if let Some(parked) = &mut rare.parked {
                visit(parked);
            }
            copy = rare.follower;
        }
    }

    fn take_out(&mut self, place: u32) -> Option<T> {
        let parked = self.rare[place as usize].parked.take()?;
        self.leave(Place(place));
        Some(parked)
    }

    /// Calls `visit` with the initiator of each request on an export that waits. Looks at the whole table.
    pub fn for_each_parked(&self, export: ExportId, mut visit: impl FnMut(MacAddr)) {
        for (slot, rare) in self.slots.iter().zip(&self.rare) {
            if slot.export == export && rare.parked.is_some() {
                visit(slot.source);
            }
        }
    }

    /// The next request that may start now. Its place stays its own until it leaves.
    pub fn pop_ready(&mut self) -> Option<(Place, ExportId, T)> {
        let place = self.ready[0];
        let rare = &mut self.rare[place as usize];
        let parked = rare.parked.take()?;
        self.ready[0] = mem::take(&mut rare.follower);
        Some((Place(place), self.slots[place as usize].export, parked))
    }

    /// A request leaves. Others may start then: [`OrderTable::pop_ready`].
    #[cold]
    #[inline(never)]
    pub fn leave(&mut self, Place(place): Place) {
        if place == 0 {
            return;
        }
        let is_rare = self.slots[place as usize].watched & RARE != 0;
        if is_rare && self.rare[place as usize].original != 0 {
            self.forget_copy(place);
        }
        self.unlink(place);
        while is_rare && self.rare[place as usize].copies != 0 {
            // Nobody took it. As a write it has a place of its own already.
            let copy = self.rare[place as usize].copies;
            self.forget_copy(copy);
            if self.slots[copy as usize].bucket == NOWHERE && !self.join(copy) {
                self.make_ready(copy);
            }
        }
        let slot = &mut self.slots[place as usize];
        if mem::take(&mut slot.watched) != 0 && slot.bucket != NOWHERE {
            self.release(place);
        }
        if is_rare {
            self.rare[place as usize] = Rare::default();
        }
        let slot = &mut self.slots[place as usize];
        (slot.next, slot.prev) = (self.free, 0);
        self.free = place;
    }

    /// Puts a request behind those that it has to wait for. Whether there are any.
    fn join(&mut self, place: u32) -> bool {
        let mut blockers = 0;
        self.for_each_conflict(place, |table, other| {
            table.slots[other as usize].watched += 1;
            blockers += 1;
        });
        self.link(place);
        if blockers > 0 {
            self.sequence += 1;
            self.slots[place as usize].watched |= RARE;
            let rare = &mut self.rare[place as usize];
            (rare.blockers, rare.sequence) = (blockers, self.sequence);
        }
        blockers > 0
    }

    /// Has those that waited for a request do so no longer.
    fn release(&mut self, place: u32) {
        let sequence = self.rare[place as usize].sequence;
        self.for_each_conflict(place, |table, other| {
            let rare = &mut table.rare[other as usize];
            // Those that came before it did not count it: it leaves before them only if it was withdrawn.
            if rare.blockers == 0 || rare.sequence < sequence {
                return;
            }
            rare.blockers -= 1;
            if rare.blockers == 0 {
                if rare.original != 0 {
                    table.forget_copy(other);
                }
                table.make_ready(other);
            }
        });
    }

    fn make_ready(&mut self, place: u32) {
        self.rare[place as usize].follower = 0;
        let [first, last] = self.ready;
        if first == 0 {
            self.ready[0] = place;
        } else {
            self.rare[last as usize].follower = place;
        }
        self.ready[1] = place;
    }

    /// The request in the table that `new`, with this end, is a copy of; 0 for none.
    fn original_of(&self, new: &Slot, end: Lba) -> u32 {
        let (mut at, mut left) = (self.head_for(new, end), if new.changes() { usize::MAX } else { SEARCHED });
        while at != 0 && left > 0 {
            let slot = &self.slots[at as usize];
            let is_same = slot.first == new.first
                && (slot.export, slot.source) == (new.export, new.source)
                && (slot.sectors, slot.op) == (new.sectors, new.op);
            if is_same && self.end_of(at) == end {
                // Of a copy, its original.
                let original = self.rare[at as usize].original;
                return if original == 0 { at } else { original };
            }
            at = slot.next;
            left -= 1;
        }
        0
    }

    /// The newest request in the chain that one with this end belongs to.
    fn head_for(&self, slot: &Slot, end: Lba) -> u32 {
        if is_wide(slot, end) { self.wide } else { self.buckets[bucket_of(slot.export, slot.first)].head }
    }

    fn end_of(&self, place: u32) -> Lba {
        let slot = &self.slots[place as usize];
        match self.rare[place as usize].end {
            Lba(0) => slot.first.end(slot.sectors),
            end => end,
        }
    }

    /// Takes a copy out of its original's list.
    fn forget_copy(&mut self, copy: u32) {
        let rare = &mut self.rare[copy as usize];
        let original = mem::take(&mut rare.original) as usize;
        let after = mem::take(&mut rare.follower);
        self.slots[original].watched -= 1;
        if self.rare[original].copies == copy {
            self.rare[original].copies = after;
            return;
        }
        let mut at = self.rare[original].copies as usize;
        while at != 0 {
            let next = self.rare[at].follower;
            if next == copy {
                self.rare[at].follower = after;
            }
            at = if next == copy { 0 } else { next as usize };
        }
    }

    /// Calls `visit` with each request that overlaps this one, where one of the two changes something.
    fn for_each_conflict(&mut self, place: u32, mut visit: impl FnMut(&mut Self, u32)) {
        let own = self.slots[place as usize];
        let end = self.end_of(place);
        // Those that start in a granule of its own, or in the one before, which reach into the next one at most.
        let granules = end.0.div_ceil(GRANULE).saturating_sub(own.first.0 / GRANULE);
        let count = usize::try_from(granules).map_or(BUCKETS, |granules| BUCKETS.min(granules + 1));
        let first_bucket = bucket_of(own.export, own.first).wrapping_sub(1);
        for nth in 0..=count {
            // The wide ones come last.
            let mut at = match nth {
                nth if nth == count => self.wide,
                nth => self.buckets[first_bucket.wrapping_add(nth) & MASK].head,
            };
            while at != 0 {
                let slot = &self.slots[at as usize];
                let next = slot.next;
                if at != place
                    && slot.export == own.export
                    && (slot.changes() || own.changes())
                    && slot.first < end
                    && own.first < self.end_of(at)
                {
                    visit(self, at);
                }
                at = next;
            }
        }
    }

    /// Puts a request into its chain.
    fn link(&mut self, place: u32) {
        let slot = self.slots[place as usize];
        let next = if is_wide(&slot, self.end_of(place)) {
            self.slots[place as usize].bucket = WIDE;
            mem::replace(&mut self.wide, place)
        } else {
            let bucket = bucket_of(slot.export, slot.first);
            self.slots[place as usize].bucket = u16::try_from(bucket).unwrap_or(WIDE);
            let bucket = &mut self.buckets[bucket];
            bucket.changes += u32::from(slot.changes());
            mem::replace(&mut bucket.head, place)
        };
        self.slots[place as usize].next = next;
        if next != 0 {
            self.slots[next as usize].prev = place;
        }
    }

    /// Takes a request out of its chain.
    fn unlink(&mut self, place: u32) {
        let slot = self.slots[place as usize];
        let head = match slot.bucket {
            NOWHERE => return,
            WIDE => &mut self.wide,
            bucket => {
                let bucket = &mut self.buckets[usize::from(bucket) & MASK];
                bucket.changes -= u32::from(slot.changes());
                &mut bucket.head
            }
        };
        if slot.prev == 0 {
            *head = slot.next;
        } else {
            self.slots[slot.prev as usize].next = slot.next;
        }
        if slot.next != 0 {
            self.slots[slot.next as usize].prev = slot.prev;
        }
    }
}

/// Whether a request with this end does not fit the granules.
fn is_wide(slot: &Slot, end: Lba) -> bool {
    slot.op == Kind::Trim || end.0 - slot.first.0 > GRANULE
}

impl Slot {
    fn changes(&self) -> bool {
        self.op != Kind::Read
    }
}
