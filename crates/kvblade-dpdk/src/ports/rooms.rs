//! Before the first frame: a port's mbufs, which hold its largest frame in one piece, where bdevs want its data.

use control::PortInfo;
use dpdk::{DataAlignment, EalStarted, Port, PortConfig, PortUse};

use super::{FRAME_OVERHEAD, PortOptions, pools::Pools};
use crate::needs::PayloadAlignment;

/// Descriptors asked of each rx and each tx ring; a PMD with less gives less.
const DESCRIPTORS: u16 = 1024;

/// The smallest mbuf room: what PMDs expect to be able to receive into without asking.
const MIN_ROOM: u16 = 2048;

/// Larger rooms to try when a PMD refuses those that its MTU needs; the last is the largest there is.
const LARGER_ROOMS: [u16; 2] = [16_384, u16::MAX - dpdk::HEADROOM];

/// The mbufs of a port's queue pairs.
#[derive(Clone, Copy)]
pub(super) struct Rooms {
    /// Bytes for a frame.
    pub(super) room: u16,
    /// Of each queue pair.
    pub(super) mbufs: u32,
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
        PayloadAlignment::Auto => options.needs.alignment_on(port),
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

/// Configures and starts the port with mbufs that hold its largest frame in one piece, or what its PMD insists on if
/// that is more. Also returns what the address of the data of an untagged frame is a multiple of.
pub(super) fn start_with_room(
    eal: EalStarted,
    info: &dpdk::PortInfo,
    cores: &[u32],
    mtu: u16,
    rooms: &Rooms,
    pools: &mut Pools,
    used_for: PortUse,
) -> Result<(Port, usize), String> {
    let name = &info.name;
    let mut rooms = *rooms;
    let needed = rooms.room;
    let mut larger = LARGER_ROOMS.into_iter().filter(|room| *room > needed);
    loop {
        let mempools = pools.of(eal, info, cores, &rooms).map_err(|error| format!("port {name}: {error}"))?;
        let config = PortConfig {
            mempools,
            rx_descriptors: DESCRIPTORS,
            tx_descriptors: DESCRIPTORS,
            // Linux sets its own interfaces' MTU, and a PMD that says it can't take it is not asked.
            mtu: (mtu != info.mtu && mtu <= info.max_mtu && info.interface_index.is_none()).then_some(mtu),
        };
        // A platform may not have them aligned.
        let alignments = config.mempools.iter().map(|pool| match pool.alignment() {
            Some(alignment) => usize::from(alignment.bytes),
            None => datapath::PAYLOAD_ALIGNMENT,
        });
        let alignment = alignments.min().unwrap_or(datapath::PAYLOAD_ALIGNMENT);
        match Port::start_for(eal, info.number, &config, used_for) {
            Ok(port) => return Ok((port, alignment)),
            // ENOMEM here: the PMD's frames do not fit the rooms (see Port::start).
            Err(error) if error.call == "rte_eth_rx_queue_setup" && error.errno == 12 => {
                rooms.room = larger.next().ok_or_else(|| {
                    format!(
                        "port {name} wants mbufs larger than {} bytes: give it a smaller framesz",
                        rooms.room
                    )
                })?;
                // The mempools that ports share were reckoned without it.
                if rooms.shared_by == SharedBy::Lcore {
                    rooms.shared_by = SharedBy::Nobody;
                }
            }
            Err(error) => return Err(format!("port {name} ({}): {error}", info.driver)),
        }
    }
}
