//! When there is nothing to do: how an lcore lets its CPU rest.

use std::{os::fd::AsRawFd, os::fd::OwnedFd};

use crate::{
    RxQueue,
    error::{Result, check},
};

/// `-ENOTSUP`.
const NOTHING_TO_ENABLE: i32 = -95;

/// True if the CPU has an instruction that waits until a time (x86: TPAUSE), which [`pause`] uses then.
pub fn can_pause() -> bool {
    // SAFETY: no condition (rte_cpuflags.h).
    unsafe { dpdk_sys::dpdk_shim_can_pause() }
}

/// Rests this CPU for about so long, without a system call.
#[inline]
pub fn pause(nanoseconds: u32) {
    // SAFETY: no condition (rte_power_intrinsics.h, rte_pause.h); after EAL started, as every port has.
    unsafe { dpdk_sys::dpdk_shim_pause(nanoseconds) };
}

/// The interrupts of one lcore's rx queues, at an epoll descriptor of its own. The queues outlive it; its port was
/// started with interrupts.
#[derive(Debug)]
pub struct RxInterrupts {
    epoll: OwnedFd,
    queues: Vec<(u16, u16)>,
}

impl RxInterrupts {
    /// None, at this epoll descriptor.
    pub fn new(epoll: OwnedFd) -> Self {
        Self { epoll, queues: Vec::new() }
    }

    /// Adds a queue's.
    ///
    /// # Errors
    /// `ENOTSUP` or `EPERM` from a PMD that has none.
    pub fn add(&mut self, queue: &RxQueue) -> Result<()> {
        let (port, queue) = queue.place();
        // SAFETY: rte_eth_dev_rx_intr_enable (rte_ethdev.h) checks both numbers; the port is started.
        let code = unsafe { dpdk_sys::rte_eth_dev_rx_intr_enable(port, queue) };
        // One whose queues are file descriptors has nothing to enable (tap).
        if code != NOTHING_TO_ENABLE {
            check("rte_eth_dev_rx_intr_enable", code)?;
        }
        // SAFETY: as above.
        unsafe { dpdk_sys::rte_eth_dev_rx_intr_disable(port, queue) };
        // SAFETY: rte_eth_dev_rx_intr_ctl_q (rte_ethdev.h) checks both numbers; the descriptor is open as long as self.
        let code = unsafe { dpdk_sys::dpdk_shim_rx_interrupt_add(port, queue, self.epoll.as_raw_fd()) };
        check("rte_eth_dev_rx_intr_ctl_q", code)?;
        self.queues.push((port, queue));
        Ok(())
    }

    /// Has the queues tell of the next frame. One that came before is not told of: poll once more after this.
    pub fn arm(&mut self) {
        for &(port, queue) in &self.queues {
            // SAFETY: checks both numbers; the port is started. It has worked before; if it fails now, the wait ends by
            // its time.
            unsafe { dpdk_sys::rte_eth_dev_rx_intr_enable(port, queue) };
        }
    }

    /// Has them be silent again.
    pub fn disarm(&mut self) {
        for &(port, queue) in &self.queues {
            // SAFETY: as for `arm`.
            unsafe { dpdk_sys::rte_eth_dev_rx_intr_disable(port, queue) };
        }
    }

    /// Sleeps until a queue tells of a frame, or so many milliseconds have passed.
    pub fn wait(&mut self, milliseconds: u16) {
        // SAFETY: the descriptor is open; the events that rte_epoll_wait (rte_epoll.h) fills are the shim's.
        unsafe { dpdk_sys::dpdk_shim_rx_interrupt_wait(self.epoll.as_raw_fd(), i32::from(milliseconds)) };
    }
}

impl Drop for RxInterrupts {
    fn drop(&mut self) {
        for &(port, queue) in &self.queues {
            // SAFETY: the port is started as long as its queues are there; what was added is taken out.
            unsafe { dpdk_sys::dpdk_shim_rx_interrupt_remove(port, queue, self.epoll.as_raw_fd()) };
        }
    }
}
