//! The ports of an export, and the limits that a port's MTU sets.

use std::fmt;

use ata::SectorCount;

/// The number DPDK gives a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A port number that a [`PortSet`] cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortOutOfRange(pub PortId);

impl fmt::Display for PortOutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}: an export can be bound to ports 0 to {}", self.0, PortSet::MAX_PORT)
    }
}

impl std::error::Error for PortOutOfRange {}

/// A set of ports, numbers 0 to 63. (DPDK's own default limit is 32 ports.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct PortSet(u64);

impl PortSet {
    /// The highest port number a set can hold.
    pub const MAX_PORT: PortId = PortId(63);

    /// The set of no ports.
    pub const EMPTY: Self = Self(0);

    fn bit(port: PortId) -> u64 {
        1u64.checked_shl(u32::from(port.0)).unwrap_or(0)
    }

    /// The set of one port.
    ///
    /// # Errors
    /// [`PortOutOfRange`] for a port above [`PortSet::MAX_PORT`].
    pub fn of(port: PortId) -> Result<Self, PortOutOfRange> {
        let mut set = Self::EMPTY;
        set.insert(port)?;
        Ok(set)
    }

    /// Adds a port; `true` if it was not in the set.
    ///
    /// # Errors
    /// [`PortOutOfRange`] for a port above [`PortSet::MAX_PORT`].
    pub fn insert(&mut self, port: PortId) -> Result<bool, PortOutOfRange> {
        if port > Self::MAX_PORT {
            return Err(PortOutOfRange(port));
        }
        let added = !self.contains(port);
        self.0 |= Self::bit(port);
        Ok(added)
    }

    /// Takes a port out; `true` if it was in the set.
    pub fn remove(&mut self, port: PortId) -> bool {
        let removed = self.contains(port);
        self.0 &= !Self::bit(port);
        removed
    }

    /// True when the port is in the set.
    #[inline]
    #[must_use]
    pub fn contains(self, port: PortId) -> bool {
        port <= Self::MAX_PORT && self.0 >> port.0 & 1 != 0
    }

    /// True when no port is in the set.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The ports in both sets.
    #[inline]
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The ports of this set that are not in the other.
    #[inline]
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The ports, ascending.
    pub fn iter(self) -> impl Iterator<Item = PortId> {
        (0..=Self::MAX_PORT.0).map(PortId).filter(move |port| self.contains(*port))
    }
}

/// The ports an export is reached through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ports {
    /// Every port there is or will be.
    All,
    /// These ports.
    Set(PortSet),
}

impl Ports {
    /// True when the port is among them.
    #[inline]
    #[must_use]
    pub fn contains(self, port: PortId) -> bool {
        match self {
            Self::All => true,
            Self::Set(set) => set.contains(port),
        }
    }

    /// The ports in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, ports) | (ports, Self::All) => ports,
            (Self::Set(one), Self::Set(two)) => Self::Set(one.intersection(two)),
        }
    }

    /// True when no port is among them.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::Set(set) if set.is_empty())
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Set(set) = self else { return f.write_str("all ports") };
        let mut separator = "port ";
        for port in set.iter() {
            write!(f, "{separator}{port}")?;
            separator = ", ";
        }
        if set.is_empty() { f.write_str("no port") } else { Ok(()) }
    }
}

/// The limits of a port, computed once from its MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortLimits {
    max_sectors: u8,
    max_frame: usize,
}

impl PortLimits {
    /// Limits of a port with this MTU, in bytes. `None` when not even one sector fits, below 548: such a port
    /// cannot serve disks.
    #[must_use]
    pub const fn for_mtu(mtu: u16) -> Option<Self> {
        match aoe_wire::max_sectors_for_mtu(mtu) {
            // u16 to usize widens.
            Some(max_sectors) => Some(Self { max_sectors, max_frame: mtu as usize + aoe_wire::ETHERNET_LEN }),
            None => None,
        }
    }

    /// Most sectors in one ATA message, 1 to 16.
    #[inline]
    #[must_use]
    pub const fn max_sectors(self) -> u8 {
        self.max_sectors
    }

    /// [`PortLimits::max_sectors`] as what a command's number of sectors is held against.
    #[inline(always)]
    #[must_use]
    pub const fn max_transfer(self) -> SectorCount {
        SectorCount(self.max_sectors as u16)
    }

    /// Bytes of the longest frame, without FCS and VLAN tag: the MTU and the Ethernet header.
    #[inline]
    #[must_use]
    pub const fn max_frame(self) -> usize {
        self.max_frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ports: &[u16]) -> PortSet {
        let mut set = PortSet::EMPTY;
        for port in ports {
            set.insert(PortId(*port)).unwrap();
        }
        set
    }

    #[test]
    fn sets_hold_ports_0_to_63() {
        let mut ports = set(&[0, 63]);
        assert!(ports.contains(PortId(0)) && ports.contains(PortId(63)) && !ports.contains(PortId(1)));
        assert!(!ports.contains(PortId(64)) && !ports.contains(PortId(u16::MAX)));
        assert_eq!(ports.insert(PortId(63)), Ok(false));
        let refused = ports.insert(PortId(64)).unwrap_err();
        assert_eq!(refused.to_string(), "port 64: an export can be bound to ports 0 to 63");
        assert!(ports.remove(PortId(0)) && !ports.remove(PortId(0)) && !ports.remove(PortId(64)));
        assert_eq!(ports.iter().collect::<Vec<_>>(), [PortId(63)]);
        assert_eq!(PortSet::of(PortId(63)), Ok(ports));
        assert_eq!(set(&[1, 2, 3]).difference(set(&[2])), set(&[1, 3]));
    }

    #[test]
    fn all_contains_every_port_and_meets_every_set() {
        assert!(Ports::All.contains(PortId(u16::MAX)));
        let some = Ports::Set(set(&[1, 2]));
        assert_eq!(Ports::All.intersection(some), some);
        assert_eq!(some.intersection(Ports::All), some);
        assert_eq!(some.intersection(Ports::Set(set(&[2, 3]))), Ports::Set(set(&[2])));
        assert!(some.intersection(Ports::Set(set(&[3]))).is_empty() && !Ports::All.is_empty());
        let shown = [Ports::All, some, Ports::Set(PortSet::EMPTY)].map(|ports| ports.to_string());
        assert_eq!(shown, ["all ports", "port 1, 2", "no port"]);
    }

    #[test]
    fn limits_come_from_the_mtu() {
        assert_eq!(PortLimits::for_mtu(547), None);
        assert_eq!(PortLimits::for_mtu(1500).unwrap().max_sectors(), 2);
        assert_eq!(PortLimits::for_mtu(9000).unwrap().max_sectors(), 16);
        assert_eq!(PortLimits::for_mtu(1500).unwrap().max_frame(), 1514);
    }
}
