//! rx and tx: one lcore's share of a port.

use aoe_target::{DropCounters, DropReason, MacAddr, PortCounters, PortId, PortLimits};
use dpdk::{BURST, Mbuf, RxQueue, TxQueue};

use crate::intake::{COMPLETIONS, Intake};
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
    pub(crate) company: Company,
    pub(crate) counters: PortCounters,
    pub(crate) drops: DropCounters,
}

/// Replies that are enough for a burst of a lane that sends long ones.
const COMPANY: usize = 3 * BURST / 4;

/// Turns that a reply waits at most, whatever goes on: as many as bring twice that from bdevs in memory.
const PATIENCE: u8 = 6;

const _: () = assert!(PATIENCE as usize * COMPLETIONS == 2 * COMPANY);

/// Whether replies wait for further ones, and how long they have.
#[derive(Debug, Default)]
pub(crate) struct Company {
    wanted: bool,
    /// Turns that replies have waited.
    waited: u8,
    /// They waited in the last turn, which took no frames.
    in_vain: bool,
}

impl Company {
    /// True if `replies`, which are not none, wait for another turn: while bdevs have requests that may be over by then
    /// (`more_under_way`), the turn has `received` further ones or the one before had, and there are not enough yet. So
    /// if nothing more comes they wait for one turn, and for [`PATIENCE`] under a flood of whatever.
    #[inline]
    pub(crate) fn is_awaited(&mut self, replies: usize, received: bool, more_under_way: bool) -> bool {
        let waits = self.wanted
            && more_under_way
            && replies < COMPANY
            && self.waited < PATIENCE
            && (received || !self.in_vain);
        self.waited = if waits { self.waited + 1 } else { 0 };
        self.in_vain = waits && !received;
        waits
    }
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
            company: Company::default(),
            counters: PortCounters::default(),
            drops: DropCounters::default(),
        }
    }

    /// The same lane, with long bursts: it takes as many frames at a time as it can, however much data their requests
    /// carry, and lets replies wait a little for further ones. For a port whose PMD makes a system call for each burst it
    /// sends: that, and bringing the core's caches from Linux's code to ours and back, costs more than what a short one
    /// saves.
    #[must_use]
    pub fn in_long_bursts(mut self) -> Self {
        self.intake.stay_long();
        self.company.wanted = true;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_wait_for_company_only_where_it_is_wanted() {
        let mut company = Company::default();
        assert!(!company.is_awaited(1, true, true));
    }

    #[test]
    fn replies_wait_while_requests_come_and_one_turn_more() {
        let mut company = Company { wanted: true, ..Company::default() };
        for _ in 0..2 {
            assert!(company.is_awaited(1, true, true));
            assert!(company.is_awaited(2, true, true));
            assert!(company.is_awaited(3, false, true));
            assert!(!company.is_awaited(3, false, true));
        }
        // Frames that come late are still waited for.
        assert!(company.is_awaited(1, false, true));
        assert!(company.is_awaited(1, true, true));
        assert!(company.is_awaited(1, false, true));
        assert!(!company.is_awaited(1, false, true));
    }

    #[test]
    fn replies_do_not_wait_for_nothing_nor_without_end() {
        let mut company = Company { wanted: true, ..Company::default() };
        assert!(!company.is_awaited(1, true, false));
        assert!(company.is_awaited(COMPANY - 1, true, true));
        assert!(!company.is_awaited(COMPANY, true, true));
        for _ in 0..2 {
            assert!((0..PATIENCE).all(|_| company.is_awaited(1, true, true)));
            assert!(!company.is_awaited(1, true, true));
        }
    }
}
