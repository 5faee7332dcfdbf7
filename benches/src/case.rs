//! Which requests are sent to which disk: a row's conditions.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// What lies behind a target, with its MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Disk {
    /// Each request completes at once, without data. Of a link alone: no data is touched.
    Null,
    /// A malloc bdev; of vblade, a file on tmpfs.
    Memory(u32),
    /// A file on tmpfs, by Linux's AIO.
    File(u32),
}

impl Disk {
    pub(crate) const fn mib(self) -> u32 {
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
pub(crate) enum Operation {
    Read,
    Write,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(if *self == Self::Read { "read" } else { "write" })
    }
}

/// A row's conditions, written `DISK/BYTES/OPERATION/DEPTH`: `memory:256/4096/read/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    pub(crate) disk: Disk,
    /// Bytes a request moves.
    pub(crate) bytes: u32,
    pub(crate) operation: Operation,
    /// Requests outstanding.
    pub(crate) depth: u16,
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { disk, bytes, operation, depth } = self;
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
        let bytes = bytes
            .parse()
            .ok()
            .filter(|bytes: &u32| bytes.is_multiple_of(512) && (512..=8192).contains(bytes));
        let operation =
            [Operation::Read, Operation::Write].into_iter().find(|one| one.to_string() == operation);
        let depth = depth.parse().ok().filter(|depth| (1..=256).contains(depth));
        Ok(Self {
            disk: disk.ok_or_else(|| refused("no such disk"))?,
            bytes: bytes.ok_or_else(|| refused("no such size"))?,
            operation: operation.ok_or_else(|| refused("no such operation"))?,
            depth: depth.ok_or_else(|| refused("no such depth"))?,
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
    fn a_case_is_read_as_it_is_written_and_another_text_is_refused() {
        for text in ["null/512/read/1", "memory:256/4096/read/32", "file:1024/8192/write/256"] {
            assert_eq!(text.parse::<Case>().unwrap().to_string(), text);
        }
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
