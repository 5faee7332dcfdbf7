//! Who is measured: what serves, over which link, and what drives the load.

use serde::Serialize;
use std::fmt;

/// A row of the comparison. Each is a server on one core and an initiator on another, but for the bdev alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// The link alone: the bare responder over memif; it touches no data.
    MemifLink,
    /// The bdev alone: bdevperf.
    Bdev,
    /// kvblade-dpdk over memif.
    Memif,
    /// The link and the copy: the bare responder over veth; it copies each payload from or to its place in memory.
    VethLink,
    /// kvblade-dpdk over veth.
    Veth,
    /// vblade over veth.
    Vblade,
    /// SPDK's nvmf_tgt, NVMe over TCP on loopback.
    Nvmf,
}

/// What lies between the initiator and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Shared memory, by DPDK's memif port on both ends.
    Memif,
    /// A veth pair, by DPDK's af_packet port on both ends; vblade has a packet socket of its own.
    Veth,
    /// TCP on loopback.
    Tcp,
    /// Nothing: one program is both.
    None,
}

impl Contender {
    /// All of them, in the order they are run and shown.
    pub const ALL: [Self; 7] =
        [Self::MemifLink, Self::Bdev, Self::Memif, Self::VethLink, Self::Veth, Self::Vblade, Self::Nvmf];

    /// As tables and the command line call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MemifLink => "memif-link",
            Self::Bdev => "bdev",
            Self::Memif => "memif",
            Self::VethLink => "veth-link",
            Self::Veth => "veth",
            Self::Vblade => "vblade",
            Self::Nvmf => "nvmf",
        }
    }

    /// What it is, for plots.
    pub const fn label(self) -> &'static str {
        match self {
            Self::MemifLink => "responder, memif",
            Self::Bdev => "bdevperf",
            Self::Memif => "kvblade-dpdk, memif",
            Self::VethLink => "responder, veth",
            Self::Veth => "kvblade-dpdk, veth",
            Self::Vblade => "vblade, veth",
            Self::Nvmf => "nvmf_tgt, TCP",
        }
    }

    /// What it is, for legends of tables.
    pub const fn title(self) -> &'static str {
        match self {
            Self::MemifLink => "bare responder, memif: the link alone, no data touched",
            Self::Bdev => "bdevperf on a malloc bdev, with copy: the bdev alone",
            Self::Memif => "kvblade-dpdk, memif, malloc bdev",
            Self::VethLink => {
                "bare responder, veth: the link, and the copy from or to memory as large as the disk"
            }
            Self::Veth => "kvblade-dpdk, veth, malloc bdev",
            Self::Vblade => "vblade, veth, a file on tmpfs",
            Self::Nvmf => "SPDK nvmf_tgt, TCP on loopback, malloc bdev",
        }
    }

    /// What it is reached over.
    pub const fn link(self) -> Link {
        match self {
            Self::MemifLink | Self::Memif => Link::Memif,
            Self::VethLink | Self::Veth | Self::Vblade => Link::Veth,
            Self::Nvmf => Link::Tcp,
            Self::Bdev => Link::None,
        }
    }

    /// MiB of hugepages it takes beside its initiator, which runs with one contender at a time.
    pub const fn hugepages_mib(self, store_mib: u32) -> u32 {
        match self {
            Self::MemifLink => RESPONDER_MIB,
            Self::VethLink => RESPONDER_MIB + store_mib,
            // DPDK's and SPDK's pools and mbufs.
            Self::Memif | Self::Veth => store_mib + 640,
            Self::Bdev => BDEVPERF_MIB + store_mib,
            Self::Nvmf => NVMF_MIB + store_mib,
            Self::Vblade => 0,
        }
    }
}

/// MiB that the responder takes beside its disk: mbufs with room for jumbo frames, and the rings.
const RESPONDER_MIB: u32 = 320;
/// MiB that bdevperf takes beside the bdev.
pub const BDEVPERF_MIB: u32 = 512;
/// MiB that nvmf_tgt takes beside the bdev.
pub const NVMF_MIB: u32 = 1024;

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
            let json = serde_json::to_value(contender).unwrap();
            assert_eq!(json, contender.name());
            let parsed: Contender = clap::ValueEnum::from_str(contender.name(), false).unwrap();
            assert_eq!(parsed, contender);
        }
    }
}
