//! Before the first frame: every DPDK port configured and started, its queues dealt out to the lcores.

use std::collections::BTreeMap;
use std::sync::Arc;

use aoe_target::{MacAddr, PortId, PortLimits, PortSet};
use control::{PortInfo, PortTable};
use datapath::Lane;
use dpdk::{DataAlignment, Interface, Mempool, Port, PortConfig};

use crate::args::MTU_MIN;
use crate::needs::{Needs, PayloadAlignment, across_nodes};

/// Descriptors asked of each rx and each tx ring; a PMD with less gives less.
const DESCRIPTORS: u16 = 1024;

/// Bytes around an Ethernet payload: addresses, EtherType, two VLAN tags, FCS.
const FRAME_OVERHEAD: u16 = 14 + 8 + 4;

/// The smallest mbuf room: what PMDs expect to be able to receive into without asking.
const MIN_ROOM: u16 = 2048;

/// Larger rooms to try when a PMD refuses those that its MTU needs; the last is the largest there is.
const LARGER_ROOMS: [u16; 2] = [16_384, u16::MAX - dpdk::HEADROOM];

/// What the operator may say about ports.
#[derive(Debug, Clone)]
pub(crate) struct PortOptions {
    /// MTU of ports that have no Linux interface.
    pub(crate) mtu: Option<u16>,
    /// Mbufs of each queue pair's pool.
    pub(crate) mbufs: u32,
    /// Where frames carry their data.
    pub(crate) alignment: PayloadAlignment,
    /// What the exports of the start want.
    pub(crate) needs: Needs,
    /// The values of EAL's `--vdev`.
    pub(crate) vdevs: Vec<String>,
}

/// Every port, started.
pub(crate) struct Ports {
    /// Keeps them running; the lanes do too.
    pub(crate) started: Vec<Started>,
    /// For the control plane.
    pub(crate) table: PortTable,
    /// Each core's share.
    pub(crate) lanes: BTreeMap<u32, Vec<Lane>>,
}

/// A started port.
pub(crate) struct Started {
    pub(crate) number: u16,
    pub(crate) name: String,
    /// Bytes that the address of an untagged frame's data is a multiple of.
    pub(crate) alignment: usize,
    interface: Option<(u32, String)>,
    _port: Port,
}

impl Started {
    /// Whether frames can be sent: as Linux says where there is an interface (its PMD does not know), else as
    /// the PMD says.
    pub(crate) fn link_up(&self) -> bool {
        match &self.interface {
            Some((index, _)) => {
                Interface::by_index(*index).is_ok_and(|interface| interface.up && interface.running)
            }
            None => dpdk::port::link(self.number).is_ok_and(|link| link.up),
        }
    }

    /// True if the port's Linux interface is set down or gone, so that there is no link to wait for.
    pub(crate) fn is_set_down(&self) -> bool {
        let set_up = |index| Interface::by_index(index).is_ok_and(|interface| interface.up);
        self.interface.as_ref().is_some_and(|(index, _)| !set_up(*index))
    }

    /// One sentence for a port that is down.
    pub(crate) fn down(&self) -> String {
        match &self.interface {
            Some((_, interface)) => format!(
                "port {} is down: bring its interface up with 'ip link set {interface} up', and the other end of a \
                 veth pair too",
                self.name
            ),
            None => {
                format!("port {} is down: there is no link, look at its cable and the other end", self.name)
            }
        }
    }
}

/// Starts every port on `cores`.
///
/// Each port gets a queue pair for every core if it has that many. Ports with less are dealt to the cores in
/// turn, so that two ports with one queue each keep two cores busy.
///
/// # Errors
/// One sentence naming the port and what it said.
pub(crate) fn start(cores: &[u32], options: &PortOptions) -> Result<Ports, String> {
    let found = dpdk::port::list();
    check_vdevs(&options.vdevs, &found)?;
    if found.is_empty() {
        return Err("DPDK has no port: give EAL a NIC with -a PCI-ADDRESS (bound to vfio-pci or uio_pci_generic), or a \
                    virtual one such as --vdev=net_af_packet0,iface=eth1"
            .into());
    }
    let mut ports = Ports { started: Vec::new(), table: PortTable::default(), lanes: BTreeMap::new() };
    let mut known = Vec::new();
    let mut next_core = 0;
    for info in &found {
        if info.number > PortSet::MAX_PORT.0 {
            return Err(format!("port {} ({}): at most 64 ports are served", info.number, info.name));
        }
        let queues = usize::from(info.max_queues.max(1)).min(cores.len());
        let dealt: Vec<u32> = (0..queues).map(|queue| cores[(next_core + queue) % cores.len()]).collect();
        next_core += queues;
        known.push(start_one(info, &dealt, options, &mut ports)?);
    }
    ports.table = PortTable::new(known);
    Ok(ports)
}

