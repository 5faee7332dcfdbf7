//! I/O that the kernel carries out for this process, as far as lcores must know about it.
//!
//! An lcore never sleeps, and a wakeup does not preempt it. So the kernel's work items on its CPU (an fdatasync, the end of a
//! direct write) wait for the scheduler's next tick, up to 4 ms, unless the lcore gives the CPU away by sched_yield(2). A work
//! item runs on the CPU of the submitter, or on the CPU that serves the disk's interrupt, which may be another lcore's. So each
//! lcore must know whether *any* lcore has I/O in the kernel: [`kernel_io_in_flight`], one load.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU32, Ordering},
};

/// The [`KernelIo`]s that have I/O in flight. In cache lines of its own: all lcores read it in each turn.
#[repr(align(128))]
struct Busy(AtomicU32);

static BUSY: Busy = Busy(AtomicU32::new(0));

/// The I/O that one channel has in the kernel. Of one thread at a time: only it counts.
///
/// The process-wide figure changes when the channel's number becomes 1 and when it becomes 0 again, so a busy channel costs no
/// shared write per I/O.
#[derive(Debug, Default)]
pub(crate) struct KernelIo {
    in_flight: Cell<u32>,
}

impl KernelIo {
    /// Counts an I/O that the kernel gets now.
    #[inline]
    pub(crate) fn started(&self) {
        let before = self.in_flight.get();
        self.in_flight.set(before + 1);
        if before == 0 {
            // Relaxed: the number orders nothing. An lcore that sees it a turn late yields a turn late.
            BUSY.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts the end of an I/O that [`KernelIo::started`] counted.
    #[inline]
    pub(crate) fn ended(&self) {
        let left = self.in_flight.get() - 1;
        self.in_flight.set(left);
        if left == 0 {
            BUSY.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The channel's I/Os in the kernel.
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }
}

impl Drop for KernelIo {
    fn drop(&mut self) {
        if self.in_flight() > 0 {
            BUSY.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Whether the kernel has I/O of any channel of this process. Any thread; one relaxed load.
#[inline]
#[must_use]
pub fn kernel_io_in_flight() -> bool {
    BUSY.0.load(Ordering::Relaxed) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Alone in this test: it looks at the number of the whole process.
    #[test]
    fn the_process_has_io_in_flight_as_long_as_one_channel_has() {
        let [one, other] = [KernelIo::default(), KernelIo::default()];
        assert!(!kernel_io_in_flight());
        one.started();
        one.started();
        other.started();
        assert_eq!(BUSY.0.load(Ordering::Relaxed), 2, "channels, not I/Os");
        one.ended();
        other.ended();
        assert!(kernel_io_in_flight() && one.in_flight() == 1);
        one.ended();
        assert!(!kernel_io_in_flight());
        other.started();
        drop(other);
        assert!(!kernel_io_in_flight(), "a channel that is gone has none");
    }
}
