//! An lcore's exports and what is behind each: its channel into the bdev, its requests in flight, how its writes become
//! durable, and whether it is draining.
//!
//! Invariant: an export whose requests are in flight has its backing and its [`Export`] here, in the table or, once it is
//! draining, beside it. So a completion always finds both ([`Exports::export_of`]).

use std::sync::Arc;

use aoe_target::{
    Acl, Cursor, Export, ExportCounters, ExportId, ExportKey, ExportState, InitiatorState, PortId, Ports,
    Route, Scan, ShelfSlot, Table, TableError, VlanId, Vlans, qos::Limits,
};
use dpdk::Mbuf;
use spdk::{Bdev, BdevInfo, CompletionQueue, CurrentThread, FlushMethod, Io, IoChannel};

use crate::{
    budget::{Load, Progress},
    deadline::Timeout,
    inflight::InFlight,
    owner::Owners,
};

/// How a write becomes durable before its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyncPolicy {
    /// By itself, or not at all: a flush would do nothing.
    Nothing,
    /// By a flush after it.
    Flush,
    /// By NVMe's FUA bit, or a flush where one command does not carry the write.
    Fua,
}

impl SyncPolicy {
    fn of(info: &BdevInfo) -> Self {
        match info.flush {
            FlushMethod::Nothing => Self::Nothing,
            FlushMethod::NvmeCommand if info.fua => Self::Fua,
            // An impossible flush fails the write.
            FlushMethod::NvmeCommand
            | FlushMethod::FileSync
            | FlushMethod::Bdev
            | FlushMethod::Impossible => Self::Flush,
        }
    }
}

/// Why an export can't be added to an lcore.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// Its address or id is taken, or invalid.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Its bdev gives this lcore no channel.
    #[error("no I/O channel: {0}")]
    Channel(#[from] spdk::Error),
    /// It is not here, or it was not prepared: the message is for an earlier export of its id.
    #[error("export {} of generation {} is not here", .0.id.0, .0.generation)]
    Unknown(ExportKey),
    /// It still has the channel into its bdev of before.
    #[error("its requests to the bdev that was removed are still in flight")]
    Attached,
}

/// What is behind an export. The fields of a read or write come first, in one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Backing {
    /// `None` once the bdev is gone.
    channel: Option<IoChannel>,
    /// What its bdev needs.
    needed_sync: SyncPolicy,
    /// What is done before a write is answered: nothing while a volatile cache is allowed.
    sync: SyncPolicy,
    load: Load,
    timeout: Timeout,
    /// The lcore that owns the export, if it is another one. Its load says so, too.
    owner: Option<u16>,
    counters: ExportCounters,
    /// What the bdev has completed, for the budget.
    progress: Progress,
    overdue: Overdue,
}

/// An export's requests that its bdev has and that were answered past their deadline.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Overdue {
    pub(crate) requests: u32,
    /// The TSC when there was none before.
    pub(crate) since: u64,
}

// Written for each request. There are many exports, so each has a cache line of its own, and not a pair.
const _: () = assert!(align_of::<Option<Backing>>() == 64 && size_of::<Option<Backing>>().is_multiple_of(64));

impl Backing {
    fn new(channel: IoChannel, info: &BdevInfo, timeout: Timeout, owner: Option<u16>) -> Self {
        let mut load = Load::default();
        if owner.is_some() {
            load.set_elsewhere();
        }
        Self {
            channel: Some(channel),
            needed_sync: SyncPolicy::of(info),
            sync: SyncPolicy::Nothing,
            load,
            timeout,
            owner,
            counters: ExportCounters::default(),
            progress: Progress::default(),
            overdue: Overdue::default(),
        }
    }

    /// Its way into the bdev; `None` once that is gone.
    #[inline]
    pub(crate) fn channel(&self) -> Option<&IoChannel> {
        self.channel.as_ref()
    }

    /// What is done before a write is answered.
    #[inline]
    pub(crate) fn sync(&self) -> SyncPolicy {
        self.sync
    }

    /// Decides again what is done before a write is answered: when the export's state changes, not for each write.
    fn set_sync(&mut self, syncs_writes: bool) {
        self.sync = if syncs_writes { self.needed_sync } else { SyncPolicy::Nothing };
    }

    /// Has its requests go to a bdev that has come back.
    fn attach(&mut self, channel: IoChannel, info: &BdevInfo) {
        self.channel = Some(channel);
        self.needed_sync = SyncPolicy::of(info);
    }

    #[inline]
    pub(crate) fn counters(&mut self) -> &mut ExportCounters {
        &mut self.counters
    }

    /// Counts a request that is now in flight, at the bdev or in the control plane, until [`Backing::ended`].
    #[inline]
    pub(crate) fn started(&mut self) {
        self.load.started();
    }

    /// A request is no longer in flight: it is being answered.
    #[inline]
    pub(crate) fn ended(&mut self) {
        self.load.ended();
    }

    /// The time that its bdev has for a request.
    #[inline(always)]
    pub(crate) fn timeout(&self) -> Timeout {
        self.timeout
    }

