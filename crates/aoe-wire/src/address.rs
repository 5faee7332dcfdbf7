//! Shelf and slot, their wildcards, and their written form.

use core::fmt::{self, Write as _};
use core::str::FromStr;

/// A shelf, the `major` of the protocol. 65535 stands for every shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shelf(pub u16);

/// A slot of a shelf, the `minor` of the protocol. 255 stands for every slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u8);

/// The address of a disk: shelf and slot. In a request either half may be a wildcard.
///
/// Written `SHELF.SLOT` in decimal, as in `/dev/etherd/e1.2`. Parsing accepts addresses a disk can have, so no
/// wildcards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShelfSlot {
    /// The shelf.
    pub shelf: Shelf,
    /// The slot.
    pub slot: Slot,
}

impl Shelf {
    /// Every shelf.
    pub const WILDCARD: Self = Self(0xffff);
    /// The highest shelf a disk can have, 65534.
    pub const MAX: Self = Self(0xfffe);
}

impl Slot {
    /// Every slot.
    pub const WILDCARD: Self = Self(0xff);
    /// The highest slot a disk can have, 254.
    pub const MAX: Self = Self(0xfe);
}

impl ShelfSlot {
    /// Every slot of every shelf.
    pub const WILDCARD: Self = Self { shelf: Shelf::WILDCARD, slot: Slot::WILDCARD };

    /// The shelf and slot as they are, wildcards included.
    #[inline]
    #[must_use]
    pub const fn new(shelf: Shelf, slot: Slot) -> Self {
        Self { shelf, slot }
    }

    /// True when the shelf or the slot is a wildcard.
    #[inline]
    #[must_use]
    pub fn is_wildcard(self) -> bool {
        self.shelf == Shelf::WILDCARD || self.slot == Slot::WILDCARD
    }

    /// Taking `self` as a pattern: does it mean the disk at `disk`? A wildcard half means any value.
    #[inline]
    #[must_use]
    pub fn matches(self, disk: Self) -> bool {
        (self.shelf == Shelf::WILDCARD || self.shelf == disk.shelf)
            && (self.slot == Slot::WILDCARD || self.slot == disk.slot)
    }

    /// True when the Linux initiator ignores a disk at this address although the protocol allows it: shelf
    /// 4095 (`0xfff`). Worth a warning to whoever exports there.
    #[must_use]
    pub fn is_refused_by_linux(self) -> bool {
        self.shelf == Shelf(0xfff) || self.is_wildcard()
    }
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ShelfSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.shelf, self.slot)
    }
}

impl TryFrom<u64> for Shelf {
    type Error = AddressError;

    /// A shelf a disk can have, from a number such as a JSON integer.
    fn try_from(number: u64) -> Result<Self, AddressError> {
        u16::try_from(number)
            .ok()
            .map(Self)
            .filter(|shelf| *shelf <= Self::MAX)
            .ok_or_else(|| AddressError::ShelfRange(Excerpt::of(number)))
    }
}

impl TryFrom<u64> for Slot {
    type Error = AddressError;

    /// A slot a disk can have, from a number such as a JSON integer.
    fn try_from(number: u64) -> Result<Self, AddressError> {
        u8::try_from(number)
            .ok()
            .map(Self)
            .filter(|slot| *slot <= Self::MAX)
            .ok_or_else(|| AddressError::SlotRange(Excerpt::of(number)))
    }
}

impl FromStr for Shelf {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match decimal(text) {
            Decimal::Number(number) => Self::try_from(number),
            Decimal::TooLarge => Err(AddressError::ShelfRange(Excerpt::of(text))),
            Decimal::NotANumber => Err(AddressError::ShelfNotNumber(Excerpt::of(text))),
        }
    }
}

impl FromStr for Slot {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match decimal(text) {
            Decimal::Number(number) => Self::try_from(number),
            Decimal::TooLarge => Err(AddressError::SlotRange(Excerpt::of(text))),
            Decimal::NotANumber => Err(AddressError::SlotNotNumber(Excerpt::of(text))),
        }
    }
}

impl FromStr for ShelfSlot {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (shelf, slot) = text.split_once('.').ok_or_else(|| AddressError::NoDot(Excerpt::of(text)))?;
        Ok(Self { shelf: shelf.parse()?, slot: slot.parse()? })
    }
}

enum Decimal {
    Number(u64),
    TooLarge,
    NotANumber,
}

/// Digits only: the standard parser would also take a plus sign.
fn decimal(text: &str) -> Decimal {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Decimal::NotANumber;
    }
    text.parse().map_or(Decimal::TooLarge, Decimal::Number)
}

