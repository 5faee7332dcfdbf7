//! A port between its start and its close, shared by the handles that keep it running.

use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering},
    },
};

use crate::{
    Mempool,
    control::Control,
    error::{Result, check},
    gate::{Direction, Gate, Gates},
    peer_changes,
};

/// Features that a port is configured for, beside sending and receiving.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortUse {
    /// A rule that distributes frames over the rx queues by a hash, where the NIC has hashes.
    pub hashes: bool,
    /// Interrupts of rx queues. A PMD may accept this and have none.
    pub interrupts: bool,
    /// Slots of each ring of an af_packet port (`framecnt`); 0 for the PMD's default.
    pub packet_slots: u32,
}

/// How a port is started.
#[derive(Debug, Clone)]
pub struct PortConfig {
    /// One rx and one tx queue for each; the mempool is that queue's.
    pub mempools: Vec<Arc<Mempool>>,
    /// Descriptors of each rx queue; the PMD rounds the number to its limits.
    pub rx_descriptors: u16,
    /// Descriptors of each tx queue.
    pub tx_descriptors: u16,
    /// The MTU to set, in bytes of Ethernet payload; `None` leaves it.
    pub mtu: Option<u16>,
}

/// Slots of a ring of an af_packet port without `framecnt` (DPDK `rte_eth_af_packet.c`, `DFLT_FRAME_COUNT`).
const DEFAULT_PACKET_SLOTS: u32 = 512;

/// What is particular to ports of some PMDs.
#[derive(Debug)]
enum Kind {
    /// Nothing changes beneath their queues.
    Plain,
    /// net_memif: its peer comes and goes ([`peer_changes`]).
    Peered(Arc<Gates>),
    /// net_af_packet: its rings are looked after, and it can be made again.
    Packet { gates: Gates, sockets: Vec<AtomicI32>, slots: u32 },
}

impl Kind {
    fn of(driver: &str, queues: usize, used_for: PortUse) -> Self {
        let gates = |new: fn() -> Gate| Gates::new(queues, new);
        match driver {
            "net_memif" => Self::Peered(Arc::new(gates(Gate::closed))),
            "net_af_packet" => Self::Packet {
                gates: gates(Gate::opened),
                sockets: (0..queues).map(|_| AtomicI32::new(-1)).collect(),
                slots: match used_for.packet_slots {
                    0 => DEFAULT_PACKET_SLOTS,
                    slots => slots,
                },
            },
            _ => Self::Plain,
        }
    }
}

/// A started port, with exactly one queue pair for each mempool. It is stopped and closed when the last handle on it is dropped.
#[derive(Debug)]
pub(crate) struct StartedPort {
    number: u16,
    /// DPDK's name of the device.
    name: String,
    used_for: PortUse,
    /// Its mempools are dropped after the port is closed, because its rx rings hold their mbufs.
    config: PortConfig,
    kind: Kind,
    /// How often the port was made again.
    remade: AtomicU32,
    untaken: Mutex<Vec<bool>>,
    /// The port was not promiscuous before. Reverted at the end: behind af_packet it is the state of a Linux interface.
    made_promiscuous: AtomicBool,
    has_rules: AtomicBool,
    /// The last value that [`StartedPort::tx_errors`] read.
    tx_errors: AtomicU64,
    /// The PMD's count of the time before the port was made again.
    earlier_tx_errors: AtomicU64,
}

impl StartedPort {
    /// Takes over port `number`, called `name`, which was just started with this configuration.
    ///
    /// # Errors
    /// EAL's, if it takes no callback for the peer of a memif port. The port is stopped and closed then.
    pub(crate) fn new(
        number: u16,
        name: String,
        driver: &str,
        used_for: PortUse,
        config: PortConfig,
    ) -> Result<Self> {
        let queues = config.mempools.len();
        let started = Self {
            number,
            name,
            used_for,
            untaken: Mutex::new(vec![true; queues]),
            kind: Kind::of(driver, queues, used_for),
            config,
            remade: AtomicU32::new(0),
            made_promiscuous: AtomicBool::new(false),
            has_rules: AtomicBool::new(false),
            tx_errors: AtomicU64::new(0),
            earlier_tx_errors: AtomicU64::new(0),
        };
        started.find_sockets();
        if let Kind::Peered(gates) = &started.kind {
            peer_changes::guard(gates)?;
        }
        Ok(started)
    }

    #[inline]
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn used_for(&self) -> PortUse {
        self.used_for
    }

    pub(crate) fn mempools(&self) -> &[Arc<Mempool>] {
        &self.config.mempools
    }

