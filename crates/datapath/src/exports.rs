//! An lcore's exports, each with its backing, and whether it is draining.
//!
//! Invariant: an export whose requests are in flight has its [`Backing`] and its [`Export`] here, in the table or, once it is
//! draining, beside it. So a completion always finds both ([`Exports::export_of`]).

use aoe_target::{
    Cursor, Export, ExportCounters, ExportId, ExportKey, PortId, Route, Scan, ShelfSlot, Table, VlanId, Vlans,
};
use spdk::IoChannel;

use crate::{
    backing::{Backing, Overdue, SyncPolicy},
    owner::Owners,
};

mod exchange;
mod lifecycle;

pub use lifecycle::AddError;

/// An lcore's exports.
#[derive(Debug)]
pub(crate) struct Exports {
    /// Where there are several lcores.
    owners: Option<Owners>,
    /// Those that take requests.
    table: Table,
    /// By [`ExportId`].
    backings: Vec<Option<Backing>>,
    /// Those that this lcore owns.
    owned: u32,
    /// Those that have a channel and are not in the table yet: see [`Exports::serve`].
    #[expect(
        clippy::vec_box,
        reason = "the table takes a box, whose memory was allocated by the control plane"
    )]
    prepared: Vec<Box<Export>>,
    draining: Vec<Draining>,
    /// Offline exports whose channel is still open.
    offline: Vec<Closing>,
    /// What exports are about to go on with.
    exchanges: Vec<Exchange>,
    /// Held exports that have requests in flight.
    held: Vec<Closing>,
}

/// An export that takes no new requests, until nothing is in flight on it.
struct Draining {
    export: Box<Export>,
    done: Box<dyn FnOnce()>,
}

/// What an export is about to go on with.
#[derive(Debug)]
struct Exchange {
    export: Box<Export>,
    channel: IoChannel,
    needed_sync: SyncPolicy,
}

/// A channel that closes when nothing is in flight on it.
struct Closing {
    export: ExportId,
    done: Box<dyn FnOnce()>,
}

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
            owned: 0,
            prepared: Vec::new(),
            draining: Vec::new(),
            offline: Vec::new(),
            exchanges: Vec::new(),
            held: Vec::new(),
        }
    }

    /// The owners of exports that are prepared from now on; of all, if there is one lcore, it is this one.
    pub(crate) fn set_owners(&mut self, owners: Option<Owners>) {
        self.owners = owners;
    }

    /// The exports that this lcore owns.
    pub(crate) fn owned(&self) -> u32 {
        self.owned
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

    /// Whether an export waits to be reaped.
    #[inline]
    pub(crate) fn is_reaping(&self) -> bool {
        !self.draining.is_empty() || !self.offline.is_empty() || !self.held.is_empty()
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
        Some((self.table.get(id).or_else(draining)?.key(), backing.counted()))
    }

    /// Every export's counters.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (ExportId, ExportCounters)> + '_ {
        (0u32..)
            .zip(&self.backings)
            .filter_map(|(id, backing)| backing.as_ref().map(|backing| (ExportId(id), backing.counted())))
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
