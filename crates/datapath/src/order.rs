//! An lcore's requests in order: the [`OrderTable`] with frames in it.
//!
//! A request that waits for others keeps its mbuf, and is in flight on its export all the same: the export drains when it is
//! answered. It starts in the turn in which the last of those others was answered.
//!
//! A copy is answered under its own tag, whatever the number of copies, the newest first: aoe.ko takes the newest tag only,
//! and two processes of one initiator may each wait for theirs. One that came long before the newest is a retransmission
//! nobody waits for; it is dropped as [`DropReason::CopyInFlight`], so that a request which a bdev does not finish holds two
//! mbufs and no more.

use aoe_target::{
    BdevIo, BdevOp, DropReason, Entry, ExportId, IoOutcome, Lba, MacAddr, OrderTable, PAYLOAD_OFFSET, Place,
    Ranges,
};
use dpdk::{Mbuf, tsc};
use spdk::Pending;

use crate::{deadline::Tick, inflight::InFlight};

/// Where the tag lies in a frame without a VLAN tag.
const TAG: std::ops::Range<usize> = 20..24;

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Parked {
    /// Index of the port queue that it came by.
    pub(crate) queue: usize,
    pub(crate) io: BdevIo,
    pub(crate) frame: Mbuf,
    pub(crate) deadline: Tick,
}

/// See [`OrderTable`].
#[derive(Debug)]
pub(crate) struct Order {
    table: OrderTable<Parked>,
    /// The TSC at the start, and its ticks in a millisecond.
    start: u64,
    tsc_per_millisecond: u64,
}

impl Order {
    /// For so many requests.
    pub(crate) fn new(capacity: usize) -> Self {
        let tsc_per_millisecond = (tsc::hz() / 1000).max(1);
        Self { table: OrderTable::new(capacity), start: tsc::now(), tsc_per_millisecond }
    }

    /// See [`OrderTable::enter`].
    #[inline(always)]
    pub(crate) fn enter(&mut self, export: ExportId, io: &BdevIo, source: MacAddr) -> Option<Place> {
        self.table.enter(export, io, source)
    }

    /// See [`OrderTable::leave_unmet`].
    #[inline(always)]
    pub(crate) fn leave_unmet(&mut self, place: Place) -> bool {
        self.table.leave_unmet(place)
    }

    /// Whether a request that waited may start: [`Order::pop_ready`].
    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        self.table.has_ready()
    }

    /// The next request that may start, of this export. It is in flight still.
    pub(crate) fn pop_ready(&mut self) -> Option<(Place, ExportId, Parked)> {
        self.table.pop_ready()
    }

    /// Enters a request that may have met others.
    pub(crate) fn enter_behind(&mut self, export: ExportId, source: MacAddr, request: Parked) -> Behind {
        let (io, mut deadline) = (request.io, request.deadline);
        let range = range_of(&io, &request.frame);
        let (place, is_copy) = match self.table.enter_slowly(export, &io, range, source) {
            Entry::Start(place) => return Behind::Start(place, request.frame),
            Entry::Full => return Behind::Full(request.frame),
            Entry::Wait(place) => (place, false),
            Entry::Copy(place) => (place, true),
        };
        let now = self.now();
        let superseded = self.table.park(
            place,
            request,
            now,
            |old, new| is_repeated(&io, old, new),
            |old, new| tag_of(&old.frame) == tag_of(&new.frame),
        );
        // The initiator has waited since its earlier copy.
        if let (Some(old), Some(new)) = (&superseded, self.table.parked_mut(place)) {
            new.deadline = old.deadline;
            deadline = old.deadline;
        }
        Behind::Parked { is_copy, superseded, deadline }
    }

    /// Has a request for which there is no room take the place of an earlier copy that waits, and of its deadline, or have
    /// its original answered under its tag. Returns the frame that is not needed any more. Takes no mbuf and changes no count.
    ///
    /// `is_copy_of`: whether the original of a suspected copy, by its place, is at a bdev with the same data.
    ///
    /// # Errors
    /// The request's frame, if it is no copy, or not known to be one.
    pub(crate) fn take_over(
        &mut self,
        export: ExportId,
        source: MacAddr,
        request: Parked,
        is_copy_of: impl FnOnce(Place, &Parked) -> bool,
    ) -> Result<Mbuf, Mbuf> {
        let (io, now) = (request.io, self.now());
        let replaced = self.table.replace(
            export,
            &io,
            source,
            request,
            now,
            |old, new| is_repeated(&io, old, new),
            |old, new| tag_of(&old.frame) == tag_of(&new.frame),
        );
        match replaced {
            Ok((old, place)) => {
                if let Some(new) = self.table.parked_mut(place) {
                    new.deadline = old.deadline;
                }
                Ok(old.frame)
            }
            Err((request, original)) => {
                let is_copy =
                    original != Place::NONE && (io.op == BdevOp::Read || is_copy_of(original, &request));
                match tag_of(&request.frame).and_then(|tag| tag.first_chunk()) {
                    Some(tag) if is_copy => {
                        self.table.retag(original, *tag);
                        Ok(request.frame)
                    }
                    _ => Err(request.frame),
                }
            }
        }
    }

    /// Puts the tag into a request's frame that it is to be answered under.
    pub(crate) fn put_tag(&self, place: Place, frame: &mut Mbuf) {
        if let (Some(tag), Some(field)) = (self.table.tag(place), frame.data_mut().get_mut(TAG)) {
            field.copy_from_slice(&tag);
        }
    }

    /// Milliseconds since the start.
    fn now(&self) -> u64 {
        tsc::now().wrapping_sub(self.start) / self.tsc_per_millisecond
    }

    /// Takes the newest copy of a request that has its outcome, and whose reply is not yet written over its frame.
    pub(crate) fn pop_copy(&mut self, original: Place, io: &BdevIo, frame: &Mbuf) -> Option<Parked> {
        self.table.pop_copy(original, |copy| is_data_same(io, &copy.frame, frame))
    }

    /// See [`OrderTable::leave`].
    #[cold]
    pub(crate) fn leave(&mut self, place: Place) {
        self.table.leave(place);
    }

    /// The copies of a request that a bdev has are due when it is. `reschedule` takes note of each one's former deadline and of
    /// this one. A suspected copy with other data is another request, and keeps its own time.
    pub(crate) fn copies_are_due(
        &mut self,
        original: &Pending<'_, InFlight>,
        due: Tick,
        mut reschedule: impl FnMut(Tick, Tick),
    ) {
        let InFlight { place, io, .. } = original.context();
        self.table.for_each_copy(place, |copy| {
            if is_copy(&io, copy, original) {
                reschedule(copy.deadline, due);
                copy.deadline = due;
            }
        });
    }

    /// Takes out the next request that waits and is due at this tick, after `place`. One that may start is put off, to the
    /// tick that `put_off` returns.
    pub(crate) fn pop_due(
        &mut self,
        place: &mut Place,
        due: Tick,
        mut put_off: impl FnMut(Tick) -> Tick,
    ) -> Option<(ExportId, Parked)> {
        while let Some((found, export)) = self.table.find_parked(*place, |parked| parked.deadline == due) {
            *place = found;
            if let Some(parked) = self.table.withdraw(found) {
                return Some((export, parked));
            }
            if let Some(ready) = self.table.parked_mut(found) {
                ready.deadline = put_off(due);
            }
        }
        None
    }

    /// Calls `visit` with the initiator of each request on an export that waits.
    pub(crate) fn for_each_parked(&self, export: ExportId, visit: impl FnMut(MacAddr)) {
        self.table.for_each_parked(export, visit);
    }
}

