//! Before the first frame: a port's mempools, whose mbufs hold its largest frame in one piece, where bdevs want its data.

use std::sync::Arc;

use control::PortInfo;
use dpdk::{DataAlignment, Mempool, Port, PortConfig, PortUse};

use super::{FRAME_OVERHEAD, PortOptions};
use crate::needs::PayloadAlignment;

/// Descriptors asked of each rx and each tx ring; a PMD with less gives less.
const DESCRIPTORS: u16 = 1024;

/// The smallest mbuf room: what PMDs expect to be able to receive into without asking.
const MIN_ROOM: u16 = 2048;

/// Larger rooms to try when a PMD refuses those that its MTU needs; the last is the largest there is.
const LARGER_ROOMS: [u16; 2] = [16_384, u16::MAX - dpdk::HEADROOM];

/// The mbufs of a port's queue pairs.
pub(super) struct Rooms {
    /// Bytes for a frame that its PMD is known to want.
    pub(super) least: u16,
    /// Of each queue pair.
    pub(super) mbufs: u32,
    pub(super) alignment: Option<DataAlignment>,
    /// The queues share one mempool, with the mbufs of all.
    pub(super) one_pool: bool,
}

/// The PMD that reckons where a frame lies in its mbuf, instead of looking (see [`Mempool::aligned`]).
const RECKONS: &str = "net_af_xdp";

/// What the data of this port's frames is aligned to; `None` for what headers and head room give.
pub(super) fn alignment_for(driver: &str, options: &PortOptions, port: &PortInfo) -> Option<DataAlignment> {
    let bytes = match options.alignment {
        _ if driver == RECKONS => return None,
        PayloadAlignment::Fixed(bytes) => bytes,
        PayloadAlignment::Auto => options.needs.alignment_on(port),
    };
    let offset = datapath::PAYLOAD;
    (usize::from(bytes) > datapath::PAYLOAD_ALIGNMENT).then_some(DataAlignment { offset, bytes })
}

/// Configures and starts the port with mbufs that hold its largest frame in one piece, or what its PMD insists on if
/// that is more. Also returns what the address of the data of an untagged frame is a multiple of.
pub(super) fn start_with_room(
    info: &dpdk::PortInfo,
    cores: &[u32],
    mtu: u16,
    rooms: &Rooms,
    used_for: PortUse,
) -> Result<(Port, usize), String> {
    let name = &info.name;
    let Rooms { least, mbufs, alignment, one_pool } = *rooms;
    // Whole cache lines: some NICs want that, and none minds.
    let needed = (mtu + FRAME_OVERHEAD).next_multiple_of(64).max(MIN_ROOM).max(least);
    let mut rooms = std::iter::once(needed).chain(LARGER_ROOMS.into_iter().filter(|room| *room > needed));
    let mut room = needed;
    loop {
        let pool = |name: &str, mbufs: u32, core: u32| {
            let (node, private) = (spdk::app::numa_node(core), datapath::private_size());
            match alignment {
                Some(alignment) => Mempool::aligned(name, mbufs, private, room, node, alignment),
                None => Mempool::new(name, mbufs, private, room, node),
            }
        };
        let shared = match cores {
            [first, ..] if one_pool => {
                let name = format!("aoe_p{}r{room}", info.number);
                Some(pool(&name, shared_mbufs(mbufs, cores.len()), *first))
            }
            _ => None,
        };
        let mempools = cores
            .iter()
            .enumerate()
            .map(|(queue, core)| match &shared {
                Some(shared) => shared.clone(),
                None => pool(&format!("aoe_p{}q{queue}r{room}", info.number), mbufs, *core),
            })
            .collect::<dpdk::Result<Vec<Arc<Mempool>>>>()
            .map_err(|error| {
                let megabytes = (u64::from(mbufs) * u64::from(room)) >> 20;
                let advice = alignment.map_or(String::new(), |alignment| {
                    format!(", or data aligned to less than {} bytes with --payload-alignment", alignment.bytes)
                });
                format!(
                    "port {name}: no memory for {mbufs} mbufs of {room} bytes on each of {} lcores, {megabytes} MB \
                     each ({error}): reserve more hugepages, or ask for fewer with --mbufs{advice}",
                    cores.len()
                )
            })?;
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
        match Port::start_for(info.number, &config, used_for) {
            Ok(port) => return Ok((port, alignment)),
            // ENOMEM here: the PMD's frames do not fit the rooms (see Port::start).
            Err(error) if error.call == "rte_eth_rx_queue_setup" && error.errno == 12 => {
                room = rooms.by_ref().find(|next| *next > room).ok_or_else(|| {
                    format!("port {name} wants mbufs larger than {room} bytes: give it a smaller framesz")
                })?;
            }
            Err(error) => return Err(format!("port {name} ({}): {error}", info.driver)),
        }
    }
}

/// Mbufs of the one pool of a port whose frames go from lcore to lcore: as many as the queues would have had, since
/// the rx queue that gets the frames feeds every lcore and every tx ring.
pub(super) fn shared_mbufs(mbufs: u32, lanes: usize) -> u32 {
    mbufs.saturating_mul(u32::try_from(lanes).unwrap_or(u32::MAX))
}