    /// The number of the lcore that owns the export, if it is another one: its requests to the bdev are handed over. The
    /// budget is short then ([`crate::budget::Room::is_short`]), so that a request to an own export does not look here.
    pub(crate) fn owner_elsewhere(&self) -> Option<u16> {
        self.owner
    }

    /// Its requests that were answered past their deadline.
    pub(crate) fn overdue(&self) -> Overdue {
        self.overdue
    }

    /// A request was answered past its deadline. True if it is the only one.
    pub(crate) fn expired(&mut self, tsc: u64) -> bool {
        self.counters.timeouts += 1;
        self.overdue.requests += 1;
        let is_first = self.overdue.requests == 1;
        if is_first {
            self.overdue.since = tsc;
        }
        is_first
    }

    /// The bdev has answered such a request. True if there is none left.
    pub(crate) fn answered_late(&mut self) -> bool {
        self.counters.late_completions += 1;
        self.overdue.requests -= 1;
        self.overdue.requests == 0
    }

    /// Its requests in flight, as the budget sees them.
    #[inline(always)]
    pub(crate) fn load(&self) -> Load {
        self.load
    }

    /// Says whether requests in flight were admitted before a fence.
    pub(crate) fn set_fenced(&mut self, fenced: bool) {
        self.load.set_fenced(fenced);
    }

    /// Says whether its rates are limited.
    pub(crate) fn set_limited(&mut self, limited: bool) {
        self.load.set_limited(limited);
    }

    /// Says whether the requests of each initiator are counted.
    pub(crate) fn set_tracked(&mut self, tracked: bool) {
        self.load.set_tracked(tracked);
    }

    /// Whether its bdev has completed something lately: within `recent` ticks of the TSC before `now`.
    pub(crate) fn is_well(&mut self, now: u64, recent: u64) -> bool {
        let completed = self.counters.completions();
        self.load.in_flight() == 0 || self.progress.is_recent(completed, now, recent)
    }

    /// Hands an I/O to the bdev.
    ///
    /// # Errors
    /// The frame, if the bdev is gone, or on another SPDK thread than the lcore's.
    #[inline(always)]
    pub(crate) fn submit(
        &self,
        thread: CurrentThread<'_>,
        bdevs: &CompletionQueue<InFlight>,
        io: Io,
        frame: Mbuf,
        context: InFlight,
    ) -> Result<(), Mbuf> {
        match &self.channel {
            Some(channel) => channel.submit(thread, bdevs, io, frame, context),
            None => Err(frame),
        }
    }
}

/// An lcore's exports.
#[derive(Debug)]
pub(crate) struct Exports {
    /// Where there are several lcores.
    owners: Option<Owners>,
    /// Those that take requests.
    table: Table,
    /// By [`ExportId`].
    backings: Vec<Option<Backing>>,
    /// Those that have a channel and are not in the table yet: see [`Exports::serve`].
    #[expect(
        clippy::vec_box,
        reason = "the table takes a box, whose memory was allocated by the control plane"
    )]
    prepared: Vec<Box<Export>>,
    draining: Vec<Draining>,
    /// Offline exports whose channel is still open.
    offline: Vec<Closing>,
}

/// An export that takes no new requests, until nothing is in flight on it.
struct Draining {
    export: Box<Export>,
    done: Box<dyn FnOnce()>,
}

/// A channel that closes when nothing is in flight on it.
struct Closing {
    export: ExportId,
    done: Box<dyn FnOnce()>,
}

/// The initiator state and ACL of an export.
type Published = (Arc<InitiatorState>, Option<Arc<Acl>>);

impl std::fmt::Debug for Draining {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Draining").field("export", &self.export).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Closing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Closing").field("export", &self.export).finish_non_exhaustive()
    }
}

impl Exports {
    pub(crate) fn new() -> Self {
        Self {
            owners: None,
            table: Table::new(),
            backings: Vec::new(),
            prepared: Vec::new(),
            draining: Vec::new(),
            offline: Vec::new(),
        }
    }

