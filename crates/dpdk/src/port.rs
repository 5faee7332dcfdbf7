//! A NIC, real or virtual: how the control plane finds, configures, starts and reads one.

use std::{
    ffi::{CStr, CString, c_char},
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    FlowRule, Mempool, RxQueue, TxQueue,
    error::{Error, Result, check},
    flow::{self, Refused},
};

/// Ethernet header and FCS, which a PMD's largest frame counts and an MTU does not.
const FRAME_AROUND_PAYLOAD: u32 = 14 + 4;

/// What is known of a port before it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// DPDK's number of the port.
    pub number: u16,
    /// DPDK's name of it: a PCI address, or a vdev's name such as `net_af_packet0`.
    pub name: String,
    /// The PMD's name.
    pub driver: String,
    /// Its station address.
    pub mac: [u8; 6],
    /// Bytes of an Ethernet payload it is set up for now.
    pub mtu: u16,
    /// Largest MTU the PMD says it can take. Some say 1500 and take whatever their buffers hold (memif,
    /// af_packet).
    pub max_mtu: u16,
    /// Queues of each kind it can have.
    pub max_queues: u16,
    /// NUMA node, where it has one.
    pub numa_node: Option<u32>,
    /// Index of the Linux interface behind it (af_packet, tap, af_xdp), where there is one.
    pub interface_index: Option<u32>,
}

/// Whether the cable is in, and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// True if frames can be sent.
    pub up: bool,
    /// Megabits a second; `None` where the PMD does not know.
    pub mbps: Option<u32>,
}

/// A port's own counters since start (rte_eth_stats).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received and sent.
    pub rx_frames: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames the NIC dropped because its ring was full.
    pub rx_missed: u64,
    /// Frames the NIC received damaged.
    pub rx_errors: u64,
    /// Receptions put off for want of an mbuf.
    pub rx_no_mbuf: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
}

/// How a port is started.
#[derive(Debug, Clone)]
pub struct PortConfig {
    /// One rx and one tx queue for each; the mempool is that queue's.
    pub mempools: Vec<Arc<Mempool>>,
    /// Descriptors wished for each rx queue; the PMD's limits win.
    pub rx_descriptors: u16,
    /// Descriptors wished for each tx queue.
    pub tx_descriptors: u16,
    /// The MTU to set, in bytes of Ethernet payload; `None` leaves it.
    pub mtu: Option<u16>,
}

/// What a port is to be prepared for, beside sending and receiving.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortUse {
    /// A rule that spreads frames over the rx queues by a hash, where the NIC has hashes.
    pub hashes: bool,
    /// Interrupts of rx queues. A PMD may take this and have none all the same.
    pub interrupts: bool,
}

/// A started port. Its queues keep it running after this handle is gone.
#[derive(Debug)]
pub struct Port {
    started: Arc<Started>,
    /// MTU the PMD accepted, or `None` if it has none to set.
    mtu_set: bool,
}

/// A port between start and close; the last owner stops it.
#[derive(Debug)]
pub(crate) struct Started {
    number: u16,
    /// Dropped after the port is closed: the rx rings hold their mbufs.
    mempools: Vec<Arc<Mempool>>,
    untaken: Mutex<Vec<bool>>,
    /// It was not before, and is not to be afterwards: behind af_packet it is a Linux interface's state.
    made_promiscuous: AtomicBool,
    has_rules: AtomicBool,
}

impl Started {
    #[inline]
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn mempool(&self, queue: u16) -> &Arc<Mempool> {
        &self.mempools[usize::from(queue)]
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // SAFETY: no queue handle is left, so no thread polls; these calls (rte_ethdev.h, rte_flow.h) take any valid
        // port. Their failure leaves nothing to do.
        unsafe {
            if self.made_promiscuous.load(Ordering::Relaxed) {
                dpdk_sys::rte_eth_promiscuous_disable(self.number);
            }
            if self.has_rules.load(Ordering::Relaxed) {
                dpdk_sys::rte_flow_flush(self.number, std::ptr::null_mut());
            }
            dpdk_sys::rte_eth_dev_stop(self.number);
            dpdk_sys::rte_eth_dev_close(self.number);
        }
    }
}

/// All ports there are, by number. After EAL started.
pub fn list() -> Vec<PortInfo> {
    let mut ports = Vec::new();
    let mut from = 0;
    loop {
        // SAFETY: rte_eth_find_next_owned_by (rte_ethdev.h) takes any number; 0 is "no owner".
        let next = unsafe { dpdk_sys::rte_eth_find_next_owned_by(from, 0) };
        let Ok(number) = u16::try_from(next) else { break };
        if u32::from(number) >= dpdk_sys::RTE_MAX_ETHPORTS {
            break;
        }
        if let Ok(info) = info(number) {
            ports.push(info);
        }
        from = number + 1;
    }
    ports
}

fn device_info(number: u16) -> Result<dpdk_sys::rte_eth_dev_info> {
    let mut info = dpdk_sys::rte_eth_dev_info::default();
    // SAFETY: rte_eth_dev_info_get checks the number and fills the struct.
    let code = unsafe { dpdk_sys::rte_eth_dev_info_get(number, &mut info) };
    check("rte_eth_dev_info_get", code).map(|_| info)
}

