//! The calls that wait for a scan, and what the scan has gathered for them.

use std::collections::BTreeMap;
use std::time::Duration;

use aoe_target::{ExportCounters, ExportKey};
use control::{
    ExportStats, GetExports, GetLcores, GetPorts, InitiatorStats, LcoreStats, ListedExport, Record,
};

use crate::answer::Answer;

/// An answer that needs all exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// That to `aoe_get_exports`, of these exports.
    List(GetExports),
    /// That to `aoe_get_stats`.
    Stats,
    /// That to `aoe_reset_stats`.
    Reset,
    /// That to `aoe_get_health`.
    Health,
    /// That to `aoe_get_ports`, of these ports.
    Ports(GetPorts),
    /// That to `aoe_get_lcores`, of these lcores.
    Lcores(GetLcores),
}

impl Wanted {
    /// Whether it needs the counters of exports.
    pub(super) const fn needs_counters(&self) -> bool {
        matches!(self, Self::Stats | Self::Reset)
    }

    /// Whether it needs this export itself.
    pub(super) fn lists(&self, record: &Record) -> bool {
        match self {
            Self::List(wanted) => record.is_wanted(wanted),
            Self::Health => true,
            Self::Stats | Self::Reset | Self::Ports(_) | Self::Lcores(_) => false,
        }
    }
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
    /// The initiators, where somebody wants them.
    pub(super) initiators: InitiatorStats,
    /// By port number: the exports that the port serves, where somebody wants them.
    pub(super) exports_of_ports: BTreeMap<u16, u64>,
    /// Counters of the present slice, summed over the lcores that have reported.
    pub(super) counted: BTreeMap<ExportKey, ExportCounters>,
    /// The longest time that a slice took on an lcore, and the longest CPU time on the app's thread.
    pub(super) longest: (Duration, Duration),
}
