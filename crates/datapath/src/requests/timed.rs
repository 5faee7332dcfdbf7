//! Exports whose requests are timed: [`crate::timing`].

use aoe_target::{ExportKey, Histograms};

use super::Requests;

impl Requests {
    /// Times the requests of an export from now on, or no longer. Returns the histograms before, or, if there is no such export
    /// here, these.
    pub(crate) fn time(
        &mut self,
        key: ExportKey,
        histograms: Option<Box<Histograms>>,
    ) -> Option<Box<Histograms>> {
        if self.exports.get(key.id).is_none_or(|export| export.key() != key) {
            return histograms;
        }
        let (_, backing) = self.exports.export_of(key.id);
        backing.set_timed(histograms.is_some());
        self.accounting.timings().set(key, histograms)
    }

    /// Takes the histograms of an export that is gone.
    pub(crate) fn time_no_longer(&mut self, key: ExportKey) -> Option<Box<Histograms>> {
        let timings = self.accounting.timings();
        timings.of(key)?;
        timings.set(key, None)
    }

    /// Copies the histograms of an export that is timed. Whether it is.
    pub(crate) fn copy_histograms(&mut self, key: ExportKey, to: &mut Histograms) -> bool {
        let Some(histograms) = self.accounting.timings().of(key) else { return false };
        to.clone_from(histograms);
        true
    }
}