/// Starts one port with a queue pair on each of `cores`.
fn start_one(
    info: &dpdk::PortInfo,
    cores: &[u32],
    options: &PortOptions,
    ports: &mut Ports,
) -> Result<PortInfo, String> {
    let name = &info.name;
    let interface = match info.interface_index {
        Some(index) => Some((
            index,
            Interface::by_index(index)
                .map_err(|error| format!("port {name}: its Linux interface: {error}"))?,
        )),
        None => None,
    };
    let wanted = match (&interface, options.mtu) {
        (Some((_, interface)), _) => u16::try_from(interface.mtu).unwrap_or(u16::MAX),
        (None, Some(mtu)) => mtu,
        (None, None) => info.mtu,
    };
    let mtu = wanted.min(u16::MAX - FRAME_OVERHEAD - dpdk::HEADROOM);
    let Some(limits) = PortLimits::for_mtu(mtu) else {
        return Err(format!(
            "port {name} has an MTU of {mtu}: AoE needs at least {MTU_MIN}, and 9000 for whole pages"
        ));
    };
    let ring_frame = packet_ring_frame(info, &options.vdevs);
    if let (Some((_, interface)), Some(frame)) = (&interface, ring_frame) {
        check_packet_ring(&info.name, frame, mtu, &interface.name)?;
    }
    let netif = interface.as_ref().map(|(_, interface)| interface.name.clone());
    let known = PortInfo { number: info.number, name: name.clone(), netif, mtu, mac: info.mac };
    let rooms = Rooms {
        least: ring_frame.unwrap_or(0),
        mbufs: options.mbufs,
        alignment: alignment_for(&info.driver, options, &known),
    };
    let (port, alignment) = start_with_room(info, cores, mtu, &rooms)?;
    warn_across_nodes(info, cores);
    if mtu != info.mtu && interface.is_none() && !port.mtu_set() {
        let max_mtu = info.max_mtu;
        tracing::warn!(
            port = %name,
            mtu,
            max_mtu,
            "the port can't be set to this MTU: frames of that size are sent all the same, which memif and some others \
             take"
        );
    }
    let number = PortId(info.number);
    for (queue, core) in (0u16..).zip(cores) {
        let queues = port.take_queues(queue).ok_or_else(|| format!("port {name}: queue {queue} is taken"))?;
        let lane = Lane::new(number, MacAddr(info.mac), limits, queues, queue == 0);
        ports.lanes.entry(*core).or_default().push(lane);
    }
    tracing::info!(
        port = info.number,
        name = %name,
        driver = %info.driver,
        interface = interface.as_ref().map(|(_, interface)| interface.name.as_str()),
        mac = %MacAddr(info.mac),
        mtu,
        sectors = limits.max_sectors(),
        cores = ?cores,
        alignment,
        "port started"
    );
    ports.started.push(Started {
        number: info.number,
        name: name.clone(),
        alignment,
        interface: interface.map(|(index, interface)| (index, interface.name)),
        _port: port,
    });
    Ok(known)
}

/// The mbufs of a port's queue pairs.
struct Rooms {
    /// Bytes for a frame that its PMD is known to want.
    least: u16,
    mbufs: u32,
    alignment: Option<DataAlignment>,
}

/// The PMD that reckons where a frame lies in its mbuf, instead of looking (see [`Mempool::aligned`]).
const RECKONS: &str = "net_af_xdp";

/// What the data of this port's frames is aligned to; `None` for what headers and head room give.
fn alignment_for(driver: &str, options: &PortOptions, port: &PortInfo) -> Option<DataAlignment> {
    let bytes = match options.alignment {
        _ if driver == RECKONS => return None,
        PayloadAlignment::Fixed(bytes) => bytes,
        PayloadAlignment::Auto => options.needs.alignment_on(port),
    };
    let offset = datapath::PAYLOAD;
    (usize::from(bytes) > datapath::PAYLOAD_ALIGNMENT).then_some(DataAlignment { offset, bytes })
}

/// Says which lcores poll this port from another NUMA node: each frame crosses between the nodes then.
fn warn_across_nodes(info: &dpdk::PortInfo, cores: &[u32]) {
    let lcores = across_nodes(info.numa_node, cores.iter().map(|core| (*core, spdk::app::numa_node(*core))));
    if !lcores.is_empty() {
        let node = info.numa_node;
        tracing::warn!(port = %info.name, node, ?lcores, "these lcores are on another NUMA node than the port they poll");
    }
}

