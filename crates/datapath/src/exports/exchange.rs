//! An export goes on with another bdev, or with other options, and its initiators see no error.
//!
//! The control plane has every lcore do each step before the next one: open the other channel; hold the export, which drops new
//! requests and waits for those in flight; make durable what the bdev has only in a volatile cache; go on with the other
//! channel. So no request is at one bdev while another one is at the other, on any lcore. Initiators repeat what was dropped.

use aoe_target::{Export, ExportKey, ExportState};
use spdk::{Bdev, CompletionQueue, IoChannel};

use super::{AddError, Closing, Exchange, Exports, backing_of};
use crate::{backing::SyncPolicy, deadline::Timeout, inflight::InFlight};

impl Exports {
    /// Opens the channel that the export is to go on with, as `export`. Requests do not see it before [`Exports::exchange`].
    ///
    /// # Errors
    /// [`AddError`]; nothing has changed then.
    pub(crate) fn open_other(
        &mut self,
        export: Box<Export>,
        bdev: &Bdev,
        bdevs: &CompletionQueue<InFlight>,
    ) -> Result<(), AddError> {
        let key = export.key();
        if !self.serves(key) {
            return Err(AddError::Unknown(key));
        }
        let channel = IoChannel::open(bdev, bdevs)?;
        self.exchanges.push(Exchange { export, channel, needed_sync: SyncPolicy::of(bdev.info()) });
        Ok(())
    }

    /// Drops new requests from now on; [`Exports::reap`] calls `done` when nothing is in flight. At once if there is no such
    /// export.
    pub(crate) fn hold(&mut self, key: ExportKey, done: impl FnOnce() + 'static) {
        match self.table.get_mut(key.id) {
            Some(export) if export.key() == key => export.set_state(ExportState::Held),
            _ => return done(),
        }
        self.held.push(Closing { export: key.id, done: Box::new(done) });
    }

    /// Goes on with the other channel, in the state that the other export has. Returns the export before, whose memory is
    /// freed where it was made; `None` if there is nothing to exchange.
    pub(crate) fn exchange(&mut self, key: ExportKey) -> Option<Box<Export>> {
        let Exchange { export, channel, needed_sync } = self.take_other(key)?;
        self.let_go(key);
        let before = self.replace(export)?;
        if let Some(backing) = backing_of(&mut self.backings, key.id) {
            backing.exchange(channel, needed_sync);
        }
        self.settings_changed(key);
        Some(before)
    }

    /// Takes requests again, with the channel and options before. Returns the export that is not needed.
    pub(crate) fn release(&mut self, key: ExportKey) -> Option<Box<Export>> {
        let unneeded = self.drop_other(key);
        if let Some(export) = self.table.get_mut(key.id)
            && export.key() == key
            && export.state() == ExportState::Held
        {
            export.set_state(ExportState::Online);
        }
        unneeded
    }

    /// Serves an export with other options that concern neither its sectors nor its bdev. Returns the export before, or, if the
    /// export is not here, this one.
    pub(crate) fn configure(&mut self, export: Box<Export>) -> Box<Export> {
        let key = export.key();
        if !self.serves(key) {
            return export;
        }
        match self.replace(export) {
            Some(before) => {
                self.settings_changed(key);
                before
            }
            None => unreachable!("it was in the table a moment ago"),
        }
    }

    /// Forgets what the export was to go on with; who waits for requests in flight waits no longer.
    pub(super) fn drop_other(&mut self, key: ExportKey) -> Option<Box<Export>> {
        self.let_go(key);
        self.take_other(key).map(|exchange| exchange.export)
    }

    fn let_go(&mut self, key: ExportKey) {
        let held: Vec<Closing> = self.held.extract_if(.., |held| held.export == key.id).collect();
        held.into_iter().for_each(|held| (held.done)());
    }

    fn take_other(&mut self, key: ExportKey) -> Option<Exchange> {
        let place = self.exchanges.iter().position(|exchange| exchange.export.key() == key)?;
        Some(self.exchanges.swap_remove(place))
    }

    fn serves(&self, key: ExportKey) -> bool {
        self.table.get(key.id).is_some_and(|export| export.key() == key)
    }

    /// Puts an export in the place of the one with its key.
    fn replace(&mut self, export: Box<Export>) -> Option<Box<Export>> {
        let before = self.table.remove(export.id())?;
        self.table.insert(export).expect("the export before had this address, on these ports");
        Some(before)
    }

    /// The backing follows its export's settings.
    fn settings_changed(&mut self, key: ExportKey) {
        if let (Some(export), Some(backing)) =
            (self.table.get(key.id), backing_of(&mut self.backings, key.id))
        {
            backing.set_timeout(Timeout::seconds(export.io_timeout()));
            backing.set_sync(export.syncs_writes());
        }
    }
}