/// One port.
///
/// # Errors
/// `ENODEV` for a number without a port.
pub fn info(number: u16) -> Result<PortInfo> {
    let device = device_info(number)?;
    let mut name = [0 as c_char; dpdk_sys::RTE_ETH_NAME_MAX_LEN as usize];
    // SAFETY: the buffer has the length the header asks for (RTE_ETH_NAME_MAX_LEN).
    let code = unsafe { dpdk_sys::rte_eth_dev_get_name_by_port(number, name.as_mut_ptr()) };
    check("rte_eth_dev_get_name_by_port", code)?;
    let mut address = dpdk_sys::rte_ether_addr::default();
    // SAFETY: checks the number, fills the address.
    let code = unsafe { dpdk_sys::rte_eth_macaddr_get(number, &mut address) };
    check("rte_eth_macaddr_get", code)?;
    let mut mtu = 0;
    // SAFETY: checks the number, fills the value.
    let code = unsafe { dpdk_sys::rte_eth_dev_get_mtu(number, &mut mtu) };
    check("rte_eth_dev_get_mtu", code)?;
    // SAFETY: takes any number; negative for "any node" and for none.
    let node = unsafe { dpdk_sys::rte_eth_dev_socket_id(number) };
    Ok(PortInfo {
        number,
        name: text(name.as_ptr()),
        driver: text(device.driver_name),
        mac: address.addr_bytes,
        mtu,
        max_mtu: device.max_mtu.min(
            u16::try_from(device.max_rx_pktlen.saturating_sub(FRAME_AROUND_PAYLOAD)).unwrap_or(u16::MAX),
        ),
        max_queues: device.max_rx_queues.min(device.max_tx_queues),
        numa_node: u32::try_from(node).ok(),
        interface_index: Some(device.if_index).filter(|index| *index > 0),
    })
}

/// A C string of DPDK's as text; empty for NULL.
pub(crate) fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: not NULL, and NUL-terminated: a driver's static name, or a buffer that DPDK just filled.
    let string = unsafe { CStr::from_ptr(string) };
    string.to_string_lossy().into_owned()
}

/// The number of the port that DPDK knows by `name`.
pub fn by_name(name: &str) -> Option<u16> {
    let name = CString::new(name).ok()?;
    let mut number = 0;
    // SAFETY: reads a NUL-terminated string, fills the number.
    let code = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut number) };
    (code == 0).then_some(number)
}

/// Whether a port's link is up. Does not wait for one that is negotiating.
///
/// # Errors
/// `ENODEV` for a number without a port.
pub fn link(number: u16) -> Result<Link> {
    let (mut up, mut mbps) = (false, 0);
    // SAFETY: rte_eth_link_get_nowait (rte_ethdev.h) checks the number; the shim fills both.
    let code = unsafe { dpdk_sys::dpdk_shim_link(number, &mut up, &mut mbps) };
    check("rte_eth_link_get_nowait", code)?;
    Ok(Link { up, mbps: Some(mbps).filter(|mbps| *mbps > 0) })
}

/// A port's counters.
///
/// # Errors
/// `ENODEV` for a number without a port, `ENOTSUP` from a PMD without counters.
pub fn stats(number: u16) -> Result<PortStats> {
    let mut stats = dpdk_sys::rte_eth_stats::default();
    // SAFETY: checks the number, fills the struct.
    let code = unsafe { dpdk_sys::rte_eth_stats_get(number, &mut stats) };
    check("rte_eth_stats_get", code)?;
    Ok(PortStats {
        rx_frames: stats.ipackets,
        tx_frames: stats.opackets,
        rx_bytes: stats.ibytes,
        tx_bytes: stats.obytes,
        rx_missed: stats.imissed,
        rx_errors: stats.ierrors,
        rx_no_mbuf: stats.rx_nombuf,
        tx_errors: stats.oerrors,
    })
}

/// Gives a stopped port so many queue pairs.
pub(crate) fn configure(number: u16, queues: u16, mtu: Option<u16>, used_for: PortUse) -> Result<()> {
    let mut conf = dpdk_sys::rte_eth_conf::default();
    if let Some(mtu) = mtu {
        conf.rxmode.mtu = u32::from(mtu);
    }
    // Without any hash type: those come with the rule. A PMD without hashes refuses the mode.
    if used_for.hashes && device_info(number)?.flow_type_rss_offloads != 0 {
        conf.rxmode.mq_mode = dpdk_sys::RTE_ETH_MQ_RX_RSS;
    }
    conf.intr_conf.set_rxq(u32::from(used_for.interrupts));
    // SAFETY: rte_eth_dev_configure (rte_ethdev.h) checks the number and copies the configuration.
    let code = unsafe { dpdk_sys::rte_eth_dev_configure(number, queues, queues, &conf) };
    check("rte_eth_dev_configure", code).map(|_| ())
}

