//! A NIC, real or virtual: how the control plane finds, configures, starts and reads one.

mod buf_addr;
mod info;

use std::{ffi::CString, sync::Arc};

use self::info::{device_info, numa_node};
pub use self::{
    buf_addr::reads_buf_addr,
    info::{PortInfo, by_name, info, list},
};
pub use crate::started_port::{PortConfig, PortUse};
use crate::{
    FlowRule, Mempool, RxQueue, TxQueue,
    control::Control,
    eal::EalStarted,
    error::{Error, Result, check},
    flow::{self, Refused},
    peer_changes,
    started_port::StartedPort,
};

const EAGAIN: i32 = 11;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const ENOTSUP: i32 = 95;

/// The state of a port's link.
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
    /// Receptions delayed because the mempool was empty.
    pub rx_no_mbuf: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
}

/// A started port. Its queues keep it running after this handle is gone.
#[derive(Debug)]
pub struct Port {
    started: Arc<StartedPort>,
    /// MTU the PMD accepted, or `None` if it has none to set.
    mtu_set: bool,
}

/// Configures a stopped port with `queues` queue pairs.
fn configure(control: &Control, number: u16, queues: u16, mtu: Option<u16>, used_for: PortUse) -> Result<()> {
    let mut conf = dpdk_sys::rte_eth_conf::default();
    if let Some(mtu) = mtu {
        conf.rxmode.mtu = u32::from(mtu);
    }
    // The mode is set without hash types, which the rule brings. A PMD without hashes refuses the mode.
    if used_for.hashes && device_info(control, number)?.flow_type_rss_offloads != 0 {
        conf.rxmode.mq_mode = dpdk_sys::RTE_ETH_MQ_RX_RSS;
    }
    conf.intr_conf.set_rxq(u32::from(used_for.interrupts));
    // SAFETY: rte_eth_dev_configure (rte_ethdev.h) checks the number, refuses a started port, and copies the
    // configuration.
    let code = unsafe { dpdk_sys::rte_eth_dev_configure(number, queues, queues, &conf) };
    check("rte_eth_dev_configure", code).map(|_| ())
}

/// Refuses an aligned mempool for a PMD that is not known to find its buffers ([`reads_buf_addr`]).
fn check_buf_addr(control: &Control, number: u16, mempools: &[Arc<Mempool>]) -> Result<()> {
    if mempools.iter().any(|mempool| mempool.alignment().is_some())
        && !reads_buf_addr(&info::read(control, number)?.driver)
    {
        return Err(Error { call: "rte_eth_rx_queue_setup", errno: ENOTSUP });
    }
    Ok(())
}

