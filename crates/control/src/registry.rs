//! The list of exports. The tables of the lcores are copies of it.
//!
//! A request is checked against the list first (`create`, `delete`); then each export it concerns goes its way by
//! [`Registry::step`], which hands an event to the export's [`Lifecycle`] and returns the effects for the glue. An address stays
//! taken until the life says otherwise, so two requests can't cross. All of it runs on SPDK's app thread.

mod bdevs;
mod change;
mod record;
mod waiting;

use std::collections::BTreeSet;

use aoe_target::{ExportId, ExportKey, PortId, PortSet, Ports, ShelfSlot, VlanId};

use crate::error::{ErrorCode, Quoted, RpcError};
use crate::lifecycle::{Effect, Event, Lifecycle, Stage};
use crate::port::{PortChanges, PortInfo, PortRef, PortTable};
use crate::rate_limits::RateLimits;
use crate::request::{Announce, CreateExport, DeleteExport, OneExport};
use crate::served_bdev::ServedBdev;

pub use change::cannot_change;
pub use record::Record;
use record::place;

/// The exports and the ports they can be on.
#[derive(Debug)]
pub struct Registry {
    ports: PortTable,
    /// Lcores that report on each task.
    lcores: u32,
    /// By [`ExportId`]. Free ids are used again, lowest first.
    exports: Vec<Option<Record>>,
    /// The generation of the next export of each id.
    generations: Vec<u32>,
    /// Exports that have their addresses.
    holding: usize,
    /// Ids of exports that wait or are offline, which are looked at often.
    unserved: BTreeSet<u32>,
}

/// The change of one export by a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It is deleted: [`Event::Delete`].
    Remove(ExportKey),
    /// It is served on fewer ports, which its record has: [`Event::LeavePorts`].
    Rebind(ExportKey, Ports),
}

impl Registry {
    /// A registry of these ports, without exports. That many lcores report on each task.
    #[must_use]
    pub fn new(ports: PortTable, lcores: u32) -> Self {
        Self {
            ports,
            lcores,
            exports: Vec::new(),
            generations: Vec::new(),
            holding: 0,
            unserved: BTreeSet::new(),
        }
    }

    /// Hands an event to an export's life, and returns the effects for the glue. An event for an export that is gone, or of an
    /// earlier generation, has none.
    #[must_use]
    pub fn step(&mut self, key: ExportKey, event: Event) -> Vec<Effect> {
        let Some(record) = self.get_mut(key) else { return Vec::new() };
        let held = record.life.holds_address();
        let effects = record.life.step(event);
        if effects.contains(&Effect::LeftPorts) {
            record.leaving = PortSet::EMPTY;
        }
        let holds = record.life.holds_address();
        self.holding = self.holding + usize::from(holds) - usize::from(held);
        self.note_stage(key.id.0);
        effects
    }

    /// The stage of the export of that id may be another one.
    fn note_stage(&mut self, id: u32) {
        let record = self.exports.get(id as usize).and_then(Option::as_ref);
        if record.is_some_and(|record| matches!(record.stage(), Stage::Waiting | Stage::Offline)) {
            self.unserved.insert(id);
        } else {
            self.unserved.remove(&id);
        }
    }

    /// The exports that wait or are offline, by their ids.
    fn unserved(&self) -> impl Iterator<Item = &Record> {
        self.unserved.iter().filter_map(|id| self.exports.get(*id as usize)?.as_ref())
    }

    /// Takes an export out whose life has ended, and frees its id.
    pub fn free(&mut self, key: ExportKey) -> Option<Record> {
        let freed = self.exports.get_mut(key.id.0 as usize)?.take_if(|record| record.key == key)?;
        self.holding -= usize::from(freed.life.holds_address());
        self.note_stage(key.id.0);
        Some(freed)
    }

    /// The number of exports that have their addresses. Counts none of them anew.
    #[must_use]
    pub fn len(&self) -> usize {
        self.holding
    }

