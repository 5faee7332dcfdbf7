//! Who is measured: which server, over which link, and which rows are parts of which.

use crate::case::{Case, Disk};
use clap::ValueEnum;
use serde::Serialize;
use std::fmt;

/// A server on one core and its initiator on another, but for the bdev alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
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
pub(crate) enum Link {
    /// Shared memory by DPDK's memif port on both ends.
    Memif {
        /// The client owns the memory and copies nothing.
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
    pub(crate) const fn link(self) -> Link {
        match self {
            Self::MemifLink | Self::Memif => Link::Memif { target_is_client: false },
            Self::ZeroCopyLink | Self::ZeroCopy => Link::Memif { target_is_client: true },
            Self::VethLink | Self::Veth | Self::Vblade => Link::Veth,
            Self::NvmfPosix | Self::NvmfUring => Link::Tcp,
            Self::Bdev => Link::None,
        }
    }

    /// Whether it can have this disk.
    pub(crate) const fn has(self, disk: Disk) -> bool {
        match self {
            Self::MemifLink | Self::ZeroCopyLink => matches!(disk, Disk::Null),
            Self::Bdev => !matches!(disk, Disk::File(_)),
            Self::VethLink | Self::Vblade | Self::NvmfPosix | Self::NvmfUring => {
                matches!(disk, Disk::Memory(_))
            }
            Self::Memif | Self::ZeroCopy | Self::Veth => true,
        }
    }

    /// The rows whose work it does too, and more: at the same size, operation and depth.
    pub(crate) fn parts(self, case: Case) -> Vec<(Self, Case)> {
        let on_null = Case { disk: Disk::Null, ..case };
        match self {
            Self::Memif => vec![(Self::MemifLink, on_null), (Self::Bdev, case)],
            Self::ZeroCopy => vec![(Self::ZeroCopyLink, on_null), (Self::Bdev, case)],
            Self::Veth => vec![(Self::VethLink, case), (Self::Bdev, case)],
            Self::NvmfPosix | Self::NvmfUring => vec![(Self::Bdev, case)],
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        formatter.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}
