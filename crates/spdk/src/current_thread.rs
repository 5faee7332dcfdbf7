//! The SPDK thread on which code runs, looked up once for many uses.

use std::marker::PhantomData;

use crate::{
    error::{Result, check},
    thread::{self, Thread},
};

/// The time that an SPDK thread has had work, and that it has had none, in ticks of the TSC since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThreadTime {
    /// In calls of its pollers and messages that did something.
    pub busy: u64,
    /// In calls that found nothing to do.
    pub idle: u64,
}

/// Proof of the SPDK thread, if any, on which this code runs.
///
/// It is neither `Send` nor `'static`: it lasts as long as the closure it was made for, so it can be neither sent to
/// another thread nor kept for another SPDK thread of the same reactor.
#[derive(Debug, Clone, Copy)]
pub struct CurrentThread<'call> {
    /// SPDK's number of the thread; 0, which no thread has, outside of SPDK threads.
    id: u64,
    _call: PhantomData<&'call ()>,
    _not_send: PhantomData<*mut ()>,
}

impl CurrentThread<'_> {
    /// Calls `work` with the proof.
    pub fn with<R>(work: impl FnOnce(CurrentThread<'_>) -> R) -> R {
        // SPDK changes the current thread before and after the call in which a thread runs, not within it.
        work(CurrentThread { id: thread::current_id(), _call: PhantomData, _not_send: PhantomData })
    }

    /// The time of this thread until the present call of its pollers and messages. SPDK keeps it in any case.
    ///
    /// # Errors
    /// `EINVAL` outside of SPDK threads.
    pub fn time(self) -> Result<ThreadTime> {
        let mut stats = spdk_sys::spdk_thread_stats::default();
        // SAFETY: spdk_thread_get_stats (spdk/thread.h) writes the statistics of the current thread to a place that is ours, and
        // refuses a call outside of SPDK threads.
        let code = unsafe { spdk_sys::spdk_thread_get_stats(&mut stats) };
        check("spdk_thread_get_stats", code)?;
        Ok(ThreadTime { busy: stats.busy_tsc, idle: stats.idle_tsc })
    }

    /// Whether this code runs on `thread`.
    #[inline]
    #[must_use]
    pub fn is(self, thread: &Thread) -> bool {
        self.id == thread.id()
    }
}
