//! What is counted for each request in flight, from its begin to its end: here and nowhere else.
//!
//! | Counted | Where | For |
//! | --- | --- | --- |
//! | a request of its export | [`Backing`] | the budget; an export without one has drained |
//! | an mbuf of its port queue | [`PortQueue`] | the budget |
//! | a request that is due at a tick | [`Deadlines`] | a tick without one needs no search |
//! | a request of its initiator, while its export is tracked | [`Admission`] | the budget |
//! | a request that was admitted before a fence | [`Fences`] | the fence's end |
//!
//! A request begins before its bdev gets it, or when it is parked: behind others, or for a limit on rates. It ends when it is
//! answered or dropped; one that was answered past its deadline ends when its bdev gives it back.

use std::time::Duration;

use aoe_target::{DropsOfInitiator, Export, ExportId, ExportKey, InitiatorDrop, InitiatorDropEntry, MacAddr};
use dpdk::{Mbuf, tsc};
use spdk::CompletionQueue;

use crate::{
    admission::{Admission, NotAdmitted, Unended, source},
    backing::Backing,
    deadline::{Deadlines, Tick, Timeout},
    fence::Fences,
    inflight::InFlight,
    port_queue::PortQueue,
    timing::Timings,
};

/// An lcore's account of its requests in flight.
#[derive(Debug)]
pub(crate) struct Accounting {
    admission: Admission,
    deadlines: Deadlines,
    fences: Fences,
    timings: Timings,
}

impl Accounting {
    /// For an lcore that can have so many requests in flight.
    pub(crate) fn new(requests: usize) -> Self {
        Self {
            admission: Admission::new(requests),
            deadlines: Deadlines::new(tsc::now(), tsc::hz()),
            fences: Fences::default(),
            timings: Timings::default(),
        }
    }

    /// Decides whether a further request of `initiator` may begin: see [`crate::budget`].
    ///
    /// # Errors
    /// See [`Admission::admit`].
    #[inline(always)]
    pub(crate) fn admit<'a>(
        &mut self,
        export: &Export,
        backing: &mut Backing,
        queue: &PortQueue,
        unended: impl FnOnce() -> Unended<'a>,
        initiator: MacAddr,
    ) -> Result<(), NotAdmitted> {
        if queue.room().is_short(backing.load()) {
            self.admission.admit(export, backing, unended(), queue.room(), initiator)
        } else {
            Ok(())
        }
    }

    /// The deadline of a request that begins now.
    #[inline(always)]
    pub(crate) fn deadline(&self, backing: &Backing) -> Tick {
        self.deadlines.after(backing.timeout())
    }

    /// The end of a time that begins now.
    pub(crate) fn deadline_after(&self, timeout: Timeout) -> Tick {
        self.deadlines.after(timeout)
    }

    /// A request begins.
    #[inline(always)]
    pub(crate) fn begin(
        &mut self,
        id: ExportId,
        backing: &mut Backing,
        queue: &mut PortQueue,
        initiator: MacAddr,
        deadline: Tick,
    ) {
        queue.begin_request();
        self.deadlines.start(deadline);
        backing.started();
        if backing.load().is_tracked() {
            self.admission.started(initiator, id);
        }
    }

    /// A request ends, whose frame this is. `fenced`: it was admitted before a fence.
    #[inline(always)]
    pub(crate) fn end(
        &mut self,
        id: ExportId,
        backing: &mut Backing,
        queue: &mut PortQueue,
        (deadline, fenced): (Tick, bool),
        frame: &Mbuf,
    ) {
        self.deadlines.end(deadline);
        self.end_overdue(id, backing, queue, fenced, frame);
    }

    /// [`Accounting::end`] of a request that was answered past its deadline, where it is not counted any more.
    #[inline(always)]
    pub(crate) fn end_overdue(
        &mut self,
        id: ExportId,
        backing: &mut Backing,
        queue: &mut PortQueue,
        fenced: bool,
        frame: &Mbuf,
    ) {
        backing.ended();
        queue.end_request();
        if backing.load().is_watched() {
            self.end_watched(id, backing, queue, fenced, frame);
        }
    }

    /// The end of a request to an export that is tracked or timed, or has a fence.
    #[cold]
    #[inline(never)]
    fn end_watched(
        &mut self,
        id: ExportId,
        backing: &mut Backing,
        queue: &PortQueue,
        fenced: bool,
        frame: &Mbuf,
    ) {
        let room = queue.room();
        if backing.load().is_timed()
            && let Some(head) = frame.first_bytes()
        {
            self.timings.ended(id, &head, queue.mac().0);
        }
        if backing.load().is_tracked() {
            // A request's frame has its headers.
            if let Some(head) = frame.first_bytes() {
                self.admission.ended(source(&head), id);
            }
            if room.is_ample(backing.load()) {
                backing.set_tracked(false);
                self.admission.untrack(id);
            }
        }
        if fenced && self.fences.ended(id) {
            backing.set_fenced(false);
        }
    }

    /// Calls `done` when the requests that bdevs have for this export now have ended: see [`Fences::put_up`].
    pub(crate) fn fence(
        &mut self,
        id: ExportId,
        backing: Option<&mut Backing>,
        bdevs: &mut CompletionQueue<InFlight>,
        done: impl FnOnce() + 'static,
    ) {
        let is_pending = self.fences.put_up(id, bdevs, done);
        if is_pending && let Some(backing) = backing {
            backing.set_fenced(true);
        }
    }

    /// The histograms of exports that are timed.
    pub(crate) fn timings(&mut self) -> &mut Timings {
        &mut self.timings
    }

    /// Counts a drop of an initiator that broke no rule.
    pub(crate) fn count_drop(&mut self, export: ExportKey, initiator: MacAddr, why: InitiatorDrop) {
        self.admission.count_drop(export, initiator, why);
    }

    /// See [`Admission::initiator_drops`].
    pub(crate) fn initiator_drops(&self) -> (Vec<InitiatorDropEntry>, DropsOfInitiator) {
        self.admission.initiator_drops()
    }

    /// Lets time go by until `now`, of the TSC. Returns a tick at which requests are due: see [`Deadlines::advance`].
    #[inline]
    pub(crate) fn due(&mut self, now: u64) -> Option<Tick> {
        self.deadlines.advance(now)
    }

    /// Puts a request off that is due, to the next tick.
    pub(crate) fn put_off(&mut self, due: Tick) -> Tick {
        self.deadlines.put_off(due)
    }

    /// A request was answered past its deadline. It ends by [`Accounting::end_overdue`].
    pub(crate) fn overdue(&mut self, deadline: Tick) {
        self.deadlines.end(deadline);
    }

    /// A request gets another deadline.
    pub(crate) fn reschedule(&mut self, from: Tick, to: Tick) {
        self.deadlines.end(from);
        self.deadlines.start(to);
    }

    /// The time between two moments of the TSC.
    pub(crate) fn between(&self, earlier: u64, later: u64) -> Duration {
        self.deadlines.between(earlier, later)
    }
}