/// What becomes of a request that may have met others.
#[derive(Debug)]
pub(crate) enum Behind {
    /// It starts.
    Start(Place, Mbuf),
    /// It waits until this deadline, and is in flight on its export. `superseded`: so was this one, which is in flight no
    /// longer.
    Parked { is_copy: bool, superseded: Option<Parked>, deadline: Tick },
    /// There is no room for it.
    Full(Mbuf),
}

/// Makes the answer to a copy: a read gets the original's data.
///
/// # Errors
/// The drop reason of a copy that gets no answer.
pub(crate) fn answer_for_copy(
    io: &BdevIo,
    outcome: IoOutcome,
    original: &Mbuf,
    copy: &mut Mbuf,
) -> Result<(), DropReason> {
    if tag_of(copy) == tag_of(original) {
        // The original's reply is the copy's, too.
        return Err(DropReason::CopyInFlight);
    }
    if io.op == BdevOp::Read && outcome == IoOutcome::Ok && !copy_data(io, original, copy) {
        return Err(DropReason::NoRoom);
    }
    Ok(())
}

/// The sectors of a request; of TRIM, from its first to its last.
fn range_of(io: &BdevIo, frame: &Mbuf) -> (Lba, Lba) {
    if io.op != BdevOp::Trim {
        // Admission has checked the sum.
        return (io.lba, io.lba.end(io.sectors));
    }
    let ranges = Ranges::new(data_of(io, frame).unwrap_or_default());
    let (mut first, mut end, mut entry) = (Lba(u64::MAX), Lba(0), 0);
    while let Some((range, next)) = ranges.next_from(entry) {
        first = first.min(range.lba);
        end = end.max(range.end());
        entry = next;
    }
    (first.min(end), end)
}

/// A request's data, or a read's.
fn data_of<'a>(io: &BdevIo, frame: &'a Mbuf) -> Option<&'a [u8]> {
    frame.data().get(PAYLOAD_OFFSET..PAYLOAD_OFFSET + io.data_len())
}

/// Whether a request that waits is repeated by a newer one, of the same kind, on the same queue: each counts its own.
fn is_repeated(io: &BdevIo, old: &Parked, new: &Parked) -> bool {
    old.queue == new.queue && (io.op == BdevOp::Read || is_data_same(io, &old.frame, &new.frame))
}

/// Whether a suspected copy is one, of a request that a bdev has. That reads a write's data, as this does.
pub(crate) fn is_copy(io: &BdevIo, copy: &Parked, original: &Pending<'_, InFlight>) -> bool {
    io.op == BdevOp::Read
        || original.with_given(|frame| is_data_same(io, &copy.frame, frame)).unwrap_or(false)
}

/// Whether two requests of the same kind carry the same data. Data in several segments count as different.
fn is_data_same(io: &BdevIo, one: &Mbuf, other: &Mbuf) -> bool {
    data_of(io, one).is_some_and(|data| data_of(io, other) == Some(data))
}

/// Copies a read's data. Whether there was room.
fn copy_data(io: &BdevIo, from: &Mbuf, to: &mut Mbuf) -> bool {
    let place = to.data_mut().get_mut(PAYLOAD_OFFSET..PAYLOAD_OFFSET + io.data_len());
    let (Some(data), Some(place)) = (data_of(io, from), place) else { return false };
    place.copy_from_slice(data);
    true
}

fn tag_of(frame: &Mbuf) -> Option<&[u8]> {
    frame.data().get(TAG)
}
