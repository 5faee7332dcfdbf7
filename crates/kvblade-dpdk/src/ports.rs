//! The start of every DPDK port, and the distribution of its queues over the lcores.

mod data_room;
mod distribute;
mod memif_client;
mod options;
pub(crate) mod packet_ring;
mod planned;
mod pools;
mod start;
mod started;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aoe_target::{MacAddr, PortId, PortSet};
use control::{PortFacts, PortTable};
use datapath::{Parts, PortQueue};
use dpdk::{EalStarted, Mempool, Port, PortUse};

use crate::bdev_requirements::across_nodes;
use crate::distribution::{self, Way};
use crate::idle::IdleOption;
use memif_client::MemifClient;
pub(crate) use options::PortOptions;
use packet_ring::arguments_of;
use planned::Planned;
use pools::Pools;
pub(crate) use started::Started;
use started::{Behind, Peer, Vdev, largest_mtu};

/// PMDs whose ports have a link while another process is connected to them.
const PEERED: [&str; 2] = ["net_memif", "net_vhost"];

/// PMDs that make a system call for each burst they send.
const BY_SYSTEM_CALL: [&str; 4] = ["net_af_packet", "net_af_xdp", "net_pcap", "net_tap"];

/// Every port, started.
pub(crate) struct Ports {
    /// Keeps the ports running, as their queues do.
    pub(crate) started: Vec<Started>,
    /// The ports as the control plane names them.
    pub(crate) table: PortTable,
    /// The port queues of each core.
    pub(crate) queues: BTreeMap<u32, Vec<PortQueue>>,
}

/// Starts every port on `cores`.
///
/// A port gets one queue pair for each core, as far as it has queues. Ports with fewer queues take the cores in turn, so
/// that two ports with one queue each use two cores.
///
/// # Errors
/// One sentence that names the port and the cause.
pub(crate) fn start(eal: EalStarted, cores: &[u32], options: &PortOptions) -> Result<Ports, String> {
    let found = dpdk::port::list(eal);
    check_vdevs(&options.vdevs, &found)?;
    if found.is_empty() {
        return Err(
            "DPDK has no port: give a Linux interface with --interface eth1, or a NIC bound to vfio-pci or \
                    uio_pci_generic with the EAL option -a PCI-ADDRESS"
                .into(),
        );
    }
    let mut planned = Vec::new();
    let mut next_core = 0;
    for info in &found {
        if info.number > PortSet::MAX_PORT.0 {
            return Err(format!("port {} ({}): at most 64 ports are served", info.number, info.name));
        }
        let most = options.spread.lcores.unwrap_or(usize::MAX).min(cores.len());
        let queues = usize::from(info.max_queues.max(1)).min(most);
        let dealt: Vec<u32> = (0..queues).map(|queue| cores[(next_core + queue) % cores.len()]).collect();
        next_core += queues;
        let plan = distribution::plan(info, queues, cores.len(), options.spread, || {
            let queues = u16::try_from(queues).unwrap_or(u16::MAX);
            dpdk::port::hash_rule(eal, info.number, queues).map_err(|refused| refused.to_string())
        })?;
        planned.push(Planned::of(info, dealt, plan, options)?);
    }
    let lcores: Vec<u32> =
        planned.iter().flat_map(|port| &port.cores).copied().collect::<BTreeSet<_>>().into_iter().collect();
    for port in &mut planned {
        port.provide_for(lcores.len());
    }
    let mut pools = Pools::default();
    for port in &planned {
        pools.expect(&port.cores, &port.mbufs);
    }
    let mut running = Vec::new();
    for port in &planned {
        running.push(start_one(eal, port, options, &mut pools)?);
    }
    let mbufs: Vec<u32> = running.iter().map(|port| port.mempool.size()).collect();
    let parts = distribute::parts_of(eal, &planned, &lcores, &mbufs)?;
    let mut parts = parts.into_iter().flatten();
    let mut ports = Ports { started: Vec::new(), table: PortTable::default(), queues: BTreeMap::new() };
    for (planned, running) in planned.iter().zip(running) {
        add_queues(planned, &running, parts.next(), &lcores, &mut ports)?;
        ports.started.push(running.into_started(planned, options));
    }
    ports.table = PortTable::new(planned.into_iter().map(|port| port.known).collect());
    Ok(ports)
}

/// A port that runs, and has no port queues yet.
struct Running {
    port: Port,
    /// Alignment of the data in an untagged frame, in bytes.
    alignment: usize,
    /// The MAC address of each queue.
    macs: Vec<MacAddr>,
    /// That of its first queue. A port that has several has one mempool for them, as far as frames go from lcore to lcore.
    mempool: Arc<Mempool>,
}

