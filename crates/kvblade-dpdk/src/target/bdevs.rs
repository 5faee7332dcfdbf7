//! The bdevs of exports: their events, and claims on those that are only read.

use control::Record;
use spdk::{Bdev, BdevEvent};

use super::control_plane::{Target, with};
use super::lcores::ToApp;

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
        for id in self.registry.bdev_removed(own_name) {
            let place = self.registry.get(id).map(Record::place).unwrap_or_default();
            tracing::warn!(bdev = %own_name, export = place, "the bdev was removed: its export answers with a device fault");
            self.lcores.post("to take an export offline", move |lcore| lcore.take_offline(id));
            self.bdevs.remove(&id);
        }
    }

    pub(super) fn bdev_resized(&mut self, own_name: &str) {
        let bdev = self.bdevs.values().find(|bdev| bdev.info().name == own_name);
        // A bdev whose exports are still being created, or are offline, is not among them.
        let Some(sectors) = bdev.map(Bdev::sectors) else { return };
        for id in self.registry.bdev_resized(own_name, sectors) {
            let Some(record) = self.registry.get(id) else {
                tracing::error!(bdev = %own_name, export = id.0, "an export was resized that is not in the registry");
                continue;
            };
            let sectors = record.sectors;
            tracing::info!(bdev = %own_name, export = %record.place(), sectors, "the bdev has a new size");
            self.lcores.post("to resize an export", move |lcore| lcore.resize(id, sectors));
        }
    }
}

impl Target {
    /// Claims the bdev if it is served and not written, and ends that claim otherwise.
    pub(super) fn settle_read_claim(&mut self, own_name: &str) -> spdk::Result<()> {
        if self.registry.is_only_read(own_name) {
            let (app, watched) = (self.lcores.app().clone(), own_name.to_owned());
            return self.read_claims.hold(own_name, move |event| bdev_event(&app, &watched, event));
        }
        self.read_claims.release(own_name);
        Ok(())
    }

    /// As [`Self::settle_read_claim`], where exports have gone: those that stay are served in any case.
    pub(super) fn follow_read_claim(&mut self, own_name: &str) {
        if let Err(error) = self.settle_read_claim(own_name) {
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