/// Configures and starts a stopped port. Returns whether the PMD has set the MTU.
fn set_up(control: &Control, number: u16, config: &PortConfig, used_for: PortUse) -> Result<bool> {
    let queues = u16::try_from(config.mempools.len())
        .map_err(|_| Error { call: "rte_eth_dev_configure", errno: EINVAL })?;
    check_buf_addr(control, number, &config.mempools)?;
    configure(control, number, queues, config.mtu, used_for)?;
    let mtu_set = match config.mtu {
        Some(mtu) => {
            // SAFETY: rte_eth_dev_set_mtu (rte_ethdev.h) checks the number and the value.
            let code = unsafe { dpdk_sys::rte_eth_dev_set_mtu(number, mtu) };
            // A PMD that has no MTU to set (ring, memif) returns ENOTSUP and takes any frame that fits an mbuf.
            if code != 0 && code != -ENOTSUP {
                check("rte_eth_dev_set_mtu", code)?;
            }
            code == 0
        }
        None => false,
    };
    let (mut rx, mut tx) = (config.rx_descriptors, config.tx_descriptors);
    // SAFETY: rte_eth_dev_adjust_nb_rx_tx_desc (rte_ethdev.h) checks the number and corrects both values.
    let code = unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(number, &mut rx, &mut tx) };
    check("rte_eth_dev_adjust_nb_rx_tx_desc", code)?;
    let node = numa_node(control, number).cast_unsigned();
    for (queue, mempool) in (0u16..).zip(&config.mempools) {
        // SAFETY: rte_eth_rx_queue_setup (rte_ethdev.h) checks the numbers and refuses a started port; NULL asks for
        // the PMD's default thresholds. It keeps the mempool, which `StartedPort` frees after the port is closed. If the
        // port does not start, the pool may be freed: the next configuration replaces the queue before the port can
        // be used, and a pool with mbufs outside is not freed.
        let code = unsafe {
            dpdk_sys::rte_eth_rx_queue_setup(number, queue, rx, node, std::ptr::null(), mempool.as_ptr())
        };
        check("rte_eth_rx_queue_setup", code)?;
        // SAFETY: rte_eth_tx_queue_setup (rte_ethdev.h) checks the numbers and refuses a started port; NULL asks for
        // the PMD's default thresholds.
        let code = unsafe { dpdk_sys::rte_eth_tx_queue_setup(number, queue, tx, node, std::ptr::null()) };
        check("rte_eth_tx_queue_setup", code)?;
    }
    // SAFETY: rte_eth_dev_start (rte_ethdev.h) asks for a configured port with all queues set up, as above.
    let code = unsafe { dpdk_sys::rte_eth_dev_start(number) };
    check("rte_eth_dev_start", code)?;
    Ok(mtu_set)
}

