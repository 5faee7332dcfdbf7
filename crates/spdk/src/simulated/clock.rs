//! The simulation's clock, in the place of the CPU's time stamp counter: it stands still until it is set.

use std::cell::Cell;

/// Ticks of the clock in a second.
pub const TICKS_A_SECOND: u64 = 1000;

thread_local! {
    static TICKS: Cell<u64> = const { Cell::new(0) };
}

/// Sets what [`dpdk::tsc::now`] returns on this thread.
pub fn set_clock(ticks: u64) {
    TICKS.set(ticks);
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
extern "C" fn __wrap_kvblade_tsc_now() -> u64 {
    TICKS.get()
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
extern "C" fn __wrap_kvblade_tsc_hz() -> u64 {
    TICKS_A_SECOND
}
