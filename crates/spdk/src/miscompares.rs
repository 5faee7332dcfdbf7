//! Compare-and-writes of one block that found it changed, and whether the bdev can be believed.

use std::hash::{DefaultHasher, Hasher};

/// How often the block may have changed between a read and the compare. At most 64 requests of each lcore compete, and one of
/// them wins each time.
const CHANGED_MAX: u32 = 100_000;

/// How often in a row the block may read as before although its compare failed. Two writers that put the same two contents into
/// a block by turns make it look so, with an even chance each time.
const UNCHANGED_MAX: u32 = 64;

/// The failed compares of one block.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Miscompares {
    total: u32,
    /// Those in a row after which the block was as before.
    unchanged: u32,
    /// The hash of the block that was compared last.
    compared: u64,
}

impl Miscompares {
    /// The compare with `block`, which was read before, has failed. False if it makes no sense to try again.
    pub(crate) fn failed(&mut self, block: &[u8]) -> bool {
        let compared = hash(block);
        self.unchanged = if self.total > 0 && compared == self.compared { self.unchanged + 1 } else { 0 };
        self.compared = compared;
        self.total += 1;
        self.total <= CHANGED_MAX && self.unchanged < UNCHANGED_MAX
    }
}

fn hash(block: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(block);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_is_as_before_after_each_failed_compare_is_given_up_soon() {
        let mut miscompares = Miscompares::default();
        let tries = (1..).take_while(|_| miscompares.failed(&[7; 4096])).count();
        assert_eq!(tries, UNCHANGED_MAX as usize);
    }

    #[test]
    fn a_block_that_others_change_is_tried_for_long() {
        let mut miscompares = Miscompares::default();
        let mut block = [0u8; 4096];
        for other in 0..CHANGED_MAX {
            // It changes back now and then.
            block[9] = if other % 7 == 0 { block[9] } else { block[9].wrapping_add(1) };
            assert!(miscompares.failed(&block), "after {other} others");
        }
        assert!(!miscompares.failed(&block));
    }
}