/// Asks the PMD of a port that is not started whether it distributes frames over `queues` rx queues by their Ethernet
/// addresses, and returns the rule that it takes. Configures the port for that; configure it again before its start.
///
/// # Errors
/// Why the PMD refused the first rule, or the configuration.
pub fn hash_rule(_: EalStarted, number: u16, queues: u16) -> std::result::Result<FlowRule, Refused> {
    let control = Control::lock();
    let configured =
        configure(&control, number, queues, None, PortUse { hashes: true, ..PortUse::default() });
    configured.map_err(|error| Refused { error, reason: String::new() })?;
    // i40e, ice and iavf take a pattern only without EtherType and without queues (i40e_hash.c: "Header info should
    // not be specified", "RSS queues not supported when pattern specified"); others may want both.
    let all: Vec<u16> = (0..queues).collect();
    let mut refused = None;
    for (aoe_only, queues) in [(false, Vec::new()), (true, Vec::new()), (true, all.clone()), (false, all)] {
        let rule = FlowRule::HashAddresses { aoe_only, queues };
        match rule.validate(number) {
            Ok(()) => return Ok(rule),
            // The first rule is the likeliest to be supported, so its refusal is the one to report.
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    let error = Error { call: "rte_flow_validate", errno: ENOTSUP };
    Err(refused.unwrap_or(Refused { error, reason: String::new() }))
}

impl Port {
    /// Configures port `number` with a queue pair for each mempool, and starts it.
    ///
    /// # Errors
    /// Whatever DPDK refuses, by call; `ENOMEM` from `rte_eth_rx_queue_setup` also means that this PMD wants
    /// mbufs with more room (af_packet: its `framesz`); `ENOTSUP` from it, an aligned mempool for a PMD that
    /// [`reads_buf_addr`] does not know. Nothing is started then, and the call may be made
    /// again.
    pub fn start(eal: EalStarted, number: u16, config: &PortConfig) -> Result<Self> {
        Self::start_for(eal, number, config, PortUse::default())
    }

    /// As [`Port::start`], configured for further features.
    ///
    /// # Errors
    /// As [`Port::start`]'s.
    pub fn start_for(_: EalStarted, number: u16, config: &PortConfig, used_for: PortUse) -> Result<Self> {
        let control = Control::lock();
        let mtu_set = set_up(&control, number, config, used_for)?;
        let info::PortInfo { name, driver, .. } = info::read(&control, number)?;
        let started = StartedPort::new(number, name, &driver, used_for, config.clone());
        // A port that fails here is closed under the lock.
        drop(control);
        Ok(Self { started: Arc::new(started?), mtu_set })
    }

    /// Whether the Linux interface of an af_packet port was deleted: its sockets are bound to none. False for other PMDs.
    pub fn is_detached(&self) -> bool {
        self.started.is_detached()
    }

    /// Makes an af_packet port again, from these arguments of a vdev, in place of one whose interface was deleted. Its queues
    /// go on with their mempools; frames that lay in its rings are lost. The port has to have as many queues as before.
    ///
    /// # Errors
    /// `EAGAIN` while a thread is in a burst of a queue: then call it again, soon. `ENOTSUP` for ports of other PMDs. After any
    /// other error the port's queues neither receive nor send until a call succeeds.
    pub fn remake(&self, arguments: &str) -> Result<()> {
        let control = Control::lock();
        let (number, name) = (self.number(), self.started.name());
        let failed = |errno| Error { call: "rte_vdev_init", errno };
        match self.started.close_gates() {
            None => return Err(failed(ENOTSUP)),
            Some(false) => return Err(failed(EAGAIN)),
            Some(true) => {}
        }
        let c_name = CString::new(name).map_err(|_| failed(EINVAL))?;
        let c_arguments = CString::new(arguments).map_err(|_| failed(EINVAL))?;
        // An attempt that failed has left no port.
        if info::read(&control, number).is_ok_and(|info| info.name == name) {
            // SAFETY: rte_eth_dev_stop (rte_ethdev.h) checks the number, and asks that no thread is in a burst function of
            // the port: the gates are closed.
            unsafe { dpdk_sys::rte_eth_dev_stop(number) };
            // SAFETY: as for the stop.
            unsafe { dpdk_sys::rte_eth_dev_close(number) };
        }
        // SAFETY: rte_vdev_uninit (rte_bus_vdev.h) reads a NUL-terminated name; its port is closed. A name that is not known,
        // after an attempt that failed, is refused.
        unsafe { dpdk_sys::rte_vdev_uninit(c_name.as_ptr()) };
        // SAFETY: rte_vdev_init (rte_bus_vdev.h) reads two NUL-terminated strings.
        let code = unsafe { dpdk_sys::rte_vdev_init(c_name.as_ptr(), c_arguments.as_ptr()) };
        check("rte_vdev_init", code)?;
        // DPDK gives a port the lowest number that is free.
        if !info::read(&control, number).is_ok_and(|info| info.name == name) {
            // SAFETY: as above.
            unsafe { dpdk_sys::rte_vdev_uninit(c_name.as_ptr()) };
            return Err(failed(EEXIST));
        }
        set_up(&control, number, self.started.config(), self.started.used_for())?;
        if self.started.is_made_promiscuous() {
            // SAFETY: rte_eth_promiscuous_enable (rte_ethdev.h) checks the number.
            let code = unsafe { dpdk_sys::rte_eth_promiscuous_enable(number) };
            check("rte_eth_promiscuous_enable", code)?;
        }
        self.started.reopen();
        Ok(())
    }

    /// Stops and starts a memif port whose link is down: DPDK's PMD connects a client to its server at the start only. The link
    /// comes up when the server has answered.
    ///
    /// The PMD's connect(2) blocks while more connections than the server's backlog wait to be accepted.
    ///
    /// # Errors
    /// `EAGAIN` while a thread is in a burst of a queue: then call it again, soon. `ENOTSUP` for ports of other PMDs. After any
    /// other error, such as that of a server that does not listen, the port's queues neither receive nor send until a call
    /// succeeds.
    pub fn connect_again(&self) -> Result<()> {
        let _control = Control::lock();
        let failed = |errno| Error { call: "rte_eth_dev_start", errno };
        let gates = self.started.peered_gates().ok_or(failed(ENOTSUP))?;
        peer_changes::release(gates);
        if !gates.close() {
            return Err(failed(EAGAIN));
        }
        // EAL's interrupt thread works on the connection, as the stop and the start do.
        let held = peer_changes::hold_for_control();
        // SAFETY: rte_eth_dev_stop (rte_ethdev.h) checks the number, and asks that no thread is in a burst function of the port:
        // the gates are closed, and nobody opens them. A port that is stopped stays so.
        let code = unsafe { dpdk_sys::rte_eth_dev_stop(self.number()) };
        check("rte_eth_dev_stop", code)?;
        // SAFETY: rte_eth_dev_start (rte_ethdev.h) asks for a configured port with all queues set up, which `set_up` made.
        let code = unsafe { dpdk_sys::rte_eth_dev_start(self.number()) };
        check("rte_eth_dev_start", code)?;
        drop(held);
        peer_changes::guard(gates)
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.started.number()
    }

    /// Whether the PMD set the MTU of the configuration.
    pub fn mtu_set(&self) -> bool {
        self.mtu_set
    }

    /// Returns the state of the link, without waiting for one that is negotiating.
    ///
    /// # Errors
    /// The PMD's.
    pub fn link(&self) -> Result<Link> {
        let _control = Control::lock();
        let (mut up, mut mbps) = (false, 0);
        // SAFETY: rte_eth_link_get_nowait (rte_ethdev.h) checks the number; the shim fills both values.
        let code = unsafe { dpdk_sys::dpdk_shim_link(self.number(), &mut up, &mut mbps) };
        check("rte_eth_link_get_nowait", code)?;
        Ok(Link { up, mbps: Some(mbps).filter(|mbps| *mbps > 0) })
    }

    /// Returns the port's counters.
    ///
    /// # Errors
    /// `ENOTSUP` from a PMD without counters.
    pub fn stats(&self) -> Result<PortStats> {
        let stats = self.started.stats(&Control::lock())?;
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

    /// Applies a rule, which holds until the port is closed.
    ///
    /// # Errors
    /// Why the PMD refuses it.
    pub fn apply(&self, rule: &FlowRule) -> std::result::Result<(), Refused> {
        let _control = Control::lock();
        rule.create(self.number())?;
        self.started.note_rule();
        Ok(())
    }

    /// Makes the port receive frames to a further MAC address.
    ///
    /// # Errors
    /// `ENOTSUP` from a PMD that can't, `ENOSPC` if its table is full.
    pub fn add_address(&self, address: [u8; 6]) -> Result<()> {
        let _control = Control::lock();
        flow::add_address(self.number(), address)
    }

    /// Makes the port promiscuous until it is closed, for programs with several MAC addresses.
    ///
    /// # Errors
    /// The PMD's; `ENOTSUP` from a PMD that always receives everything (memif, ring).
    pub fn receive_all(&self) -> Result<()> {
        let _control = Control::lock();
        // SAFETY: rte_eth_promiscuous_get (rte_ethdev.h) checks the number.
        let was = unsafe { dpdk_sys::rte_eth_promiscuous_get(self.number()) };
        // SAFETY: rte_eth_promiscuous_enable (rte_ethdev.h) checks the number.
        let code = unsafe { dpdk_sys::rte_eth_promiscuous_enable(self.number()) };
        check("rte_eth_promiscuous_enable", code)?;
        if was == 0 {
            self.started.note_promiscuous();
        }
        Ok(())
    }

    /// The mempool of queue pair `queue`; `None` if there is no such.
    pub fn mempool(&self, queue: u16) -> Option<Arc<Mempool>> {
        self.started.mempools().get(usize::from(queue)).cloned()
    }

    /// Takes queue pair `queue`; `None` if it was taken before or does not exist.
    pub fn take_queues(&self, queue: u16) -> Option<(RxQueue, TxQueue)> {
        if !self.started.take(queue) {
            return None;
        }
        let capacity = self.started.mempool(queue).size() as usize;
        Some((
            RxQueue::new(Arc::clone(&self.started), queue),
            TxQueue::new(Arc::clone(&self.started), queue, capacity),
        ))
    }
}
