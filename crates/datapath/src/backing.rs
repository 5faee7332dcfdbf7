//! An lcore's exports and what is behind each: its channel into the bdev, its requests in flight, how its writes become
//! durable, and whether it is draining.
//!
//! Invariant: an export whose requests are in flight has its backing and its [`Export`] here, in the table or, once it is
//! draining, beside it. So a completion always finds both ([`Exports::export_of`]).

use std::sync::Arc;

use aoe_target::{
    Acl, Cursor, Export, ExportCounters, ExportId, ExportState, InitiatorState, PortId, Ports, Route, Scan,
    ShelfSlot, Table, TableError, VlanId, Vlans,
};
use dpdk::Mbuf;
use spdk::{Bdev, BdevInfo, CompletionQueue, CurrentThread, FlushMethod, Io, IoChannel};

use crate::{
    budget::{Load, Progress},
    inflight::InFlight,
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
    counters: ExportCounters,
    /// What the bdev has completed, for the budget.
    progress: Progress,
}

// Written for each request. There are many exports, so each has a cache line of its own, and not a pair.
const _: () = assert!(align_of::<Option<Backing>>() == 64 && size_of::<Option<Backing>>().is_multiple_of(64));

impl Backing {
    fn new(channel: IoChannel, info: &BdevInfo) -> Self {
        Self {
            channel: Some(channel),
            needed_sync: SyncPolicy::of(info),
            sync: SyncPolicy::Nothing,
            load: Load::default(),
            counters: ExportCounters::default(),
            progress: Progress::default(),
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
    fn set_sync(&mut self, settles_writes: bool) {
        self.sync = if settles_writes { self.needed_sync } else { SyncPolicy::Nothing };
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

    /// Its requests in flight, as the budget sees them.
    #[inline(always)]
    pub(crate) fn load(&self) -> Load {
        self.load
    }

    /// Says whether the requests of each initiator are counted.
    pub(crate) fn set_tracked(&mut self, tracked: bool) {
        self.load.set_tracked(tracked);
    }

    /// Whether its bdev has completed something lately: within `patience` before `now`.
    pub(crate) fn is_well(&mut self, now: u64, patience: u64) -> bool {
        let completed = self.counters.completions();
        self.load.in_flight() == 0 || self.progress.is_recent(completed, now, patience)
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
    /// Those that take requests.
    table: Table,
    /// By [`ExportId`].
    backings: Vec<Option<Backing>>,
    draining: Vec<Draining>,
    /// Offline exports whose channel is still open.
    offline: Vec<ExportId>,
}

/// An export that takes no new requests, until nothing is in flight on it.
struct Draining {
    export: Box<Export>,
    done: Box<dyn FnOnce()>,
}

impl std::fmt::Debug for Draining {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Draining").field("export", &self.export).finish_non_exhaustive()
    }
}

impl Exports {
    pub(crate) fn new() -> Self {
        Self { table: Table::new(), backings: Vec::new(), draining: Vec::new(), offline: Vec::new() }
    }

    /// Adds an export, with a channel of its own into the bdev.
    ///
    /// # Errors
    /// [`AddError`]; nothing has changed then.
    pub(crate) fn add(
        &mut self,
        export: Box<Export>,
        bdev: &Bdev,
        bdevs: &CompletionQueue<InFlight>,
    ) -> Result<(), AddError> {
        let (id, settles_writes) = (export.id(), export.settles_writes());
        let index = id.0 as usize;
        if self.backings.get(index).is_some_and(Option::is_some) {
            return Err(TableError::IdTaken(id).into());
        }
        self.table.insert(export)?;
        let channel = match IoChannel::open(bdev, bdevs) {
            Ok(channel) => channel,
            Err(error) => {
                self.table.remove(id);
                return Err(error.into());
            }
        };
        if self.backings.len() <= index {
            self.backings.resize_with(index + 1, || None);
        }
        self.backings[index].insert(Backing::new(channel, bdev.info())).set_sync(settles_writes);
        Ok(())
    }

    /// Drains an export: no new request finds it, those in flight are answered, then [`Exports::reap`] calls `done`. At
    /// once if there is no such export.
    pub(crate) fn remove(&mut self, id: ExportId, done: impl FnOnce() + 'static) {
        match self.table.remove(id) {
            Some(export) => self.draining.push(Draining { export, done: Box::new(done) }),
            None => done(),
        }
    }

    /// Serves an export on other ports than before.
    pub(crate) fn rebind(&mut self, id: ExportId, ports: Ports) {
        let Some(export) = self.table.remove(id) else { return };
        self.table.insert(export.on(ports)).expect("it was in the table a moment ago, on more ports");
    }

    /// Answers every request for the export with a device fault from now on; its channel closes when nothing is in flight
    /// on it.
    pub(crate) fn take_offline(&mut self, id: ExportId) {
        if let Some(export) = self.table.get_mut(id) {
            export.set_state(ExportState::Offline);
        }
        if backing_of(&mut self.backings, id).is_some() {
            self.offline.push(id);
        }
    }

    /// Sets the export's size in sectors of 512 bytes.
    pub(crate) fn resize(&mut self, id: ExportId, sectors: u64) {
        if let Some(export) = self.table.get_mut(id) {
            export.resize(sectors);
        }
    }

    /// Puts an export's new state and acl in place and returns the old ones, whose memory is freed where it was made. A
    /// draining export gets them too, for its replies. `None` if there is no such export.
    pub(crate) fn publish(
        &mut self,
        id: ExportId,
        state: Arc<InitiatorState>,
        acl: Option<Arc<Acl>>,
    ) -> Option<(Arc<InitiatorState>, Option<Arc<Acl>>)> {
        let backing = backing_of(&mut self.backings, id)?;
        let export = match self.table.get_mut(id) {
            Some(export) => export,
            None => &mut *self.draining.iter_mut().find(|draining| draining.export.id() == id)?.export,
        };
        let old = export.publish(state, acl);
        let settles_writes = export.settles_writes();
        backing.set_sync(settles_writes);
        Some(old)
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
        self.offline.retain(|id| match backing_of(backings, *id) {
            Some(backing) if backing.load.in_flight() > 0 => true,
            Some(backing) => {
                backing.channel = None;
                false
            }
            None => false,
        });
        let is_drained = |draining: &mut Draining| {
            backing_of(backings, draining.export.id()).is_none_or(|backing| backing.load.in_flight() == 0)
        };
        let drained: Vec<Draining> = self.draining.extract_if(.., is_drained).collect();
        for draining in &drained {
            self.backings[draining.export.id().0 as usize] = None;
        }
        // Last: they may look at what is left.
        drained.into_iter().for_each(|draining| (draining.done)());
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

    /// An export that takes requests, and its backing.
    #[inline(always)]
    pub(crate) fn serving(&mut self, id: ExportId) -> Option<(&Export, &mut Backing)> {
        Some((self.table.get(id)?, backing_of(&mut self.backings, id)?))
    }

    /// The export of a request in flight, which may be draining, and its backing.
    ///
    /// # Panics
    /// If there is none: then the invariant of this module is broken, and the reply would be another export's.
    #[inline(always)]
    pub(crate) fn export_of(&mut self, id: ExportId) -> (&Export, &mut Backing) {
        let export = match self.table.get(id) {
            Some(export) => Some(export),
            None => self.draining.iter().map(|draining| &*draining.export).find(|export| export.id() == id),
        };
        match (export, backing_of(&mut self.backings, id)) {
            (Some(export), Some(backing)) => (export, backing),
            _ => gone(id),
        }
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

#[cold]
fn gone(id: ExportId) -> ! {
    unreachable!("export {} is gone with requests in flight", id.0)
}
