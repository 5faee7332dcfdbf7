//! The real target: lcores with port queues on a port made of rings, and what exports of simulated bdevs are made of.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use aoe_target::{
    Export, ExportId, ExportKey, Identity, MacAddr, PortId, PortLimits, Ports, ShelfSlot, VlanId,
};
use datapath::{DistributeBy, DistributedPort, Distribution, Lcore, PortQueue, Snapshot};
use dpdk::{Mempool, PeerRing, Port, ring_port_with_queues};
use ring_lab::{eal, frames};
use spdk::{AppThread, Bdev, BdevInfo, Durability, FlushMethod, simulated::Device};

use crate::{
    disk::{Disk, Way},
    frame::SHELF,
    plan::{Cache, ExportPlan, Plan, SECTORS},
};

/// Frames that a port's ring holds, in each direction.
const RING: u32 = 256;
const MTU: u16 = 1500;

/// Lcores, their port and their exports.
pub(crate) struct Target {
    /// `None` once it is closed.
    pub(crate) lcores: Vec<Lcore>,
    peers: Vec<PeerRing>,
    ports: Vec<Port>,
    /// By port.
    pools: Vec<Arc<Mempool>>,
    mbufs: u32,
    pub(crate) disks: Vec<Rc<RefCell<Disk>>>,
}

fn info(index: usize, export: &ExportPlan) -> BdevInfo {
    let disk = &export.disk;
    let is_cached = matches!(disk.cache, Cache::Flush | Cache::Fua);
    let flush = match disk.cache {
        Cache::None | Cache::Group => FlushMethod::Nothing,
        Cache::Flush => FlushMethod::Bdev,
        Cache::Fua => FlushMethod::NvmeCommand,
    };
    BdevInfo {
        name: format!("simulated{index}"),
        uuid: String::new(),
        product: "simulated".into(),
        block_size: 512 * disk.sectors_per_block,
        metadata_size: 0,
        blocks: SECTORS / u64::from(disk.sectors_per_block),
        alignment: 1,
        durability: if is_cached { Durability::Cached } else { Durability::Stable },
        write_cache: is_cached,
        files: Vec::new(),
        flush,
        fua: disk.cache == Cache::Fua,
        takes_writes: true,
        unmaps: true,
        health: false,
        aborts: true,
    }
}

impl Target {
    /// The target of a plan. `number` is another for each target of the process: EAL's names are never free again.
    ///
    /// # Panics
    /// Without memory, and outside the app's thread.
    pub(crate) fn new(plan: &Plan, number: u64, now: &Rc<Cell<u64>>) -> Self {
        let name = format!("s{number}");
        // By port, the number of its queues.
        let queues =
            if plan.ports { vec![1; plan.lcores] } else { vec![u16::try_from(plan.lcores).unwrap_or(1)] };
        let (mut ports, mut pools, mut peers) = (Vec::new(), Vec::new(), Vec::new());
        for (nth, queues) in queues.iter().enumerate() {
            let name = format!("{name}p{nth}");
            let (port_number, ends) =
                ring_port_with_queues(eal(), &name, RING, *queues).expect("a ring port");
            peers.extend(ends);
            let pool = ring_lab::mempool(&name, plan.mbufs, MTU + 36);
            ports.push(ring_lab::start(port_number, vec![Arc::clone(&pool); usize::from(*queues)]));
            pools.push(pool);
        }
        let port_queues = port_queues(plan, &ports, &pools);
        let disks = plan.exports.iter().enumerate().map(|(index, export)| {
            let dice = plan.dice(&format!("disk {index}"));
            Rc::new(RefCell::new(Disk::new(export.disk.clone(), dice, Rc::clone(now))))
        });
        let disks = disks.collect();
        let lcores = port_queues.into_iter().map(|queues| Lcore::new(queues).expect("an lcore")).collect();
        Self { lcores, peers, ports, pools, mbufs: plan.mbufs, disks }
    }

    /// Puts a frame into the rx queue of this lcore. False if there is no mbuf or no room, as with a NIC that has no
    /// descriptor left.
    pub(crate) fn deliver(&self, queue: usize, bytes: &[u8]) -> bool {
        let pool = self.pools.get(queue).unwrap_or(&self.pools[0]);
        let frame = pool.alloc().and_then(|frame| ring_lab::filled(frame, bytes));
        frame.is_some_and(|frame| self.peers[queue].send(frame).is_ok())
    }

    /// The next frame that this lcore sent.
    pub(crate) fn sent(&self, queue: usize) -> Option<Vec<u8>> {
        self.peers[queue].receive().map(|frame| frame.data().to_vec())
    }

