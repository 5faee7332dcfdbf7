//! Admission to a bdev where room is short: the budget's rules ([`crate::budget`]) with an lcore's requests.

use std::hash::{BuildHasher, RandomState};

use aoe_target::{DropReason, Export, ExportId, MacAddr, Refusal, Reply};
use dpdk::tsc;
use spdk::CompletionQueue;

use crate::{
    backing::Backing,
    budget::{Paths, Room},
    inflight::InFlight,
    order::Order,
};

/// Seconds without a completion after which an export's bdev is not well.
const RECENT_SECONDS: u64 = 2;

/// An lcore's budgets.
#[derive(Debug)]
pub(crate) struct Admission {
    paths: Paths,
    /// [`RECENT_SECONDS`] in ticks of the TSC.
    recent: u64,
}

/// What is done with a request that is not admitted.
#[derive(Debug)]
pub(crate) enum NotAdmitted {
    /// The lcore of this number, which owns the export, decides on it.
    Elsewhere(u16),
    /// It is dropped, or answered at once.
    Refused(Refusal),
}

impl Admission {
    /// For an lcore that can have so many requests in flight.
    pub(crate) fn new(requests: usize) -> Self {
        let paths = Paths::new(requests, RandomState::new().hash_one(requests));
        Self { paths, recent: tsc::hz().saturating_mul(RECENT_SECONDS) }
    }

    /// Decides on a request that does not have room by the first rule. Its export is tracked from then on.
    ///
    /// # Errors
    /// What is done instead: it is handed to the owner of the export, if that is another lcore; dropped; or failed at once, if
    /// the bdev has left half of the export's requests without an answer.
    #[cold]
    #[inline(never)]
    pub(crate) fn admit(
        &mut self,
        export: &Export,
        backing: &mut Backing,
        in_flight: (&mut CompletionQueue<InFlight>, &Order),
        room: Room,
        initiator: MacAddr,
    ) -> Result<(), NotAdmitted> {
        if let Some(owner) = backing.owner_elsewhere() {
            return Err(NotAdmitted::Elsewhere(owner));
        }
        if !backing.load().is_tracked() {
            self.track(export, backing, in_flight);
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
    fn track(
        &mut self,
        export: &Export,
        backing: &mut Backing,
        in_flight: (&mut CompletionQueue<InFlight>, &Order),
    ) {
        backing.set_tracked(true);
        for_each_source(export.id(), in_flight, |source| self.paths.started(source, export.id()));
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

    /// The requests of each initiator on an export are not counted any more.
    pub(crate) fn untrack(&mut self, export: ExportId) {
        self.paths.forget(export);
    }
}

/// Calls `visit` with the initiator of each request on an export that a bdev has or that waits.
fn for_each_source(
    export: ExportId,
    (bdevs, order): (&mut CompletionQueue<InFlight>, &Order),
    mut visit: impl FnMut(MacAddr),
) {
    bdevs.for_each_in_flight(|request| {
        if request.context().export == export
            && let Some(head) = request.head::<12>()
        {
            visit(source(&head));
        }
    });
    order.for_each_parked(export, visit);
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
