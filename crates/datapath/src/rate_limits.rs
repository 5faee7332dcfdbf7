//! Limits on the rates of exports and initiators: the [`Throttle`] with frames in it, by the TSC.
//!
//! A request enters the order first and asks for its rate when it may start. So it keeps its place among requests for the same
//! sectors while it waits, by whatever port or address these come, and its copies are found there. While it waits, it is in
//! flight on its export: the export drains when it has ended. An export that drains or goes offline has no limits any more,
//! and what waits starts at once.
//!
//! A request that has waited for [`WAIT`] is dropped: its initiator repeats it. It is not answered with a device fault, because
//! nothing is wrong with the disk. The disk's own deadline begins when the request starts.

use std::hash::{BuildHasher, RandomState};

use aoe_target::{
    BdevIo, BdevOp, Export, ExportId, MacAddr, Place,
    qos::{Held, Limits, Throttle},
};
use dpdk::tsc;

use crate::{
    deadline::{Tick, Timeout},
    order::Parked,
};

/// Longest wait for a rate, in seconds; an export whose disk has less time gives a wait no more either. With the longest
/// deadline of a disk it is within the 180 s for which Linux's aoe driver sends a request again.
const WAIT: u8 = 30;

/// A request that waits for a rate, and its place in the order. Its deadline is that of the wait.
#[derive(Debug)]
pub(crate) struct Limited {
    pub(crate) place: Place,
    pub(crate) request: Parked,
}

/// An lcore's limits, and the requests that wait for them.
#[derive(Debug)]
pub(crate) struct RateLimits {
    throttle: Throttle<Limited>,
    hz: u64,
}

impl RateLimits {
    /// For an lcore that can have so many requests in flight.
    pub(crate) fn new(requests: usize) -> Self {
        let seed = RandomState::new().hash_one(requests);
        Self { throttle: Throttle::new(requests, seed), hz: tsc::hz() }
    }

    /// The time that a request to an export may wait.
    pub(crate) fn timeout(export: &Export) -> Timeout {
        Timeout::seconds(export.io_timeout().min(WAIT))
    }

    /// See [`Throttle::set`]. Whether requests must ask from now on.
    pub(crate) fn set(&mut self, export: ExportId, limits: Limits) -> bool {
        self.throttle.set(export, limits, self.hz, tsc::now());
        self.limit(export)
    }

    /// See [`Throttle::lift_all`].
    pub(crate) fn lift_all(&mut self) {
        self.throttle.lift_all();
    }

    /// See [`Throttle::limits`].
    pub(crate) fn limit(&self, export: ExportId) -> bool {
        self.throttle.limits(export)
    }

    /// See [`Throttle::start`].
    pub(crate) fn start(&mut self, export: ExportId, initiator: MacAddr, io: &BdevIo) -> bool {
        self.throttle.start(export, initiator, bytes_of(io), tsc::now())
    }

    /// See [`Throttle::hold`].
    pub(crate) fn hold(
        &mut self,
        export: ExportId,
        initiator: MacAddr,
        most: u32,
        request: Limited,
    ) -> Result<(), Limited> {
        let bytes = bytes_of(&request.request.io);
        self.throttle.hold(Held { export, initiator, request }, bytes, most, tsc::now())
    }

    /// Whether a request waits.
    #[inline(always)]
    pub(crate) fn has_waiting(&self) -> bool {
        self.throttle.waiting() > 0
    }

    /// Starts a pass over the requests that wait: [`RateLimits::pop`].
    pub(crate) fn begin_pass(&mut self) {
        self.throttle.begin_pass(tsc::now());
    }

    /// See [`Throttle::pop`].
    pub(crate) fn pop(&mut self) -> Option<Held<Limited>> {
        self.throttle.pop()
    }

    /// Takes out each request that is due at this tick.
    pub(crate) fn expire(&mut self, due: Tick, ended: impl FnMut(Held<Limited>)) {
        self.throttle.expire(|limited| limited.request.deadline == due, ended);
    }

    /// Calls `visit` with the initiator of each request to an export that waits.
    pub(crate) fn for_each_waiting(&mut self, export: ExportId, visit: impl FnMut(MacAddr)) {
        self.throttle.for_each_waiting(export, visit);
    }
}

/// Bytes that a request moves to or from the disk.
fn bytes_of(io: &BdevIo) -> u64 {
    match io.op {
        BdevOp::Read | BdevOp::Write => io.data_len() as u64,
        BdevOp::Flush | BdevOp::Trim | BdevOp::SmartData | BdevOp::SmartThresholds | BdevOp::SmartStatus => 0,
    }
}
