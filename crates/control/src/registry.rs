//! The list of exports. The tables of the lcores are copies of it.
//!
//! A change has two halves. The first (`create`, `delete`) checks the request against the list and returns the work for the
//! lcores. The second (`created`, `abandoned`, `removed`, `rebound`) is called when all lcores have done it. Between the
//! halves the address stays taken on the ports concerned, so two requests can't cross. All of it runs on SPDK's app thread.

mod record;
mod waiting;

use aoe_target::{ExportId, PortId, PortSet, Ports, ShelfSlot, VlanId};

use crate::error::{ErrorCode, Quoted, RpcError};
use crate::port::{PortInfo, PortRef, PortTable};
use crate::request::{Announce, CreateExport, DeleteExport};
use crate::served_bdev::{Neighbour, ServedBdev, Use, check_beside};

use record::place;
pub use record::{Record, State};

/// The exports and the ports they can be on.
#[derive(Debug, Default)]
pub struct Registry {
    ports: PortTable,
    /// By [`ExportId`]. Free ids are used again, lowest first.
    exports: Vec<Option<Record>>,
}

/// The work of every lcore for a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Stop serving the export; then [`Registry::removed`].
    Remove(ExportId),
    /// Serve it on these ports only; then [`Registry::rebound`].
    Rebind(ExportId, Ports),
}

impl Registry {
    /// A registry of these ports, without exports.
    #[must_use]
    pub fn new(ports: PortTable) -> Self {
        Self { ports, exports: Vec::new() }
    }

    /// The ports.
    #[must_use]
    pub fn ports(&self) -> &PortTable {
        &self.ports
    }

    /// The export of that id.
    #[must_use]
    pub fn get(&self, id: ExportId) -> Option<&Record> {
        self.exports.get(id.0 as usize)?.as_ref()
    }

    /// Every export, by address and VLAN.
    #[must_use]
    pub fn exports(&self) -> Vec<&Record> {
        let mut exports: Vec<&Record> = self.exports.iter().flatten().collect();
        exports.sort_by_key(|record| (record.address, record.options.vlan, record.id));
        exports
    }

    /// The ports an export is on, one by one.
    #[must_use]
    pub fn ports_of(&self, record: &Record) -> Vec<&PortInfo> {
        self.ports.all().iter().filter(|port| record.ports.contains(PortId(port.number))).collect()
    }

    /// First half of `aoe_create_export`: takes the address for an export of that bdev. The record describes the export for
    /// the lcores; its state is [`State::Creating`].
    ///
    /// # Errors
    /// A port is unknown, the address is taken on a port, or the sectors do not exist or are served as another disk. Nothing
    /// has changed then.
    pub fn create(&mut self, request: &CreateExport, bdev: &ServedBdev) -> Result<&Record, RpcError> {
        let sectors = bdev.sectors_for(&request.bdev_name, &request.options)?;
        self.place(request, State::Creating, bdev.clone(), sectors)
    }

    /// Takes the address for an export in this state.
    fn place(
        &mut self,
        request: &CreateExport,
        state: State,
        bdev: ServedBdev,
        sectors: u64,
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
        if state != State::Waiting {
            self.check_sharing(request, &bdev)?;
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
        }
        Ok(self.exports[place].insert(Record {
            id,
            address: request.address,
            ports,
            leaving: PortSet::EMPTY,
            bdev_name: request.bdev_name.clone(),
            bdev,
            sectors,
            options: request.options.clone(),
            state,
            reason: None,
        }))
    }

    /// Second half of a creation: every lcore serves the export. If its bdev was removed meanwhile, it stays offline.
    pub fn created(&mut self, id: ExportId) {
        if let Some(record) = self.get_mut(id).filter(|record| record.state == State::Creating) {
            record.state = State::Online;
        }
    }

    /// Second half of a creation that failed: no lcore serves the export. Frees the address.
    pub fn abandoned(&mut self, id: ExportId) {
        self.removed(id);
    }

