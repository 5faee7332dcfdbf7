//! The expected contents of the disk: per sector the last acknowledged generation, and the newest one that was sent.
//!
//! A read is right if the sector holds a write no older than the last acknowledged and no newer than the last
//! sent. The two differ only while the fate of a write is unknown (it failed, or nobody answered), and then
//! either is right. The caller must not have two requests to the same sector in flight when one of them is a
//! write: the protocol gives no order between them. It must also let a sector rest after a retransmitted
//! write until no copy can be on its way, for nothing tells a target that a copy is one.

use crate::error::{Error, Result};
use crate::sector::{Content, Stamp, inspect};
use crate::wire::SECTOR;
use std::ops::Range;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Generation of the last acknowledged write, 0 before the first.
    acknowledged: u64,
    /// Generation of the last write sent.
    sent: u64,
}

/// The expected contents of a range of sectors.
#[derive(Clone, Debug)]
pub struct Ledger {
    seed: u64,
    first: u64,
    entries: Vec<Entry>,
    generation: u64,
}

/// The number of sectors of a read that could be checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Sectors compared with what was written.
    pub sectors: u64,
    /// Sectors without an acknowledged write, of which nothing is known.
    pub unwritten: u64,
}

impl Ledger {
    /// A ledger of `sectors` sectors from `first` on, nothing written yet. `seed` tells this run's writes
    /// from others'.
    pub fn new(seed: u64, first: u64, sectors: usize) -> Self {
        Self { seed, first, entries: vec![Entry::default(); sectors], generation: 0 }
    }

    /// The sectors it covers.
    pub fn range(&self) -> Range<u64> {
        self.first..self.first + self.entries.len() as u64
    }

    fn span(&self, lba: u64, sectors: usize) -> Range<usize> {
        let start = usize::try_from(lba - self.first).expect("an LBA of the ledger's range");
        start..start + sectors
    }

    /// Fills `data` for a write at `lba` and returns its generation.
    ///
    /// # Panics
    /// If the write leaves the ledger's range.
    pub fn stamp(&mut self, lba: u64, data: &mut [u8]) -> u64 {
        self.generation += 1;
        let (sectors, _) = data.as_chunks_mut::<SECTOR>();
        let span = self.span(lba, sectors.len());
        for ((sector, lba), entry) in sectors.iter_mut().zip(lba..).zip(&mut self.entries[span]) {
            Stamp { lba, generation: self.generation, seed: self.seed }.fill(sector);
            entry.sent = self.generation;
        }
        self.generation
    }

    /// A write was acknowledged. A write that failed or was not answered is simply not acknowledged.
    ///
    /// # Panics
    /// If the write leaves the ledger's range.
    pub fn acknowledge(&mut self, lba: u64, sectors: usize, generation: u64) {
        let span = self.span(lba, sectors);
        for entry in &mut self.entries[span] {
            entry.acknowledged = generation;
        }
    }

    /// Compares what was read at `lba` with what must be there.
    ///
    /// # Errors
    /// [`Error::WrongData`] with the LBA, what is there and what should be.
    ///
    /// # Panics
    /// If the read leaves the ledger's range.
    pub fn check(&self, lba: u64, data: &[u8]) -> Result<Checked> {
        let (sectors, _) = data.as_chunks::<SECTOR>();
        let mut checked = Checked::default();
        let span = self.span(lba, sectors.len());
        for ((sector, lba), entry) in sectors.iter().zip(lba..).zip(&self.entries[span]) {
            if entry.acknowledged == 0 {
                checked.unwritten += 1;
                continue;
            }
            let content = inspect(sector);
            let right = matches!(content, Content::Stamped(stamp)
                if stamp.lba == lba
                    && stamp.seed == self.seed
                    && (entry.acknowledged..=entry.sent).contains(&stamp.generation));
            if !right {
                let wanted = if entry.acknowledged == entry.sent {
                    format!("generation {}", entry.sent)
                } else {
                    format!("a generation from {} to {}", entry.acknowledged, entry.sent)
                };
                let seed = self.seed;
                return Err(Error::WrongData(format!(
                    "LBA {lba} has {content}; expected {wanted}, seed {seed:#x}"
                )));
            }
            checked.sectors += 1;
        }
        Ok(checked)
    }

