//! Units of a bdev's address space: sectors of 512 bytes, in which requests count, and the bdev's own blocks.
//!
//! The two never meet as bare numbers: [`BlockSize`] alone turns one into the other.

/// Bytes of a sector.
pub const SECTOR_BYTES: usize = 512;

/// A range in sectors of 512 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sectors {
    /// The first one, from the bdev's start.
    pub first: u64,
    /// Their number.
    pub count: u32,
}

impl Sectors {
    /// Their size in bytes.
    #[inline]
    #[must_use]
    pub fn bytes(self) -> usize {
        self.count as usize * SECTOR_BYTES
    }
}

/// A range in blocks of a bdev.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Blocks {
    pub(crate) first: u64,
    pub(crate) count: u64,
}

/// Bytes of the largest block: the buffers of sector I/O hold two.
pub(crate) const BLOCK_BYTES_MAX: usize = 4096;

/// The size of a bdev's blocks: 512 bytes times a power of two, up to [`BLOCK_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockSize {
    /// A block is so many sectors: 1 shifted left by this.
    shift: u32,
}

impl BlockSize {
    /// `None` for another size.
    pub(crate) fn new(bytes: u32) -> Option<Self> {
        let sectors = bytes / 512;
        let is_size =
            bytes.is_multiple_of(512) && sectors.is_power_of_two() && bytes as usize <= BLOCK_BYTES_MAX;
        is_size.then(|| Self { shift: sectors.ilog2() })
    }

    /// Sectors of a block.
    #[inline]
    pub(crate) fn sectors(self) -> u32 {
        1 << self.shift
    }

    /// Bytes of a block.
    #[inline]
    pub(crate) fn bytes(self) -> usize {
        SECTOR_BYTES << self.shift
    }

    /// The sector's place in its block.
    #[inline]
    pub(crate) fn within_block(self, sector: u64) -> u32 {
        // Less than the sectors of a block, which are a u32.
        #[expect(clippy::cast_possible_truncation, reason = "masked")]
        let place = (sector & u64::from(self.sectors() - 1)) as u32;
        place
    }

    /// The block that a sector lies in.
    #[inline]
    pub(crate) fn block_of(self, sector: u64) -> u64 {
        sector >> self.shift
    }

    /// The range in blocks, if it starts and ends with a block.
    #[inline]
    pub(crate) fn exact(self, sectors: Sectors) -> Option<Blocks> {
        let count = u64::from(sectors.count);
        let is_whole = (sectors.first | count) & u64::from(self.sectors() - 1) == 0;
        is_whole.then_some(Blocks { first: sectors.first >> self.shift, count: count >> self.shift })
    }

    /// The blocks that a range touches.
    pub(crate) fn covering(self, sectors: Sectors) -> Blocks {
        let first = self.block_of(sectors.first);
        let end = (sectors.first + u64::from(sectors.count)).div_ceil(u64::from(self.sectors()));
        Blocks { first, count: end - first }
    }

    /// The blocks that lie wholly in a range; `None` if there is none.
    pub(crate) fn inside(self, sectors: Sectors) -> Option<Blocks> {
        let first = sectors.first.div_ceil(u64::from(self.sectors()));
        let end = (sectors.first + u64::from(sectors.count)) >> self.shift;
        let count = end.checked_sub(first).filter(|count| *count > 0)?;
        Some(Blocks { first, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGES: std::ops::Range<u64> = 0..40;

    /// Every range of few sectors, in blocks of every size, with its sectors one by one.
    fn all(check: impl Fn(BlockSize, Sectors, &[u64])) {
        for bytes in [512, 1024, 2048, 4096] {
            let size = BlockSize::new(bytes).expect("a power of two");
            for first in RANGES {
                for count in 0..20u32 {
                    let one_by_one: Vec<u64> = (first..first + u64::from(count)).collect();
                    check(size, Sectors { first, count }, &one_by_one);
                }
            }
        }
    }

    fn sectors_of(size: BlockSize, blocks: Blocks) -> Vec<u64> {
        let each = u64::from(size.sectors());
        (blocks.first * each..(blocks.first + blocks.count) * each).collect()
    }

    #[test]
    fn an_exact_range_is_the_same_sectors() {
        all(|size, sectors, one_by_one| {
            let whole = one_by_one.len().is_multiple_of(size.sectors() as usize)
                && size.within_block(sectors.first) == 0;
            let blocks = size.exact(sectors);
            assert_eq!(blocks.is_some(), whole, "{size:?} {sectors:?}");
            if let Some(blocks) = blocks {
                assert_eq!(sectors_of(size, blocks), one_by_one);
                assert_eq!(blocks.count * size.bytes() as u64, sectors.bytes() as u64);
            }
        });
    }

    #[test]
    fn covering_blocks_are_those_of_the_sectors() {
        all(|size, sectors, one_by_one| {
            let mut touched: Vec<u64> = one_by_one.iter().map(|sector| size.block_of(*sector)).collect();
            touched.dedup();
            if !touched.is_empty() {
                let Blocks { first, count } = size.covering(sectors);
                assert_eq!((first..first + count).collect::<Vec<_>>(), touched, "{size:?} {sectors:?}");
            }
        });
    }

    #[test]
    fn blocks_inside_have_all_their_sectors_in_the_range() {
        all(|size, sectors, one_by_one| {
            let is_inside = |block: &u64| {
                let sectors = sectors_of(size, Blocks { first: *block, count: 1 });
                sectors.iter().all(|sector| one_by_one.contains(sector))
            };
            let expected: Vec<u64> = (0..80).filter(is_inside).collect();
            let found: Vec<u64> =
                size.inside(sectors).map_or(0..0, |found| found.first..found.first + found.count).collect();
            assert_eq!(found, expected, "{size:?} {sectors:?}");
        });
    }

    #[test]
    fn sizes_that_are_no_power_of_two_sectors_or_larger_than_a_buffer_are_refused() {
        for bytes in [0, 1, 256, 511, 520, 768, 1536, 4160, 8192, 16384, 1 << 31] {
            assert_eq!(BlockSize::new(bytes), None, "{bytes}");
        }
    }
}
