//! rx and tx: one lcore's share of a port.

use aoe_target::{DropCounters, DropReason, MacAddr, PortCounters, PortId, PortLimits};
use dpdk::{Mbuf, RxQueue, TxQueue};

use crate::intake::Intake;
use crate::spread::{Spread, SpreadCounters};

/// A queue pair of a port, with what the lcore must know of the port and what it counts. Written for each frame, so it
/// shares no cache line with what another lcore has on the heap; nor the line beside it, which CPUs fetch along.
#[repr(align(128))]
#[derive(Debug)]
pub struct Lane {
    pub(crate) port: PortId,
    pub(crate) mac: MacAddr,
    pub(crate) limits: PortLimits,
    /// One lcore of each port sends its advertisements.
    pub(crate) advertises: bool,
    /// Its part in spreading the port's frames, if they are. Before the queues: frames in its rings are freed before
    /// their mempools.
    pub(crate) spread: Option<Box<Spread>>,
    pub(crate) rx: RxQueue,
    pub(crate) tx: TxQueue,
    pub(crate) intake: Intake,
    pub(crate) counters: PortCounters,
    pub(crate) drops: DropCounters,
}

/// What a lane counted.
#[derive(Debug, Clone, Copy)]
pub struct LaneStats {
    /// The port.
    pub port: PortId,
    /// Frames and bytes.
    pub counters: PortCounters,
    /// Frames without an answer, by reason.
    pub drops: DropCounters,
    /// Replies that wait for room in the NIC's ring now.
    pub tx_waiting: usize,
    /// What its part in spreading the port's frames counted; nothing where they are not.
    pub spread: SpreadCounters,
}

impl Lane {
    /// The share of `port` that these queues are. `advertises` on one lane of each port.
    pub fn new(
        port: PortId,
        mac: MacAddr,
        limits: PortLimits,
        queues: (RxQueue, TxQueue),
        advertises: bool,
    ) -> Self {
        let (rx, tx) = queues;
        Self {
            port,
            mac,
            limits,
            advertises,
            spread: None,
            rx,
            tx,
            intake: Intake::default(),
            counters: PortCounters::default(),
            drops: DropCounters::default(),
        }
    }

    /// The same lane, taking long bursts however much data their requests carry: for a port whose PMD makes a system call
    /// for each burst it sends, which costs more than what a short one saves.
    #[must_use]
    pub fn in_long_bursts(mut self) -> Self {
        self.intake.stay_long();
        self
    }

    /// The counters so far.
    pub(crate) fn stats(&self) -> LaneStats {
        let mut drops = self.drops;
        drops.add(DropReason::TxLinkDown, self.tx.lost());
        let spread = self.spread.as_ref().map(|spread| spread.counters()).unwrap_or_default();
        LaneStats { port: self.port, counters: self.counters, drops, tx_waiting: self.tx.waiting(), spread }
    }

    /// Queues a frame that is complete but for the tag it is to leave with.
    #[inline]
    pub(crate) fn send(&mut self, mut frame: Mbuf) {
        // Nothing must leave its VLAN: without its tag it does not leave at all.
        if frame.is_tag_taken() && !frame.put_tag() {
            return self.drop(frame, DropReason::NoRoom);
        }
        let bytes = frame.frame_len() as u64;
        match self.tx.push(frame) {
            Ok(()) => {
                self.counters.tx_frames += 1;
                self.counters.tx_bytes += bytes;
            }
            // The queue holds as many frames as its mempool has; only frames of other pools could exceed it.
            Err(frame) => self.drop(frame, DropReason::NoRoom),
        }
    }

    /// Frees a frame that gets no answer, and counts why.
    #[inline]
    pub(crate) fn drop(&mut self, frame: Mbuf, reason: DropReason) {
        self.drops.count(reason);
        drop(frame);
    }
}
