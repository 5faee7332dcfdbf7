//! What a request is for: a disk under its shelf and slot.

use std::fmt;
use std::sync::Arc;

use aoe_wire::{MAX_CONFIG_STRING, MacAddr, ShelfSlot};
use ata::{Features, Identity};

use crate::claims::Claims;
use crate::guard::Guard;
use crate::ports::{PortLimits, Ports};
use crate::vlan::VlanId;

/// Index of an export, chosen by the control plane and the same on every lcore. Small numbers: the table is a
/// slab indexed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExportId(pub u32);

/// Whether the disk behind an export is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportState {
    /// The bdev takes I/O.
    Online,
    /// The bdev was removed while exported. Every ATA command is answered with a device fault at once, so that
    /// initiators fail the I/O and do not wait; query/config is still answered.
    Offline,
}

/// A disk under a shelf and slot, as one lcore knows it. Address, ports, VLAN and id are fixed for its life, because
/// the table finds it by them; the rest may change between two requests.
#[derive(Clone, Debug)]
// What every request looks at comes first, in one cache line: with many exports it is seldom in the cache.
#[repr(C, align(64))]
pub struct Export {
    /// Size in sectors of 512 bytes, whatever the block size of the bdev.
    pub sectors: u64,
    /// First sector of the bdev that is served: the bdev's sector under LBA 0.
    pub first_sector: u64,
    /// Who is kept off, as the operator's lists and the claims have it; `None` when nobody is.
    pub guard: Option<Arc<Guard>>,
    id: ExportId,
    address: ShelfSlot,
    /// Whether the bdev is there.
    pub state: ExportState,
    /// Refuse writes.
    pub read_only: bool,
    /// A write is answered when it is on stable media, and initiators see no write cache.
    pub write_through: bool,
    vlan: Option<VlanId>,
    /// Messages the target says it can hold. Values below [`Export::MIN_BUFFER_COUNT`] are advertised as that.
    pub buffer_count: u16,
    /// What initiators keep here, as it was published last.
    pub claims: Arc<Claims>,
    /// What the disk can do beyond reading, writing and flushing, as its bdev can; `trim_blocks`,
    /// `smart` and `write_cache` of it say only whether: see [`Export::features_on`].
    pub features: Features,
    ports: Ports,
    /// The operator's list of the only initiators to answer; empty means everybody. Not looked at by routing or
    /// admission: what is checked there is made from it.
    pub allow: Arc<[MacAddr]>,
    /// The operator's list of initiators never to answer. As [`Export::allow`].
    pub deny: Arc<[MacAddr]>,
    /// Names in the IDENTIFY page.
    pub identity: Identity,
}

impl Export {
    /// Linux opens its window at half the buffer count, and with 1 would never send.
    pub const MIN_BUFFER_COUNT: u16 = 2;

    /// The buffer count of other soft targets, and of a new export.
    pub const DEFAULT_BUFFER_COUNT: u16 = 16;

    /// An export that is online, writable, not write-through, in no VLAN, and has no config string. `sectors` counts 512
    /// bytes each.
    #[must_use]
    pub fn new(id: ExportId, address: ShelfSlot, ports: Ports, sectors: u64, identity: Identity) -> Self {
        Self {
            id,
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
            identity,
            features: Features::default(),
            claims: Arc::default(),
            guard: None,
        }
    }

    /// The same export on other ports. For one that is in no table: tables find exports by their ports.
    #[must_use]
    pub fn on(mut self: Box<Self>, ports: Ports) -> Box<Self> {
        self.ports = ports;
        self
    }

    /// The same export in a VLAN, or in none. For one that is in no table, as [`Export::on`].
    #[must_use]
    pub fn in_vlan(mut self, vlan: Option<VlanId>) -> Self {
        self.vlan = vlan;
        self
    }

    /// Puts new claims and the guard that goes with them in place, and hands back the old ones, whose last owner
    /// frees memory: send them back to where they were made. Neither allocates nor frees.
    #[must_use]
    pub fn publish(
        &mut self,
        claims: Arc<Claims>,
        guard: Option<Arc<Guard>>,
    ) -> (Arc<Claims>, Option<Arc<Guard>>) {
        (std::mem::replace(&mut self.claims, claims), std::mem::replace(&mut self.guard, guard))
    }

