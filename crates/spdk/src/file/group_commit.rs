//! Group commit: which fdatasync of a file covers which write. Without I/O and without SPDK.
//!
//! All lcores that use a file share its [`Syncs`], two counters: the fdatasyncs that were started and those that have ended.
//! At most one is in flight, since whoever starts one must raise `started` from the value of `ended`. A write that completes
//! takes the number of fdatasyncs started by then, its [`Stamp`]; the next one to start covers it.
//!
//! Not an lcore that owns the file's fdatasyncs, which others ask by messages: each write would wait for two turns of that
//! lcore more, and the part would have to move when the lcore gives its channel up. Here an lcore that only completes
//! writes reads one cache line, which changes twice in an fdatasync.

use super::atomic::{AtomicI32, AtomicU64, Ordering, fence};

/// No number of an fdatasync: larger than all.
const NEVER: u64 = u64::MAX;

/// A file's fdatasyncs, by all lcores. A cache line of its own, with the line beside it, which CPUs fetch along.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Syncs {
    started: AtomicU64,
    ended: AtomicU64,
    /// The number of the first one that failed, or [`NEVER`].
    failed_from: AtomicU64,
    /// Writes that would be covered by one up to this number may be lost: [`NEVER`] from a failure until
    /// [`Syncs::forget_failure`].
    failed_to: AtomicU64,
    /// The errno of the last one that failed.
    errno: AtomicI32,
}

/// The time of a write's completion: the number of fdatasyncs started by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp(u64);

/// The duty to carry out an fdatasync and to report its end, by [`Syncs::end`].
#[derive(Debug)]
#[must_use = "no other fdatasync of the file starts before this one has ended"]
pub(super) struct Lead(u64);

impl Syncs {
    pub(super) fn new() -> Self {
        Self {
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            failed_from: AtomicU64::new(NEVER),
            failed_to: AtomicU64::new(0),
            errno: AtomicI32::new(0),
        }
    }

    /// Orders the completions that this thread has seen before the stamps that it takes from here on.
    ///
    /// Without it, the CPU might read `started` first, and the writes' traces in memory, such as the state of the inode, might
    /// reach another CPU only after that one has started its fdatasync. Once for many completions.
    #[inline]
    pub(super) fn order_completions() {
        fence(Ordering::SeqCst);
    }

    /// The stamp of a write whose completion this thread saw before [`Syncs::order_completions`].
    #[inline]
    pub(super) fn stamp(&self) -> Stamp {
        Stamp(self.started.load(Ordering::SeqCst))
    }

    /// The result for a write: that of the fdatasync that covers it, once that has ended; or the failure of an earlier one,
    /// after which none follows. `Err` is an errno.
    #[inline]
    pub(super) fn outcome(&self, Stamp(stamp): Stamp) -> Option<Result<(), i32>> {
        // Before the failure, which `end` writes first.
        let ended = self.ended.load(Ordering::Acquire);
        let covered_by = stamp + 1;
        let failed_to = self.failed_to.load(Ordering::Acquire);
        if covered_by <= failed_to && covered_by >= self.failed_from.load(Ordering::Acquire) {
            return Some(Err(self.errno.load(Ordering::Acquire)));
        }
        (covered_by <= ended).then_some(Ok(()))
    }

    /// Takes the lead of the next fdatasync, which covers every write stamped before. `None` while one is in flight, and after
    /// one has failed: Linux reports lost data once, so that the next would succeed without it.
    #[inline]
    pub(super) fn lead(&self) -> Option<Lead> {
        let ended = self.ended.load(Ordering::SeqCst);
        if self.failure().is_some() {
            return None;
        }
        self.start_after(ended)
    }

    /// Fails while one is in flight: then `started` is larger than `ended`.
    fn start_after(&self, ended: u64) -> Option<Lead> {
        let number = ended + 1;
        self.started.compare_exchange(ended, number, Ordering::SeqCst, Ordering::Relaxed).ok()?;
        // The other side of `order_completions`: a write that is stamped before this number is seen by the fdatasync. The exchange
        // alone does not order what this thread reads after it.
        fence(Ordering::SeqCst);
        Some(Lead(number))
    }

    /// Reports the end of the fdatasync that was submitted after `lead` was taken. `Err` is an errno.
    pub(super) fn end(&self, Lead(number): Lead, result: Result<(), i32>) {
        if let Err(errno) = result {
            self.errno.store(errno, Ordering::Release);
            self.failed_from.fetch_min(number, Ordering::Release);
            self.failed_to.store(NEVER, Ordering::Release);
        }
        self.ended.store(number, Ordering::SeqCst);
    }

    /// The errno of the fdatasync that failed: completed writes may be lost.
    #[inline]
    pub(super) fn failure(&self) -> Option<i32> {
        (self.failed_to.load(Ordering::Acquire) == NEVER).then(|| self.errno.load(Ordering::Acquire))
    }

    /// Lets fdatasyncs start again after one has failed. Writes that completed before this call fail all the same.
    pub(super) fn forget_failure(&self) {
        if self.failure().is_none() {
            return;
        }
        // No fdatasync is in flight after a failure. This number is nobody's fdatasync: it parts earlier writes from later ones.
        if let Some(Lead(number)) = self.start_after(self.ended.load(Ordering::SeqCst)) {
            self.failed_to.store(number, Ordering::Release);
            self.ended.store(number, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
#[path = "group_commit_tests.rs"]
mod tests;