impl Port {
    /// Configures port `number` with a queue pair for each mempool, and starts it.
    ///
    /// # Errors
    /// Whatever DPDK refuses, by call; `ENOMEM` from `rte_eth_rx_queue_setup` also means that this PMD wants
    /// mbufs with larger rooms (af_packet: its `framesz`). Nothing is started then, and the call may be made
    /// again.
    pub fn start(number: u16, config: &PortConfig) -> Result<Self> {
        Self::start_for(number, config, PortUse::default())
    }

    /// As [`Port::start`], prepared for more.
    ///
    /// # Errors
    /// As [`Port::start`]'s.
    pub fn start_for(number: u16, config: &PortConfig, used_for: PortUse) -> Result<Self> {
        let queues = u16::try_from(config.mempools.len())
            .map_err(|_| Error { call: "rte_eth_dev_configure", errno: 22 })?;

        configure(number, queues, config.mtu, used_for)?;
        let mtu_set = match config.mtu {
            Some(mtu) => {
                // SAFETY: checks the number and the value.
                let code = unsafe { dpdk_sys::rte_eth_dev_set_mtu(number, mtu) };
                // A PMD that has no MTU to set (ring, memif) says ENOTSUP and takes any frame its rooms hold.
                if code != 0 && code != -95 {
                    check("rte_eth_dev_set_mtu", code)?;
                }
                code == 0
            }
            None => false,
        };
        let (mut rx, mut tx) = (config.rx_descriptors, config.tx_descriptors);
        // SAFETY: checks the number, and corrects both values.
        let code = unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(number, &mut rx, &mut tx) };
        check("rte_eth_dev_adjust_nb_rx_tx_desc", code)?;
        for (queue, mempool) in (0u16..).zip(&config.mempools) {
            // SAFETY: the node number is the port's own; -1 is any.
            let node = unsafe { dpdk_sys::rte_eth_dev_socket_id(number) };
            let node = node.cast_unsigned();
            // SAFETY: the port is configured and stopped; NULL asks for the PMD's default thresholds; the
            // mempool lives until after the close, in Started, or until the
            // next configuration of a port that failed to start.
            let code = unsafe {
                dpdk_sys::rte_eth_rx_queue_setup(number, queue, rx, node, std::ptr::null(), mempool.as_ptr())
            };
            check("rte_eth_rx_queue_setup", code)?;
            // SAFETY: as above.
            let code = unsafe { dpdk_sys::rte_eth_tx_queue_setup(number, queue, tx, node, std::ptr::null()) };
            check("rte_eth_tx_queue_setup", code)?;
        }
        // SAFETY: the port is configured and its queues are set up.
        let code = unsafe { dpdk_sys::rte_eth_dev_start(number) };
        check("rte_eth_dev_start", code)?;
        let started = Arc::new(Started {
            number,
            mempools: config.mempools.clone(),
            untaken: Mutex::new(vec![true; usize::from(queues)]),
            made_promiscuous: AtomicBool::new(false),
            has_rules: AtomicBool::new(false),
        });
        Ok(Self { started, mtu_set })
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.started.number
    }

    /// True if the PMD took the MTU it was asked for.
    pub fn mtu_set(&self) -> bool {
        self.mtu_set
    }

    /// Has the PMD take a rule, until the port is closed.
    ///
    /// # Errors
    /// What it says.
    pub fn apply(&self, rule: &FlowRule) -> std::result::Result<(), Refused> {
        rule.create(self.number())?;
        self.started.has_rules.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Has the port receive what is sent to a further station address, beside its own.
    ///
    /// # Errors
    /// `ENOTSUP` from a PMD that can't, `ENOSPC` if it has no more.
    pub fn add_address(&self, address: [u8; 6]) -> Result<()> {
        flow::add_address(self.number(), address)
    }

    /// Has the port receive frames to any station, until it is closed, for programs that speak under several
    /// addresses.
    ///
    /// # Errors
    /// What the PMD says; `ENOTSUP` from those that receive everything anyway (memif, ring).
    pub fn receive_all(&self) -> Result<()> {
        // SAFETY: both (rte_ethdev.h) check the number.
        let was = unsafe { dpdk_sys::rte_eth_promiscuous_get(self.number()) };
        // SAFETY: as above.
        let code = unsafe { dpdk_sys::rte_eth_promiscuous_enable(self.number()) };
        check("rte_eth_promiscuous_enable", code)?;
        self.started.made_promiscuous.store(was == 0, Ordering::Relaxed);
        Ok(())
    }

    /// Queue pair `queue`, once; `None` if it is taken or there is no such pair.
    pub fn take_queues(&self, queue: u16) -> Option<(RxQueue, TxQueue)> {
        let mut untaken = self.started.untaken.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let free = untaken.get_mut(usize::from(queue))?;
        if !mem::take(free) {
            return None;
        }
        let capacity = self.started.mempool(queue).size() as usize;
        Some((
            RxQueue::new(Arc::clone(&self.started), queue),
            TxQueue::new(Arc::clone(&self.started), queue, capacity),
        ))
    }
}