    /// Where advertisements go: to each address of the mask list, or to everybody when it is empty.
    pub fn advertisement_destinations(&self) -> impl Iterator<Item = MacAddr> + '_ {
        (0..).map_while(|nth| self.advertisement_destination(nth))
    }

    /// One of [`Export::advertisement_destinations`], for who must pause between two; counts from 0.
    #[must_use]
    pub fn advertisement_destination(&self, nth: usize) -> Option<MacAddr> {
        let mask = self.claims.mask.as_slice();
        if mask.is_empty() { (nth == 0).then_some(MacAddr::BROADCAST) } else { mask.get(nth).copied() }
    }

    /// What the disk can do, as it is said on a port: of TRIM's blocks as many as its frames carry, and none of a
    /// disk that refuses writes.
    #[must_use]
    pub fn features_on(&self, limits: PortLimits) -> Features {
        let trims = self.features.trim_blocks > 0 && !self.read_only;
        Features {
            trim_blocks: if trims { limits.max_sectors() } else { 0 },
            write_cache: self.write_cache(),
            smart: self.features.smart.map(|_| self.claims.smart),
            ..self.features
        }
    }

    /// Whether the volatile write cache is on; `None` if initiators have none to turn on or off.
    #[must_use]
    pub fn write_cache(&self) -> Option<bool> {
        let cache = self.features.write_cache.filter(|_| !self.write_through);
        cache.map(|_| self.claims.write_cache)
    }

    /// True when a write is answered only once it is on stable media: the operator wants it so, or the disk has a
    /// volatile cache and an initiator has turned it off.
    #[must_use]
    pub fn settles_writes(&self) -> bool {
        self.write_through || self.write_cache() == Some(false)
    }

    /// Its index.
    #[inline]
    #[must_use]
    pub const fn id(&self) -> ExportId {
        self.id
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

/// The string that initiators keep on a target to mark it as theirs: 0 to 1024 bytes of any value.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigString {
    bytes: [u8; MAX_CONFIG_STRING],
    len: u16,
}

/// A config string of more than 1024 bytes; carries its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigStringTooLong(pub usize);

impl fmt::Display for ConfigStringTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "config string of {} bytes: at most {MAX_CONFIG_STRING} are allowed", self.0)
    }
}

impl std::error::Error for ConfigStringTooLong {}

impl ConfigString {
    /// No bytes: what a target has until somebody claims it.
    pub const EMPTY: Self = Self { bytes: [0; MAX_CONFIG_STRING], len: 0 };

    /// A copy of `string`.
    ///
    /// # Errors
    /// [`ConfigStringTooLong`] above 1024 bytes.
    pub fn new(string: &[u8]) -> Result<Self, ConfigStringTooLong> {
        let too_long = ConfigStringTooLong(string.len());
        let mut new = Self::EMPTY;
        new.bytes.get_mut(..string.len()).ok_or(too_long)?.copy_from_slice(string);
        new.len = u16::try_from(string.len()).map_err(|_| too_long)?;
        Ok(new)
    }

    /// The bytes.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Their number, 0 to 1024.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> u16 {
        self.len
    }

    /// True when there are none.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Default for ConfigString {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl fmt::Debug for ConfigString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_string_holds_up_to_1024_bytes() {
        assert!(ConfigString::default().is_empty());
        let full = ConfigString::new(&[7; 1024]).unwrap();
        assert_eq!((full.len(), full.as_bytes()), (1024, &[7; 1024][..]));
        let refused = ConfigString::new(&[7; 1025]).unwrap_err();
        assert_eq!(refused.to_string(), "config string of 1025 bytes: at most 1024 are allowed");
        assert!(ConfigString::new(&vec![7; 70_000]).is_err());
        assert_eq!(format!("{:?}", ConfigString::new(b"a\"\n").unwrap()), r#""a\"\n""#);
    }
}
