//! How a port queue is made, and what the control plane changes of it.

use std::sync::Arc;

use aoe_target::{DropCounters, MacAddr, PortCounters, PortId, PortLimits};
use dpdk::{Mempool, RxInterrupts, RxQueue, TxQueue};

use super::{PortQueue, Tx};
use crate::{
    budget::Room,
    distribute::{DetachedPart, Distribution},
};

impl PortQueue {
    /// A queue pair of `port`. `advertises` on one queue of each port. All mbufs of its mempool may hold requests in flight,
    /// but for a reserve: see [`PortQueue::with_mbufs`].
    pub fn new(
        port: PortId,
        mac: MacAddr,
        limits: PortLimits,
        queues: (RxQueue, TxQueue),
        advertises: bool,
    ) -> Self {
        let (rx, tx) = queues;
        let mempool = Arc::clone(rx.mempool());
        let (room, rx, tx) = (Room::of(mempool.size()), Some(rx), Tx::Queue(tx));
        Self {
            index: 0,
            port,
            mac,
            limits,
            advertises,
            coalesces_tx: false,
            has_addresses: false,
            inspects: false,
            attends: false,
            submitted: false,
            room,
            distribution: None,
            rx,
            tx,
            mempool,
            counters: PortCounters::default(),
            drops: DropCounters::default(),
            taps: None,
        }
    }

    /// The port queue of an lcore without a queue pair of `port`, with its part in distributing the port's frames. `mac` is the
    /// port's, `mempool` the one that its frames are received into, of which `mbufs` may hold requests in flight on this
    /// lcore, but for a reserve.
    #[must_use]
    pub fn detached(
        port: PortId,
        mac: MacAddr,
        limits: PortLimits,
        mempool: Arc<Mempool>,
        mbufs: u32,
        part: DetachedPart,
    ) -> Self {
        let DetachedPart { part, replies } = part;
        let replies = replies.with_room(mempool.size() as usize);
        Self {
            index: 0,
            port,
            mac,
            limits,
            advertises: false,
            coalesces_tx: false,
            has_addresses: part.has_addresses(),
            inspects: part.has_addresses(),
            attends: true,
            submitted: false,
            room: Room::of(mbufs),
            distribution: Some(Box::new(part)),
            rx: None,
            tx: Tx::Returned(replies),
            mempool,
            counters: PortCounters::default(),
            drops: DropCounters::default(),
            taps: None,
        }
    }

    /// The same queue, for a PMD that makes a system call for each tx burst: it holds replies for a turn in which further
    /// requests came, so that more leave with one call.
    #[must_use]
    pub fn coalescing_tx(mut self) -> Self {
        self.coalesces_tx = true;
        self
    }

    /// The same queue, for a mempool that other queues share, or whose mbufs its rings hold: `mbufs` of them may hold requests
    /// in flight, but for a reserve.
    #[must_use]
    pub fn with_mbufs(mut self, mbufs: u32) -> Self {
        self.room = Room::of(mbufs);
        self
    }

    /// The same queue, which takes its part in distributing its port's frames.
    #[must_use]
    pub fn distributed(mut self, part: Distribution) -> Self {
        self.has_addresses = part.has_addresses();
        self.distribution = Some(Box::new(part));
        self.set_flags();
        self
    }

    /// Says which of its lcore's queues it is.
    pub(crate) fn set_index(&mut self, index: usize) {
        self.index = index;
    }

    /// Adds the rx queue's interrupt to `interrupts`, if it has one.
    pub(crate) fn add_interrupt(&self, interrupts: &mut RxInterrupts) -> dpdk::Result<()> {
        self.rx.as_ref().map_or(Ok(()), |rx| interrupts.add(rx))
    }

    /// Takes a new address in place of `old`, where that is this queue's, and new limits.
    pub(crate) fn change(&mut self, old: MacAddr, new: MacAddr, limits: PortLimits) {
        if self.mac == old {
            self.mac = new;
        }
        if let Some(part) = &mut self.distribution {
            part.change_address(old, new);
        }
        self.limits = limits;
    }
}
