//! The next request: read or write, and its block.

use aoe_initiator::sector::Random;

/// Draws requests for all targets.
#[derive(Debug, Clone)]
pub struct Pattern {
    random: Random,
    is_random: bool,
    reads: u8,
}

impl Pattern {
    /// `reads` of 100 requests are reads; blocks are taken at random, or one after the other.
    pub fn new(seed: u64, is_random: bool, reads: u8) -> Self {
        Self { random: Random::new(seed), is_random, reads }
    }

    /// Whether the next request is a write.
    #[inline]
    pub fn is_write(&mut self) -> bool {
        match self.reads {
            100 => false,
            0 => true,
            reads => self.random.below(100) >= u64::from(reads),
        }
    }

    /// The next of a target's `blocks` blocks; `cursor` is that target's place for the sequential workloads.
    #[inline]
    pub fn block(&mut self, blocks: u64, cursor: &mut u64) -> u64 {
        if self.is_random {
            return self.random.below(blocks);
        }
        let block = *cursor;
        *cursor = if block + 1 < blocks { block + 1 } else { 0 };
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequential_blocks_come_in_order_and_round() {
        let mut pattern = Pattern::new(1, false, 100);
        let mut cursor = 0;
        let blocks: Vec<u64> = (0..7).map(|_| pattern.block(3, &mut cursor)).collect();
        assert_eq!(blocks, [0, 1, 2, 0, 1, 2, 0]);
        assert!(!pattern.is_write());
    }

    #[test]
    fn the_share_of_reads_is_what_was_asked_for() {
        for (reads, least, most) in [(0, 0, 0), (30, 2_800, 3_200), (70, 6_800, 7_200), (100, 10_000, 10_000)]
        {
            let mut pattern = Pattern::new(7, true, reads);
            let found = (0..10_000).filter(|_| !pattern.is_write()).count();
            assert!((least..=most).contains(&found), "{found} of 10000 are reads at {reads} %");
        }
    }

    #[test]
    fn random_blocks_reach_all_of_the_disk_and_nothing_beyond() {
        let mut pattern = Pattern::new(3, true, 100);
        let mut seen = [false; 64];
        for _ in 0..2000 {
            seen[usize::try_from(pattern.block(64, &mut 0)).expect("below 64")] = true;
        }
        assert!(seen.iter().all(|seen| *seen));
    }
}
