//! Self-describing contents: each 512-byte sector names the LBA, generation and run it was written for.
//!
//! The first 32 bytes are a stamp, the rest is a stream derived from it, so that a sector from elsewhere, of
//! an older write, torn between two writes or damaged in any bit is recognised, and said for what it is.

use crate::wire::SECTOR;
use std::fmt;

const MAGIC: [u8; 8] = *b"AoEstamp";

/// The stamp of a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its address.
    pub lba: u64,
    /// The write it belongs to; unique within a run, starting at 1.
    pub generation: u64,
    /// The run.
    pub seed: u64,
}

/// The contents of a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Whole, as stamped.
    Stamped(Stamp),
    /// Nothing but zeroes.
    Zeroes,
    /// A stamp, and then, from byte `offset` on, not what belongs to it.
    Torn {
        /// The stamp.
        stamp: Stamp,
        /// First byte that is wrong.
        offset: usize,
    },
    /// No stamp.
    Foreign,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stamped(Stamp { lba, generation, seed }) => {
                write!(f, "generation {generation} of LBA {lba}, seed {seed:#x}")
            }
            Self::Zeroes => f.write_str("zeroes"),
            Self::Torn { stamp: Stamp { lba, generation, .. }, offset } => {
                write!(f, "generation {generation} of LBA {lba}, damaged from byte {offset} on")
            }
            Self::Foreign => f.write_str("bytes no load wrote"),
        }
    }
}

/// SplitMix64: a full-period generator whose every output is a mix of a counter.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// A stream of numbers that depends on `seed` alone.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    #[inline]
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, all but evenly; 0 if `bound` is 0.
    #[inline]
    pub const fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product is below the bound, so nothing is cut.
        #[allow(clippy::cast_possible_truncation)]
        let scaled = ((self.next() as u128 * bound as u128) >> 64) as u64;
        scaled
    }
}

impl Stamp {
    fn stream(&self) -> Random {
        let mut mixed = Random::new(self.seed);
        for part in [self.lba, self.generation] {
            mixed = Random::new(mixed.next() ^ part);
        }
        mixed
    }

    /// Writes the sector.
    pub fn fill(&self, sector: &mut [u8; SECTOR]) {
        let (words, _) = sector.as_chunks_mut::<8>();
        let (head, body) = words.split_at_mut(4);
        head.copy_from_slice(&[
            MAGIC,
            self.lba.to_le_bytes(),
            self.generation.to_le_bytes(),
            self.seed.to_le_bytes(),
        ]);
        let mut stream = self.stream();
        for word in body {
            *word = stream.next().to_le_bytes();
        }
    }
}

/// Tells what is in a sector.
pub fn inspect(sector: &[u8; SECTOR]) -> Content {
    let (words, _) = sector.as_chunks::<8>();
    if words[0] != MAGIC {
        return if sector.iter().all(|byte| *byte == 0) { Content::Zeroes } else { Content::Foreign };
    }
    let [lba, generation, seed] = [words[1], words[2], words[3]].map(u64::from_le_bytes);
    let stamp = Stamp { lba, generation, seed };
    let mut stream = stamp.stream();
    for (word, offset) in words[4..].iter().zip((32..).step_by(8)) {
        let expected = stream.next().to_le_bytes();
        if let Some(at) = word.iter().zip(expected).position(|(got, wanted)| *got != wanted) {
            return Content::Torn { stamp, offset: offset + at };
        }
    }
    Content::Stamped(stamp)
}

/// Fills `data` with numbers that depend on `seed` alone.
pub(crate) fn fill_random(seed: u64, data: &mut [u8]) {
    let mut random = Random::new(seed);
    for bytes in data.chunks_mut(8) {
        bytes.copy_from_slice(&random.next().to_le_bytes()[..bytes.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { lba: 7, generation: 3, seed: 0x5eed };

    fn filled() -> [u8; SECTOR] {
        let mut sector = [0xa5; SECTOR];
        STAMP.fill(&mut sector);
        sector
    }

    #[test]
    fn a_filled_sector_says_what_it_is() {
        assert_eq!(inspect(&filled()), Content::Stamped(STAMP));
    }

    #[test]
    fn every_single_bit_error_is_noticed() {
        for bit in 0..SECTOR * 8 {
            let mut sector = filled();
            sector[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(inspect(&sector), Content::Stamped(STAMP), "bit {bit}");
        }
    }

    #[test]
    fn a_sector_half_old_half_new_is_torn_where_it_changes() {
        let mut sector = filled();
        let mut newer = [0; SECTOR];
        Stamp { generation: 4, ..STAMP }.fill(&mut newer);
        sector[256..].copy_from_slice(&newer[256..]);
        assert_eq!(inspect(&sector), Content::Torn { stamp: STAMP, offset: 256 });
    }

    #[test]
    fn empty_and_foreign_sectors_are_told_apart() {
        assert_eq!(inspect(&[0; SECTOR]), Content::Zeroes);
        assert_eq!(inspect(&[0x11; SECTOR]), Content::Foreign);
    }

    #[test]
    fn bounded_numbers_stay_below_and_reach_both_ends() {
        let mut random = Random::new(1);
        let mut seen = [0u32; 5];
        for _ in 0..1000 {
            seen[usize::try_from(random.below(5)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }
}
