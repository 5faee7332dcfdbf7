//! A port queue's part in captures: [`crate::capture`].

use dpdk::Burst;

use super::{PortQueue, Tx};
use crate::capture::CaptureTap;

impl PortQueue {
    /// Copies frames for a capture from now on. Gives the part back if this is no queue pair, or has a part in too many captures.
    pub(crate) fn tap(&mut self, tap: CaptureTap) -> Option<CaptureTap> {
        if self.rx.is_none() {
            return Some(tap);
        }
        let refused = self.taps.get_or_insert_default().add(tap, self.counters.tx_frames);
        self.set_flags();
        refused
    }

    /// Copies no longer for that capture. Gives back its part in it.
    pub(crate) fn untap(&mut self, capture: u64) -> Option<CaptureTap> {
        let taps = self.taps.as_mut()?;
        let tap = taps.remove(capture);
        if taps.is_empty() {
            self.taps = None;
        }
        self.set_flags();
        tap
    }

    /// Whether bursts are looked at frame by frame as they arrive, and whether turns end with more than a flush.
    pub(super) fn set_flags(&mut self) {
        self.inspects = self.has_addresses || self.taps.is_some();
        self.attends = self.distribution.is_some() || self.taps.is_some();
    }

    /// Copies the frames of a burst for captures, then keeps those that this queue serves, where the port has several addresses.
    #[inline(never)]
    pub(super) fn inspect(&mut self, burst: &mut Burst) {
        if let Some(taps) = &mut self.taps {
            taps.received(burst.frames());
        }
        if self.has_addresses
            && let Some(part) = &mut self.distribution
        {
            part.distribute(burst, &self.mempool);
        }
    }

    /// Before a flush: queues what this queue sends for other lcores, and copies for captures what has been queued since the last flush.
    #[inline(never)]
    pub(super) fn attend(&mut self) {
        if self.distribution.as_ref().is_some_and(|part| part.sends_for_others()) {
            self.queue_returned();
        }
        if let (Some(taps), Tx::Queue(tx)) = (&mut self.taps, &self.tx) {
            taps.sent(tx.frames(), self.counters.tx_frames);
        }
    }
}