/// The reason for which a text or number is not the address of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// No dot between shelf and slot.
    NoDot(Excerpt),
    /// The shelf is not a decimal number.
    ShelfNotNumber(Excerpt),
    /// The shelf is above 65534.
    ShelfRange(Excerpt),
    /// The slot is not a decimal number.
    SlotNotNumber(Excerpt),
    /// The slot is above 254.
    SlotRange(Excerpt),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shelf, slot) = (Shelf::MAX, Slot::MAX);
        match self {
            Self::NoDot(text) => write!(
                f,
                "address \"{text}\": expected SHELF.SLOT such as 1.2, shelf 0 to {shelf}, slot 0 to {slot}"
            ),
            Self::ShelfNotNumber(text) => {
                write!(f, "shelf \"{text}\": expected a decimal number from 0 to {shelf}")
            }
            Self::ShelfRange(text) => {
                write!(
                    f,
                    "shelf {text}: expected 0 to {shelf} (65535 means every shelf and cannot be a disk's)"
                )
            }
            Self::SlotNotNumber(text) => {
                write!(f, "slot \"{text}\": expected a decimal number from 0 to {slot}")
            }
            Self::SlotRange(text) => {
                write!(f, "slot {text}: expected 0 to {slot} (255 means every slot and cannot be a disk's)")
            }
        }
    }
}

impl core::error::Error for AddressError {}

/// The start of a refused text, kept for the error message without allocating: up to 32 bytes, then `...`.
/// Control characters and quotes show escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Excerpt {
    bytes: [u8; Self::MAX],
    len: u8,
    cut: bool,
}

impl Excerpt {
    const MAX: usize = 32;

    /// The first bytes of what `value` displays as.
    pub fn of(value: impl fmt::Display) -> Self {
        let mut excerpt = Self { bytes: [0; Self::MAX], len: 0, cut: false };
        if write!(excerpt, "{value}").is_err() {
            excerpt.cut = true;
        }
        excerpt
    }

    fn as_str(&self) -> &str {
        // Whole characters were copied, so this cannot fail.
        core::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Write for Excerpt {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let at = usize::from(self.len);
            let room = self.bytes.get_mut(at..at + character.len_utf8()).ok_or(fmt::Error)?;
            // A character has at most four bytes and the array 32, so the length fits.
            self.len += u8::try_from(character.encode_utf8(room).len()).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.as_str().escape_debug(), if self.cut { "..." } else { "" })
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};

    use super::*;

    fn at(shelf: u16, slot: u8) -> ShelfSlot {
        ShelfSlot::new(Shelf(shelf), Slot(slot))
    }

    fn refusal(text: &str) -> String {
        text.parse::<ShelfSlot>().unwrap_err().to_string()
    }

    #[test]
    fn reads_what_it_writes() {
        for address in [at(0, 0), at(1, 2), at(4095, 16), at(65534, 254)] {
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        assert_eq!("01.002".parse(), Ok(at(1, 2)));
    }

    #[test]
    fn refusals_name_the_value_and_the_range() {
        assert_eq!(
            refusal("12"),
            "address \"12\": expected SHELF.SLOT such as 1.2, shelf 0 to 65534, slot 0 to 254"
        );
        assert_eq!(refusal(".1"), "shelf \"\": expected a decimal number from 0 to 65534");
        assert_eq!(refusal("e1.1"), "shelf \"e1\": expected a decimal number from 0 to 65534");
        assert_eq!(refusal("+1.1"), "shelf \"+1\": expected a decimal number from 0 to 65534");
        assert_eq!(
            refusal("65535.1"),
            "shelf 65535: expected 0 to 65534 (65535 means every shelf and cannot be a disk's)"
        );
        assert_eq!(
            refusal("99999999999999999999999.1"),
            "shelf 99999999999999999999999: expected 0 to 65534 (65535 means every shelf and cannot be a disk's)"
        );
        assert_eq!(
            refusal("1.255"),
            "slot 255: expected 0 to 254 (255 means every slot and cannot be a disk's)"
        );
        assert_eq!(refusal("1.2.3"), "slot \"2.3\": expected a decimal number from 0 to 254");
        assert_eq!(refusal("1."), "slot \"\": expected a decimal number from 0 to 254");
        assert_eq!(refusal("1. 2"), "slot \" 2\": expected a decimal number from 0 to 254");
        assert_eq!(
            Shelf::try_from(70_000).unwrap_err().to_string(),
            "shelf 70000: expected 0 to 65534 (65535 means every shelf and cannot be a disk's)"
        );
        assert_eq!(Slot::try_from(254), Ok(Slot(254)));
    }

    #[test]
    fn long_and_odd_texts_stay_readable() {
        let long = "x".repeat(40);
        assert!(refusal(&long).starts_with(&std::format!("address \"{}...\": ", "x".repeat(32))));
        assert!(refusal("1\n\u{1b}[31m").starts_with("address \"1\\n\\u{1b}[31m\": "));
        let umlauts = "\u{e4}".repeat(17);
        assert!(refusal(&umlauts).starts_with(&std::format!("address \"{}...\": ", "\u{e4}".repeat(16))));
    }

    #[test]
    fn wildcards_match_independently() {
        let disk = at(7, 3);
        assert!(disk.matches(disk));
        assert!(ShelfSlot::WILDCARD.matches(disk));
        assert!(at(0xffff, 3).matches(disk) && !at(0xffff, 4).matches(disk));
        assert!(at(7, 0xff).matches(disk) && !at(8, 0xff).matches(disk));
        assert!(at(7, 0xff).is_wildcard() && at(0xffff, 3).is_wildcard() && !disk.is_wildcard());
        assert!(at(0xfff, 1).is_refused_by_linux() && !disk.is_refused_by_linux());
    }
}