    /// The first range of acknowledged sectors at or after `lba`, of at most `most` sectors.
    pub fn next_written(&self, lba: u64, most: usize) -> Option<Range<u64>> {
        let skip = usize::try_from(lba.checked_sub(self.first)?).ok()?;
        let rest = self.entries.get(skip..)?;
        let written = |entry: &Entry| entry.acknowledged != 0;
        let start = rest.iter().position(written)?;
        let len = rest[start..].iter().take(most).take_while(|entry| written(entry)).count();
        let from = lba + start as u64;
        Some(from..from + len as u64)
    }

    /// Sectors with an acknowledged write.
    pub fn written(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.acknowledged != 0).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(ledger: &mut Ledger, lba: u64, sectors: usize) -> (u64, Vec<u8>) {
        let mut data = vec![0; sectors * SECTOR];
        let generation = ledger.stamp(lba, &mut data);
        (generation, data)
    }

    #[test]
    fn an_acknowledged_write_must_read_back() {
        let mut ledger = Ledger::new(1, 100, 16);
        let (first, old) = written(&mut ledger, 104, 4);
        ledger.acknowledge(104, 4, first);
        assert_eq!(ledger.check(104, &old).unwrap(), Checked { sectors: 4, unwritten: 0 });
        let (second, new) = written(&mut ledger, 104, 4);
        ledger.acknowledge(104, 4, second);
        let error = ledger.check(104, &old).unwrap_err().to_string();
        assert!(
            error.contains("LBA 104 has generation 1") && error.contains("expected generation 2"),
            "{error}"
        );
        assert_eq!(ledger.check(104, &new).unwrap().sectors, 4);
    }

    #[test]
    fn a_write_of_unknown_fate_may_or_may_not_be_there() {
        let mut ledger = Ledger::new(1, 0, 8);
        let (first, old) = written(&mut ledger, 0, 2);
        ledger.acknowledge(0, 2, first);
        let (_, lost) = written(&mut ledger, 0, 2);
        assert!(ledger.check(0, &old).is_ok());
        assert!(ledger.check(0, &lost).is_ok());
        let (third, new) = written(&mut ledger, 0, 2);
        ledger.acknowledge(0, 2, third);
        assert!(ledger.check(0, &old).is_err());
        assert!(ledger.check(0, &lost).is_err());
        assert!(ledger.check(0, &new).is_ok());
    }

    #[test]
    fn data_of_another_place_or_run_is_wrong() {
        let mut ledger = Ledger::new(1, 0, 8);
        let (generation, data) = written(&mut ledger, 0, 4);
        ledger.acknowledge(0, 4, generation);
        let mut swapped = data.clone();
        swapped[..SECTOR].copy_from_slice(&data[SECTOR..2 * SECTOR]);
        assert!(ledger.check(0, &swapped).is_err());
        let (_, other) = written(&mut Ledger::new(2, 0, 8), 0, 4);
        assert!(ledger.check(0, &other).is_err());
        assert!(ledger.check(0, &vec![0; 4 * SECTOR]).is_err());
    }

    #[test]
    fn nothing_is_claimed_about_unwritten_sectors() {
        let mut ledger = Ledger::new(1, 0, 8);
        let (generation, data) = written(&mut ledger, 2, 1);
        ledger.acknowledge(2, 1, generation);
        let mut read = vec![0xee; 4 * SECTOR];
        read[2 * SECTOR..3 * SECTOR].copy_from_slice(&data);
        assert_eq!(ledger.check(0, &read).unwrap(), Checked { sectors: 1, unwritten: 3 });
        assert_eq!(ledger.written(), 1);
    }

    #[test]
    fn written_ranges_are_found_in_order() {
        let mut ledger = Ledger::new(1, 10, 20);
        for (lba, sectors) in [(12, 3), (20, 8)] {
            let (generation, _) = written(&mut ledger, lba, sectors);
            ledger.acknowledge(lba, sectors, generation);
        }
        assert_eq!(ledger.next_written(10, 16), Some(12..15));
        assert_eq!(ledger.next_written(15, 5), Some(20..25));
        assert_eq!(ledger.next_written(25, 5), Some(25..28));
        assert_eq!(ledger.next_written(28, 5), None);
        assert_eq!(ledger.next_written(99, 5), None);
    }
}
