//! Operations that wait: for reports of lcores, for a bdev, or for another attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use aoe_target::ExportId;
use control::{CreateExport, Deletion, LcoreStats};
use spdk::{Bdev, Poller};

use crate::answer::Answer;

/// Operations that wait for reports of lcores, by a number that the reports carry.
#[derive(Default)]
pub(super) struct Operations {
    next: u64,
    pub(super) postponed: BTreeMap<u64, Postponed>,
    pub(super) creating: BTreeMap<u64, Creating>,
    pub(super) deleting: BTreeMap<u64, Deleting>,
    pub(super) counting: BTreeMap<u64, Counting>,
}

impl Operations {
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// An export that lcores are adding.
pub(super) struct Creating {
    pub(super) id: ExportId,
    pub(super) bdev: Bdev,
    pub(super) waiting: usize,
    pub(super) failed: Option<String>,
    /// `None` for an export that waited for its bdev: no call waits for it.
    pub(super) answer: Option<Answer>,
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

/// A deletion that lcores are carrying out.
pub(super) struct Deleting {
    pub(super) deletions: Vec<Deletion>,
    pub(super) waiting: usize,
    pub(super) answer: Answer,
}

/// Counters on their way from the lcores.
pub(super) struct Counting {
    pub(super) lcores: Vec<LcoreStats>,
    pub(super) waiting: usize,
    pub(super) answer: Answer,
}

/// The exports that wait for their bdevs.
#[derive(Default)]
pub(super) struct Waiting {
    /// Exports whose bdevs existed at the last look and did not suit.
    pub(super) refused: BTreeSet<ExportId>,
    /// What SPDK logged at the last attempt.
    pub(super) said: BTreeSet<String>,
    pub(super) next_round: Option<Instant>,
}
