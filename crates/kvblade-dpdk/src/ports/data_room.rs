//! Before the first frame: a port's mbufs, which hold its largest frame in one piece, where bdevs want its data.

use control::PortInfo;
use dpdk::DataAlignment;

use super::options::{FRAME_OVERHEAD, PortOptions};
use crate::payload_alignment::PayloadAlignment;

/// The smallest mbuf room: what PMDs expect to be able to receive into without asking.
const MIN_ROOM: u16 = 2048;

/// The mbufs of a port's queue pairs.
#[derive(Clone, Copy)]
pub(super) struct MbufSpec {
    /// Bytes for a frame in each mbuf.
    pub(super) data_room: u16,
    /// Mbufs of each queue pair.
    pub(super) count: u32,
    pub(super) alignment: Option<DataAlignment>,
    pub(super) shared_by: SharedBy,
}

/// Which queue pairs get their mbufs from one mempool, which has as many as each of them would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SharedBy {
    /// Each has its own.
    Nobody,
    /// Those of the port: its frames go from lcore to lcore.
    Port,
    /// Those that an lcore has on ports of this kind, with rooms of the same size: see [`COPIES`].
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

/// PMDs that copy each frame between an mbuf and a ring with memory of its own. Their mbufs are in use only while the
/// lcore works on the frames, and the one that was freed last is the next to be taken: if an lcore's ports share a
/// mempool, what it touches stays in its cache however many ports there are. A port that uses all mbufs takes no frames
/// from the others: without an mbuf these PMDs leave them in the ring. NICs' rings hold mbufs all the time and drop
/// what comes when there are none, and tap and pcap drop too: those share nothing.
const COPIES: [&str; 3] = ["net_memif", "net_vhost", "net_af_packet"];

/// Bytes that the largest frame takes in an mbuf: of this MTU, or what its PMD is known to want if that is more.
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
