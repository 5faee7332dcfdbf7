//! The bdevs of exports: their events, and claims on those that are only read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aoe_target::ExportKey;
use control::lifecycle::Event;
use spdk::{AppThread, Bdev, BdevEvent};

use super::control_plane::{Target, with};
use super::lcores::ToApp;
use super::resources::Resources;
use super::start_state::is_ready;

/// Handles the event of an exported bdev, on the app's thread.
///
/// SPDK may call while the target is borrowed (a close can complete a removal), so the event is handled by a message.
pub(super) fn bdev_event(app: &ToApp, own_name: &str, event: BdevEvent) {
    let own_name = own_name.to_owned();
    app.send(move || {
        with(|target| match event {
            BdevEvent::Removed => target.bdev_gone(&own_name),
            BdevEvent::Resized => target.bdev_resized(&own_name),
        });
    });
}

impl Target {
    fn bdev_gone(&mut self, own_name: &str) {
        // SPDK lets the bdev go when its handles and the lcores' channels are closed.
        self.read_claims.release(own_name);
        for key in self.registry.about_to_use(own_name) {
            self.happens(key, Event::OtherBdevRemoved);
        }
        for key in self.registry.of_bdev(own_name) {
            let was_served = self.registry.get(key).is_some_and(|record| record.life().serves());
            self.happens(key, Event::BdevRemoved);
            if let Some(record) = self.registry.get(key).filter(|_| was_served) {
                tracing::warn!(
                    bdev = %own_name,
                    export = record.place(),
                    "the bdev was removed: its export answers with a device fault until it comes back"
                );
            }
        }
    }

    pub(super) fn bdev_resized(&mut self, own_name: &str) {
        let mut open = self.resources.values().filter_map(Resources::bdev);
        // A bdev whose exports are offline is not among them.
        let Some(sectors) = open.find(|bdev| bdev.info().name == own_name).map(Bdev::sectors) else { return };
        for key in self.registry.bdev_resized(own_name, sectors) {
            let Some(record) = self.registry.get(key) else {
                tracing::error!(bdev = %own_name, export = key.id.0, "an export was resized that is not in the registry");
                continue;
            };
            let (sectors, address) = (record.sectors(), record.address());
            tracing::info!(bdev = %own_name, export = %record.place(), sectors, "the bdev has a new size");
            let left = Arc::new(AtomicUsize::new(self.lcores.count()));
            self.lcores.run(
                move |lcore| lcore.resize(key, sectors),
                move |core, result| {
                    if let Err(unreached) = result {
                        tracing::error!(
                            lcore = core,
                            export = key.id.0,
                            "the size before stays: {unreached}"
                        );
                    }
                    // Initiators ask for the size when they see the advertisement; any lcore may answer them.
                    if left.fetch_sub(1, Ordering::Relaxed) == 1 && is_ready() {
                        with(|target| target.lcores.advertise(None, address));
                    }
                },
            );
        }
    }

    /// Looks for bdevs of offline exports that have come back. `again`: those that did not suit are tried, too.
    pub(super) fn look_for_bdevs_that_came_back(&mut self, again: bool) {
        for key in self.registry.offline() {
            let Some(record) = self.registry.get(key) else { continue };
            let name = record.bdev_name();
            if !AppThread::with(|app| Bdev::own_name(app, name)).is_ok_and(|name| name.is_some()) {
                self.waiting.forget(key.id);
            } else if again || !self.waiting.is_refused(key.id) {
                let last = self.waiting.is_refused(key.id);
                match self.reopen(key, last) {
                    Ok(()) => self.waiting.forget(key.id),
                    Err(error) => self.stays_offline(key, error.message()),
                }
            }
        }
    }

    /// The bdev of an offline export could not be attached: it is tried again.
    pub(super) fn stays_offline(&mut self, key: ExportKey, reason: &str) {
        self.waiting.refuse(key.id);
        if !self.registry.set_reason(key, reason) {
            return;
        }
        if let Some(record) = self.registry.get(key) {
            tracing::warn!(export = %record.place(), bdev = %record.bdev_name(), %reason, "still offline");
        }
    }

    /// Claims the bdev if it is served and not written, and ends that claim otherwise. `added`: whether an export that is
    /// read-only, or not, is about to use it.
    pub(super) fn settle_read_claim(&mut self, own_name: &str, added: Option<bool>) -> spdk::Result<()> {
        let is_only_read = match added {
            Some(read_only) => read_only && self.registry.is_not_written(own_name),
            None => self.registry.is_only_read(own_name),
        };
        if is_only_read {
            let (app, watched) = (self.lcores.app().clone(), own_name.to_owned());
            return self.read_claims.hold(own_name, move |event| bdev_event(&app, &watched, event));
        }
        self.read_claims.release(own_name);
        Ok(())
    }

    /// As [`Self::settle_read_claim`], where exports have gone: those that stay are served in any case.
    pub(super) fn follow_read_claim(&mut self, own_name: &str) {
        if let Err(error) = self.settle_read_claim(own_name, None) {
            warn_of_writers(own_name, &error);
        }
    }
}

/// Warns that others may write a bdev that is served. The only writer of a bdev that another module has claimed, such as the
/// one beneath a volume, is that module.
pub(super) fn warn_of_writers(own_name: &str, error: &spdk::Error) {
    tracing::warn!(
        bdev = own_name,
        %error,
        "served read-only while others can write it: it is claimed or open for writing elsewhere"
    );
}
