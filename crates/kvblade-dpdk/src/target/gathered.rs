//! The calls that wait for a scan, and what the scan has gathered for them.

use std::collections::BTreeMap;
use std::time::Duration;

use aoe_target::{ExportCounters, ExportKey};
use control::{ExportStats, LcoreStats, ListedExport};

use crate::answer::Answer;

/// An answer that needs all exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// That to `aoe_get_exports`.
    List,
    /// That to `aoe_get_stats`.
    Stats,
}

/// A call that waits for a scan.
pub(super) struct Caller {
    pub(super) wanted: Wanted,
    pub(super) answer: Answer,
}

/// What a scan has gathered so far.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) list: Vec<Vec<ListedExport>>,
    pub(super) stats: Vec<Vec<ExportStats>>,
    pub(super) in_flight: BTreeMap<ExportKey, u64>,
    pub(super) lcores: Vec<LcoreStats>,
    /// Counters of the present slice, summed over the lcores that have reported.
    pub(super) counted: BTreeMap<ExportKey, ExportCounters>,
    /// The longest time that a slice took on an lcore, and the longest CPU time on the app's thread.
    pub(super) longest: (Duration, Duration),
}
