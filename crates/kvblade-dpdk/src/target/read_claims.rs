//! Claims on bdevs that are served and not written.
//!
//! An export that takes writes claims its bdev by its own descriptor, together with all others that do. One that only
//! reads does not, for it may stand beside those. Where nothing but such exports serves a bdev, it is claimed here
//! instead, so that no other module of SPDK writes it: a bdev that is formatted while it is served would change under
//! its initiators.

use std::collections::BTreeMap;

use spdk::{AppThread, Bdev};

use super::Target;
use super::bdev_events::bdev_event;
use super::lcores::App;

/// The claims, by the own names of the bdevs.
#[derive(Default)]
pub(super) struct ReadClaims(BTreeMap<String, Bdev>);

impl ReadClaims {
    /// Ends the claim, if there is one.
    pub(super) fn release(&mut self, own_name: &str) {
        self.0.remove(own_name);
    }

    /// Claims the bdev, if it is not yet.
    fn hold(&mut self, app: &App, own_name: &str) -> spdk::Result<()> {
        if !self.0.contains_key(own_name) {
            let (app, watched) = (app.clone(), own_name.to_owned());
            let events = move |event| bdev_event(&app, &watched, event);
            let claimed = AppThread::with(|app| Bdev::open_against_writers(app, own_name, events))??;
            self.0.insert(own_name.to_owned(), claimed);
        }
        Ok(())
    }
}

impl Target {
    /// Claims the bdev if it is served and not written, and ends that claim otherwise.
    pub(super) fn settle_read_claim(&mut self, own_name: &str) -> spdk::Result<()> {
        if self.registry.is_only_read(own_name) {
            return self.read_claims.hold(self.lcores.app(), own_name);
        }
        self.read_claims.release(own_name);
        Ok(())
    }

    /// As [`Self::settle_read_claim`], where exports have gone: those that stay are served in any case.
    pub(super) fn follow_read_claim(&mut self, own_name: &str) {
        if let Err(error) = self.settle_read_claim(own_name) {
            warn(own_name, &error);
        }
    }
}

/// Says that others may write what is served. Of a bdev that another module has claimed, as the one beneath a volume,
/// that module is the only writer.
pub(super) fn warn(own_name: &str, error: &spdk::Error) {
    tracing::warn!(
        bdev = own_name,
        %error,
        "served read-only while others can write it: it is claimed or open for writing elsewhere"
    );
}
