//! The requests that are measured.

use ring_lab::frames;

/// A plain read or write of an export of shelf 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// What it is called in tables and on command lines.
    pub name: &'static str,
    /// Requests that an lcore takes in a turn: of those with much data, fewer.
    pub burst: usize,
    write: bool,
    sectors: u8,
    /// Each request starts where the one before it ends.
    sequential: bool,
}

impl Kind {
    /// Those that are measured everywhere.
    pub const ALL: [Self; 3] = [
        Self { name: "read-4k", burst: 8, write: false, sectors: 8, sequential: false },
        Self { name: "write-4k", burst: 8, write: true, sectors: 8, sequential: false },
        Self { name: "read-512", burst: 32, write: false, sectors: 1, sequential: false },
    ];

    /// Neighbours, which meet in the order table.
    pub const SEQUENTIAL: [Self; 2] = [
        Self { name: "seq-read-4k", burst: 8, write: false, sectors: 8, sequential: true },
        Self { name: "seq-write-4k", burst: 8, write: true, sectors: 8, sequential: true },
    ];

    /// The request's frame: the `tag`th to shelf 1 and this slot, on a disk of so many sectors.
    #[must_use]
    pub fn frame(self, slot: u8, tag: u32, disk: u64) -> Vec<u8> {
        // An odd number of 4 KiB apart, so that every place comes.
        let distance = if self.sequential { u64::from(self.sectors) } else { 8 * 37 };
        let lba = u64::from(tag) * distance % disk;
        if self.write {
            frames::write(slot, tag, lba, &frames::pattern(tag, usize::from(self.sectors)))
        } else {
            frames::read(slot, tag, lba, self.sectors)
        }
    }

    /// Bytes of the answer's frame.
    #[must_use]
    pub fn reply_len(self) -> usize {
        if self.write { 60 } else { frames::DATA + usize::from(self.sectors) * 512 }
    }
}
