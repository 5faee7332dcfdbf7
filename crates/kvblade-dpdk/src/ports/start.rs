//! The start of a port, with mbufs that its PMD accepts.

use dpdk::{EalStarted, Port, PortConfig, PortUse};

use super::data_room::{MbufSpec, SharedBy};
use super::pools::Pools;

/// Descriptors of each rx and each tx ring, unless the PMD's limit is lower.
pub(super) const DESCRIPTORS: u16 = 1024;

/// Larger data rooms to try when a PMD refuses the one for its MTU; the last is the largest possible.
const LARGER_ROOMS: [u16; 2] = [16_384, u16::MAX - dpdk::HEADROOM];

/// Configures and starts the port with mbufs that hold its largest frame in one piece, or with larger ones if its PMD
/// insists. Also returns the alignment of the data in an untagged frame, in bytes.
pub(super) fn start_with_room(
    eal: EalStarted,
    info: &dpdk::PortInfo,
    cores: &[u32],
    mtu: u16,
    mbufs: &MbufSpec,
    pools: &mut Pools,
    used_for: PortUse,
) -> Result<(Port, usize), String> {
    let name = &info.name;
    let mut mbufs = *mbufs;
    let needed = mbufs.data_room;
    let mut larger = LARGER_ROOMS.into_iter().filter(|room| *room > needed);
    loop {
        let mempools = pools.of(eal, info, cores, &mbufs).map_err(|error| format!("port {name}: {error}"))?;
        let config = PortConfig {
            mempools,
            rx_descriptors: DESCRIPTORS,
            tx_descriptors: DESCRIPTORS,
            // Linux sets the MTU of its own interfaces, and a PMD is not asked for more than the maximum it reports.
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
            // ENOMEM from this call: the PMD wants mbufs with more data room (see Port::start).
            Err(error) if error.call == "rte_eth_rx_queue_setup" && error.errno == 12 => {
                mbufs.data_room = larger.next().ok_or_else(|| {
                    format!(
                        "port {name} wants mbufs larger than {} bytes: give it a smaller framesz",
                        mbufs.data_room
                    )
                })?;
                // The size of shared mempools was computed without this port.
                if mbufs.shared_by == SharedBy::Lcore {
                    mbufs.shared_by = SharedBy::Nobody;
                }
            }
            Err(error) => return Err(format!("port {name} ({}): {error}", info.driver)),
        }
    }
}
