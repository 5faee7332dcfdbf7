//! `--target`: one export, or all of a range of shelves and slots.

use std::ops::RangeInclusive;
use std::str::FromStr;

use aoe_initiator::ShelfSlot;

/// Shelves times slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    shelves: RangeInclusive<u16>,
    slots: RangeInclusive<u8>,
}

impl Addresses {
    /// Every one of them, shelf by shelf.
    pub fn iter(&self) -> impl Iterator<Item = ShelfSlot> + '_ {
        let slots = &self.slots;
        self.shelves.clone().flat_map(move |shelf| slots.clone().map(move |slot| ShelfSlot::new(shelf, slot)))
    }
}

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "'{text}' is neither SHELF.SLOT nor ranges such as 0-39.0-249: shelves are 0 to 65534, slots 0 to 254"
            )
        };
        let (shelves, slots) = text.split_once('.').ok_or_else(bad)?;
        let shelves = range::<u16>(shelves).filter(|range| *range.end() < u16::MAX).ok_or_else(bad)?;
        let slots = range::<u8>(slots).filter(|range| *range.end() < u8::MAX).ok_or_else(bad)?;
        Ok(Self { shelves, slots })
    }
}

/// `7` or `7-9`; `None` if it is neither, or runs backwards.
fn range<T: FromStr + PartialOrd + Copy>(text: &str) -> Option<RangeInclusive<T>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (T, T) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(first..=last)
}
