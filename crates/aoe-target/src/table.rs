//! Step two, route: from port, VLAN, shelf and slot to the export.
//!
//! Exports live in a slab indexed by [`ExportId`]. An index leads from a shelf and slot to the first export there;
//! further ones at the same address, which must be on other ports or in other VLANs, hang on a chain. What routing looks
//! at (address, ports, VLAN, chain) lies in the slab beside the pointer to the export, so a lookup touches two cache
//! lines and a wildcard scan reads one array from front to back.

mod index;

use std::fmt;

use aoe_wire::{Shelf, ShelfSlot, Slot};

use crate::export::{Export, ExportId};
use crate::ports::{PortId, Ports};
use crate::vlan::{VlanId, Vlans};
use index::{Index, NONE};

/// The exports as one lcore knows them. Looking up never allocates; changing does.
#[derive(Debug)]
pub struct Table {
    entries: Vec<Entry>,
    index: Index,
    exports: usize,
}

/// One place of the slab.
#[derive(Debug)]
struct Entry {
    /// Boxed so that growing the slab moves pointers, not config strings.
    export: Option<Box<Export>>,
    ports: Ports,
    address: ShelfSlot,
    vlan: Option<VlanId>,
    /// Next export at the same address, or [`NONE`].
    next: u32,
}

impl Entry {
    const VACANT: Self =
        Self { export: None, ports: Ports::All, address: ShelfSlot::WILDCARD, vlan: None, next: NONE };
}

/// The route of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// No export has this address on this port and VLAN.
    None,
    /// To this export.
    One(ExportId),
    /// The address is a wildcard, carried here: to every export that [`Table::scan`] finds, maybe none.
    Many(ShelfSlot),
}

/// The position of a wildcard scan. Start with the default; keep it between calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cursor {
    next: u32,
}

/// A step of a wildcard scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// This export matches.
    Match(ExportId),
    /// The budget is used up; call again with the same cursor.
    Paused,
    /// Every export was looked at.
    Done,
}

/// The reason for which an export cannot enter the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// Shelf and slot are taken on these ports, by this export.
    AddressTaken {
        /// The shelf and slot.
        address: ShelfSlot,
        /// The ports on which both would be.
        ports: Ports,
        /// The VLAN of both.
        vlan: Option<VlanId>,
        /// The export that is there.
        by: ExportId,
    },
    /// The shelf or slot is a wildcard, which no disk can have.
    Wildcard(ShelfSlot),
    /// The id is in use.
    IdTaken(ExportId),
    /// The id is above [`Table::MAX_ID`].
    IdTooLarge(ExportId),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressTaken { address: ShelfSlot { shelf, slot }, ports, vlan, .. } => {
                write!(f, "shelf {shelf}, slot {slot} is already exported on {ports}")?;
                vlan.map_or(Ok(()), |vlan| write!(f, " in VLAN {vlan}"))
            }
            Self::Wildcard(ShelfSlot { shelf, slot }) => write!(
                f,
                "shelf {shelf}, slot {slot}: a disk's shelf is 0 to {}, its slot 0 to {}",
                Shelf::MAX,
                Slot::MAX
            ),
            Self::IdTaken(id) => write!(f, "export id {} is in use", id.0),
            Self::IdTooLarge(id) => write!(f, "export id {}: expected 0 to {}", id.0, Table::MAX_ID.0),
        }
    }
}

