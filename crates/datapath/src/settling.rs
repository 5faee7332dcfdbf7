//! Who waits until a bdev has brought to stable media what it has in a volatile cache.

use aoe_target::ExportKey;

/// Is called with whether it has.
pub(crate) type Done = Box<dyn FnOnce(bool)>;

/// Exports whose bdevs are being flushed for the control plane, and who waits for that.
#[derive(Default)]
pub(crate) struct Settling(Vec<(ExportKey, Done)>);

impl std::fmt::Debug for Settling {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|(key, _)| key)).finish()
    }
}

impl Settling {
    /// The bdev of an export is being flushed.
    pub(crate) fn begin(&mut self, export: ExportKey, done: Done) {
        self.0.push((export, done));
    }

    /// The flush has ended. Returns who waits for it.
    pub(crate) fn end(&mut self, export: ExportKey) -> Option<Done> {
        let place = self.0.iter().position(|(of, _)| *of == export)?;
        Some(self.0.swap_remove(place).1)
    }
}
