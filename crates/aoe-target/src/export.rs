//! An export: a disk offered at a shelf and slot.

use std::sync::Arc;

use aoe_wire::{MacAddr, ShelfSlot};
use ata::{Features, Identity};

use crate::acl::Acl;
use crate::initiator_state::InitiatorState;
use crate::ports::{PortLimits, Ports};
use crate::qos::Limits;
use crate::vlan::VlanId;

/// Index of an export, chosen by the control plane and the same on every lcore. Small numbers: the table is a
/// slab indexed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExportId(pub u32);

/// An export for all time. Ids are given out again; the generation tells an export from an earlier one of its id, so that a
/// message or a deferred request for the earlier one is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExportKey {
    /// Its id.
    pub id: ExportId,
    /// Counts the exports that have had the id.
    pub generation: u32,
}

impl From<ExportId> for ExportKey {
    /// The first export of that id.
    fn from(id: ExportId) -> Self {
        Self { id, generation: 0 }
    }
}

/// Presence of the disk behind an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportState {
    /// The bdev takes I/O.
    Online,
    /// The bdev was removed while exported. Every ATA command is answered with a device fault at once, so that
    /// initiators fail the I/O and do not wait; query/config is still answered.
    Offline,
    /// Its bdev or its options are being exchanged: every ATA command is dropped, and its initiator repeats it;
    /// query/config is still answered. Requests that were admitted before go on.
    Held,
}

/// A disk under a shelf and slot, as one lcore knows it. Address, ports, VLAN and id are fixed for its life, because
/// the table finds it by them; the rest may change between two requests.
#[derive(Clone, Debug)]
// The fields that every request reads come first, in one cache line: with many exports that line is seldom cached.
#[repr(C, align(64))]
pub struct Export {
    /// Size in sectors of 512 bytes, whatever the block size of the bdev.
    sectors: u64,
    /// First sector of the bdev that is served: the bdev's sector under LBA 0.
    first_sector: u64,
    /// Made from the operator's lists and the initiator state; `None` when nobody is kept off.
    acl: Option<Arc<Acl>>,
    id: ExportId,
    address: ShelfSlot,
    /// Presence of the bdev.
    state: ExportState,
    /// Refuse writes.
    read_only: bool,
    /// A write is answered once it is on stable media, and initiators see no write cache.
    write_through: bool,
    vlan: Option<VlanId>,
    buffer_count: u16,
    io_timeout: u8,
    limits: Limits,
    /// As published last.
    initiator_state: Arc<InitiatorState>,
    features: Features,
    ports: Ports,
    /// See [`ExportKey`].
    generation: u32,
    allow: Arc<[MacAddr]>,
    deny: Arc<[MacAddr]>,
    /// Names in the IDENTIFY page.
    identity: Identity,
}

/// Settings of an export: the operator's, and the features of its bdev.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The bdev's sector under LBA 0.
    pub first_sector: u64,
    /// Refuse writes.
    pub read_only: bool,
    /// Answer a write once it is on stable media, and show initiators no write cache.
    pub write_through: bool,
    /// Messages that the target can hold; [`Export::MIN_BUFFER_COUNT`] is advertised instead of less.
    pub buffer_count: u16,
    /// Seconds that the bdev has for a request, [`Export::MIN_IO_TIMEOUT`] to [`Export::MAX_IO_TIMEOUT`]; the nearest of
    /// these instead of another.
    pub io_timeout: u8,
    /// Limits on rates.
    pub limits: Limits,
    /// Features of the bdev beyond reading, writing and flushing. `trim_blocks`, `smart` and `write_cache` state only
    /// whether the bdev has them: see [`Export::features_on`].
    pub features: Features,
    /// The only initiators to answer; everybody when empty.
    pub allow: Arc<[MacAddr]>,
    /// Initiators never to answer.
    pub deny: Arc<[MacAddr]>,
}

impl Export {
    /// Linux opens its window at half the buffer count, and with 1 would never send.
    pub const MIN_BUFFER_COUNT: u16 = 2;

    /// The buffer count of other soft targets, and of a new export.
    pub const DEFAULT_BUFFER_COUNT: u16 = 16;

    /// Shortest time that a bdev has for a request, in seconds.
    pub const MIN_IO_TIMEOUT: u8 = 1;

