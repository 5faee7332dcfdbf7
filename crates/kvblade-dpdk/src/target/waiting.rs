//! Exports of the configuration that wait for their bdevs. They are checked periodically, and served as soon as their bdevs
//! allow.

use std::cell::RefCell;
use std::time::Duration;

use aoe_target::{ExportId, ExportKey};
use control::CreateExport;
use spdk::{AppThread, Bdev, Poller};

use super::control_plane::{Target, with};
use super::loading::{self, RETRY_PERIOD};
use crate::logging;

/// Period of the look for bdevs that have appeared.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

thread_local! {
    static WATCH: RefCell<Option<Poller>> = const { RefCell::new(None) };
}

/// Starts the periodic check. After the start.
pub(super) fn watch() {
    let poller = Poller::register(LOOK_PERIOD, || {
        let round_is_due = with(Target::look_for_bdevs);
        if round_is_due == Some(true) {
            loading::retry();
        }
        false
    });
    match poller {
        Ok(poller) => WATCH.set(Some(poller)),
        Err(error) => tracing::error!(%error, "exports that wait are not looked at again"),
    }
}

/// Ends what [`watch`] began.
pub(super) fn stop() {
    WATCH.set(None);
}

impl Target {
    /// Takes the address for an export that can't be made yet.
    pub(super) fn wait(&mut self, request: &CreateExport, reason: &str) -> Result<(), String> {
        let record = self.registry.wait(request, reason).map_err(|error| error.message().to_owned())?;
        tracing::warn!(
            export = %record.place(),
            bdev = %record.bdev_name(),
            %reason,
            "waiting: it is served when its bdev can be"
        );
        Ok(())
    }

    /// Creates the waiting exports whose bdevs have appeared. Exports whose bdevs did not suit are retried in each round. Returns
    /// whether a round is due.
    fn look_for_bdevs(&mut self) -> bool {
        self.look_for_late_calls();
        let round = self.waiting.round_is_due(RETRY_PERIOD);
        for key in self.registry.waiting() {
            let Some(record) = self.registry.get(key) else { continue };
            let bdev = record.bdev_name().to_owned();
            if !AppThread::with(|app| Bdev::own_name(app, &bdev)).is_ok_and(|name| name.is_some()) {
                self.waiting.forget(key.id);
                let reason =
                    loading::why_missing(&bdev).unwrap_or_else(|| format!("there is no bdev '{bdev}'"));
                self.waits_on(key, &reason);
            } else if round || !self.waiting.is_refused(key.id) {
                self.try_again(key);
            }
        }
        self.look_for_bdevs_that_came_back(round);
        round
    }

    fn try_again(&mut self, key: ExportKey) {
        logging::begin_attempt(self.waiting.take_said());
        // Modules of SPDK that examine a new bdev have it open for a moment.
        let last = self.waiting.is_refused(key.id);
        let result = self.resume(key, last);
        self.waiting.set_said(logging::end_attempt().said);
        match result {
            Ok(()) => self.waiting.forget(key.id),
            Err(error) => self.resumed_in_vain(key, error.message()),
        }
    }

    /// An export waits on, because it could not be made.
    pub(super) fn resumed_in_vain(&mut self, key: ExportKey, reason: &str) {
        self.waiting.refuse(key.id);
        self.waits_on(key, reason);
    }

    fn waits_on(&mut self, key: ExportKey, reason: &str) {
        if !self.registry.set_reason(key, reason) {
            return;
        }
        if let Some(record) = self.registry.get(key) {
            tracing::warn!(export = %record.place(), bdev = %record.bdev_name(), %reason, "still waiting");
        }
    }

    /// An export is deleted: entries that create a bdev for it alone are not retried.
    pub(super) fn waits_no_more(&mut self, id: ExportId, bdev: &str) {
        self.waiting.forget(id);
        let others = self.registry.exports();
        if !others.into_iter().any(|record| record.bdev_name() == bdev) {
            loading::forget(bdev);
        }
    }
}
