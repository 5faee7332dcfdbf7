//! An export on an lcore from its preparation to its end, and what the control plane changes of it meanwhile.

use std::sync::Arc;

use aoe_target::{
    Acl, Export, ExportId, ExportKey, ExportState, InitiatorState, Ports, Table, TableError, qos::Limits,
};
use spdk::{Bdev, CompletionQueue, IoChannel};

use super::{Closing, Draining, Exports, backing_of};
use crate::{backing::Backing, deadline::Timeout, inflight::InFlight};

/// Why an export can't be added to an lcore.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// Its address or id is taken, or invalid.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Its bdev gives this lcore no channel.
    #[error("no I/O channel: {0}")]
    Channel(#[from] spdk::ChannelError),
    /// It is not here, or it was not prepared: the message is for an earlier export of its id.
    #[error("export {} of generation {} is not here", .0.id.0, .0.generation)]
    Unknown(ExportKey),
    /// It still has the channel into its bdev of before.
    #[error("its requests to the bdev that was removed are still in flight")]
    Attached,
}
/// The initiator state and ACL of an export.
type Published = (Arc<InitiatorState>, Option<Arc<Acl>>);

impl Exports {
    /// First phase of a creation: opens a channel into the bdev. No request finds the export before [`Exports::serve`].
    ///
    /// # Errors
    /// [`AddError`]; nothing has changed then.
    pub(crate) fn prepare(
        &mut self,
        export: Box<Export>,
        bdev: &Bdev,
        bdevs: &CompletionQueue<InFlight>,
    ) -> Result<(), AddError> {
        let (id, syncs_writes) = (export.id(), export.syncs_writes());
        let timeout = Timeout::seconds(export.io_timeout());
        let index = id.0 as usize;
        if id > Table::MAX_ID {
            return Err(TableError::IdTooLarge(id).into());
        }
        if self.backings.get(index).is_some_and(Option::is_some) {
            return Err(TableError::IdTaken(id).into());
        }
        let channel = IoChannel::open(bdev, bdevs)?;
        if self.backings.len() <= index {
            self.backings.resize_with(index + 1, || None);
        }
        let owner =
            self.owners.as_ref().and_then(|owners| owners.elsewhere(export.address(), export.ports()));
        let backing = Backing::new(channel, bdev.info(), timeout, owner);
        self.owned += u32::from(owner.is_none());
        self.backings[index].insert(backing).set_sync(syncs_writes);
        self.prepared.push(export);
        Ok(())
    }

    /// The bdev of an offline export has come back: opens a channel into it. `export` is served in place of the offline one
    /// by [`Exports::serve`].
    ///
    /// # Errors
    /// [`AddError`]; nothing has changed then.
    pub(crate) fn attach(
        &mut self,
        export: Box<Export>,
        bdev: &Bdev,
        bdevs: &CompletionQueue<InFlight>,
    ) -> Result<(), AddError> {
        let key = export.key();
        let is_here = self.table.get(key.id).is_some_and(|offline| offline.key() == key);
        let Some(backing) = backing_of(&mut self.backings, key.id).filter(|_| is_here) else {
            return Err(AddError::Unknown(key));
        };
        if backing.channel().is_some() {
            return Err(AddError::Attached);
        }
        backing.attach(IoChannel::open(bdev, bdevs)?, bdev.info());
        self.prepared.push(export);
        Ok(())
    }

    /// Second phase: requests find the prepared export. Returns the offline one whose place it takes, if there is one.
    ///
    /// # Errors
    /// [`AddError`]; the export is not here any more then.
    pub(crate) fn serve(&mut self, key: ExportKey) -> Result<Option<Box<Export>>, AddError> {
        let place = self.prepared.iter().position(|export| export.key() == key);
        let export = self.prepared.swap_remove(place.ok_or(AddError::Unknown(key))?);
        let syncs_writes = export.syncs_writes();
        let before = self.table.remove(key.id);
        match (self.table.insert(export), backing_of(&mut self.backings, key.id)) {
            (Ok(()), Some(backing)) => backing.set_sync(syncs_writes),
            (Ok(()), None) => return Err(AddError::Unknown(key)),
            // The control plane gives no address out twice, and the offline export had this one.
            (Err(error), _) => {
                self.forget(key.id);
                return Err(error.into());
            }
        }
        Ok(before)
    }

    /// Drains an export: no new request finds it, those in flight are answered, then [`Exports::reap`] calls `done`. At
    /// once if there is no such export.
    pub(crate) fn remove(&mut self, key: ExportKey, done: impl FnOnce() + 'static) {
        self.drop_other(key);
        let is_here = self.table.get(key.id).is_some_and(|export| export.key() == key);
        let served = if is_here { self.table.remove(key.id) } else { None };
        // An offline export may have a prepared one beside it.
        let prepared = self.prepared.extract_if(.., |export| export.key() == key).next();
        match served.or(prepared) {
            Some(export) => self.draining.push(Draining { export, done: Box::new(done) }),
            None => done(),
        }
    }

