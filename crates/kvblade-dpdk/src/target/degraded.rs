//! Exports whose bdevs leave requests without an answer: found by the lcores, noted and logged here.

use std::collections::BTreeMap;
use std::time::Duration;

use aoe_target::ExportKey;
use control::lifecycle::Event;
use datapath::Degraded;

use super::control_plane::{Target, with};
use super::lcores::Unreached;

/// What is known of degraded exports.
#[derive(Default)]
pub(super) struct DegradedExports {
    /// By core: the changes that the lcore had counted at the last look, and what it has reported since.
    lcores: BTreeMap<u32, (u64, Vec<Degraded>)>,
    /// Those that are logged.
    known: BTreeMap<ExportKey, Overdue>,
}

/// Requests of an export that were answered past their deadline, over all lcores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Overdue {
    requests: u32,
    for_time: Duration,
}

impl Overdue {
    fn sentence(self) -> String {
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

impl Target {
    /// Asks those lcores for their degraded exports that have some, or had some at the last look. The others are not disturbed.
    pub(super) fn look_for_degraded(&mut self) {
        let mut asked = Vec::new();
        for lcore in self.lcores.iter() {
            let (changes, degraded) = self.degraded.lcores.entry(lcore.core()).or_default();
            let now = lcore.degraded_changes();
            if *changes != now || !degraded.is_empty() {
                *changes = now;
                asked.push(lcore.core());
            }
        }
        for core in asked {
            self.lcores.only(Some(core)).run(
                |lcore| lcore.degraded(),
                |core, degraded| {
                    with(|target| target.degraded_on(core, degraded));
                },
            );
        }
    }

    fn degraded_on(&mut self, core: u32, degraded: Result<Vec<Degraded>, Unreached>) {
        let degraded = match degraded {
            Ok(degraded) => degraded,
            // Another look follows.
            Err(unreached) => {
                return tracing::warn!(lcore = core, "no report of degraded exports: {unreached}");
            }
        };
        self.degraded.lcores.entry(core).or_default().1 = degraded;
        let now = sum(self.degraded.lcores.values().flat_map(|(_, degraded)| degraded));
        let before = std::mem::replace(&mut self.degraded.known, now.clone());
        for (key, overdue) in &now {
            if !before.contains_key(key) {
                self.log_degraded(*key, *overdue);
                self.happens(*key, Event::Degraded);
            }
            self.registry.set_degraded(*key, Some(overdue.sentence()));
        }
        for (key, overdue) in before.iter().filter(|(key, _)| !now.contains_key(key)) {
            if let Some(record) = self.registry.get(*key) {
                let seconds = overdue.for_time.as_secs();
                tracing::info!(export = %record.address(), seconds, "its disk answers again");
            }
            self.registry.set_degraded(*key, None);
            self.happens(*key, Event::Recovered);
        }
    }

    fn log_degraded(&self, key: ExportKey, overdue: Overdue) {
        if let Some(record) = self.registry.get(key) {
            tracing::error!(
                export = %record.address(),
                bdev = %record.bdev_name(),
                requests = overdue.requests,
                io_timeout = record.options().io_timeout(),
                "degraded: its disk leaves requests without an answer, which initiators get a device fault for"
            );
        }
    }
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
