//! The first errors of a load, in words.

use aoe_initiator::ShelfSlot;

/// Errors kept in words; later ones are only counted.
const KEPT: usize = 10;

/// A sentence for each of the first errors.
#[derive(Debug, Default)]
pub(super) struct Complaints(Vec<String>);

impl Complaints {
    /// Adds an error of the target at `address`, unless there are enough.
    #[cold]
    pub(super) fn add(&mut self, address: ShelfSlot, what: impl FnOnce() -> String) {
        if self.0.len() < KEPT {
            self.0.push(format!("target {address}: {}", what()));
        }
    }

    /// The sentences.
    pub(super) fn as_slice(&self) -> &[String] {
        &self.0
    }
}