impl std::error::Error for TableError {}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    /// The highest id. Ids index a slab, so a stray one must not make it huge.
    pub const MAX_ID: ExportId = ExportId((1 << 20) - 1);

    /// A table without exports.
    #[must_use]
    pub fn new() -> Self {
        Self { entries: Vec::new(), index: Index::new(), exports: 0 }
    }

    /// Number of exports.
    #[must_use]
    pub fn len(&self) -> usize {
        self.exports
    }

    /// Whether the table is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exports == 0
    }

    /// Inserts an export. A `Box` may be given, so that its memory was allocated elsewhere.
    ///
    /// # Errors
    /// [`TableError`]; the table is unchanged then.
    pub fn insert(&mut self, export: impl Into<Box<Export>>) -> Result<(), TableError> {
        let export = export.into();
        let (id, address, ports, vlan) = (export.id(), export.address(), export.ports(), export.vlan());
        if id > Self::MAX_ID {
            return Err(TableError::IdTooLarge(id));
        }
        if address.is_wildcard() {
            return Err(TableError::Wildcard(address));
        }
        if self.get(id).is_some() {
            return Err(TableError::IdTaken(id));
        }
        for (by, entry) in self.chain(address).filter(|(_, entry)| entry.vlan == vlan) {
            let shared = entry.ports.intersection(ports);
            if !shared.is_empty() {
                return Err(TableError::AddressTaken { address, ports: shared, vlan, by });
            }
        }
        let index = id.0 as usize;
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || Entry::VACANT);
        }
        let next = self.index.head(address);
        self.index.set(address, id.0);
        self.entries[index] = Entry { export: Some(export), ports, address, vlan, next };
        self.exports += 1;
        Ok(())
    }

    /// Removes an export and returns it.
    pub fn remove(&mut self, id: ExportId) -> Option<Box<Export>> {
        let entry = self.entries.get_mut(id.0 as usize)?;
        let export = entry.export.take()?;
        let (address, next) = (entry.address, entry.next);
        *entry = Entry::VACANT;
        self.exports -= 1;
        let head = self.index.head(address);
        if head == id.0 {
            self.index.set(address, next);
        } else {
            // In the middle of a chain: the one before it skips it.
            let mut before = head as usize;
            while self.entries[before].next != id.0 {
                before = self.entries[before].next as usize;
            }
            self.entries[before].next = next;
        }
        Some(export)
    }

    /// The export with this id.
    #[inline]
    #[must_use]
    pub fn get(&self, id: ExportId) -> Option<&Export> {
        self.entries.get(id.0 as usize)?.export.as_deref()
    }

    /// The export with this id, mutable.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, id: ExportId) -> Option<&mut Export> {
        self.entries.get_mut(id.0 as usize)?.export.as_deref_mut()
    }

    /// Every export, by ascending id.
    pub fn iter(&self) -> impl Iterator<Item = &Export> {
        self.entries.iter().filter_map(|entry| entry.export.as_deref())
    }

    /// Where a request goes that came in by `port`, in `vlan` or outside of any, for `address`. Takes constant time,
    /// however many exports there are; those of one address in several VLANs are looked at one by one.
    #[inline(always)]
    #[must_use]
    pub fn route(&self, port: PortId, vlan: Option<VlanId>, address: ShelfSlot) -> Route {
        if address.is_wildcard() {
            return Route::Many(address);
        }
        self.chain(address)
            .find(|(_, entry)| entry.vlan == vlan && entry.ports.contains(port))
            .map_or(Route::None, |(id, _)| Route::One(id))
    }

    /// The export that a request goes to, as [`Table::route`] finds it. None for a wildcard, which is no export's address.
    #[inline(always)]
    #[must_use]
    pub fn route_to_one(
        &self,
        port: PortId,
        vlan: Option<VlanId>,
        address: ShelfSlot,
    ) -> Option<(ExportId, &Export)> {
        let (id, entry) =
            { self.chain(address) }.find(|(_, entry)| entry.vlan == vlan && entry.ports.contains(port))?;
        Some((id, entry.export.as_deref()?))
    }

    /// The next export on `port` and in `vlans` that `pattern` means, looking at no more than `budget` places
    /// of the slab, so that an lcore can spread a wildcard over several turns. Between two calls the table may
    /// change: an export that comes or goes meanwhile may be missed or found, others are found once.
    #[inline]
    pub fn scan(
        &self,
        cursor: &mut Cursor,
        port: PortId,
        vlans: Vlans,
        pattern: ShelfSlot,
        budget: usize,
    ) -> Scan {
        let rest = self.entries.get(cursor.next as usize..).unwrap_or_default();
        for entry in rest.iter().take(budget) {
            let id = ExportId(cursor.next);
            cursor.next += 1;
            let reached = vlans.contains(entry.vlan) && entry.ports.contains(port);
            if entry.export.is_some() && pattern.matches(entry.address) && reached {
                return Scan::Match(id);
            }
        }
        if rest.len() > budget { Scan::Paused } else { Scan::Done }
    }

    /// As [`Table::scan`] without a budget; `None` when every export was looked at.
    #[inline]
    pub fn next_match(
        &self,
        cursor: &mut Cursor,
        port: PortId,
        vlans: Vlans,
        pattern: ShelfSlot,
    ) -> Option<ExportId> {
        match self.scan(cursor, port, vlans, pattern, usize::MAX) {
            Scan::Match(id) => Some(id),
            Scan::Paused | Scan::Done => None,
        }
    }

    /// The exports at an address; at most one for each port and VLAN.
    #[inline(always)]
    fn chain(&self, address: ShelfSlot) -> impl Iterator<Item = (ExportId, &Entry)> {
        let mut at = self.index.head(address);
        std::iter::from_fn(move || {
            let entry = self.entries.get(at as usize)?;
            let id = ExportId(at);
            at = entry.next;
            Some((id, entry))
        })
    }
}

#[cfg(test)]
mod tests;