    /// Whether no export has an address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.holding == 0
    }

    /// One more than the largest id that an export has had.
    #[must_use]
    pub fn end_of_ids(&self) -> u32 {
        u32::try_from(self.exports.len()).unwrap_or(u32::MAX)
    }

    /// The exports among so many ids from `first` on, quarantined ones included.
    pub fn among_ids(&self, first: u32, ids: u32) -> impl Iterator<Item = &Record> {
        self.exports.iter().skip(first as usize).take(ids as usize).flatten()
    }

    /// The interface behind a port has another name, MTU or address.
    pub fn port_changed(&mut self, number: PortId, netif: Option<String>, mtu: u16, mac: [u8; 6]) {
        self.ports.change(number.0, netif, mtu, mac);
    }

    /// Takes over what has happened to a port since the start.
    pub fn set_port_changes(&mut self, number: PortId, changes: PortChanges) {
        self.ports.set_changes(number.0, changes);
    }

    /// Changes the limits on rates of an export, which the caller has the lcores keep.
    pub fn set_limits(&mut self, key: ExportKey, limits: RateLimits) {
        if let Some(record) = self.get_mut(key) {
            record.options.limits = limits;
            if let Some(next) = &mut record.next {
                next.options.limits = limits;
            }
        }
    }

    /// The ports.
    #[must_use]
    pub fn ports(&self) -> &PortTable {
        &self.ports
    }

    /// That export.
    #[must_use]
    pub fn get(&self, key: ExportKey) -> Option<&Record> {
        self.exports.get(key.id.0 as usize)?.as_ref().filter(|record| record.key == key)
    }

    /// Every export that has its address, by address and VLAN.
    #[must_use]
    pub fn exports(&self) -> Vec<&Record> {
        self.sorted(true)
    }

    /// Exports that were deleted by force and still have requests in flight, by address and VLAN.
    #[must_use]
    pub fn quarantined(&self) -> Vec<&Record> {
        self.sorted(false)
    }

    fn sorted(&self, holding_addresses: bool) -> Vec<&Record> {
        let exports = self.exports.iter().flatten();
        let mut exports: Vec<&Record> =
            exports.filter(|record| record.life.holds_address() == holding_addresses).collect();
        exports.sort_by_key(|record| (record.address, record.options.vlan, record.key));
        exports
    }

    /// The ports an export is on, one by one.
    #[must_use]
    pub fn ports_of(&self, record: &Record) -> Vec<&PortInfo> {
        self.ports.of(record.ports).collect()
    }

    /// Takes the address for an export of that bdev. [`Event::Create`] is its first.
    ///
    /// # Errors
    /// A port is unknown, the address is taken on a port, or the sectors do not exist or are served as another disk. Nothing
    /// has changed then.
    pub fn create(&mut self, request: &CreateExport, bdev: &ServedBdev) -> Result<&Record, RpcError> {
        let sectors = bdev.sectors_for(&request.bdev_name, &request.options)?;
        self.place(request, Lifecycle::new(self.lcores), bdev.clone(), sectors, None)
    }

    /// Takes the address for an export with this life.
    fn place(
        &mut self,
        request: &CreateExport,
        life: Lifecycle,
        bdev: ServedBdev,
        sectors: u64,
        reason: Option<String>,
    ) -> Result<&Record, RpcError> {
        let ports = match &request.ports {
            None => Ports::All,
            Some(listed) => Ports::Set(self.resolve_all(listed)?),
        };
        for record in self.at(request.address, request.options.vlan) {
            let taken = with(record.ports, record.leaving).intersection(ports);
            if !taken.is_empty() {
                return Err(self.address_taken(record, taken));
            }
        }
        if reason.is_none() {
            self.check_sharing(request, &bdev, None)?;
        }
        let place = self.exports.iter().position(Option::is_none).unwrap_or(self.exports.len());
        let id = u32::try_from(place)
            .map(ExportId)
            .ok()
            .filter(|id| *id <= aoe_target::Table::MAX_ID)
            .ok_or_else(|| {
                RpcError::new(
                    ErrorCode::NoMemory,
                    format!(
                        "there are {place} exports: at most {} are allowed",
                        aoe_target::Table::MAX_ID.0 + 1
                    ),
                )
            })?;
        if place == self.exports.len() {
            self.exports.push(None);
            self.generations.push(0);
        }
        let key = self.next_key(id);
        self.holding += usize::from(life.holds_address());
        self.exports[place] = Some(Record {
            key,
            address: request.address,
            ports,
            leaving: PortSet::EMPTY,
            bdev_name: request.bdev_name.clone(),
            bdev,
            sectors,
            options: request.options.clone(),
            life,
            reason,
            next: None,
        });
        self.note_stage(id.0);
        self.get(key).ok_or_else(|| RpcError::new(ErrorCode::Internal, "the export is not in the list"))
    }

    /// The key of a new export of that id.
    fn next_key(&mut self, id: ExportId) -> ExportKey {
        let generation = &mut self.generations[id.0 as usize];
        let key = ExportKey { id, generation: *generation };
        *generation = generation.wrapping_add(1);
        key
    }

    /// Checks a deletion, and returns what it changes. Without `ports`, every export at the address in that VLAN is deleted. With `ports`, each export leaves these ports, and an export without further
    /// ports is deleted. An export on all ports that leaves some becomes an export on the remaining ports by name.
    ///
    /// # Errors
    /// No export has the address, or none on one of the ports; or another change is in progress. Nothing has changed then.
    pub fn delete(&mut self, request: &DeleteExport) -> Result<Vec<Deletion>, RpcError> {
        let wanted = match &request.ports {
            None => Ports::All,
            Some(listed) => Ports::Set(self.resolve_all(listed)?),
        };
        let here: Vec<&Record> = self.at(request.address, request.vlan).collect();
        if here.is_empty() {
            return Err(self.no_export(request.address, request.vlan));
        }
        if let Ports::Set(set) = wanted {
            check_served(&place(request.address, request.vlan), &here, set)?;
        }
        let meant = here.into_iter().filter(|record| !record.ports.intersection(wanted).is_empty());
        let mut deletions = Vec::new();
        for record in meant {
            if let Some(busy) = record.life.busy(request.force) {
                return Err(RpcError::new(
                    ErrorCode::Busy,
                    format!(
                        "{} is being {busy}: wait until that request is answered",
                        place(request.address, request.vlan)
                    ),
                ));
            }
            let remaining = self.remaining(record.ports, wanted);
            // An export that drains is on no port any more.
            deletions.push(if remaining.is_empty() || record.stage() == Stage::Draining {
                Deletion::Remove(record.key)
            } else {
                Deletion::Rebind(record.key, Ports::Set(remaining))
            });
        }
        for deletion in &deletions {
            if let Deletion::Rebind(key, ports) = *deletion {
                let before = self.get(key).map_or(PortSet::EMPTY, |record| self.expand(record.ports));
                let left = self.expand(ports);
                if let Some(record) = self.get_mut(key) {
                    record.ports = ports;
                    record.leaving = before.difference(left);
                }
            }
        }
        Ok(deletions)
    }

    /// The exports to advertise for `aoe_announce`: those that are online and match.
    ///
    /// # Errors
    /// [`ErrorCode::NoSuchExport`] when a shelf or slot was asked for and no export has it.
    pub fn announced(&self, request: &Announce) -> Result<Vec<&Record>, RpcError> {
        let mut matching = self.exports();
        matching.retain(|record| request.matches(record.address));
        if matching.is_empty() && (request.shelf.is_some() || request.slot.is_some()) {
            let part = |number: Option<String>| number.unwrap_or_else(|| "*".into());
            return Err(RpcError::new(
                ErrorCode::NoSuchExport,
                format!(
                    "no export {}.{}: the exports are {}",
                    part(request.shelf.map(|shelf| shelf.to_string())),
                    part(request.slot.map(|slot| slot.to_string())),
                    self.listing()
                ),
            ));
        }
        matching.retain(|record| record.life.serves());
        Ok(matching)
    }

    /// The export that a call names.
    ///
    /// # Errors
    /// No such export or port, and several exports when no port was named.
    pub fn one(&self, export: &OneExport) -> Result<&Record, RpcError> {
        let (address, vlan) = (export.address, export.vlan);
        let port = export.port.as_ref().map(|port| self.ports.resolve(port)).transpose()?;
        let mut found = self
            .at(address, vlan)
            .filter(|record| port.is_none_or(|port| record.ports.contains(PortId(port.number))));
        match (found.next(), found.next()) {
            (Some(record), None) => Ok(record),
            (Some(_), Some(_)) => Err(RpcError::invalid(format!(
                "several exports have the address {}: say which one is meant by a port of it",
                place(address, vlan)
            ))),
            (None, _) => Err(self.no_export(address, vlan)),
        }
    }

    fn get_mut(&mut self, key: ExportKey) -> Option<&mut Record> {
        self.exports.get_mut(key.id.0 as usize)?.as_mut().filter(|record| record.key == key)
    }

    fn at(&self, address: ShelfSlot, vlan: Option<VlanId>) -> impl Iterator<Item = &Record> {
        let exports = self.exports.iter().flatten();
        exports.filter(move |record| {
            record.address == address && record.options.vlan == vlan && record.life.holds_address()
        })
    }

    fn resolve_all(&self, listed: &[PortRef]) -> Result<PortSet, RpcError> {
        let mut set = PortSet::EMPTY;
        for wanted in listed {
            let port = self.ports.resolve(wanted)?;
            let is_new =
                set.insert(PortId(port.number)).map_err(|error| RpcError::invalid(error.to_string()))?;
            if !is_new {
                return Err(RpcError::invalid(format!(
                    "ports names port {} ({}) a second time as {}: each port may be given once",
                    port.number,
                    port.name,
                    Quoted(&wanted.to_string())
                )));
            }
        }
        Ok(set)
    }

    /// The ports there are among `ports`.
    fn expand(&self, ports: Ports) -> PortSet {
        let mut set = PortSet::EMPTY;
        for port in self.ports.all().iter().map(|port| PortId(port.number)) {
            if ports.contains(port) {
                // A port that a set can't hold is on no export.
                set.insert(port).unwrap_or_default();
            }
        }
        set
    }

    /// The remaining ports of an export that leaves others. An export that leaves all ports has none.
    fn remaining(&self, ports: Ports, leaves: Ports) -> PortSet {
        match leaves {
            Ports::All => PortSet::EMPTY,
            Ports::Set(leaves) => self.expand(ports).difference(leaves),
        }
    }

    fn no_export(&self, address: ShelfSlot, vlan: Option<VlanId>) -> RpcError {
        RpcError::new(
            ErrorCode::NoSuchExport,
            format!("no export {}: the exports are {}", place(address, vlan), self.listing()),
        )
    }

    fn address_taken(&self, record: &Record, taken: Ports) -> RpcError {
        let left = record.ports.intersection(taken).is_empty();
        if let Some(what) = record.life.busy(false).filter(|_| left || !record.life.is_kept()) {
            return RpcError::new(
                ErrorCode::Busy,
                format!("{} is being {what} on {taken}: wait until that request is answered", record.place()),
            );
        }
        if record.stage() == Stage::Waiting {
            return self.address_awaited(record, taken);
        }
        RpcError::new(
            ErrorCode::Exists,
            format!(
                "{} is already exported on {taken} with bdev {}: choose another shelf and slot, or delete that export \
                 first",
                record.place(),
                Quoted(&record.bdev_name)
            ),
        )
    }

    /// The exports as an error message lists them; cut short when there are many.
    fn listing(&self) -> String {
        const SHOWN: usize = 8;
        let mut addresses: Vec<String> = self.exports().iter().map(|record| record.place()).collect();
        addresses.dedup();
        if addresses.is_empty() {
            return "none".into();
        }
        let more = addresses.len().saturating_sub(SHOWN);
        addresses.truncate(SHOWN);
        let text = addresses.join(", ");
        if more > 0 { format!("{text} and {more} more") } else { text }
    }
}

