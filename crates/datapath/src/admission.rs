//! Admission to a bdev where room is short: the budget's rules ([`crate::budget`]) with an lcore's requests.

use std::hash::{BuildHasher, RandomState};

use aoe_target::{
    DropReason, DropsOfInitiator, Export, ExportId, ExportKey, InitiatorDrop, InitiatorDropEntry,
    InitiatorDrops, MacAddr, Refusal, Reply,
};
use dpdk::tsc;
use spdk::CompletionQueue;

use crate::{
    backing::Backing,
    budget::{Paths, Room},
    inflight::InFlight,
    order::Order,
    rate_limits::RateLimits,
};

/// Seconds without a completion after which an export's bdev is not well.
const RECENT_SECONDS: u64 = 2;

/// The requests that an lcore has not ended: at bdevs, waiting for others, waiting for their rates.
pub(crate) type Unended<'a> = (&'a mut CompletionQueue<InFlight>, &'a Order, &'a mut RateLimits);

/// An lcore's budgets.
#[derive(Debug)]
pub(crate) struct Admission {
    paths: Paths,
    /// [`RECENT_SECONDS`] in ticks of the TSC.
    recent: u64,
    drops: InitiatorDrops,
}

/// What is done with a request that is not admitted.
#[derive(Debug)]
pub(crate) enum NotAdmitted {
    /// The lcore of this number, which owns the export, decides on it.
    Elsewhere(u16),
    /// It is dropped, or answered at once.
    Refused(Refusal),
    /// It must ask for its rate before it starts, or is timed.
    Limited,
}

impl Admission {
    /// For an lcore that can have so many requests in flight.
    pub(crate) fn new(requests: usize) -> Self {
        let secret = || RandomState::new().hash_one(requests);
        Self {
            paths: Paths::new(requests, secret()),
            recent: tsc::hz().saturating_mul(RECENT_SECONDS),
            drops: InitiatorDrops::new(secret()),
        }
    }

    /// Decides on a request that does not have room by the first rule, or whose export has limits. Where there is no room, the
    /// export is tracked from then on.
    ///
    /// # Errors
    /// What is done instead: it is handed to the owner of the export, if that is another lcore; dropped; failed at once, if the
    /// bdev has left half of the export's requests without an answer; or it must ask for its rate.
    #[cold]
    #[inline(never)]
    pub(crate) fn admit(
        &mut self,
        export: &Export,
        backing: &mut Backing,
        unended: Unended<'_>,
        room: Room,
        initiator: MacAddr,
    ) -> Result<(), NotAdmitted> {
        if room.is_short(backing.load().unlimited()) {
            self.admit_short(export, backing, unended, room, initiator)?;
        }
        let load = backing.load();
        if load.is_limited() || load.is_timed() { Err(NotAdmitted::Limited) } else { Ok(()) }
    }

    /// Decides on a request that does not have room by the first rule.
    fn admit_short(
        &mut self,
        export: &Export,
        backing: &mut Backing,
        unended: Unended<'_>,
        room: Room,
        initiator: MacAddr,
    ) -> Result<(), NotAdmitted> {
        if let Some(owner) = backing.owner_elsewhere() {
            return Err(NotAdmitted::Elsewhere(owner));
        }
        if !backing.load().is_tracked() {
            self.track(export, backing, unended);
        }
        let own = self.paths.in_flight(initiator, export.id());
        let is_well = backing.is_well(tsc::now(), self.recent);
        if room.admits(backing.load(), own, u32::from(export.buffer_count()), is_well) {
            return Ok(());
        }
        let (overdue, in_flight) = (backing.overdue().requests, backing.load().in_flight());
        if !is_well && overdue >= in_flight / 2 && overdue > 0 {
            // The bdev has filled the budget and does not answer. No further request waits until its deadline.
            return Err(NotAdmitted::Refused(Refusal::Reply(Reply::device_fault())));
        }
        Err(NotAdmitted::Refused(Refusal::Drop(DropReason::ExportFull)))
    }

    /// Starts counting the requests of each initiator on an export.
    fn track(&mut self, export: &Export, backing: &mut Backing, unended: Unended<'_>) {
        backing.set_tracked(true);
        for_each_source(export.id(), unended, |source| self.paths.started(source, export.id()));
    }

    /// A request to a tracked export begins.
    #[cold]
    #[inline(never)]
    pub(crate) fn started(&mut self, initiator: MacAddr, export: ExportId) {
        self.paths.started(initiator, export);
    }

    /// A request to a tracked export has ended.
    pub(crate) fn ended(&mut self, initiator: MacAddr, export: ExportId) {
        self.paths.ended(initiator, export);
    }

    /// Counts a drop of an initiator that broke no rule.
    #[cold]
    pub(crate) fn count_drop(&mut self, export: ExportKey, initiator: MacAddr, why: InitiatorDrop) {
        self.drops.count(export, initiator, why);
    }

    /// The drops of each initiator that is told apart, and those of the others.
    pub(crate) fn initiator_drops(&self) -> (Vec<InitiatorDropEntry>, DropsOfInitiator) {
        (self.drops.entries().collect(), self.drops.others())
    }

    /// The requests of each initiator on an export are not counted any more.
    pub(crate) fn untrack(&mut self, export: ExportId) {
        self.paths.forget(export);
    }
}

/// Calls `visit` with the initiator of each request on an export that a bdev has or that waits.
fn for_each_source(export: ExportId, (bdevs, order, limits): Unended<'_>, mut visit: impl FnMut(MacAddr)) {
    bdevs.for_each_in_flight(|request| {
        if request.context().export == export
            && let Some(head) = request.head::<12>()
        {
            visit(source(&head));
        }
    });
    order.for_each_parked(export, &mut visit);
    limits.for_each_waiting(export, visit);
}

/// The initiator's address in a request's Ethernet header.
pub(crate) fn source_of(frame: &dpdk::Mbuf) -> MacAddr {
    // Only a frame with a whole header became a request.
    frame.first_bytes::<12>().map_or(MacAddr::BROADCAST, |head| source(&head))
}

/// The initiator's address in the first bytes of an Ethernet header.
pub(crate) fn source(head: &[u8; 12]) -> MacAddr {
    let [.., a, b, c, d, e, f] = *head;
    MacAddr([a, b, c, d, e, f])
}