    /// First half of `aoe_delete_export`: marks the exports and returns the work for the lcores. Without `ports`, every export
    /// at the address in that VLAN is deleted. With `ports`, each export leaves these ports, and an export without further
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
            let busy = match record.state {
                State::Creating => "created",
                State::Deleting => "deleted",
                _ if !record.leaving.is_empty() => "deleted",
                State::Waiting | State::Online | State::Offline => {
                    let remaining = self.remaining(record.ports, wanted);
                    deletions.push(if remaining.is_empty() {
                        Deletion::Remove(record.id)
                    } else {
                        Deletion::Rebind(record.id, Ports::Set(remaining))
                    });
                    continue;
                }
            };
            return Err(RpcError::new(
                ErrorCode::Busy,
                format!(
                    "{} is being {busy}: wait until that request is answered",
                    place(request.address, request.vlan)
                ),
            ));
        }
        for deletion in &deletions {
            match *deletion {
                Deletion::Remove(id) => {
                    if let Some(record) = self.get_mut(id) {
                        record.state = State::Deleting;
                    }
                }
                Deletion::Rebind(id, ports) => {
                    let before = self.get(id).map_or(PortSet::EMPTY, |record| self.expand(record.ports));
                    let left = self.expand(ports);
                    if let Some(record) = self.get_mut(id) {
                        record.ports = ports;
                        record.leaving = before.difference(left);
                    }
                }
            }
        }
        Ok(deletions)
    }

    /// Second half of a [`Deletion::Remove`]: no lcore serves the export any more. Frees id and address.
    pub fn removed(&mut self, id: ExportId) {
        if let Some(place) = self.exports.get_mut(id.0 as usize) {
            *place = None;
        }
    }

    /// Second half of a [`Deletion::Rebind`]: no lcore serves the export on the ports it left.
    pub fn rebound(&mut self, id: ExportId) {
        if let Some(record) = self.get_mut(id) {
            record.leaving = PortSet::EMPTY;
        }
    }

    /// The bdev of that own name was removed: its exports go offline. Returns those that were served. Exports stay in the list
    /// and in the saved configuration until they are deleted.
    pub fn bdev_removed(&mut self, own_name: &str) -> Vec<ExportId> {
        self.change_all_of(own_name, |record| {
            let served = record.state != State::Offline;
            if record.state != State::Deleting {
                record.state = State::Offline;
            }
            served
        })
    }

    /// The bdev of that own name has a new size, in sectors of 512 bytes. Returns its exports whose size changes. An export with
    /// a length keeps it as long as the bdev has those sectors; an export without one reaches to the bdev's end.
    pub fn bdev_resized(&mut self, own_name: &str, bdev_sectors: u64) -> Vec<ExportId> {
        self.change_all_of(own_name, |record| {
            let before = record.sectors;
            record.bdev.sectors = bdev_sectors;
            record.sectors = record.options.range_in(bdev_sectors).1;
            record.sectors != before
        })
    }

    /// The bdev has lost the name that the operator gave: the export uses the bdev's own name from now on.
    pub fn bdev_renamed(&mut self, id: ExportId) {
        if let Some(record) = self.get_mut(id) {
            record.bdev_name.clone_from(&record.bdev.name);
        }
    }

    /// Whether the bdev of that own name is served, and only by read-only exports.
    #[must_use]
    pub fn is_only_read(&self, own_name: &str) -> bool {
        let mut served = self
            .exports
            .iter()
            .flatten()
            .filter(|record| record.bdev.name == own_name && record.serves())
            .peekable();
        served.peek().is_some() && served.all(|record| record.options.read_only)
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
        matching.retain(|record| record.state == State::Online);
        Ok(matching)
    }

    /// The export at `address` in `vlan`, or outside of any VLAN. Where several exports have the address, the one on `port`.
    ///
    /// # Errors
    /// No such export or port, and several exports when no port was named.
    pub fn one(
        &self,
        address: ShelfSlot,
        vlan: Option<VlanId>,
        port: Option<&PortRef>,
    ) -> Result<&Record, RpcError> {
        let port = port.map(|port| self.ports.resolve(port)).transpose()?;
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

    /// Whether an export of this bdev may stand beside those that are served.
    fn check_sharing(&self, request: &CreateExport, bdev: &ServedBdev) -> Result<(), RpcError> {
        let mut serving = self.exports.iter().flatten().filter(|record| record.serves());
        serving.try_for_each(|record| {
            let used = Use { address: record.address, options: &record.options };
            check_beside(request, bdev, &Neighbour { place: &record.place(), used, bdev: &record.bdev })
        })
    }

    fn get_mut(&mut self, id: ExportId) -> Option<&mut Record> {
        self.exports.get_mut(id.0 as usize)?.as_mut()
    }

    fn at(&self, address: ShelfSlot, vlan: Option<VlanId>) -> impl Iterator<Item = &Record> {
        let exports = self.exports.iter().flatten();
        exports.filter(move |record| record.address == address && record.options.vlan == vlan)
    }

    /// Changes every export of a bdev, and returns those for which `change` returns true. Exports that wait are left out: they
    /// are created anew.
    fn change_all_of(&mut self, own_name: &str, change: impl Fn(&mut Record) -> bool) -> Vec<ExportId> {
        let is_of_bdev =
            |record: &&mut Record| record.bdev.name == own_name && record.state != State::Waiting;
        let of_bdev = self.exports.iter_mut().flatten().filter(is_of_bdev);
        of_bdev.filter_map(|record| change(record).then_some(record.id)).collect()
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
        if matches!(record.state, State::Creating | State::Deleting)
            || record.ports.intersection(taken).is_empty()
        {
            let what = if record.state == State::Creating { "created" } else { "deleted" };
            return RpcError::new(
                ErrorCode::Busy,
                format!("{} is being {what} on {taken}: wait until that request is answered", record.place()),
            );
        }
        if record.state == State::Waiting {
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
mod tests;
