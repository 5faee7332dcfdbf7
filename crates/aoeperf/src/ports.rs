//! Before the first frame: every port of EAL's started with one queue pair, for the one lcore that polls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use aoe_initiator::wire::Mac;
use dpdk::{Interface, Mempool, Port, PortConfig, PortInfo, RxQueue, TxQueue};

/// Bytes around an Ethernet payload: addresses, EtherType, two VLAN tags, FCS.
const FRAME_OVERHEAD: u16 = 14 + 8 + 4;

/// Largest MTU: what an mbuf's room can hold.
pub const MTU_MAX: u16 = 65_280 - FRAME_OVERHEAD;

/// The smallest mbuf room: what PMDs expect to be able to receive into without asking.
const MIN_ROOM: u16 = 2048;

/// Larger rooms to try when a PMD refuses those that its MTU needs (af_packet: its `framesz`).
const LARGER_ROOMS: [u16; 2] = [16_384, u16::MAX - dpdk::HEADROOM];

/// Descriptors asked of each ring; a PMD with less gives less.
const DESCRIPTORS: u16 = 1024;

/// Mbufs of a port: both rings filled, and what this lcore and the pool's cache keep.
const MBUFS: u32 = 4095;

/// How long a port may take to come up: the other side of a shared-memory port may be starting.
const LINK: Duration = Duration::from_secs(10);

/// A started port, with the queue pair that this lcore polls.
#[derive(Debug)]
pub struct Lane {
    /// DPDK's name of the port.
    pub name: String,
    /// The addresses requests are sent from, in turn.
    pub sources: Box<[[u8; 6]]>,
    /// Bytes of an Ethernet payload.
    pub mtu: u16,
    /// Where requests get their mbufs.
    pub mempool: Arc<Mempool>,
    /// Brings replies.
    pub rx: RxQueue,
    /// Takes requests.
    pub tx: TxQueue,
    /// Keeps the port running, as the queues do.
    pub port: Port,
    interface: Option<u32>,
}

impl Lane {
    /// The port's own address.
    pub fn mac(&self) -> Mac {
        self.sources.first().copied().map_or(Mac([0; 6]), Mac)
    }

    /// Whether frames can be sent: as Linux says where there is an interface, else as the PMD says.
    fn is_up(&self) -> bool {
        match self.interface {
            Some(index) => {
                Interface::by_index(index).is_ok_and(|interface| interface.up && interface.running)
            }
            None => dpdk::port::link(self.port.number()).is_ok_and(|link| link.up),
        }
    }
}

/// Starts every port there is, to send from `initiators` addresses on each.
///
/// # Errors
/// One that names the port and what it said, or says that there is none.
pub fn start(mtu: Option<u16>, initiators: u16) -> Result<Vec<Lane>> {
    let found = dpdk::port::list();
    if found.is_empty() {
        bail!(
            "DPDK has no port: give EAL a NIC with -a PCI-ADDRESS (bound to vfio-pci or uio_pci_generic), or a virtual one \
             such as --vdev=net_af_packet0,iface=eth1; DPDK's log lines above say why one could not be made"
        );
    }
    found.iter().map(|info| start_one(info, mtu, initiators)).collect()
}

/// Starts port `info` with one queue pair.
///
/// # Errors
/// As for [`start`].
pub fn start_one(info: &PortInfo, mtu: Option<u16>, initiators: u16) -> Result<Lane> {
    let name = &info.name;
    let interface = match info.interface_index {
        Some(index) => Some(Interface::by_index(index).with_context(|| format!("port {name}"))?),
        None => None,
    };
    let mtu = match (&interface, mtu) {
        (Some(interface), _) => u16::try_from(interface.mtu).unwrap_or(MTU_MAX),
        (None, Some(mtu)) => mtu,
        (None, None) => info.mtu,
    }
    .min(MTU_MAX);
    let (port, mempool) = start_with_room(info, mtu)?;
    let (rx, tx) = port.take_queues(0).with_context(|| format!("port {name} has no queue pair"))?;
    let sources = sources(info, initiators);
    if sources.len() > 1
        && let Err(error) = port.receive_all()
        // Those without the switch receive everything.
        && error.errno != 95
    {
        bail!("port {name} can't receive replies to other addresses than its own: {error}");
    }
    let interface = info.interface_index;
    Ok(Lane { name: name.clone(), sources, mtu, mempool, rx, tx, port, interface })
}

