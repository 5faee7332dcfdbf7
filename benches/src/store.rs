//! The bare responder's disk: bytes in memory, and where among them a request's data lies.
//!
//! A target copies each payload from or into the place that the request names. With a store as large as the target's,
//! the responder misses the same caches.

use aoe_initiator::wire::{ATA_DATA_OFFSET, SECTOR};
use std::ops::{DerefMut, Range};

/// Where the command is in a frame.
const COMMAND: usize = 27;
/// Where the six LBA bytes are in a frame, least significant first.
const LBA: Range<usize> = 28..34;
/// The bit that the reads and writes with 48 bits of LBA (0x24, 0x34) have beside those with 28 (0x20, 0x30).
const EXTENDED: u8 = 0x04;
/// The bits of the fourth LBA byte that belong to 28 bits of LBA; the others are the device register's.
const LAST_OF_28: u8 = 0x0f;

/// The first sector of a read or write, from the head of its frame: 28 or 48 bits, by its command.
#[inline]
pub fn first_sector(head: &[u8; ATA_DATA_OFFSET]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(&head[LBA]);
    if head[COMMAND] & EXTENDED == 0 {
        bytes[3] &= LAST_OF_28;
        bytes[4..].fill(0);
    }
    u64::from_le_bytes(bytes)
}

/// A disk of these bytes.
#[derive(Debug)]
pub struct Store<Bytes>(pub Bytes);

impl<Bytes: DerefMut<Target = [u8]>> Store<Bytes> {
    /// Copies from `first` on into `data`. False, and nothing is copied, if the disk ends before that.
    #[inline]
    #[must_use]
    pub fn read(&self, first: u64, data: &mut [u8]) -> bool {
        let Some(stored) = place(first, data.len()).and_then(|place| self.0.get(place)) else { return false };
        data.copy_from_slice(stored);
        true
    }

    /// Copies `data` to `first` and what follows. False, and nothing is copied, if the disk ends before that.
    #[inline]
    #[must_use]
    pub fn write(&mut self, first: u64, data: &[u8]) -> bool {
        let Some(stored) = place(first, data.len()).and_then(|place| self.0.get_mut(place)) else {
            return false;
        };
        stored.copy_from_slice(data);
        true
    }
}

/// Where so many bytes from this sector on are; `None` if no memory goes that far.
#[inline]
fn place(first: u64, bytes: usize) -> Option<Range<usize>> {
    let start = usize::try_from(first).ok()?.checked_mul(SECTOR)?;
    Some(start..start.checked_add(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a frame with this command and these LBA bytes, and something else all around them.
    fn head(command: u8, lba: [u8; 6]) -> [u8; ATA_DATA_OFFSET] {
        let mut head = [0xee; ATA_DATA_OFFSET];
        head[COMMAND] = command;
        head[LBA].copy_from_slice(&lba);
        head
    }

    #[test]
    fn a_sector_has_28_or_48_bits_by_the_command() {
        for command in [0x24, 0x34] {
            assert_eq!(first_sector(&head(command, [1, 2, 3, 0xe4, 5, 6])), 0x0605_e403_0201);
        }
        for command in [0x20, 0x30] {
            assert_eq!(first_sector(&head(command, [1, 2, 3, 0xe4, 5, 6])), 0x0403_0201);
        }
    }

    #[test]
    fn each_sector_has_a_place_of_its_own() {
        let mut store = Store(vec![0; 4 * SECTOR]);
        assert!(store.write(1, &[1; SECTOR]));
        assert!(store.write(2, &[2; 2 * SECTOR]));
        let mut data = [9; 3 * SECTOR];
        assert!(store.read(0, &mut data));
        assert_eq!([0, SECTOR, 2 * SECTOR].map(|at| data[at]), [0, 1, 2]);
    }

    #[test]
    fn what_goes_beyond_the_end_is_neither_read_nor_written() {
        let mut store = Store(vec![7; 4 * SECTOR]);
        let mut data = [9; 2 * SECTOR];
        for first in [3, 4, 1 << 28, (1 << 48) - 1, u64::MAX] {
            assert!(!store.read(first, &mut data) && !store.write(first, &data), "{first}");
        }
        assert_eq!((data, store.0.clone()), ([9; 2 * SECTOR], vec![7; 4 * SECTOR]));
        assert!(store.read(2, &mut data), "the last two are there");
    }
}