/// The answer to a request for a bdev that does not exist.
#[must_use]
pub fn unknown_bdev<'a>(name: &str, existing: impl IntoIterator<Item = &'a str>) -> RpcError {
    const SHOWN: usize = 5;
    let mut existing = existing.into_iter();
    let shown: Vec<String> = existing.by_ref().take(SHOWN).map(|name| Quoted(name).to_string()).collect();
    let mut listing = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
    let more = existing.count();
    if more > 0 {
        listing.push_str(&format!(" and {more} more"));
    }
    RpcError::new(ErrorCode::NoDevice, format!("no bdev {}: the bdevs are {listing}", Quoted(name)))
}

/// Every port a delete lists must serve the address.
fn check_served(place: &str, here: &[&Record], listed: PortSet) -> Result<(), RpcError> {
    let not_served = listed.iter().find(|port| !here.iter().any(|record| record.ports.contains(*port)));
    let Some(port) = not_served else { return Ok(()) };
    let served: Vec<String> = here.iter().map(|record| record.ports.to_string()).collect();
    Err(RpcError::new(
        ErrorCode::NoSuchExport,
        format!("{place} is not exported on port {port}: it is exported on {}", served.join(" and ")),
    ))
}

fn with(ports: Ports, more: PortSet) -> Ports {
    let Ports::Set(mut set) = ports else { return Ports::All };
    for port in more.iter() {
        // A port out of a set fits into a set.
        set.insert(port).unwrap_or_default();
    }
    Ports::Set(set)
}

#[cfg(test)]
pub(crate) mod tests;
