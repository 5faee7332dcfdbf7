//! Exports whose bdevs leave requests without an answer, which the lcores find, or have failed to keep what was written: noted and
//! logged here.

use std::collections::BTreeMap;

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
            self.lcores.only(core).run(
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
            self.registry.set_degraded(*key, self.degraded.reason(*key));
        }
        for (key, overdue) in before.iter().filter(|(key, _)| !now.contains_key(key)) {
            if let Some(record) = self.registry.get(*key) {
                let seconds = overdue.for_time.as_secs();
                tracing::info!(export = %record.address(), seconds, "its disk answers again");
            }
            self.recovers(*key);
        }
    }

    /// One reason for an export to be degraded has gone.
    fn recovers(&mut self, key: ExportKey) {
        let other = self.degraded.reason(key);
        let is_over = other.is_none();
        self.registry.set_degraded(key, other);
        if is_over {
            self.happens(key, Event::Recovered);
        }
    }

    /// Takes the exports on bdevs that have failed to bring writes to stable media, with the reasons: all of them, each time.
    pub(super) fn bdevs_have_failed(&mut self, failed: BTreeMap<ExportKey, String>) {
        let before = self.degraded.set_failed(failed.clone());
        for (key, reason) in &failed {
            if before.get(key) == Some(reason) {
                continue;
            }
            if let Some(record) = self.registry.get(*key) {
                tracing::error!(export = %record.place(), bdev = %record.bdev_name(), "degraded: {reason}");
            }
            self.happens(*key, Event::Degraded);
            self.registry.set_degraded(*key, self.degraded.reason(*key));
        }
        // The bdev of such an export is another one now.
        for key in before.into_keys().filter(|key| !failed.contains_key(key)) {
            self.recovers(key);
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
