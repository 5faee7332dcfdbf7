//! Which requests are sent to which disk: a row's conditions.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// What lies behind a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disk {
    /// Nothing: each request completes at once, without data. Of a link alone: no data is touched.
    Null,
    /// So many MiB of memory: a malloc bdev; of vblade, a file on tmpfs.
    Memory(u32),
    /// A file on tmpfs of so many MiB, by Linux's AIO.
    File(u32),
}

impl Disk {
    /// Its size in MiB; a null disk has the size of the smallest default one.
    pub const fn mib(self) -> u32 {
        match self {
            Self::Null => 256,
            Self::Memory(mib) | Self::File(mib) => mib,
        }
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => formatter.pad("null"),
            Self::Memory(mib) => write!(formatter, "memory:{mib}"),
            Self::File(mib) => write!(formatter, "file:{mib}"),
        }
    }
}

/// Reads or writes, at random addresses over the whole disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Reads.
    Read,
    /// Writes.
    Write,
}

impl Operation {
    /// As aoeperf and SPDK's programs call it with `-w`.
    pub const fn workload(self) -> &'static str {
        match self {
            Self::Read => "randread",
            Self::Write => "randwrite",
        }
    }
}

/// A row's conditions, written `DISK/BYTES/OPERATION/DEPTH`: `memory:256/4096/read/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    /// The disk.
    pub disk: Disk,
    /// Bytes a request moves.
    pub bytes: u32,
    /// Reads or writes.
    pub operation: Operation,
    /// Requests outstanding.
    pub depth: u16,
}

impl Case {
    /// The same requests to another disk.
    #[must_use]
    pub const fn on(self, disk: Disk) -> Self {
        Self { disk, ..self }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { disk, bytes, depth, .. } = self;
        let operation = if self.operation == Operation::Read { "read" } else { "write" };
        formatter.pad(&format!("{disk}/{bytes}/{operation}/{depth}"))
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |what: &str| {
            format!(
                "'{text}': {what}; a case is DISK/BYTES/OPERATION/DEPTH, such as memory:256/4096/read/32: a disk is null, \
                 memory:MIB or file:MIB with 16 to 65536 MiB, BYTES a multiple of 512 up to 8192, OPERATION read or write, \
                 DEPTH 1 to 256"
            )
        };
        let [disk, bytes, operation, depth] = text.split('/').collect::<Vec<_>>()[..] else {
            return Err(refused("it has not four parts"));
        };
        let mib = |text: &str| text.parse().ok().filter(|mib| (16..=65_536).contains(mib));
        let disk = match disk.split_once(':') {
            None if disk == "null" => Some(Disk::Null),
            Some(("memory", size)) => mib(size).map(Disk::Memory),
            Some(("file", size)) => mib(size).map(Disk::File),
            _ => None,
        };
        let is_io = |bytes: &u32| bytes.is_multiple_of(512) && (512..=8192).contains(bytes);
        Ok(Self {
            disk: disk.ok_or_else(|| refused("no such disk"))?,
            bytes: bytes.parse().ok().filter(is_io).ok_or_else(|| refused("no such size"))?,
            operation: match operation {
                "read" => Operation::Read,
                "write" => Operation::Write,
                _ => return Err(refused("no such operation")),
            },
            depth: depth
                .parse()
                .ok()
                .filter(|depth| (1..=256).contains(depth))
                .ok_or_else(|| refused("no such depth"))?,
        })
    }
}

impl Serialize for Case {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_read_as_it_is_written() {
        for text in ["null/512/read/1", "memory:256/4096/read/32", "file:1024/8192/write/256"] {
            assert_eq!(text.parse::<Case>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_case_is_named() {
        for (text, what) in [
            ("null/512/read", "four parts"),
            ("memory:8/512/read/1", "no such disk"),
            ("malloc/512/read/1", "no such disk"),
            ("null/1000/read/1", "no such size"),
            ("null/512/trim/1", "no such operation"),
            ("null/512/read/257", "no such depth"),
        ] {
            let error = text.parse::<Case>().unwrap_err();
            assert!(error.starts_with(&format!("'{text}'")) && error.contains(what), "{error}");
        }
    }
}
