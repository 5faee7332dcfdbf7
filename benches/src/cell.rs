//! What is asked of every contender: sizes, operations and depths, and which of them are measured.

use serde::{Serialize, Serializer};
use std::fmt;

/// Which requests, all at random addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// 70 % reads, 30 % writes.
    Mixed,
}

impl Operation {
    /// As SPDK's programs and aoeperf call it with `-w`, with the share of reads for `-M` where one is needed.
    pub const fn options(self) -> (&'static str, Option<u8>) {
        match self {
            Self::Read => ("randread", None),
            Self::Write => ("randwrite", None),
            Self::Mixed => ("randrw", Some(70)),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Mixed => "70/30",
        })
    }
}

/// Bytes a request moves: whole sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u32);

impl Size {
    /// The sizes that targets are stated for.
    pub const SECTOR: Self = Self(512);
    /// One page.
    pub const PAGE: Self = Self(4096);

    /// A size in bytes.
    ///
    /// # Errors
    /// If it is not a multiple of 512 from 512 to 8192: what a target may have in one message.
    pub fn new(bytes: u32) -> Result<Self, String> {
        if bytes.is_multiple_of(512) && (512..=8192).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(format!(
                "{bytes} bytes: must be a multiple of 512 from 512 to 8192, what a target may have in one message"
            ))
        }
    }

    /// In bytes.
    pub const fn bytes(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes.is_multiple_of(1024) => formatter.pad(&format!("{} KiB", bytes / 1024)),
            bytes => formatter.pad(&format!("{bytes} B")),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

/// A row's conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Cell {
    /// Bytes a request moves.
    #[serde(rename = "bytes")]
    pub size: Size,
    /// Reads, writes or both.
    pub operation: Operation,
    /// Requests outstanding.
    pub depth: u16,
}

impl Cell {
    /// A cell.
    pub const fn new(size: Size, operation: Operation, depth: u16) -> Self {
        Self { size, operation, depth }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} QD {}", self.size, self.operation, self.depth)
    }
}

/// The depth at which the serial limit is stated; it is measured only where a target asks for it.
pub const LIMIT_DEPTH: u16 = 64;

/// The cells whose serial limit a target states.
pub const LIMIT_CELLS: [Cell; 3] = [
    Cell::new(Size::PAGE, Operation::Read, LIMIT_DEPTH),
    Cell::new(Size::PAGE, Operation::Write, LIMIT_DEPTH),
    Cell::new(Size::SECTOR, Operation::Read, LIMIT_DEPTH),
];

/// The cell whose latency a target states.
pub const PAGE_READ: Cell = Cell::new(Size::PAGE, Operation::Read, 1);

/// The cells in which a target compares rate, and latency, with nvmf_tgt's.
pub const NVMF_CELLS: [Cell; 4] = [
    Cell::new(Size::PAGE, Operation::Read, 32),
    Cell::new(Size::PAGE, Operation::Write, 32),
    PAGE_READ,
    Cell::new(Size::PAGE, Operation::Write, 1),
];

/// The depths at which a target compares what is reached over veth.
pub const VETH_DEPTHS: [u16; 2] = [1, 32];

/// Every combination, by size, then operation, then depth.
pub fn combinations(sizes: &[Size], operations: &[Operation], depths: &[u16]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &size in sizes {
        for &operation in operations {
            cells.extend(depths.iter().map(|&depth| Cell::new(size, operation, depth)));
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_sectors_that_fit_a_message() {
        assert_eq!(Size::new(4096), Ok(Size::PAGE));
        for wrong in [0, 511, 513, 8704] {
            let error = Size::new(wrong).unwrap_err();
            assert!(error.starts_with(&format!("{wrong} bytes")), "{error}");
        }
        assert_eq!([Size::SECTOR, Size::PAGE].map(|size| size.to_string()), ["512 B", "4 KiB"]);
    }

    #[test]
    fn combinations_are_ordered_by_size_operation_depth() {
        let cells = combinations(&[Size::SECTOR], &[Operation::Read, Operation::Mixed], &[1, 32]);
        let shown: Vec<String> = cells.iter().map(Cell::to_string).collect();
        assert_eq!(shown, ["512 B read QD 1", "512 B read QD 32", "512 B 70/30 QD 1", "512 B 70/30 QD 32"]);
    }
}