    /// Serves an export on other ports than before. Whether it is here.
    pub(crate) fn rebind(&mut self, key: ExportKey, ports: Ports) -> bool {
        for place in &mut self.prepared {
            if place.key() == key {
                place.set_ports(ports);
            }
        }
        if self.table.get(key.id).is_none_or(|export| export.key() != key) {
            return false;
        }
        let Some(export) = self.table.remove(key.id) else { return false };
        self.table.insert(export.on(ports)).expect("it was in the table a moment ago, on more ports");
        true
    }

    /// Answers every request for the export with a device fault from now on; its channel closes when nothing is in flight
    /// on it, and [`Exports::reap`] calls `done`. At once if there is no such export.
    pub(crate) fn take_offline(&mut self, key: ExportKey, done: impl FnOnce() + 'static) {
        self.prepared.retain(|export| export.key() != key);
        self.drop_other(key);
        match self.table.get_mut(key.id) {
            Some(export) if export.key() == key => export.set_state(ExportState::Offline),
            _ => return done(),
        }
        self.offline.push(Closing { export: key.id, done: Box::new(done) });
    }

    /// Sets the export's size in sectors of 512 bytes.
    pub(crate) fn resize(&mut self, key: ExportKey, sectors: u64) {
        self.each(key, |export| export.resize(sectors));
    }

    /// Sets the limits on the rates of an export, which its lcore keeps.
    pub(crate) fn set_limits(&mut self, key: ExportKey, limits: Limits) {
        self.each(key, |export| export.set_limits(limits));
    }

    /// Puts an export's new state and acl in place and returns the old ones, whose memory is freed where it was made. A
    /// draining export gets them too, for its replies. None if there is no such export.
    pub(crate) fn publish(
        &mut self,
        key: ExportKey,
        state: &Arc<InitiatorState>,
        acl: Option<&Arc<Acl>>,
    ) -> Vec<Published> {
        let mut old = Vec::new();
        let mut syncs_writes = None;
        self.each(key, |export| {
            old.push(export.publish(Arc::clone(state), acl.cloned()));
            syncs_writes.get_or_insert(export.syncs_writes());
        });
        if let (Some(backing), Some(syncs_writes)) = (backing_of(&mut self.backings, key.id), syncs_writes) {
            backing.set_sync(syncs_writes);
        }
        old
    }

    /// Runs `change` on the export, wherever it is: first the one that requests find.
    fn each(&mut self, key: ExportKey, mut change: impl FnMut(&mut Export)) {
        let served = self.table.get_mut(key.id).into_iter();
        let prepared = self.prepared.iter_mut().map(|export| &mut **export);
        let draining = self.draining.iter_mut().map(|draining| &mut *draining.export);
        let others = self.exchanges.iter_mut().map(|exchange| &mut *exchange.export);
        let all = served.chain(draining).chain(prepared).chain(others);
        all.filter(|export| export.key() == key).for_each(&mut change);
    }

    /// The exports that drain, each with its requests in flight.
    pub(crate) fn draining(&self) -> Vec<(ExportKey, u32)> {
        let in_flight = |id: ExportId| {
            let backing = self.backings.get(id.0 as usize).and_then(Option::as_ref);
            backing.map_or(0, |backing| backing.load().in_flight())
        };
        let keys = self.draining.iter().map(|draining| draining.export.key());
        keys.map(|key| (key, in_flight(key.id))).collect()
    }

    /// Closes the channel of an export that is in no table any more.
    fn forget(&mut self, id: ExportId) {
        let backing = self.backings.get_mut(id.0 as usize).and_then(Option::take);
        if backing.is_some_and(|backing| backing.owner_elsewhere().is_none()) {
            self.owned = self.owned.saturating_sub(1);
        }
    }

    #[cold]
    pub(super) fn reap_drained(&mut self) {
        let backings = &mut self.backings;
        let is_unused = |backings: &mut [Option<Backing>], id| {
            backing_of(backings, id).is_none_or(|backing| backing.is_idle())
        };
        let closed: Vec<Closing> =
            self.offline.extract_if(.., |closing| is_unused(backings, closing.export)).collect();
        let answered: Vec<Closing> =
            self.held.extract_if(.., |held| is_unused(backings, held.export)).collect();
        for closing in &closed {
            if let Some(backing) = backing_of(backings, closing.export) {
                backing.close();
            }
        }
        let drained: Vec<Draining> =
            self.draining.extract_if(.., |draining| is_unused(backings, draining.export.id())).collect();
        for draining in &drained {
            self.forget(draining.export.id());
        }
        // Last: they may look at what is left.
        let done = closed.into_iter().chain(answered).map(|closing| closing.done);
        done.chain(drained.into_iter().map(|draining| draining.done)).for_each(|done| done());
    }
}
