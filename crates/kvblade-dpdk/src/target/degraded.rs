//! What is known of exports whose bdevs leave requests without an answer, or have failed to keep what was written.

use std::collections::BTreeMap;
use std::time::Duration;

use aoe_target::ExportKey;
use datapath::Degraded;

/// What is known of degraded exports.
#[derive(Default)]
pub(super) struct DegradedExports {
    /// By core: the changes that the lcore had counted at the last look, and what it has reported since.
    lcores: BTreeMap<u32, (u64, Vec<Degraded>)>,
    /// Those that are logged.
    known: BTreeMap<ExportKey, Overdue>,
    /// Those on bdevs that failed to bring writes to stable media, with the reason.
    failed: BTreeMap<ExportKey, String>,
}

impl DegradedExports {
    /// Whether an lcore is to be asked: it counts so many changes by now, others than at the last look, or it had degraded
    /// exports then.
    pub(super) fn is_to_be_asked(&mut self, core: u32, changes: u64) -> bool {
        let (before, degraded) = self.lcores.entry(core).or_default();
        let has_changed = std::mem::replace(before, changes) != changes;
        has_changed || !degraded.is_empty()
    }

    /// Takes an lcore's report. Returns what is known now, and what was before.
    pub(super) fn report(
        &mut self,
        core: u32,
        degraded: Vec<Degraded>,
    ) -> (BTreeMap<ExportKey, Overdue>, BTreeMap<ExportKey, Overdue>) {
        self.lcores.entry(core).or_default().1 = degraded;
        let now = sum(self.lcores.values().flat_map(|(_, degraded)| degraded));
        let before = std::mem::replace(&mut self.known, now.clone());
        (now, before)
    }

    /// Takes the exports on bdevs that have failed, with the reasons. Returns those of the last time.
    pub(super) fn set_failed(&mut self, failed: BTreeMap<ExportKey, String>) -> BTreeMap<ExportKey, String> {
        std::mem::replace(&mut self.failed, failed)
    }

    /// Why an export is degraded, if it is. A failure does not pass, so it comes first.
    pub(super) fn reason(&self, key: ExportKey) -> Option<String> {
        let failed = self.failed.get(&key).cloned();
        failed.or_else(|| self.known.get(&key).map(|overdue| overdue.sentence()))
    }
}

/// Requests of an export that were answered past their deadline, over all lcores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Overdue {
    pub(super) requests: u32,
    pub(super) for_time: Duration,
}

impl Overdue {
    pub(super) fn sentence(self) -> String {
        let (requests, seconds) = (self.requests, self.for_time.as_secs());
        let noun = if requests == 1 { "request" } else { "requests" };
        format!("its disk leaves {requests} {noun} without an answer past io_timeout, for {seconds} s now")
    }
}

/// The sum of what lcores report, by export.
fn sum<'a>(reports: impl Iterator<Item = &'a Degraded>) -> BTreeMap<ExportKey, Overdue> {
    let mut sums: BTreeMap<ExportKey, Overdue> = BTreeMap::new();
    for report in reports {
        let sum = sums.entry(report.export).or_default();
        sum.requests = sum.requests.saturating_add(report.overdue);
        sum.for_time = sum.for_time.max(report.for_time);
    }
    sums
}

#[cfg(test)]
mod tests {
    use aoe_target::ExportId;

    use super::*;

    #[test]
    fn a_failure_is_the_reason_before_requests_that_are_overdue_and_after_them() {
        let key = ExportKey { id: ExportId(1), generation: 1 };
        let overdue = Degraded { export: key, overdue: 1, for_time: Duration::from_secs(2) };
        let mut exports = DegradedExports::default();
        assert_eq!(exports.reason(key), None);
        exports.report(0, vec![overdue]);
        assert!(exports.reason(key).is_some_and(|reason| reason.contains("past io_timeout")));
        let failed = BTreeMap::from([(key, "it failed".to_owned())]);
        assert_eq!(exports.set_failed(failed.clone()), BTreeMap::new());
        assert_eq!(exports.reason(key).as_deref(), Some("it failed"));
        exports.report(0, Vec::new());
        assert_eq!(exports.reason(key).as_deref(), Some("it failed"));
        assert_eq!(exports.set_failed(BTreeMap::new()), failed);
        assert_eq!(exports.reason(key), None);
    }

    #[test]
    fn the_lcores_reports_are_added() {
        let degraded = |id, overdue, seconds| Degraded {
            export: ExportKey { id: ExportId(id), generation: 1 },
            overdue,
            for_time: Duration::from_secs(seconds),
        };
        let sums = sum([degraded(1, 1, 5), degraded(2, 4, 1), degraded(1, 2, 70)].iter());
        let shown: Vec<_> = sums.iter().map(|(key, overdue)| (key.id.0, overdue.sentence())).collect();
        assert_eq!(
            shown,
            [
                (1, "its disk leaves 3 requests without an answer past io_timeout, for 70 s now".into()),
                (2, "its disk leaves 4 requests without an answer past io_timeout, for 1 s now".into()),
            ]
        );
    }
}
