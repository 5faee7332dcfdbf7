//! rx: how many frames are taken from a lane at a time.
//!
//! A burst's requests are worked on one step after the other: all are submitted, then all are completed, then all
//! leave. What they carry should still be in the core's own cache (32 KiB of L1, 512 KiB to 2 MiB of L2) at the last
//! step, beside what the bdev reads and what the port writes. So requests with much data are taken in short bursts, and
//! only those with little in bursts that are as long as the PMD's.

use dpdk::BURST;

/// Data of one turn's requests that stays in the cache.
const DATA: usize = 32 * 1024;

/// Completions that SPDK brings in a turn, for bdevs that complete by messages, as those in memory do
/// (SPDK_MSG_BATCH_SIZE, lib/thread/thread.c). A burst that is shorter does not fill a turn.
pub(crate) const COMPLETIONS: usize = 8;

/// What the last requests of a lane were like, and how many frames are taken therefore.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    /// A frame counts as two to this power, of [`BURST`] that a turn takes.
    weight: u32,
    /// Data of the burst's requests that were submitted.
    data: usize,
    /// Whatever they carry, bursts are long.
    always_long: bool,
}

impl Intake {
    /// Takes long bursts from now on: for ports on which a burst costs more than what the cache saves.
    pub(crate) fn stay_long(&mut self) {
        (self.weight, self.always_long) = (0, true);
    }

    /// Frames to take in a turn.
    #[inline]
    pub(crate) fn limit(&self) -> usize {
        BURST >> self.weight
    }

    /// A burst begins. What was submitted before it, of requests that other lcores handed over, is none of it.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.data = 0;
    }

    /// A request that moves `bytes` was submitted.
    #[inline]
    pub(crate) fn submitted(&mut self, bytes: usize) {
        self.data += bytes;
    }

    /// `frames`, not none, were taken. Returns the part of a turn that they are, in [`BURST`]ths, and decides on the
    /// next ones. One burst is enough to go by: loads change rarely, and nothing but time depends on it.
    #[inline]
    pub(crate) fn taken(&mut self, frames: usize) -> usize {
        let part = frames << self.weight;
        // The longest of three bursts whose data fits.
        self.weight = match self.data * BURST {
            data if data <= DATA * frames || self.always_long => 0,
            data if data <= DATA * 2 * frames => 1,
            _ => 2,
        };
        part
    }
}

const _: () = assert!(BURST >> 2 == COMPLETIONS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_submitted_before_a_burst_is_none_of_it() {
        let mut intake = Intake::default();
        // Of a lane that is handed much and takes nothing itself for years.
        intake.submitted(usize::MAX / 2);
        intake.begin();
        intake.submitted(512);
        intake.taken(1);
        assert_eq!(intake.limit(), BURST);
    }

    #[test]
    fn bursts_are_as_long_as_their_data_fits_the_cache() {
        for (bytes, limit) in [(0, 32), (512, 32), (1024, 32), (1536, 16), (2048, 16), (4096, 8), (8704, 8)] {
            let mut intake = Intake::default();
            intake.begin();
            for _ in 0..5 {
                intake.submitted(bytes);
            }
            assert_eq!(intake.taken(5), 5, "of a burst without data that had been reckoned with");
            assert_eq!(intake.limit(), limit, "{bytes} bytes a request");
            intake.begin();
            assert_eq!(intake.taken(limit), BURST, "a burst as long as that is all of a turn");
        }
    }

    #[test]
    fn long_ones_stay_long() {
        let mut intake = Intake::default();
        intake.stay_long();
        intake.submitted(8192);
        assert_eq!((intake.taken(1), intake.limit()), (1, BURST));
    }

    #[test]
    fn only_the_last_burst_counts() {
        let mut intake = Intake::default();
        intake.submitted(8192);
        intake.taken(1);
        assert_eq!(intake.limit(), 8);
        intake.begin();
        intake.submitted(512);
        intake.taken(1);
        assert_eq!(intake.limit(), 32);
    }
}