    /// The owners of exports that are prepared from now on; of all, if there is one lcore, it is this one.
    pub(crate) fn set_owners(&mut self, owners: Option<Owners>) {
        self.owners = owners;
    }

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
        if backing.channel.is_some() {
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
                self.backings[key.id.0 as usize] = None;
                return Err(error.into());
            }
        }
        Ok(before)
    }

    /// Drains an export: no new request finds it, those in flight are answered, then [`Exports::reap`] calls `done`. At
    /// once if there is no such export.
    pub(crate) fn remove(&mut self, key: ExportKey, done: impl FnOnce() + 'static) {
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
        served.chain(draining).chain(prepared).filter(|export| export.key() == key).for_each(&mut change);
    }

    /// The exports that drain, each with its requests in flight.
    pub(crate) fn draining(&self) -> Vec<(ExportKey, u32)> {
        let in_flight = |id: ExportId| {
            let backing = self.backings.get(id.0 as usize).and_then(Option::as_ref);
            backing.map_or(0, |backing| backing.load.in_flight())
        };
        let keys = self.draining.iter().map(|draining| draining.export.key());
        keys.map(|key| (key, in_flight(key.id))).collect()
    }

    /// What is behind an export; `None` if there is no such export.
    pub(crate) fn backing(&mut self, id: ExportId) -> Option<&mut Backing> {
        backing_of(&mut self.backings, id)
    }

    /// Forgets drained exports, and closes the channels of offline ones that have nothing in flight.
    #[inline]
    pub(crate) fn reap(&mut self) {
        if self.is_reaping() {
            self.reap_drained();
        }
    }

    #[cold]
    fn reap_drained(&mut self) {
        let backings = &mut self.backings;
        let is_unused = |backings: &mut [Option<Backing>], id| {
            backing_of(backings, id).is_none_or(|backing| backing.load.in_flight() == 0)
        };
        let closed: Vec<Closing> =
            self.offline.extract_if(.., |closing| is_unused(backings, closing.export)).collect();
        for closing in &closed {
            if let Some(backing) = backing_of(backings, closing.export) {
                backing.channel = None;
            }
        }
        let drained: Vec<Draining> =
            self.draining.extract_if(.., |draining| is_unused(backings, draining.export.id())).collect();
        for draining in &drained {
            backings[draining.export.id().0 as usize] = None;
        }
        // Last: they may look at what is left.
        let done = closed.into_iter().map(|closing| closing.done);
        done.chain(drained.into_iter().map(|draining| draining.done)).for_each(|done| done());
    }

    /// Whether an export waits to be reaped.
    #[inline]
    pub(crate) fn is_reaping(&self) -> bool {
        !self.draining.is_empty() || !self.offline.is_empty()
    }

    /// Where a request goes that came in by `port`, in `vlan` or outside of any, for `address`.
    #[inline(always)]
    pub(crate) fn route(&self, port: PortId, vlan: Option<VlanId>, address: ShelfSlot) -> Route {
        self.table.route(port, vlan, address)
    }

    /// The next export that a wildcard means: see [`Table::scan`].
    pub(crate) fn scan(
        &self,
        cursor: &mut Cursor,
        port: PortId,
        vlans: Vlans,
        pattern: ShelfSlot,
        budget: usize,
    ) -> Scan {
        self.table.scan(cursor, port, vlans, pattern, budget)
    }

    /// An export that takes requests.
    pub(crate) fn get(&self, id: ExportId) -> Option<&Export> {
        self.table.get(id)
    }

    /// The export that a request goes to, with its id and backing: see [`Table::route_to_one`].
    #[inline(always)]
    pub(crate) fn route_to_one(
        &mut self,
        port: PortId,
        vlan: Option<VlanId>,
        address: ShelfSlot,
    ) -> Option<(ExportId, &Export, &mut Backing)> {
        let (id, export) = self.table.route_to_one(port, vlan, address)?;
        Some((id, export, backing_of(&mut self.backings, id)?))
    }

    /// The export of a request in flight, which may be draining, and its backing.
    ///
    /// # Panics
    /// If there is none: then the invariant of this module is broken, and the reply would be another export's.
    #[inline(always)]
    pub(crate) fn export_of(&mut self, id: ExportId) -> (&Export, &mut Backing) {
        let Some(backing) = backing_of(&mut self.backings, id) else { gone(id) };
        match self.table.get(id) {
            Some(export) => (export, backing),
            None => (draining_of(&self.draining, id), backing),
        }
    }

    /// The exports with requests that were answered past their deadline, but for those that drain.
    pub(crate) fn overdue(&self) -> impl Iterator<Item = (ExportKey, Overdue)> + '_ {
        (0u32..).zip(&self.backings).filter_map(|(id, backing)| {
            let overdue = backing.as_ref()?.overdue();
            (overdue.requests > 0).then_some((self.table.get(ExportId(id))?.key(), overdue))
        })
    }

    /// The counters of an export that serves or drains.
    pub(crate) fn counters_of(&self, id: ExportId) -> Option<(ExportKey, ExportCounters)> {
        let backing = self.backings.get(id.0 as usize)?.as_ref()?;
        let draining =
            || self.draining.iter().map(|draining| &*draining.export).find(|export| export.id() == id);
        Some((self.table.get(id).or_else(draining)?.key(), backing.counters))
    }

    /// Every export's counters.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (ExportId, ExportCounters)> + '_ {
        (0u32..)
            .zip(&self.backings)
            .filter_map(|(id, backing)| backing.as_ref().map(|backing| (ExportId(id), backing.counters)))
    }
}

#[inline(always)]
fn backing_of(backings: &mut [Option<Backing>], id: ExportId) -> Option<&mut Backing> {
    backings.get_mut(id.0 as usize)?.as_mut()
}

/// An export that is not in the table any more.
#[cold]
#[inline(never)]
fn draining_of(draining: &[Draining], id: ExportId) -> &Export {
    let export = draining.iter().map(|draining| &*draining.export).find(|export| export.id() == id);
    export.unwrap_or_else(|| gone(id))
}

#[cold]
fn gone(id: ExportId) -> ! {
    unreachable!("export {} is gone with requests in flight", id.0)
}