    /// Longest time that a bdev has for a request, in seconds: well within the 180 for which Linux's aoe driver waits for an
    /// answer before it gives the disk up.
    pub const MAX_IO_TIMEOUT: u8 = 120;

    /// The time that a bdev has for a request, in seconds, of a new export. Drives that repair a sector take tens of seconds.
    pub const DEFAULT_IO_TIMEOUT: u8 = 60;

    /// An export that is online, writable, not write-through, in no VLAN, and has no config string. `sectors` counts 512
    /// bytes each.
    #[must_use]
    pub fn new(id: ExportId, address: ShelfSlot, ports: Ports, sectors: u64, identity: Identity) -> Self {
        Self {
            id,
            generation: 0,
            address,
            ports,
            vlan: None,
            sectors,
            first_sector: 0,
            read_only: false,
            write_through: false,
            allow: Arc::default(),
            deny: Arc::default(),
            state: ExportState::Online,
            buffer_count: Self::DEFAULT_BUFFER_COUNT,
            io_timeout: Self::DEFAULT_IO_TIMEOUT,
            limits: Limits::default(),
            identity,
            features: Features::default(),
            initiator_state: Arc::default(),
            acl: None,
        }
    }

    /// The same export on other ports. For one that is in no table: tables find exports by their ports.
    #[must_use]
    pub fn on(mut self: Box<Self>, ports: Ports) -> Box<Self> {
        self.ports = ports;
        self
    }

    /// As [`Export::on`], in place.
    pub fn set_ports(&mut self, ports: Ports) {
        self.ports = ports;
    }

    /// The same export in this generation of its id; in the first one otherwise.
    #[must_use]
    pub fn in_generation(mut self, generation: u32) -> Self {
        self.generation = generation;
        self
    }

    /// The same export in a VLAN, or in none. For one that is in no table, as [`Export::on`].
    #[must_use]
    pub fn in_vlan(mut self, vlan: Option<VlanId>) -> Self {
        self.vlan = vlan;
        self
    }

    /// Changes settings, and rebuilds the ACL from the lists and the initiator state. Allocates: not for an lcore.
    pub fn configure(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings {
            first_sector: self.first_sector,
            read_only: self.read_only,
            write_through: self.write_through,
            buffer_count: self.buffer_count,
            io_timeout: self.io_timeout,
            limits: self.limits,
            features: self.features,
            allow: Arc::clone(&self.allow),
            deny: Arc::clone(&self.deny),
        };
        change(&mut settings);
        let Settings {
            first_sector,
            read_only,
            write_through,
            buffer_count,
            io_timeout,
            limits,
            features,
            allow,
            deny,
        } = settings;
        (self.io_timeout, self.limits) = (io_timeout, limits);
        (self.first_sector, self.read_only, self.write_through) = (first_sector, read_only, write_through);
        (self.buffer_count, self.features, self.allow, self.deny) = (buffer_count, features, allow, deny);
        self.acl = Acl::build(&self.allow, &self.deny, &self.initiator_state, false);
    }

    /// Sets the limits on rates. Whoever keeps them must be told.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Sets the size in sectors of 512 bytes.
    pub const fn resize(&mut self, sectors: u64) {
        self.sectors = sectors;
    }

    /// Sets the presence of the bdev.
    pub const fn set_state(&mut self, state: ExportState) {
        self.state = state;
    }

    /// Size in sectors of 512 bytes.
    #[inline]
    #[must_use]
    pub const fn sectors(&self) -> u64 {
        self.sectors
    }

    /// The bdev's sector under LBA 0.
    #[inline]
    #[must_use]
    pub const fn first_sector(&self) -> u64 {
        self.first_sector
    }

    /// Presence of the bdev.
    #[inline]
    #[must_use]
    pub const fn state(&self) -> ExportState {
        self.state
    }

    /// Whether writes are refused.
    #[inline]
    #[must_use]
    pub const fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The advertised number of messages that the target can hold, at least [`Export::MIN_BUFFER_COUNT`].
    #[must_use]
    pub fn buffer_count(&self) -> u16 {
        self.buffer_count.max(Self::MIN_BUFFER_COUNT)
    }

    /// Seconds that the bdev has for a request.
    #[must_use]
    pub fn io_timeout(&self) -> u8 {
        self.io_timeout.clamp(Self::MIN_IO_TIMEOUT, Self::MAX_IO_TIMEOUT)
    }

