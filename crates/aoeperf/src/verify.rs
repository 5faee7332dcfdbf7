//! Verification: each write is stamped, each read compared, and no block has two requests at a time.
//!
//! A block with an outstanding request takes no other: the protocol gives no order between two. After a write that
//! was sent more than once its block rests, because a copy may still be on its way and nothing tells a target that
//! it is one.

use aoe_initiator::ledger::Ledger;
use aoe_initiator::sector::Stamp;
use aoe_initiator::wire::SECTOR;

/// Seconds that a block rests: longer than any network delays a frame.
const REST: u64 = 10;

/// One target's disk.
#[derive(Debug)]
pub struct Disk {
    ledger: Ledger,
    seed: u64,
    /// Whether a block has an outstanding request or rests.
    taken: Box<[bool]>,
    /// Blocks that rest, and until when, the earliest first.
    resting: std::collections::VecDeque<(u64, u64)>,
    rest: u64,
    swept: u64,
    checked: u64,
}

impl Disk {
    /// The first `blocks` blocks of `sectors_per_io` sectors each, of which nothing is known. `hz` ticks are a second.
    ///
    /// # Errors
    /// More than there is memory to keep track of.
    pub fn new(seed: u64, blocks: u64, sectors_per_io: u8, hz: u64) -> Result<Self, String> {
        let most: u64 = 1 << 31;
        let sectors = blocks.saturating_mul(u64::from(sectors_per_io));
        let (Ok(blocks), Ok(count), true) =
            (usize::try_from(blocks), usize::try_from(sectors), sectors <= most)
        else {
            return Err(format!(
                "--verify keeps 16 bytes in memory for each of {sectors} sectors: use {most} at most with --sectors"
            ));
        };
        Ok(Self {
            ledger: Ledger::new(seed, 0, count),
            seed,
            taken: vec![false; blocks].into(),
            resting: std::collections::VecDeque::with_capacity(64),
            rest: REST.saturating_mul(hz),
            swept: 0,
            checked: 0,
        })
    }

    /// Takes a block for a request. False: it has one, or rests.
    pub fn claim(&mut self, block: u64, now: u64) -> bool {
        while let Some((until, rested)) = self.resting.front().copied()
            && until <= now
        {
            self.resting.pop_front();
            self.free(rested);
        }
        let taken = usize::try_from(block).ok().and_then(|block| self.taken.get_mut(block));
        taken.is_some_and(|taken| !std::mem::replace(taken, true))
    }

    fn free(&mut self, block: u64) {
        if let Some(taken) = usize::try_from(block).ok().and_then(|block| self.taken.get_mut(block)) {
            *taken = false;
        }
    }

    /// Fills the data of a write, and returns its generation.
    pub fn stamp(&mut self, lba: u64, data: &mut [u8]) -> u64 {
        self.ledger.stamp(lba, data)
    }

    /// Fills the data of a further copy of a write.
    pub fn stamp_again(&self, lba: u64, generation: u64, data: &mut [u8]) {
        let (sectors, _) = data.as_chunks_mut::<SECTOR>();
        for (sector, lba) in sectors.iter_mut().zip(lba..) {
            Stamp { lba, generation, seed: self.seed }.fill(sector);
        }
    }

    /// A write was answered with success.
    pub fn acknowledge(&mut self, lba: u64, sectors: u8, generation: u64) {
        self.ledger.acknowledge(lba, usize::from(sectors), generation);
    }

    /// Compares what was read.
    ///
    /// # Errors
    /// The fault, in words.
    pub fn check(&mut self, lba: u64, data: &[u8]) -> Result<(), String> {
        let checked = self.ledger.check(lba, data).map_err(|error| error.to_string())?;
        self.checked += checked.sectors;
        Ok(())
    }

    /// A request to a claimed block is over; `doubtful` if it was a write of which a copy may still be on its way.
    pub fn release(&mut self, block: u64, doubtful: bool, now: u64) {
        if doubtful {
            self.resting.push_back((now.saturating_add(self.rest), block));
        } else {
            self.free(block);
        }
    }

    /// The next sectors to read back at the end: the first, and how many, `most` or less. `None` when all have been
    /// given out.
    pub fn sweep(&mut self, most: u8) -> Option<(u64, u8)> {
        let range = self.ledger.next_written(self.swept, usize::from(most))?;
        self.swept = range.end;
        Some((range.start, u8::try_from(range.end - range.start).unwrap_or(most)))
    }

    /// Sectors that were read and found to be what was written.
    pub fn checked(&self) -> u64 {
        self.checked
    }

    /// Sectors with an acknowledged write.
    pub fn written(&self) -> u64 {
        self.ledger.written()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Disk {
        Disk::new(5, 4, 2, 1_000).expect("eight sectors")
    }

    fn write(disk: &mut Disk, lba: u64) -> (u64, Vec<u8>) {
        let mut data = vec![0; 2 * SECTOR];
        (disk.stamp(lba, &mut data), data)
    }

    #[test]
    fn a_block_is_claimed_once_until_it_is_released() {
        let mut disk = disk();
        assert!(disk.claim(3, 0) && !disk.claim(3, 0) && !disk.claim(4, 0), "there is no fifth");
        disk.release(3, false, 0);
        assert!(disk.claim(3, 0));
        disk.release(3, true, 100);
        assert!(!disk.claim(3, 10_099), "it rests for ten seconds");
        assert!(disk.claim(3, 10_100));
    }

    #[test]
    fn a_further_copy_is_the_same() {
        let mut disk = disk();
        let (generation, data) = write(&mut disk, 4);
        let mut copy = vec![0; 2 * SECTOR];
        disk.stamp_again(4, generation, &mut copy);
        assert!(copy == data);
    }

    #[test]
    fn what_was_acknowledged_must_be_read_and_is_swept() {
        let mut disk = disk();
        let (generation, data) = write(&mut disk, 2);
        disk.acknowledge(2, 2, generation);
        assert_eq!((disk.written(), disk.check(2, &data), disk.checked()), (2, Ok(()), 2));
        let wrong = disk.check(2, &[0; 2 * SECTOR]).expect_err("zeroes");
        assert!(wrong.contains("LBA 2 has zeroes"), "{wrong}");
        assert_eq!((disk.sweep(16), disk.sweep(16)), (Some((2, 2)), None));
    }

    #[test]
    fn more_than_fits_into_memory_is_refused() {
        let refused = Disk::new(1, 1 << 40, 8, 1).expect_err("8 TiS");
        assert!(refused.contains(&(1u64 << 43).to_string()) && refused.contains("--sectors"), "{refused}");
    }
}
