//! What is known of exports whose bdevs leave requests without an answer.

use std::collections::BTreeMap;
use std::time::Duration;

use aoe_target::ExportKey;
use datapath::Degraded;

/// What is known of degraded exports.
#[derive(Default)]
pub(super) struct DegradedExports {
    /// By core: the changes that the lcore had counted at the last look, and what it has reported since.
    pub(super) lcores: BTreeMap<u32, (u64, Vec<Degraded>)>,
    /// Those that are logged.
    pub(super) known: BTreeMap<ExportKey, Overdue>,
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
pub(super) fn sum<'a>(reports: impl Iterator<Item = &'a Degraded>) -> BTreeMap<ExportKey, Overdue> {
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
