//! The data room of a port's mbufs: large enough for its largest frame, and aligned for the bdevs.

use control::PortInfo;
use dpdk::DataAlignment;

use super::options::{FRAME_OVERHEAD, PortOptions};
use crate::payload_alignment::PayloadAlignment;

/// The smallest data room, which PMDs assume without asking.
const MIN_ROOM: u16 = 2048;

/// The mbufs of a port's queue pairs: size, number and mempool.
#[derive(Clone, Copy)]
pub(super) struct MbufSpec {
    /// Data room of each mbuf, in bytes.
    pub(super) data_room: u16,
    /// Mbufs of each queue pair.
    pub(super) count: u32,
    /// Mbufs of the port for requests that lcores without a queue pair of it have in flight, and for their caches.
    pub(super) for_others: u32,
    pub(super) alignment: Option<DataAlignment>,
    pub(super) shared_by: SharedBy,
}

/// The queue pairs that share a mempool. A shared mempool has as many mbufs as theirs would have together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SharedBy {
    /// Each queue pair has its own mempool.
    Nobody,
    /// The queue pairs of the port share one: its frames go from lcore to lcore.
    Port,
    /// The lcore's queue pairs on ports of this kind share one for each data room: see [`COPIES`].
    Lcore,
}

impl SharedBy {
    pub(super) fn of(driver: &str, crosses_lcores: bool) -> Self {
        match crosses_lcores {
            true => Self::Port,
            false if COPIES.contains(&driver) => Self::Lcore,
            false => Self::Nobody,
        }
    }
}

/// PMDs that copy each frame between an mbuf and a ring with memory of its own.
///
/// An mbuf of theirs is in use only while the lcore works on the frame, and the mbuf freed last is the next one taken. If
/// an lcore's ports share a mempool, its working set stays in the cache, however many ports there are. If one port
/// exhausts the pool, the others stall and lose nothing: these PMDs leave frames in the ring. A NIC's rings hold mbufs
/// all the time and the NIC drops frames when there are none; tap and pcap drop too. So those share nothing.
const COPIES: [&str; 3] = ["net_memif", "net_vhost", "net_af_packet"];

/// The data room for frames of this MTU, and at least `least` bytes, which the PMD is known to ask for.
pub(super) fn room_for(mtu: u16, least: u16) -> u16 {
    // Whole cache lines: some NICs want that, and none minds.
    (mtu + FRAME_OVERHEAD).next_multiple_of(64).max(MIN_ROOM).max(least)
}

/// The alignment of the data in this port's frames; `None` for the one that head room and headers give, which is also the
/// answer for a PMD that may not find the buffers of an aligned mempool.
pub(super) fn alignment_for(driver: &str, options: &PortOptions, port: &PortInfo) -> Option<DataAlignment> {
    let bytes = match options.alignment {
        PayloadAlignment::Fixed(bytes) => bytes,
        PayloadAlignment::Auto => options.requirements.alignment_on(port),
    };
    if usize::from(bytes) <= datapath::PAYLOAD_ALIGNMENT {
        return None;
    }
    if !dpdk::port::reads_buf_addr(driver) {
        tracing::info!(
            port = %port.name,
            driver,
            "data is not aligned to {bytes} bytes on this port: its PMD is not among those known to work with aligned mbufs"
        );
        return None;
    }
    Some(DataAlignment { offset: datapath::PAYLOAD, bytes })
}
