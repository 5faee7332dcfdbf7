//! VLANs, for step two, route: they separate exports with one address on one port.

use std::fmt;
use std::num::NonZeroU16;

/// A VLAN, 1 to 4094 (IEEE 802.1Q, 9.6: 0 is a priority and no VLAN, 4095 is reserved). What belongs to none has
/// `None` of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId(NonZeroU16);

impl VlanId {
    /// The highest there is.
    pub const MAX: u16 = 4094;

    /// The VLAN of that number; `None` unless it is 1 to 4094.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) if number.get() <= Self::MAX => Some(Self(number)),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The VLANs that a scan of the table covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vlans {
    /// Every VLAN, and none.
    Every,
    /// This VLAN, or none.
    One(Option<VlanId>),
}

impl Vlans {
    /// Whether `vlan` is covered.
    #[inline]
    #[must_use]
    pub fn contains(self, vlan: Option<VlanId>) -> bool {
        match self {
            Self::Every => true,
            Self::One(only) => only == vlan,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_is_1_to_4094() {
        for number in [1, 100, 4094] {
            assert_eq!(VlanId::new(number).map(VlanId::get), Some(number));
        }
        for number in [0, 4095, 4096, u16::MAX] {
            assert_eq!(VlanId::new(number), None);
        }
        assert!(Vlans::Every.contains(None) && Vlans::Every.contains(VlanId::new(7)));
        assert!(Vlans::One(None).contains(None) && !Vlans::One(None).contains(VlanId::new(7)));
        assert!(!Vlans::One(VlanId::new(8)).contains(VlanId::new(7)));
    }
}
