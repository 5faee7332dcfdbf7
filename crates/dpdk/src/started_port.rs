//! A port between its start and its close, shared by the handles that keep it running.

use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    Mempool,
    control::Control,
    error::{Result, check},
};

/// Features that a port is configured for, beside sending and receiving.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortUse {
    /// A rule that distributes frames over the rx queues by a hash, where the NIC has hashes.
    pub hashes: bool,
    /// Interrupts of rx queues. A PMD may accept this and have none.
    pub interrupts: bool,
}

/// A started port, with exactly one queue pair for each mempool. It is stopped and closed when the last handle on it is dropped.
#[derive(Debug)]
pub(crate) struct Started {
    number: u16,
    used_for: PortUse,
    /// Dropped after the port is closed, because its rx rings hold their mbufs.
    mempools: Vec<Arc<Mempool>>,
    untaken: Mutex<Vec<bool>>,
    /// The port was not promiscuous before. Reverted at the end: behind af_packet it is the state of a Linux interface.
    made_promiscuous: AtomicBool,
    has_rules: AtomicBool,
    /// The last value that [`Started::tx_errors`] read.
    tx_errors: AtomicU64,
}

impl Started {
    /// Takes over port `number`, which was just started with a queue pair for each of `mempools`.
    pub(crate) fn new(number: u16, used_for: PortUse, mempools: Vec<Arc<Mempool>>) -> Self {
        Self {
            number,
            used_for,
            untaken: Mutex::new(vec![true; mempools.len()]),
            mempools,
            made_promiscuous: AtomicBool::new(false),
            has_rules: AtomicBool::new(false),
            tx_errors: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn used_for(&self) -> PortUse {
        self.used_for
    }

    pub(crate) fn mempool(&self, queue: u16) -> &Arc<Mempool> {
        &self.mempools[usize::from(queue)]
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
            self.tx_errors.store(stats.oerrors, Ordering::Relaxed);
        }
        self.tx_errors.load(Ordering::Relaxed)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _control = Control::lock();
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