    pub(crate) fn mempool(&self, queue: u16) -> &Arc<Mempool> {
        &self.config.mempools[usize::from(queue)]
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn config(&self) -> &PortConfig {
        &self.config
    }

    /// The gate of a queue, where the port has gates.
    #[inline]
    pub(crate) fn gate(&self, queue: u16, direction: Direction) -> Option<&Gate> {
        let gates = match &self.kind {
            Kind::Plain => return None,
            Kind::Peered(gates) => gates.as_ref(),
            Kind::Packet { gates, .. } => gates,
        };
        gates.of(queue, direction)
    }

    /// Slots of the tx ring of an af_packet port.
    pub(crate) fn packet_slots(&self) -> Option<u32> {
        match &self.kind {
            Kind::Packet { slots, .. } => Some(*slots),
            _ => None,
        }
    }

    /// The socket of a queue of an af_packet port; -1 if it is not known. For a thread behind the queue's gate.
    pub(crate) fn socket(&self, queue: u16) -> i32 {
        match &self.kind {
            Kind::Packet { sockets, .. } => {
                sockets.get(usize::from(queue)).map_or(-1, |socket| socket.load(Ordering::Relaxed))
            }
            _ => -1,
        }
    }

    /// How often the port was made again.
    pub(crate) fn remade(&self) -> u32 {
        self.remade.load(Ordering::Relaxed)
    }

    /// Closes the gates of an af_packet port's queues. `None` for a port of another PMD, false if a queue's thread is inside.
    pub(crate) fn close_gates(&self) -> Option<bool> {
        match &self.kind {
            Kind::Packet { gates, .. } => Some(gates.close()),
            _ => None,
        }
    }

    /// The gates of a memif port's queues. `None` for a port of another PMD.
    pub(crate) fn peered_gates(&self) -> Option<&Arc<Gates>> {
        match &self.kind {
            Kind::Peered(gates) => Some(gates),
            _ => None,
        }
    }

    /// After the port was made again: its queues have new sockets and empty rings, and may be used.
    pub(crate) fn reopen(&self) {
        self.find_sockets();
        self.remade.fetch_add(1, Ordering::Relaxed);
        self.earlier_tx_errors.store(self.tx_errors.load(Ordering::Relaxed), Ordering::Relaxed);
        if let Kind::Packet { gates, .. } = &self.kind {
            gates.open();
        }
    }

    fn find_sockets(&self) {
        let Kind::Packet { sockets, .. } = &self.kind else { return };
        for (queue, socket) in (0u16..).zip(sockets) {
            let mut interface = 0;
            // SAFETY: the shim checks both numbers, and reads the queue of an af_packet port, which this is. No other
            // thread uses control functions (`new` and `reopen` are called by those that hold `Control`).
            let found = unsafe { dpdk_sys::dpdk_shim_packet_socket(self.number, queue, &mut interface) };
            socket.store(found, Ordering::Relaxed);
        }
    }

    /// Whether an af_packet port's sockets are bound to no interface, as it was deleted.
    pub(crate) fn is_detached(&self) -> bool {
        let socket = self.socket(0);
        // SAFETY: the shim takes any number, and finds out whether it is a packet socket.
        socket >= 0 && unsafe { dpdk_sys::dpdk_shim_packet_interface(socket) } == 0
    }

    /// Marks queue pair `queue` as taken. False if it was before, or does not exist.
    pub(crate) fn take(&self, queue: u16) -> bool {
        let mut untaken = self.untaken.lock().unwrap_or_else(PoisonError::into_inner);
        untaken.get_mut(usize::from(queue)).is_some_and(mem::take)
    }

    /// Makes the end of the port revert its promiscuous mode.
    pub(crate) fn note_promiscuous(&self) {
        self.made_promiscuous.store(true, Ordering::Relaxed);
    }

    /// Whether [`StartedPort::note_promiscuous`] was called.
    pub(crate) fn is_made_promiscuous(&self) -> bool {
        self.made_promiscuous.load(Ordering::Relaxed)
    }

    /// Makes the end of the port remove its flow rules.
    pub(crate) fn note_rule(&self) {
        self.has_rules.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self, _: &Control) -> Result<dpdk_sys::rte_eth_stats> {
        let mut stats = dpdk_sys::rte_eth_stats::default();
        // SAFETY: rte_eth_stats_get (rte_ethdev.h) checks the number and fills the struct.
        let code = unsafe { dpdk_sys::rte_eth_stats_get(self.number, &mut stats) };
        check("rte_eth_stats_get", code).map(|_| stats)
    }

    /// Frames that the PMD counts as not sent. The value read before, while another thread uses a control function, so
    /// that an lcore never waits.
    pub(crate) fn tx_errors(&self) -> u64 {
        let read = Control::try_lock().and_then(|control| self.stats(&control).ok());
        if let Some(stats) = read {
            let earlier = self.earlier_tx_errors.load(Ordering::Relaxed);
            self.tx_errors.store(earlier + stats.oerrors, Ordering::Relaxed);
        }
        self.tx_errors.load(Ordering::Relaxed)
    }
}

impl Drop for StartedPort {
    fn drop(&mut self) {
        let _control = Control::lock();
        // EAL's interrupt thread disconnects a memif port's peer as the stop does.
        let _held = matches!(self.kind, Kind::Peered(_)).then(peer_changes::hold_for_control);
        // The failure of one of these calls leaves nothing to do but the next one.
        if self.made_promiscuous.load(Ordering::Relaxed) {
            // SAFETY: rte_eth_promiscuous_disable (rte_ethdev.h) checks the number.
            unsafe { dpdk_sys::rte_eth_promiscuous_disable(self.number) };
        }
        if self.has_rules.load(Ordering::Relaxed) {
            // SAFETY: rte_flow_flush (rte_flow.h) checks the number; the place for an error may be NULL.
            unsafe { dpdk_sys::rte_flow_flush(self.number, std::ptr::null_mut()) };
        }
        // SAFETY: rte_eth_dev_stop (rte_ethdev.h) checks the number, and asks that no thread polls a queue of the port:
        // each queue handle holds an Arc of this value, so none is left.
        unsafe { dpdk_sys::rte_eth_dev_stop(self.number) };
        // SAFETY: as for the stop. The mempools are dropped after this function.
        unsafe { dpdk_sys::rte_eth_dev_close(self.number) };
    }
}
