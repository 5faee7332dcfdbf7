//! The addresses of initiators, targets and exports.

use std::fmt;
use std::str::FromStr;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everybody on the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The AoE address of an export. Wildcards are ordinary values: shelf 0xffff, slot 0xff.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShelfSlot {
    /// Shelf, the protocol's "major".
    pub shelf: u16,
    /// Slot, the protocol's "minor".
    pub slot: u8,
}

impl ShelfSlot {
    /// Every export.
    pub const ANY: Self = Self { shelf: 0xffff, slot: 0xff };

    /// The export at `shelf`.`slot`.
    pub const fn new(shelf: u16, slot: u8) -> Self {
        Self { shelf, slot }
    }
}

impl fmt::Display for ShelfSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.shelf, self.slot)
    }
}

impl fmt::Debug for ShelfSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no `SHELF.SLOT`.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no AoE address: expected SHELF.SLOT, shelf 0 to 65534, slot 0 to 254, such as 1.1")]
pub struct BadShelfSlot(String);

impl FromStr for ShelfSlot {
    type Err = BadShelfSlot;

    fn from_str(text: &str) -> Result<Self, BadShelfSlot> {
        let bad = || BadShelfSlot(text.to_owned());
        let (shelf, slot) = text.split_once('.').ok_or_else(bad)?;
        let address =
            Self { shelf: shelf.parse().map_err(|_| bad())?, slot: slot.parse().map_err(|_| bad())? };
        if address.shelf == Self::ANY.shelf || address.slot == Self::ANY.slot {
            return Err(bad());
        }
        Ok(address)
    }
}
