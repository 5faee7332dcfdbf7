//! The looks at the files beneath exports, and what follows for the exports.

use std::collections::BTreeMap;
use std::time::Duration;

use aoe_target::ExportKey;
use spdk::{AppThread, Bdev, Poller};

use super::control_plane::{Target, with};

/// How often some of the files are looked at.
const PERIOD: Duration = Duration::from_millis(500);

/// Looks at the files from now on, until [`stop`].
pub(super) fn start() {
    let poller = Poller::register(PERIOD, || {
        with(Target::look_at_files);
        false
    });
    match poller {
        Ok(poller) => {
            with(|target| target.files_poller = Some(poller));
        }
        Err(error) => tracing::error!(%error, "files that grow are not noticed"),
    }
}

/// Ends the looks, because the program ends.
pub(super) fn stop() {
    let poller = with(|target| target.files_poller.take());
    drop(poller);
}

impl Target {
    fn look_at_files(&mut self) {
        match AppThread::with(|app| self.file_watch.look(app)) {
            Ok(()) => self.bdevs_have_failed(self.exports_on_failed_files()),
            Err(error) => tracing::error!(%error, "files can't be looked at"),
        }
    }

    /// The exports on files that failed, with the reason.
    fn exports_on_failed_files(&self) -> BTreeMap<ExportKey, String> {
        if !self.file_watch.has_failed() && !spdk::any_file_sync_failed() {
            return BTreeMap::new();
        }
        let reason = |key: &ExportKey| {
            let bdev = self.resources.get(key)?.bdev()?;
            self.file_watch.failure_among(&bdev.info().files).or_else(|| failed_flush(bdev))
        };
        self.resources.keys().filter_map(|key| Some((*key, reason(key)?))).collect()
    }
}

/// The reason, if a file failed to keep what was written and the exports flush it themselves, as that of SPDK's aio bdev.
fn failed_flush(bdev: &Bdev) -> Option<String> {
    let (file, errno) = bdev.failed_file()?;
    let error = std::io::Error::from_raw_os_error(errno);
    Some(format!(
        "'{}' failed to keep what was written (fdatasync: {error}): what it is to make durable fails until all exports of the file \
         have been deleted and created again",
        file.path
    ))
}
