//! The target as the control plane holds it, on the app's thread.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use aoe_target::ExportKey;
use control::{Baseline, Registry};
use spdk::{Finished, Poller};

use super::captures::Captures;
use super::degraded::DegradedExports;
use super::file_watch::FileWatch;
use super::gathered::{Caller, Gathered};
use super::health_watch::HealthWatch;
use super::lcore_load::LcoreLoad;
use super::lcores::{Lcores, Undelivered};
use super::operations::{Operations, Waiting};
use super::read_claims::ReadClaims;
use super::resources::Resources;
use super::scan::Scans;
use super::state_effects::ManagedState;
use super::watchdog::Watchdog;
use crate::ports::Started;

thread_local! {
    static TARGET: RefCell<Option<Target>> = const { RefCell::new(None) };
}

/// Everything the control plane knows: the owners of its parts, each of which keeps its own invariant. None holds between two of them,
/// so the operations of this module reach them directly.
pub(super) struct Target {
    /// Before the ports: it may hold frames of their mempools.
    pub(super) state_manager: ManagedState,
    /// Before the ports, too: a deferred request that is to be given back is a frame.
    pub(super) lcores: Lcores,
    pub(super) _undelivered: Undelivered,
    pub(super) ports: Vec<Started>,
    /// Lcores that have not turned yet.
    pub(super) starting: usize,
    pub(super) registry: Registry,
    /// What exports hold: open bdevs, and calls that wait.
    pub(super) resources: BTreeMap<ExportKey, Resources>,
    /// The exports of which calls wait, so that late ones are found without a look at all exports.
    pub(super) with_calls: BTreeSet<ExportKey>,
    pub(super) read_claims: ReadClaims,
    pub(super) operations: Operations,
    pub(super) scans: Scans<Caller, Gathered>,
    /// The counters at the last reset.
    pub(super) baseline: Baseline,
    pub(super) health: HealthWatch,
    pub(super) lcore_load: LcoreLoad,
    /// The exports whose requests are timed.
    pub(super) timed: BTreeSet<ExportKey>,
    pub(super) captures: Captures,
    pub(super) waiting: Waiting,
    pub(super) watch: Option<Poller>,
    pub(super) watchdog: Option<Watchdog>,
    pub(super) degraded: DegradedExports,
    pub(super) file_watch: FileWatch,
    /// It looks at files.
    pub(super) files_poller: Option<Poller>,
    pub(super) stopping: Option<Finished>,
}

/// Runs `work` on the target, if there is one.
pub(super) fn with<R>(work: impl FnOnce(&mut Target) -> R) -> Option<R> {
    TARGET.with_borrow_mut(|target| target.as_mut().map(work))
}

/// Makes this the target.
pub(super) fn set(target: Target) {
    TARGET.set(Some(target));
}

/// Takes the target out.
pub(super) fn take() -> Option<Target> {
    TARGET.take()
}