/// Configures and starts the port with mbufs that hold its largest frame in one piece, or what its PMD insists on if
/// that is more. Also returns what the address of the data of an untagged frame is a multiple of.
fn start_with_room(
    info: &dpdk::PortInfo,
    cores: &[u32],
    mtu: u16,
    rooms: &Rooms,
) -> Result<(Port, usize), String> {
    let name = &info.name;
    let Rooms { least, mbufs, alignment } = *rooms;
    // Whole cache lines: some NICs want that, and none minds.
    let needed = (mtu + FRAME_OVERHEAD).next_multiple_of(64).max(MIN_ROOM).max(least);
    let mut rooms = std::iter::once(needed).chain(LARGER_ROOMS.into_iter().filter(|room| *room > needed));
    let mut room = needed;
    loop {
        let mempools = cores
            .iter()
            .enumerate()
            .map(|(queue, core)| {
                let pool = format!("aoe_p{}q{queue}r{room}", info.number);
                let node = spdk::app::numa_node(*core);
                let private = datapath::private_size();
                match alignment {
                    Some(alignment) => Mempool::aligned(&pool, mbufs, private, room, node, alignment),
                    None => Mempool::new(&pool, mbufs, private, room, node),
                }
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
        match Port::start(info.number, &config) {
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

/// Refuses to go on without a port that was asked for: EAL does, when a virtual device can't be made.
fn check_vdevs(vdevs: &[String], found: &[dpdk::PortInfo]) -> Result<(), String> {
    for vdev in vdevs {
        let name = vdev.split(',').next().unwrap_or(vdev);
        // net_vdev_netvsc makes ports of other names.
        let is_port = name.starts_with("net_") && !name.starts_with("net_vdev_netvsc");
        if is_port && !found.iter().any(|port| port.name == name) {
            return Err(format!(
                "EAL made no port of --vdev={vdev}: DPDK's log lines above say why; an interface it names must exist"
            ));
        }
    }
    Ok(())
}

/// Bytes of a packet ring's frame that hold no part of the received one: the kernel's header, and room it keeps
/// for a link header (`TPACKET_V2` in `tpacket_rcv`, Linux `net/packet/af_packet.c`).
const PACKET_RING_OVERHEAD: u32 = 66;

/// `framesz` of the af_packet PMD when it is not given (DPDK `rte_eth_af_packet.c`, `DFLT_FRAME_SIZE`).
const PACKET_RING_FRAME: u16 = 2048;

/// Bytes of a frame in an af_packet port's rings, which is also the mbuf room that its PMD asks for.
fn packet_ring_frame(info: &dpdk::PortInfo, vdevs: &[String]) -> Option<u16> {
    if info.driver != "net_af_packet" {
        return None;
    }
    let arguments = vdevs.iter().find_map(|vdev| {
        let (name, arguments) = vdev.split_once(',')?;
        (name == info.name).then_some(arguments)
    });
    let given = arguments.and_then(|arguments| {
        arguments.split(',').find_map(|argument| argument.strip_prefix("framesz=")?.parse().ok())
    });
    Some(given.unwrap_or(PACKET_RING_FRAME))
}

/// Refuses an af_packet port whose ring can't take the largest frames of its interface: the kernel would cut
/// them off, and an initiator would wait for its answer for many seconds, again and again.
fn check_packet_ring(name: &str, frame: u16, mtu: u16, interface: &str) -> Result<(), String> {
    let needed = u32::from(mtu) + u32::from(FRAME_OVERHEAD) + PACKET_RING_OVERHEAD;
    if u32::from(frame) >= needed {
        return Ok(());
    }
    Err(format!(
        "port {name} has room for frames of {frame} bytes (framesz), and the MTU of {mtu} of {interface} needs {needed}: \
         add framesz=16384,blocksz=65536,framecnt=512 to its --vdev, or set a smaller MTU"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, driver: &str) -> dpdk::PortInfo {
        dpdk::PortInfo {
            number: 0,
            name: name.into(),
            driver: driver.into(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            max_mtu: 1500,
            max_queues: 1,
            numa_node: None,
            interface_index: Some(1),
        }
    }

    #[test]
    fn the_ring_of_a_packet_port_is_read_from_its_own_vdev() {
        let packet = port("net_af_packet1", "net_af_packet");
        let vdevs = [
            "net_af_packet0,iface=a,framesz=16384".to_owned(),
            "net_af_packet1,iface=b,blocksz=4096".to_owned(),
            "net_af_packet2,iface=c,framesz=4096,qpairs=1".to_owned(),
        ];
        assert_eq!(packet_ring_frame(&packet, &vdevs), Some(2048), "DPDK's default");
        assert_eq!(packet_ring_frame(&port("net_af_packet2", "net_af_packet"), &vdevs), Some(4096));
        assert_eq!(packet_ring_frame(&port("net_tap0", "net_tap"), &vdevs), None);
    }

    #[test]
    fn a_packet_ring_too_small_for_the_mtu_is_refused() {
        assert_eq!(check_packet_ring("net_af_packet1", 2048, 1500, "b"), Ok(()));
        assert_eq!(check_packet_ring("net_af_packet1", 16384, 9000, "b"), Ok(()));
        let refused =
            check_packet_ring("net_af_packet1", 2048, 9000, "b").expect_err("2048 bytes are too few");
        for part in ["net_af_packet1", "2048", "9000 of b", "9092", "framesz=16384"] {
            assert!(refused.contains(part), "{refused}");
        }
    }
}
