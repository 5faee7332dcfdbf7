//! The state of EAL's interrupt thread between two passes over its sockets: it is held, or passes, or another thread has
//! claimed what both work on.

use super::atomic::{AtomicU8, Ordering};

/// The interrupt thread is held.
const HELD: u8 = 0;
/// The interrupt thread serves its sockets.
const PASSING: u8 = 1;
/// It is held, and stays so: another thread changes a memif port.
const CLAIMED: u8 = 2;

/// Who may work on the memif ports' connections. `crates/interleavings` tries every order of the two threads.
#[derive(Debug)]
pub(crate) struct InterruptPass(AtomicU8);

impl InterruptPass {
    /// While a pass runs.
    pub(crate) fn running() -> Self {
        Self(AtomicU8::new(PASSING))
    }

    /// For the interrupt thread: its pass has ended.
    pub(crate) fn end(&self) {
        self.0.store(HELD, Ordering::Release);
    }

    /// For the interrupt thread: begins a pass. False while another thread has claimed the ports; then call it again.
    pub(crate) fn begin(&self) -> bool {
        self.0.compare_exchange(HELD, PASSING, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// For another thread: claims the ports. False during a pass or another's claim; then call it again.
    pub(crate) fn claim(&self) -> bool {
        self.0.compare_exchange(HELD, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// For the thread that has claimed the ports.
    pub(crate) fn give_back(&self) {
        self.0.store(HELD, Ordering::Release);
    }
}
