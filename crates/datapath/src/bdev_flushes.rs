//! Flushes of bdevs for the control plane, and the callbacks that wait for them.

use aoe_target::ExportKey;

/// Is called with whether the flush succeeded.
pub(crate) type Done = Box<dyn FnOnce(bool)>;

/// Exports whose bdevs are being flushed for the control plane, each with its callback.
#[derive(Default)]
pub(crate) struct BdevFlushes(Vec<(ExportKey, Done)>);

impl std::fmt::Debug for BdevFlushes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|(key, _)| key)).finish()
    }
}

impl BdevFlushes {
    /// The bdev of an export is being flushed.
    pub(crate) fn begin(&mut self, export: ExportKey, done: Done) {
        self.0.push((export, done));
    }

    /// The flush has ended. Returns its callback.
    pub(crate) fn end(&mut self, export: ExportKey) -> Option<Done> {
        let place = self.0.iter().position(|(of, _)| *of == export)?;
        Some(self.0.swap_remove(place).1)
    }
}
