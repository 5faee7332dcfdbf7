//! Operations that wait: for a bdev, or for another attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use aoe_target::{ExportId, Histograms};
use control::{CreateExport, InitiatorStats};
use spdk::Poller;

use super::gatherings::Gatherings;
use crate::answer::Answer;

/// Operations that wait, by a number that pollers carry.
#[derive(Default)]
pub(super) struct Operations {
    next: u64,
    postponed: BTreeMap<u64, Postponed>,
    limitings: Gatherings<Vec<u32>>,
    configurings: Gatherings<Vec<u32>>,
    accesses: BTreeMap<u64, Answer>,
    timings: Gatherings<Vec<u32>>,
    histograms: Gatherings<Histograms>,
    initiators: Gatherings<InitiatorStats>,
}

impl Operations {
    /// The number of another operation.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Keeps a creation that is tried again, by its number.
    pub(super) fn postpone(&mut self, operation: u64, creation: Postponed) {
        self.postponed.insert(operation, creation);
    }

    /// Takes a creation for its next attempt. `None` if it was taken before.
    pub(super) fn take_postponed(&mut self, operation: u64) -> Option<Postponed> {
        self.postponed.remove(&operation)
    }

    /// Limits on rates on their way to the lcores; those that could not be reached.
    pub(super) fn limitings(&mut self) -> &mut Gatherings<Vec<u32>> {
        &mut self.limitings
    }

    /// Options on their way to the lcores; those that could not be reached.
    pub(super) fn configurings(&mut self) -> &mut Gatherings<Vec<u32>> {
        &mut self.configurings
    }

    /// Histograms on their way to the lcores; those that could not be reached.
    pub(super) fn timings(&mut self) -> &mut Gatherings<Vec<u32>> {
        &mut self.timings
    }

    /// Histograms on their way from the lcores.
    pub(super) fn histograms(&mut self) -> &mut Gatherings<Histograms> {
        &mut self.histograms
    }

    /// Keeps a call that waits until its lists of initiators hold.
    pub(super) fn wait_for_access(&mut self, operation: u64, answer: Answer) {
        self.accesses.insert(operation, answer);
    }

    /// Takes such a call to answer it.
    pub(super) fn take_access(&mut self, operation: u64) -> Option<Answer> {
        self.accesses.remove(&operation)
    }

    /// Drops of initiators on their way from the lcores.
    pub(super) fn initiators(&mut self) -> &mut Gatherings<InitiatorStats> {
        &mut self.initiators
    }
}

/// A creation that is tried again.
pub(super) struct Postponed {
    request: CreateExport,
    answer: Answer,
    since: Option<Instant>,
    /// Tries again.
    _poller: Poller,
}

impl Postponed {
    /// `since`: when it was first tried; `None` if the next attempt is the last one. `poller` makes that attempt.
    pub(super) fn new(request: CreateExport, answer: Answer, since: Option<Instant>, poller: Poller) -> Self {
        Self { request, answer, since, _poller: poller }
    }

    /// The request, its answer, and when it was first tried.
    pub(super) fn into_parts(self) -> (CreateExport, Answer, Option<Instant>) {
        (self.request, self.answer, self.since)
    }
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
