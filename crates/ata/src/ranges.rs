//! The ranges of DATA SET MANAGEMENT: which sectors an initiator no longer needs.

use crate::sectors::{Lba, SectorCount};

/// Bytes of an entry: 48 bits of LBA and 16 of length, little endian.
const ENTRY: usize = 8;

/// Some sectors, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First sector, 48 bits.
    pub lba: Lba,
    /// Number of sectors, 1 to 65535.
    pub sectors: SectorCount,
}

impl Range {
    /// The sector after the last. Never overflows: it is below 2^48 + 2^16.
    #[inline]
    #[must_use]
    pub const fn end(&self) -> Lba {
        self.lba.end(self.sectors)
    }
}

/// The payload of DATA SET MANAGEMENT with TRIM: 64 entries for each 512 bytes (ACS-2, 7.9.3). An entry of length
/// 0 is unused, wherever it stands.
#[derive(Clone, Copy, Debug)]
pub struct Ranges<'a>(&'a [u8]);

impl<'a> Ranges<'a> {
    /// The ranges in `payload`; bytes beyond the last whole entry play no part.
    #[inline]
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    /// The first used range from entry `from` on, and the number of the entry after it.
    #[must_use]
    pub fn next_from(&self, from: u16) -> Option<(Range, u16)> {
        let mut at = from;
        loop {
            let start = usize::from(at) * ENTRY;
            let entry: &[u8; ENTRY] = self.0.get(start..)?.first_chunk()?;
            at = at.checked_add(1)?;
            let [a, b, c, d, e, f, low, high] = *entry;
            let sectors = SectorCount(u16::from_le_bytes([low, high]));
            if sectors != SectorCount(0) {
                let lba = Lba(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]));
                return Some((Range { lba, sectors }, at));
            }
        }
    }

    /// True when every used range lies within a disk of `sectors`.
    #[must_use]
    pub fn within(&self, sectors: u64) -> bool {
        let mut from = 0;
        while let Some((range, next)) = self.next_from(from) {
            if !range.lba.fits(range.sectors, sectors) {
                return false;
            }
            from = next;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn payload(entries: &[(u64, u16)]) -> Vec<u8> {
        entries.iter().flat_map(|(lba, sectors)| (u64::from(*sectors) << 48 | lba).to_le_bytes()).collect()
    }

    #[test]
    fn unused_entries_are_passed_over() {
        let bytes = payload(&[(7, 0), (0x1234_5678_9abc, 0xffff), (0, 0), (1, 2)]);
        let ranges = Ranges::new(&bytes);
        let (first, next) = ranges.next_from(0).unwrap();
        assert_eq!((first, next), (Range { lba: Lba(0x1234_5678_9abc), sectors: SectorCount(0xffff) }, 2));
        assert_eq!(ranges.next_from(next), Some((Range { lba: Lba(1), sectors: SectorCount(2) }, 4)));
        assert_eq!(ranges.next_from(4), None);
        assert_eq!(ranges.next_from(u16::MAX), None);
        assert_eq!(Ranges::new(&bytes[..15]).next_from(0), None, "half an entry is none");
    }

    #[test]
    fn every_range_is_held_against_the_size() {
        let bytes = payload(&[(0, 8), (90, 10), (1000, 0)]);
        assert!(Ranges::new(&bytes).within(100));
        assert!(!Ranges::new(&bytes).within(99));
        assert!(!Ranges::new(&payload(&[(0, 1), (100, 1)])).within(100));
        let last = payload(&[((1 << 48) - 1, 0xffff)]);
        assert!(!Ranges::new(&last).within((1 << 48) - 1));
        assert!(Ranges::new(&[0; 512]).within(0));
    }
}
