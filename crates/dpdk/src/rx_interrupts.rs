//! Interrupts of rx queues, so that an idle lcore can sleep until a frame arrives.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
};

use crate::{
    RxQueue,
    error::{Error, Result, check},
    started_port::StartedPort,
};

/// `ENOTSUP`: from a PMD whose queues are file descriptors (tap), which has nothing to enable.
const ENOTSUP: i32 = 95;

/// The interrupts of one lcore's rx queues, collected at an epoll descriptor. Keeps their ports running.
#[derive(Debug)]
pub struct RxInterrupts {
    epoll: OwnedFd,
    queues: Vec<(Arc<StartedPort>, u16)>,
}

impl RxInterrupts {
    /// An empty collection at this epoll descriptor.
    pub fn new(epoll: OwnedFd) -> Self {
        Self { epoll, queues: Vec::new() }
    }

    /// Adds the interrupt of a queue.
    ///
    /// # Errors
    /// `ENOTSUP` if the port was started without [`crate::PortUse::interrupts`]; `ENOTSUP` or `EPERM` from a PMD that
    /// has none.
    pub fn add(&mut self, queue: &RxQueue) -> Result<()> {
        let (port, queue) = queue.port_and_number();
        if !port.used_for().interrupts {
            return Err(Error { call: "rte_eth_dev_rx_intr_enable", errno: ENOTSUP });
        }
        match enable(port, queue) {
            Err(Error { errno: ENOTSUP, .. }) => {}
            enabled => enabled?,
        }
        disable(port, queue);
        // SAFETY: rte_eth_dev_rx_intr_ctl_q (rte_ethdev.h) checks both numbers. The epoll descriptor is open until self is
        // dropped, which takes the interrupt out first.
        let code =
            unsafe { dpdk_sys::dpdk_shim_rx_interrupt_add(port.number(), queue, self.epoll.as_raw_fd()) };
        check("rte_eth_dev_rx_intr_ctl_q", code)?;
        self.queues.push((Arc::clone(port), queue));
        Ok(())
    }

    /// Enables the interrupts. A frame that arrived before does not interrupt: poll once more after this call.
    pub fn arm(&mut self) {
        for (port, queue) in &self.queues {
            // `add` has enabled this interrupt once. If that fails now, the wait ends by its timeout.
            enable(port, *queue).unwrap_or_default();
        }
    }

    /// Disables the interrupts.
    pub fn disarm(&mut self) {
        for (port, queue) in &self.queues {
            disable(port, *queue);
        }
    }

    /// Sleeps until a queue interrupts, or `milliseconds` have passed.
    pub fn wait(&mut self, milliseconds: u16) {
        // SAFETY: rte_epoll_wait (rte_epoll.h) asks for an open epoll descriptor, which self owns, and for room for the
        // events, which the shim has.
        unsafe { dpdk_sys::dpdk_shim_rx_interrupt_wait(self.epoll.as_raw_fd(), i32::from(milliseconds)) };
    }
}

/// Enables the interrupt of one queue.
fn enable(port: &StartedPort, queue: u16) -> Result<()> {
    // SAFETY: rte_eth_dev_rx_intr_enable (rte_ethdev.h) checks both numbers and that the PMD has interrupts. Its caller
    // must have started the port with them: `StartedPort` lives while the port runs, and `add` checks the use.
    let code = unsafe { dpdk_sys::rte_eth_dev_rx_intr_enable(port.number(), queue) };
    check("rte_eth_dev_rx_intr_enable", code).map(|_| ())
}

/// Disables the interrupt of one queue. A PMD that refuses has none enabled, or interrupts once in vain.
fn disable(port: &StartedPort, queue: u16) {
    // SAFETY: as for `enable`.
    unsafe { dpdk_sys::rte_eth_dev_rx_intr_disable(port.number(), queue) };
}

impl Drop for RxInterrupts {
    fn drop(&mut self) {
        for (port, queue) in &self.queues {
            // SAFETY: as in `add`. The descriptor is still open: fields are dropped after this function.
            unsafe {
                dpdk_sys::dpdk_shim_rx_interrupt_remove(port.number(), *queue, self.epoll.as_raw_fd());
            }
        }
    }
}
