//! What the control plane gets to know of exports whose bdevs do not answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aoe_target::ExportKey;

/// An export whose bdev leaves requests without an answer, on one lcore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Degraded {
    /// The export.
    pub export: ExportKey,
    /// Requests that were answered with a device fault past their deadline, and that the bdev still has.
    pub overdue: u32,
    /// For how long there have been some.
    pub for_time: Duration,
}

/// The number of times that an export of an lcore became degraded or recovered. The lcore alone writes it; the control plane
/// reads it from time to time, and asks the lcore only when it has changed.
#[derive(Debug, Clone, Default)]
pub struct DegradedChanges(Arc<AtomicU64>);

impl DegradedChanges {
    /// The changes so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts a change: a plain store, as there is one writer.
    pub(crate) fn count(&self) {
        self.0.store(self.get().wrapping_add(1), Ordering::Relaxed);
    }
}