/// Starts one port.
fn start_one(
    eal: EalStarted,
    planned: &Planned<'_>,
    options: &PortOptions,
    pools: &mut Pools,
) -> Result<Running, String> {
    let Planned { info, cores, plan, limits, mbufs, known, ring } = planned;
    let (name, mtu) = (&info.name, known.mtu);
    let used_for = PortUse {
        hashes: matches!(plan.way, Way::Rss(_)),
        interrupts: options.idle == IdleOption::Interrupt,
        packet_slots: ring.map_or(0, |ring| ring.slots),
    };
    let (port, alignment) = start::start_with_room(eal, info, cores, mtu, mbufs, pools, used_for)?;
    warn_across_nodes(info, cores);
    let macs = distribute::spread_over(&port, planned, options)?;
    if mtu != info.mtu && info.interface_index.is_none() && !port.mtu_set() {
        let max_mtu = info.max_mtu;
        tracing::warn!(
            port = %name,
            mtu,
            max_mtu,
            "the port can't be set to this MTU: frames of that size are sent all the same, which memif and some others \
             take"
        );
    }
    tracing::info!(
        port = info.number,
        name = %name,
        driver = %info.driver,
        interface = known.netif.as_deref(),
        mac = %MacAddr(info.mac),
        mtu,
        sectors = limits.max_sectors(),
        cores = ?cores,
        alignment,
        "port started"
    );
    let mempool = port.mempool(0).ok_or_else(|| format!("port {name} has no queue"))?;
    Ok(Running { port, alignment, macs, mempool })
}

impl Running {
    /// The port with what becomes of its link and interface.
    fn into_started(self, planned: &Planned<'_>, options: &PortOptions) -> Started {
        let Planned { info, plan, limits, mbufs, known, ring, .. } = planned;
        let largest_mtu = ring.map_or(u16::MAX, |ring| u16::try_from(ring.largest_mtu()).unwrap_or(u16::MAX));
        let largest_mtu = largest_mtu.min(self::largest_mtu(mbufs.data_room));
        let interface = info.interface_index.zip(known.netif.clone());
        let behind = interface.map(|interface| {
            let vdev = ring.and(arguments_of(&info.name, &options.vdevs)).and_then(Vdev::parse);
            Behind::new(interface, largest_mtu, vdev)
        });
        let peer = PEERED
            .contains(&info.driver.as_str())
            .then(|| Peer { client: MemifClient::of(&info.name, &info.driver, &options.vdevs) });
        let facts = PortFacts {
            driver: info.driver.clone(),
            numa_node: info.numa_node,
            spread: plan.way.to_string(),
            max_sectors: limits.max_sectors(),
            link_up: false,
        };
        Started::new(known, self.alignment, facts, peer, behind, self.port)
    }
}

/// Gives each lcore its port queue of a port: those without a queue pair of it a detached one, if there are several lcores.
fn add_queues(
    planned: &Planned<'_>,
    running: &Running,
    parts: Option<Parts>,
    lcores: &[u32],
    ports: &mut Ports,
) -> Result<(), String> {
    let Planned { info, cores, plan, limits, .. } = planned;
    let (name, number) = (&info.name, PortId(info.number));
    let (parts, others) = match parts {
        None => (Vec::new(), Vec::new()),
        Some(Parts { queues, others }) => (queues, others),
    };
    let mut parts = parts.into_iter();
    for ((queue, core), mac) in (0u16..).zip(cores).zip(&running.macs) {
        let queues =
            running.port.take_queues(queue).ok_or_else(|| format!("port {name}: queue {queue} is taken"))?;
        // A queue with an address of its own advertises it itself.
        let advertises = queue == 0 || matches!(plan.way, Way::Macs(_));
        let mut queue =
            PortQueue::new(number, *mac, *limits, queues, advertises).with_mbufs(planned.in_flight());
        if BY_SYSTEM_CALL.contains(&info.driver.as_str()) {
            queue = queue.coalescing_tx();
        }
        if let Some(part) = parts.next() {
            queue = queue.distributed(part);
        }
        ports.queues.entry(*core).or_default().push(queue);
    }
    let share = planned.in_flight() / u32::try_from(others.len().max(1)).unwrap_or(u32::MAX);
    for (lcore, part) in others {
        let Some(core) = lcores.get(lcore) else { continue };
        let mempool = Arc::clone(&running.mempool);
        let queue = PortQueue::detached(number, MacAddr(info.mac), *limits, mempool, share, part);
        ports.queues.entry(*core).or_default().push(queue);
    }
    Ok(())
}

/// Warns of lcores that poll this port from another NUMA node: each of its frames crosses between the nodes.
fn warn_across_nodes(info: &dpdk::PortInfo, cores: &[u32]) {
    let lcores = across_nodes(info.numa_node, cores.iter().map(|core| (*core, spdk::app::numa_node(*core))));
    if !lcores.is_empty() {
        let node = info.numa_node;
        tracing::warn!(port = %info.name, node, ?lcores, "these lcores are on another NUMA node than the port they poll");
    }
}

/// Refuses a start without a port that the operator asked for. EAL starts without it when it can't make a virtual
/// device.
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
