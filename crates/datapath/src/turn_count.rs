//! How far an lcore is, for those who watch over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The turns that an lcore has made. The lcore alone writes it; the control plane looks now and then, to see whether it
/// still turns.
#[derive(Debug, Clone, Default)]
pub struct TurnCount(Arc<Line>);

/// In cache lines of its own, so that who looks takes nothing else from the lcore.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl TurnCount {
    /// The turns so far.
    pub fn get(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    /// One writer, so that this is a store and no more.
    #[inline]
    pub(crate) fn set(&self, turns: u64) {
        self.0.0.store(turns, Ordering::Relaxed);
    }
}