/// Waits until every port can send: a shared-memory port (memif, vhost) is up when its other side has come.
///
/// # Errors
/// One that names a port that is still down after ten seconds.
pub fn wait_until_up(lanes: &[Lane]) -> Result<()> {
    let begun = Instant::now();
    for lane in lanes {
        while !lane.is_up() {
            if begun.elapsed() > LINK {
                bail!(
                    "port {} is down, still after {LINK:?}: is the other end there? (a memif client is to start after its \
                     server's port has)",
                    lane.name
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

/// The addresses to send from: the port's own, or locally administered ones made of its number and theirs.
fn sources(info: &PortInfo, initiators: u16) -> Box<[[u8; 6]]> {
    if initiators == 1 {
        return [info.mac].into();
    }
    let [port, low] = info.number.to_be_bytes();
    (0..initiators)
        .map(|initiator| {
            let [high, end] = initiator.to_be_bytes();
            [0x06, 0xae, port, low, high, end]
        })
        .collect()
}

/// Starts a port; one that needs another process to listen is tried for a while.
fn start_patiently(info: &PortInfo, config: &PortConfig) -> dpdk::Result<Port> {
    let begun = Instant::now();
    loop {
        match Port::start(info.number, config) {
            Err(error) if waits_for_server(info, &error) && begun.elapsed() < LINK => {
                std::thread::sleep(Duration::from_millis(100));
            }
            result => return result,
        }
    }
}

/// Whether this is a memif client whose server is not there.
fn waits_for_server(info: &PortInfo, error: &dpdk::Error) -> bool {
    info.driver == "net_memif" && error.call == "rte_eth_dev_start"
}

/// Configures and starts the port with mbufs that hold its largest frame in one piece, or larger ones if its PMD
/// insists.
fn start_with_room(info: &PortInfo, mtu: u16) -> Result<(Port, Arc<Mempool>)> {
    let name = &info.name;
    let needed = (mtu + FRAME_OVERHEAD).next_multiple_of(64).max(MIN_ROOM);
    let larger = LARGER_ROOMS.into_iter().filter(|room| *room > needed);
    for room in std::iter::once(needed).chain(larger) {
        let pool = format!("aoeperf_p{}r{room}", info.number);
        let mempool = Mempool::new(&pool, MBUFS, 0, room, info.numa_node).map_err(|error| {
            let megabytes = (u64::from(MBUFS) * u64::from(room)) >> 20;
            anyhow::anyhow!(
                "port {name}: no memory for {MBUFS} mbufs of {room} bytes, {megabytes} MB ({error}): reserve more hugepages"
            )
        })?;
        let config = PortConfig {
            mempools: vec![Arc::clone(&mempool)],
            rx_descriptors: DESCRIPTORS,
            tx_descriptors: DESCRIPTORS,
            mtu: (mtu != info.mtu && mtu <= info.max_mtu && info.interface_index.is_none()).then_some(mtu),
        };
        match start_patiently(info, &config) {
            Ok(port) => return Ok((port, mempool)),
            Err(error) if error.call == "rte_eth_rx_queue_setup" && error.errno == 12 => {}
            Err(error) if waits_for_server(info, &error) => bail!(
                "port {name} ({}): {error}: nobody listens at its socket; start the other side, with role=server, first",
                info.driver
            ),
            Err(error) => bail!("port {name} ({}): {error}", info.driver),
        }
    }
    bail!("port {name} wants larger mbufs than there are: give it a smaller framesz")
}
