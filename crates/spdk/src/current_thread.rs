//! The SPDK thread on which code runs, looked up once for many uses.

use std::marker::PhantomData;

use crate::thread::{self, Thread};

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

    /// Whether this code runs on `thread`.
    #[inline]
    #[must_use]
    pub fn is(self, thread: &Thread) -> bool {
        self.id == thread.id()
    }
}
