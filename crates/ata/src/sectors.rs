//! Units of a disk's address space. Bytes are `usize`; what turns one unit into another is here.

/// Bytes of a sector.
const SECTOR_BYTES: usize = 512;

/// The address of a sector as initiators see the disk: 0 is the first one. Below 2^48 where registers or a TRIM have brought
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Lba(pub u64);

/// A number of sectors of 512 bytes that one command moves or gives up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct SectorCount(pub u16);

impl Lba {
    /// The address behind the last of `count` sectors from here on; around the end of the numbers it wraps.
    #[inline(always)]
    #[must_use]
    pub const fn end(self, count: SectorCount) -> Self {
        Self(self.0.wrapping_add(count.0 as u64))
    }

    /// Whether `count` sectors from here on lie within a disk of `size` sectors.
    #[inline(always)]
    #[must_use]
    pub fn fits(self, count: SectorCount, size: u64) -> bool {
        self.0.checked_add(u64::from(count.0)).is_some_and(|end| end <= size)
    }
}

impl SectorCount {
    /// Their size in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0 as usize * SECTOR_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_fits_up_to_the_last_sector() {
        assert!(Lba(90).fits(SectorCount(10), 100) && !Lba(91).fits(SectorCount(10), 100));
        assert!(Lba(100).fits(SectorCount(0), 100) && !Lba(101).fits(SectorCount(0), 100));
        assert!(!Lba(u64::MAX).fits(SectorCount(1), u64::MAX), "no number is its end");
        assert_eq!((Lba(90).end(SectorCount(10)), SectorCount(16).bytes()), (Lba(100), 8192));
    }
}
