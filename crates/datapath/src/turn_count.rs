//! An lcore's turn count, for the watchdog.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of turns that an lcore has made. The lcore alone writes it; the control plane reads it from time to time, to see
/// whether the lcore still turns.
#[derive(Debug, Clone, Default)]
pub struct TurnCount(Arc<Line>);

/// In cache lines of its own, so that a reader takes nothing else from the lcore's cache.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl TurnCount {
    /// The turns so far.
    pub fn get(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    /// A plain store: there is one writer.
    #[inline]
    pub(crate) fn set(&self, turns: u64) {
        self.0.0.store(turns, Ordering::Relaxed);
    }
}