    pub(crate) fn snapshots(&self) -> impl Iterator<Item = Snapshot> + '_ {
        self.lcores.iter().map(Lcore::snapshot)
    }

    /// Closes lcores and port.
    ///
    /// # Errors
    /// If an mbuf is missing, or a device was misused.
    pub(crate) fn close(self) -> Result<(), String> {
        let Self { lcores, peers, ports, pools, mbufs, disks } = self;
        drop(lcores);
        for peer in &peers {
            while peer.receive().is_some() {}
        }
        drop(ports);
        if let Some(pool) = pools.iter().find(|pool| pool.available() != mbufs) {
            return Err(format!("{} of {mbufs} mbufs are back at the end", pool.available()));
        }
        let misuse = disks.iter().find_map(|disk| disk.borrow().misuse().map(str::to_owned));
        misuse.map_or(Ok(()), Err)
    }
}

/// The port queues of each lcore: a queue of the one port, or the queue of its own port and detached ones of the others.
fn port_queues(plan: &Plan, ports: &[Port], pools: &[Arc<Mempool>]) -> Vec<Vec<PortQueue>> {
    let limits = PortLimits::for_mtu(MTU).expect("1500 is enough");
    let mac = MacAddr(frames::TARGET);
    let id = |port: usize| PortId(u16::try_from(port).expect("few"));
    let mut queues: Vec<Vec<PortQueue>> = (0..plan.lcores).map(|_| Vec::new()).collect();
    let parts = plan.distribute.then(|| {
        let all: Vec<usize> = (0..plan.lcores).collect();
        let ports = (0..ports.len()).map(|port| DistributedPort {
            port: id(port),
            lcores: if plan.ports { vec![port] } else { all.clone() },
            by: DistributeBy::Export,
            capacity: plan.mbufs,
            numa_node: None,
        });
        Distribution::among(eal(), plan.lcores, &ports.collect::<Vec<_>>()).expect("rings")
    });
    let mut parts = parts.into_iter().flatten();
    for (number, port) in ports.iter().enumerate() {
        let (of_queues, of_others) =
            parts.next().map(|parts| (parts.queues, parts.others)).unwrap_or_default();
        let mut of_queues = of_queues.into_iter();
        for queue in 0u16.. {
            let Some(pair) = port.take_queues(queue) else { break };
            let lcore = number + usize::from(queue);
            let mut port_queue = PortQueue::new(id(number), mac, limits, pair, lcore == 0);
            if !of_others.is_empty() {
                port_queue = port_queue.with_mbufs(plan.mbufs / 2);
            }
            if let Some(part) = of_queues.next() {
                port_queue = port_queue.distributed(part);
            }
            queues[lcore].push(port_queue);
        }
        let share = plan.mbufs / 2 / u32::try_from(of_others.len().max(1)).expect("few");
        for (lcore, part) in of_others {
            let pool = Arc::clone(&pools[number]);
            queues[lcore].push(PortQueue::detached(id(number), mac, limits, pool, share, part));
        }
    }
    queues
}

/// Opens an export's bdev: the way of this number to its disk.
///
/// # Panics
/// Outside the app's thread.
pub(crate) fn open_bdev(index: usize, export: &ExportPlan, disk: &Rc<RefCell<Disk>>, way: u32) -> Bdev {
    let device: Rc<RefCell<dyn Device>> = Rc::new(RefCell::new(Way::new(disk, way)));
    let bdev = AppThread::with(|app| Bdev::simulated(app, device, info(index, export)));
    bdev.expect("the app's thread").expect("a bdev")
}

/// An export of so many sectors for the lcores.
///
/// # Panics
/// For an address that there is not.
pub(crate) fn export(key: ExportKey, plan: &ExportPlan, sectors: u64) -> Export {
    let address: ShelfSlot = format!("{SHELF}.{}", plan.slot).parse().expect("an address");
    let identity = Identity::new(&address.to_string(), "simulated", "1").expect("printable");
    let mut export = Export::new(key.id, address, Ports::All, sectors, identity)
        .in_generation(key.generation)
        .in_vlan(plan.vlan.and_then(VlanId::new));
    export.configure(|settings| {
        settings.write_through = plan.write_through;
        settings.io_timeout = plan.io_timeout;
        settings.features.trim_blocks = 1;
    });
    export
}

/// The id of an export.
pub(crate) fn id(index: usize) -> ExportId {
    ExportId(u32::try_from(index).unwrap_or(u32::MAX))
}
