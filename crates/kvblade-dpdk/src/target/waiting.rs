//! Exports of the configuration that wait for their bdevs. They are checked periodically, and served as soon as their bdevs
//! allow.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use aoe_target::ExportId;
use control::{CreateExport, RpcError};
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
            bdev = %record.bdev_name,
            %reason,
            "waiting: it is served when its bdev can be"
        );
        Ok(())
    }

    /// Creates the waiting exports whose bdevs have appeared. Exports whose bdevs did not suit are retried in each round. Returns
    /// whether a round is due.
    fn look_for_bdevs(&mut self) -> bool {
        let now = Instant::now();
        let round = self.waiting.next_round.is_none_or(|due| now >= due);
        if round {
            self.waiting.next_round = Some(now + RETRY_PERIOD);
        }
        for id in self.registry.waiting() {
            let Some(record) = self.registry.get(id) else { continue };
            let bdev = record.bdev_name.clone();
            if !AppThread::with(|app| Bdev::own_name(app, &bdev)).is_ok_and(|name| name.is_some()) {
                self.waiting.refused.remove(&id);
                let reason =
                    loading::why_missing(&bdev).unwrap_or_else(|| format!("there is no bdev '{bdev}'"));
                self.waits_on(id, &reason);
            } else if round || !self.waiting.refused.contains(&id) {
                self.try_again(id);
            }
        }
        round
    }

    fn try_again(&mut self, id: ExportId) {
        logging::begin_attempt(std::mem::take(&mut self.waiting.said));
        // Modules of SPDK that examine a new bdev have it open for a moment.
        let last = self.waiting.refused.contains(&id);
        let result = self.resume(id, last);
        self.waiting.said = logging::end_attempt().said;
        match result {
            Ok(()) => {
                self.waiting.refused.remove(&id);
            }
            Err(error) => self.resumed_in_vain(id, &error),
        }
    }

    /// An export waits on, because it could not be made.
    pub(super) fn resumed_in_vain(&mut self, id: ExportId, error: &RpcError) {
        self.waiting.refused.insert(id);
        self.waits_on(id, error.message());
    }

    fn waits_on(&mut self, id: ExportId, reason: &str) {
        if !self.registry.wait_again(id, reason) {
            return;
        }
        if let Some(record) = self.registry.get(id) {
            tracing::warn!(export = %record.place(), bdev = %record.bdev_name, %reason, "still waiting");
        }
    }

    /// An export is deleted: entries that create a bdev for it alone are not retried.
    pub(super) fn waits_no_more(&mut self, id: ExportId, bdev: &str) {
        self.waiting.refused.remove(&id);
        let others = self.registry.exports();
        if !others.into_iter().any(|record| record.id != id && record.bdev_name == bdev) {
            loading::forget(bdev);
        }
    }
}
