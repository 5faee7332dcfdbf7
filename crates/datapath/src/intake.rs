//! rx: how many frames an lcore takes in at a time.
//!
//! A burst's requests are worked on one step after the other: all are submitted, then all are completed, then all
//! leave. What they carry should still be in the core's own cache (32 KiB of L1, 512 KiB to 2 MiB of L2) at the last
//! step, beside what the bdev reads and what the port writes. So requests with much data are taken in short bursts, and
//! only those with little in bursts that are as long as the PMD's.

use dpdk::BURST;

/// Data of one turn's requests that stays in the cache.
const DATA: usize = 32 * 1024;

/// Completions that SPDK 20.07 brings in a turn, for bdevs that complete by messages, as those in memory do
/// (SPDK_MSG_BATCH_SIZE, lib/thread/thread.c). A burst that is shorter does not fill a turn.
pub(crate) const COMPLETIONS: usize = 8;

/// What the last requests were like, and how many frames are taken therefore.
#[derive(Debug)]
pub(crate) struct Intake {
    limit: usize,
    /// Of the requests that were submitted since the limit was last looked at.
    data: usize,
}

impl Default for Intake {
    fn default() -> Self {
        Self { limit: BURST, data: 0 }
    }
}

impl Intake {
    /// Frames to take in a turn.
    #[inline]
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Turns that rx and tx may wait for the completions of one burst.
    #[inline]
    pub(crate) fn turns(&self) -> usize {
        self.limit / COMPLETIONS - 1
    }

    /// A request that moves `bytes` was submitted.
    #[inline]
    pub(crate) fn submitted(&mut self, bytes: usize) {
        self.data += bytes;
    }

    /// `frames` were taken since the last time. One is enough to go by: loads change rarely, and the limit is only a
    /// matter of time.
    #[inline]
    pub(crate) fn taken(&mut self, frames: usize) {
        if frames > 0 {
            // The longest of three bursts whose data fits.
            self.limit = match self.data {
                data if data * BURST <= DATA * frames => BURST,
                data if data * BURST <= DATA * 2 * frames => BURST / 2,
                _ => COMPLETIONS,
            };
            self.data = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_as_long_as_their_data_fits_the_cache() {
        for (bytes, limit, turns) in [
            (0, 32, 3),
            (512, 32, 3),
            (1024, 32, 3),
            (1536, 16, 1),
            (2048, 16, 1),
            (4096, 8, 0),
            (8704, 8, 0),
        ] {
            let mut intake = Intake::default();
            for _ in 0..5 {
                intake.submitted(bytes);
            }
            intake.taken(5);
            assert_eq!((intake.limit(), intake.turns()), (limit, turns), "{bytes} bytes a request");
        }
    }

    #[test]
    fn a_turn_without_frames_teaches_nothing() {
        let mut intake = Intake::default();
        intake.submitted(8192);
        intake.taken(1);
        intake.taken(0);
        assert_eq!(intake.limit(), 8);
        intake.submitted(512);
        intake.taken(1);
        assert_eq!(intake.limit(), 32, "what went before is forgotten");
    }
}
