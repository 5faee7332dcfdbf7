//! Operations that wait: for reports of lcores, for a bdev, or for another attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use aoe_target::{ExportId, ExportKey};
use control::{CreateExport, LcoreStats};
use spdk::Poller;

use crate::answer::Answer;

/// Operations that wait for reports of lcores, by a number that the reports carry.
#[derive(Default)]
pub(super) struct Operations {
    next: u64,
    pub(super) postponed: BTreeMap<u64, Postponed>,
    pub(super) listing: BTreeMap<u64, Listing>,
    pub(super) counting: BTreeMap<u64, Counting>,
}

impl Operations {
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// A creation that is tried again.
pub(super) struct Postponed {
    pub(super) request: CreateExport,
    pub(super) answer: Answer,
    /// When it was first tried; `None` if the next attempt is the last one.
    pub(super) since: Option<Instant>,
    /// Tries again.
    pub(super) _poller: Poller,
}

/// Numbers of requests in flight on exports that drain, on their way from the lcores.
pub(super) struct Listing {
    pub(super) in_flight: BTreeMap<ExportKey, u64>,
    pub(super) waiting: usize,
    pub(super) answer: Answer,
}

/// Counters on their way from the lcores.
pub(super) struct Counting {
    pub(super) lcores: Vec<LcoreStats>,
    pub(super) waiting: usize,
    pub(super) answer: Answer,
}

/// The exports that wait for their bdevs, and those that are offline.
#[derive(Default)]
pub(super) struct Waiting {
    /// Exports whose bdevs existed at the last look and did not suit.
    refused: BTreeSet<ExportId>,
    /// What SPDK logged at the last attempt.
    said: BTreeSet<String>,
    next_round: Option<Instant>,
}

impl Waiting {
    /// Whether a round is due, in which bdevs that did not suit are tried again. The next one is due after that time.
    pub(super) fn round_is_due(&mut self, period: Duration) -> bool {
        let now = Instant::now();
        let due = self.next_round.is_none_or(|due| now >= due);
        if due {
            self.next_round = Some(now + period);
        }
        due
    }

    /// The bdev of an export did not suit.
    pub(super) fn refuse(&mut self, id: ExportId) {
        self.refused.insert(id);
    }

    /// Whether the bdev of an export did not suit at the last look.
    pub(super) fn is_refused(&self, id: ExportId) -> bool {
        self.refused.contains(&id)
    }

    /// The bdev of an export is gone, or suits.
    pub(super) fn forget(&mut self, id: ExportId) {
        self.refused.remove(&id);
    }

    /// Takes what SPDK logged at the last attempt.
    pub(super) fn take_said(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.said)
    }

    /// Notes what SPDK logged at this attempt.
    pub(super) fn set_said(&mut self, said: BTreeSet<String>) {
        self.said = said;
    }
}
