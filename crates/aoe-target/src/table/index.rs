//! From shelf and slot to the first export there: two array lookups, whatever there is.
//!
//! Each shelf with an export has a page with a place for each of its slots. So neighbours on a shelf, which is what disks
//! of one box are, lie side by side: the sixteen slots of a Coraid shelf share a cache line.

use std::fmt;

use aoe_wire::ShelfSlot;

/// No export.
pub(super) const NONE: u32 = u32::MAX;

/// The places of a shelf's slots, four cache lines for each 64 of them.
#[derive(Clone)]
#[repr(C, align(64))]
struct Page {
    /// By slot, the id of the first export there, or [`NONE`].
    heads: [u32; 256],
    /// Places that are not [`NONE`].
    used: u16,
}

const EMPTY: Page = Page { heads: [NONE; 256], used: 0 };

/// 128 KiB, and 1 KiB for each shelf that has exports.
pub(super) struct Index {
    /// By shelf, its page.
    shelves: Box<[u16; 1 << 16]>,
    /// The first one is that of all shelves without exports, and stays empty.
    pages: Vec<Page>,
    /// Pages of shelves that have no more exports.
    free: Vec<u16>,
}

impl Index {
    pub(super) fn new() -> Self {
        // From a vector, so that it is not built on the stack.
        let shelves = vec![0; 1 << 16].into_boxed_slice();
        let shelves = shelves.try_into().unwrap_or_else(|_| unreachable!("it has as many elements"));
        Self { shelves, pages: vec![EMPTY], free: Vec::new() }
    }

    /// The first export at an address, or [`NONE`].
    #[inline(always)]
    pub(super) fn head(&self, address: ShelfSlot) -> u32 {
        let page = self.shelves[usize::from(address.shelf.0)];
        self.pages[usize::from(page)].heads[usize::from(address.slot.0)]
    }

    /// Has `head` stand for an address, an export's id or [`NONE`].
    pub(super) fn set(&mut self, address: ShelfSlot, head: u32) {
        let shelf = usize::from(address.shelf.0);
        if self.shelves[shelf] == 0 {
            if head == NONE {
                return;
            }
            self.shelves[shelf] = self.new_page();
        }
        let page = self.shelves[shelf];
        let Page { heads, used } = &mut self.pages[usize::from(page)];
        let place = &mut heads[usize::from(address.slot.0)];
        match (std::mem::replace(place, head) == NONE, head == NONE) {
            (true, false) => *used += 1,
            (false, true) => *used -= 1,
            _ => {}
        }
        if *used == 0 {
            self.shelves[shelf] = 0;
            self.free.push(page);
        }
    }

    fn new_page(&mut self) -> u16 {
        self.free.pop().unwrap_or_else(|| {
            self.pages.push(EMPTY);
            // Shelf 65535 is the wildcard, so there are 65535 shelves and this page that no shelf has.
            u16::try_from(self.pages.len() - 1).expect("a page for each shelf")
        })
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shelves = self.pages.len() - 1 - self.free.len();
        formatter.debug_struct("Index").field("shelves", &shelves).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aoe_wire::{Shelf, Slot};

    const SHELVES: std::ops::RangeInclusive<u16> = 0..=Shelf::MAX.0;
    const SLOTS: std::ops::RangeInclusive<u8> = 0..=Slot::MAX.0;

    fn at(shelf: u16, slot: u8) -> ShelfSlot {
        ShelfSlot::new(Shelf(shelf), Slot(slot))
    }

    #[test]
    fn every_address_has_a_place_of_its_own() {
        let mut index = Index::new();
        let shelves = || SHELVES.step_by(257).chain([Shelf::MAX.0]);
        let all = || shelves().flat_map(|shelf| SLOTS.map(move |slot| at(shelf, slot)));
        assert!(all().all(|address| index.head(address) == NONE));
        all().zip(0..).for_each(|(address, id)| index.set(address, id));
        assert!(all().zip(0..).all(|(address, id)| index.head(address) == id));
        assert_eq!((index.head(at(1, 0)), index.head(at(2, 0))), (NONE, NONE));
        all().for_each(|address| index.set(address, NONE));
        assert!(all().all(|address| index.head(address) == NONE));
        assert!(index.shelves.iter().all(|page| *page == 0), "every page is free");
        assert_eq!(index.free.len() + 1, index.pages.len());
    }

    #[test]
    fn all_shelves_have_room() {
        let mut index = Index::new();
        SHELVES.for_each(|shelf| index.set(at(shelf, 7), u32::from(shelf)));
        let found = |shelf: u16| index.head(at(shelf, 7)) == u32::from(shelf);
        assert!(SHELVES.into_iter().all(found));
    }

    #[test]
    fn a_shelf_s_page_goes_with_its_last_export_and_serves_another() {
        let mut index = Index::new();
        index.set(at(1, 1), 10);
        index.set(at(1, 2), 11);
        index.set(at(1, 1), NONE);
        index.set(at(1, 1), NONE);
        assert_eq!((index.head(at(1, 1)), index.head(at(1, 2)), index.free.len()), (NONE, 11, 0));
        index.set(at(1, 2), NONE);
        index.set(at(9, 2), NONE);
        index.set(at(2, 1), 12);
        assert_eq!((index.pages.len(), index.head(at(2, 1)), index.head(at(1, 1))), (2, 12, NONE));
    }
}
