//! Who is measured: which server, over which link, and which rows are parts of which.

use crate::case::Disk;
use serde::Serialize;
use std::fmt;

/// A server on one core and its initiator on another, but for the bdev alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// The link alone: the bare responder as memif's server
    MemifLink,
    /// The same as memif's zero-copy client
    ZeroCopyLink,
    /// The bdev alone: SPDK's bdevperf
    Bdev,
    /// kvblade-dpdk as memif's server, which copies each frame
    Memif,
    /// kvblade-dpdk as memif's zero-copy client: the initiator's core copies, as a NIC's DMA would
    ZeroCopy,
    /// The link and one copy of the data: the bare responder over veth
    VethLink,
    /// kvblade-dpdk over veth
    Veth,
    /// vblade over veth
    Vblade,
    /// SPDK's nvmf_tgt, TCP on loopback, posix sockets
    NvmfPosix,
    /// SPDK's nvmf_tgt, TCP on loopback, io_uring sockets
    NvmfUring,
}

/// What lies between the initiator and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Shared memory by DPDK's memif port on both ends; the target has either role.
    Memif {
        /// Whether the target is the client, which owns the memory and copies nothing.
        target_is_client: bool,
    },
    /// A veth pair, by DPDK's af_packet port on both ends; vblade has a packet socket of its own.
    Veth,
    /// TCP on loopback.
    Tcp,
    /// Nothing: one program is both.
    None,
}

impl Contender {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 10] = [
        Self::MemifLink,
        Self::ZeroCopyLink,
        Self::Bdev,
        Self::Memif,
        Self::ZeroCopy,
        Self::VethLink,
        Self::Veth,
        Self::Vblade,
        Self::NvmfPosix,
        Self::NvmfUring,
    ];

    /// As tables and the command line call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MemifLink => "memif-link",
            Self::ZeroCopyLink => "zero-copy-link",
            Self::Bdev => "bdev",
            Self::Memif => "memif",
            Self::ZeroCopy => "zero-copy",
            Self::VethLink => "veth-link",
            Self::Veth => "veth",
            Self::Vblade => "vblade",
            Self::NvmfPosix => "nvmf-posix",
            Self::NvmfUring => "nvmf-uring",
        }
    }

    /// What it is reached over.
    pub const fn link(self) -> Link {
        match self {
            Self::MemifLink | Self::Memif => Link::Memif { target_is_client: false },
            Self::ZeroCopyLink | Self::ZeroCopy => Link::Memif { target_is_client: true },
            Self::VethLink | Self::Veth | Self::Vblade => Link::Veth,
            Self::NvmfPosix | Self::NvmfUring => Link::Tcp,
            Self::Bdev => Link::None,
        }
    }

    /// Whether it can have this disk.
    pub const fn has(self, disk: Disk) -> bool {
        match self {
            Self::MemifLink | Self::ZeroCopyLink => matches!(disk, Disk::Null),
            Self::Bdev => !matches!(disk, Disk::File(_)),
            Self::VethLink | Self::Vblade | Self::NvmfPosix | Self::NvmfUring => {
                matches!(disk, Disk::Memory(_))
            }
            Self::Memif | Self::ZeroCopy | Self::Veth => true,
        }
    }

    /// The rows whose work it does too, and more: with this disk, at the same size, operation and depth.
    pub fn parts(self, disk: Disk) -> Vec<(Self, Disk)> {
        match self {
            Self::Memif => vec![(Self::MemifLink, Disk::Null), (Self::Bdev, disk)],
            Self::ZeroCopy => vec![(Self::ZeroCopyLink, Disk::Null), (Self::Bdev, disk)],
            Self::Veth => vec![(Self::VethLink, disk), (Self::Bdev, disk)],
            Self::NvmfPosix | Self::NvmfUring => vec![(Self::Bdev, disk)],
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_tables_and_json_call_it_the_same() {
        for contender in Contender::ALL {
            assert_eq!(serde_json::to_value(contender).unwrap(), contender.name());
            let parsed: Contender = clap::ValueEnum::from_str(contender.name(), false).unwrap();
            assert_eq!(parsed, contender);
        }
    }

    #[test]
    fn parts_are_rows_that_can_be_measured() {
        for contender in Contender::ALL {
            for disk in [Disk::Null, Disk::Memory(256)].into_iter().filter(|disk| contender.has(*disk)) {
                for (part, disk) in contender.parts(disk) {
                    assert!(part.has(disk) || contender == Contender::Veth, "{part} {disk}");
                }
            }
        }
    }
}
