//! Claims on bdevs that are served and not written.
//!
//! An export that takes writes claims its bdev by its own descriptor, together with all others that do. One that only
//! reads does not, for it may stand beside those. Where nothing but such exports serves a bdev, it is claimed here
//! instead, so that no other module of SPDK writes it: a bdev that is formatted while it is served would change under
//! its initiators.

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
