//! Exports whose bdevs leave requests without an answer: found by the lcores, noted and logged here.

use aoe_target::ExportKey;
use control::lifecycle::Event;
use datapath::Degraded;

use super::control_plane::{Target, with};
use super::degraded::Overdue;
use super::lcores::Unreached;

impl Target {
    /// Asks those lcores for their degraded exports that have some, or had some at the last look. The others are not disturbed.
    pub(super) fn look_for_degraded(&mut self) {
        let counted: Vec<_> =
            self.lcores.iter().map(|lcore| (lcore.core(), lcore.degraded_changes())).collect();
        for (core, changes) in counted {
            if !self.degraded.is_to_be_asked(core, changes) {
                continue;
            }
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
        let (now, before) = self.degraded.report(core, degraded);
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
