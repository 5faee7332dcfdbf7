//! Claims on bdevs that only read-only exports serve.
//!
//! An export that takes writes claims its bdev by its own descriptor, which it shares with other such exports. A read-only export
//! does not claim its bdev, because writing exports may stand beside it. If all exports of a bdev are read-only, the bdev is
//! claimed here, so that no other module of SPDK writes it: formatting it would change the disk under its initiators.

use std::collections::BTreeMap;

use spdk::{AppThread, Bdev, BdevEvent};

/// The claims, by the own names of the bdevs.
#[derive(Default)]
pub(super) struct ReadClaims(BTreeMap<String, Bdev>);

impl ReadClaims {
    /// Ends the claim, if there is one.
    pub(super) fn release(&mut self, own_name: &str) {
        self.0.remove(own_name);
    }

    /// Claims the bdev, if it is not claimed yet.
    pub(super) fn hold(&mut self, own_name: &str, events: impl Fn(BdevEvent) + 'static) -> spdk::Result<()> {
        if !self.0.contains_key(own_name) {
            let claimed = AppThread::with(|app| Bdev::open_against_writers(app, own_name, events))??;
            self.0.insert(own_name.to_owned(), claimed);
        }
        Ok(())
    }
}
