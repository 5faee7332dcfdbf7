//! Before the first frame: every port of EAL's started with one queue pair, for the one lcore that polls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use aoe_initiator::wire::Mac;
use dpdk::{EalStarted, Interface, Mempool, Port, PortConfig, PortInfo, RxQueue, TxQueue};

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

/// Time for a port to come up: the peer of a shared-memory port may still be starting.
const LINK: Duration = Duration::from_secs(10);

/// A started port, with the queue pair that this lcore polls.
#[derive(Debug)]
pub struct PortQueue {
    /// DPDK's name of the port.
    pub name: String,
    /// The addresses requests are sent from, in turn.
    pub sources: Box<[[u8; 6]]>,
    /// Bytes of an Ethernet payload.
    pub mtu: u16,
    /// The mempool of requests.
    pub mempool: Arc<Mempool>,
    /// Brings replies.
    pub rx: RxQueue,
    /// Takes requests.
    pub tx: TxQueue,
    /// Keeps the port running, as the queues do.
    pub port: Port,
    interface: Option<u32>,
}

impl PortQueue {
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
            None => self.port.link().is_ok_and(|link| link.up),
        }
    }
}

/// Starts every port there is, to send from `initiators` addresses on each.
///
/// # Errors
/// One that names the port and what it said, or says that there is none.
pub fn start(eal: EalStarted, mtu: Option<u16>, initiators: u16) -> Result<Vec<PortQueue>> {
    let found = dpdk::port::list(eal);
    if found.is_empty() {
        bail!(
            "DPDK has no port: give EAL a NIC with -a PCI-ADDRESS (bound to vfio-pci or uio_pci_generic), or a virtual one \
             such as --vdev=net_af_packet0,iface=eth1; DPDK's log lines above say why one could not be made"
        );
    }
    let mtus = found.iter().map(|info| mtu_of(info, mtu)).collect::<Result<Vec<_>>>()?;
    let mut pools = Pools::default();
    for (info, mtu) in found.iter().zip(&mtus) {
        pools.expect(info, room_for(*mtu));
    }
    found.iter().zip(mtus).map(|(info, mtu)| start_one(eal, info, mtu, initiators, &mut pools)).collect()
}

/// Starts port `info` alone.
///
/// # Errors
/// As for [`start`].
pub fn start_alone(eal: EalStarted, info: &PortInfo, mtu: Option<u16>, initiators: u16) -> Result<PortQueue> {
    start_one(eal, info, mtu_of(info, mtu)?, initiators, &mut Pools::default())
}

/// Bytes of an Ethernet payload on a port: its Linux interface's, else what was asked for, else what its PMD says.
fn mtu_of(info: &PortInfo, asked: Option<u16>) -> Result<u16> {
    let mtu = match (info.interface_index, asked) {
        (Some(index), _) => {
            let interface = Interface::by_index(index).with_context(|| format!("port {}", info.name))?;
            u16::try_from(interface.mtu).unwrap_or(MTU_MAX)
        }
        (None, Some(mtu)) => mtu,
        (None, None) => info.mtu,
    };
    Ok(mtu.min(MTU_MAX))
}

/// Bytes that a port's largest frame takes in an mbuf.
fn room_for(mtu: u16) -> u16 {
    (mtu + FRAME_OVERHEAD).next_multiple_of(64).max(MIN_ROOM)
}

/// Starts one port with one queue pair.
fn start_one(
    eal: EalStarted,
    info: &PortInfo,
    mtu: u16,
    initiators: u16,
    pools: &mut Pools,
) -> Result<PortQueue> {
    let name = &info.name;
    let (port, mempool) = start_with_room(eal, info, mtu, pools)?;
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
    Ok(PortQueue { name: name.clone(), sources, mtu, mempool, rx, tx, port, interface })
}

/// Waits until every port can send: a shared-memory port (memif, vhost) is up when its other side has come.
///
/// # Errors
/// One that names a port that is still down after `wait`, or ten seconds if that is less.
pub fn wait_until_up(queues: &[PortQueue], wait: Duration) -> Result<()> {
    let limit = LINK.max(wait);
    let begun = Instant::now();
    for queue in queues {
        while !queue.is_up() {
            if begun.elapsed() > limit {
                bail!(
                    "port {} is down, still after {limit:?}: is the other end there? (a memif client is to start after its \
                     server's port has)",
                    queue.name
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

/// The mempools of all ports, one for those with rooms of the same size on the same NUMA node: the mbuf that was freed
/// last is the next to be taken, so that what the lcore touches stays in its cache however many ports there are.
#[derive(Debug, Default)]
struct Pools(BTreeMap<(u16, Option<u32>), Pool>);

#[derive(Debug, Default)]
struct Pool {
    mbufs: u32,
    made: Option<Arc<Mempool>>,
}

impl Pools {
    /// Tells of a port that is going to be started: before the first is, of all.
    fn expect(&mut self, info: &PortInfo, room: u16) {
        self.0.entry((room, info.numa_node)).or_default().mbufs += MBUFS;
    }

    /// The mempool of a port. One that insists on larger rooms than it was reckoned with has one of its own, or shares that
    /// of ports which were.
    fn of(&mut self, eal: EalStarted, info: &PortInfo, room: u16) -> Result<Arc<Mempool>, String> {
        let new = |name: String, mbufs: u32| {
            Mempool::new(eal, &name, mbufs, 0, room, info.numa_node).map_err(|error| {
                let megabytes = (u64::from(mbufs) * u64::from(room)) >> 20;
                format!("no memory for {mbufs} mbufs of {room} bytes, {megabytes} MB ({error}): reserve more hugepages")
            })
        };
        match self.0.get_mut(&(room, info.numa_node)) {
            Some(Pool { made: Some(made), .. }) => Ok(Arc::clone(made)),
            Some(pool) => {
                let node = info.numa_node.map_or_else(String::new, |node| format!("n{node}"));
                Ok(Arc::clone(pool.made.insert(new(format!("aoeperf_r{room}{node}"), pool.mbufs)?)))
            }
            None => new(format!("aoeperf_p{}r{room}", info.number), MBUFS),
        }
    }
}

/// Starts a port; one that needs another process to listen is tried for a while.
fn start_patiently(eal: EalStarted, info: &PortInfo, config: &PortConfig) -> dpdk::Result<Port> {
    let begun = Instant::now();
    loop {
        match Port::start(eal, info.number, config) {
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
fn start_with_room(
    eal: EalStarted,
    info: &PortInfo,
    mtu: u16,
    pools: &mut Pools,
) -> Result<(Port, Arc<Mempool>)> {
    let name = &info.name;
    let needed = room_for(mtu);
    let larger = LARGER_ROOMS.into_iter().filter(|room| *room > needed);
    for room in std::iter::once(needed).chain(larger) {
        let mempool = pools.of(eal, info, room).map_err(|error| anyhow!("port {name}: {error}"))?;
        let config = PortConfig {
            mempools: vec![Arc::clone(&mempool)],
            rx_descriptors: DESCRIPTORS,
            tx_descriptors: DESCRIPTORS,
            mtu: (mtu != info.mtu && mtu <= info.max_mtu && info.interface_index.is_none()).then_some(mtu),
        };
        match start_patiently(eal, info, &config) {
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