    /// Limits on rates.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Names in the IDENTIFY page.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The same export with this initiator state. Allocates: an lcore calls [`Export::publish`] instead.
    #[must_use]
    pub fn with_initiator_state(mut self, state: Arc<InitiatorState>) -> Self {
        self.acl = Acl::build(&self.allow, &self.deny, &state, false);
        self.initiator_state = state;
        self
    }

    /// Puts new initiator state and its ACL in place and returns the old ones, whose last owner frees memory: send them
    /// back to the thread that made them. Neither allocates nor frees.
    #[must_use]
    pub fn publish(
        &mut self,
        state: Arc<InitiatorState>,
        acl: Option<Arc<Acl>>,
    ) -> (Arc<InitiatorState>, Option<Arc<Acl>>) {
        (std::mem::replace(&mut self.initiator_state, state), std::mem::replace(&mut self.acl, acl))
    }

    /// The initiator state, as published last.
    #[inline]
    #[must_use]
    pub const fn initiator_state(&self) -> &Arc<InitiatorState> {
        &self.initiator_state
    }

    /// The ACL, as published last; `None` when nobody is kept off.
    #[inline]
    #[must_use]
    pub fn acl(&self) -> Option<&Acl> {
        self.acl.as_deref()
    }

    /// The operator's list of the only initiators to answer; everybody when empty.
    #[must_use]
    pub const fn allow(&self) -> &Arc<[MacAddr]> {
        &self.allow
    }

    /// The operator's list of initiators never to answer.
    #[must_use]
    pub const fn deny(&self) -> &Arc<[MacAddr]> {
        &self.deny
    }

    /// The destinations of advertisements: each address of the mask list, or everybody when it is empty.
    pub fn advertisement_destinations(&self) -> impl Iterator<Item = MacAddr> + '_ {
        (0..).map_while(|nth| self.advertisement_destination(nth))
    }

    /// One of [`Export::advertisement_destinations`], counted from 0, for a caller that pauses between two.
    #[must_use]
    pub fn advertisement_destination(&self, nth: usize) -> Option<MacAddr> {
        let mask = self.initiator_state.mask.as_slice();
        if mask.is_empty() { (nth == 0).then_some(MacAddr::BROADCAST) } else { mask.get(nth).copied() }
    }

    /// The features as IDENTIFY reports them on a port: TRIM with as many blocks as the port's frames carry, and without
    /// TRIM for a read-only export.
    #[must_use]
    pub fn features_on(&self, limits: PortLimits) -> Features {
        let trims = self.features.trim_blocks > 0 && !self.read_only;
        Features {
            trim_blocks: if trims { limits.max_sectors() } else { 0 },
            write_cache: self.write_cache(),
            smart: self.features.smart.map(|_| self.initiator_state.smart),
            ..self.features
        }
    }

    /// Whether the bdev has health data for SMART.
    #[must_use]
    pub const fn has_smart(&self) -> bool {
        self.features.smart.is_some()
    }

    /// Whether the volatile write cache is on; `None` if there is none that initiators can turn on or off.
    #[must_use]
    pub fn write_cache(&self) -> Option<bool> {
        let cache = self.features.write_cache.filter(|_| !self.write_through);
        cache.map(|_| self.initiator_state.write_cache)
    }

    /// Whether a write is answered only once it is on stable media: because the operator wants it so, or because the disk
    /// has a volatile cache that an initiator has turned off.
    #[must_use]
    pub fn syncs_writes(&self) -> bool {
        self.write_through || self.write_cache() == Some(false)
    }

    /// Its index.
    #[inline]
    #[must_use]
    pub const fn id(&self) -> ExportId {
        self.id
    }

    /// Its index and generation.
    #[must_use]
    pub const fn key(&self) -> ExportKey {
        ExportKey { id: self.id, generation: self.generation }
    }

    /// Its shelf and slot.
    #[inline]
    #[must_use]
    pub const fn address(&self) -> ShelfSlot {
        self.address
    }

    /// The ports it is reached through.
    #[inline]
    #[must_use]
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// The VLAN it is reached in; `None`: by frames that belong to none.
    #[inline]
    #[must_use]
    pub const fn vlan(&self) -> Option<VlanId> {
        self.vlan
    }
}
