//! The CPU's time stamp counter, and its frequency.
//!
//! All of the data path's time comes from here. Both functions have symbols of their own, in whose place the linker of the
//! simulation's program puts a clock of the simulation (`spdk::simulated`). Link-time optimisation inlines them all the
//! same.

/// The counter now, in ticks of [`hz`]. Costs some 20 cycles, is not ordered against the instructions around it, and
/// is the same on all lcores of a machine whose counters are invariant.
// SAFETY: nothing else has this name.
#[unsafe(export_name = "kvblade_tsc_now")]
pub extern "C" fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: RDTSC is part of x86-64; Linux leaves it enabled for user space.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: rte_rdtsc (rte_cycles.h) reads a counter; no condition.
    unsafe {
        dpdk_sys::dpdk_shim_tsc()
    }
}

/// Ticks a second, as EAL measured at its start; 0 before.
// SAFETY: nothing else has this name.
#[unsafe(export_name = "kvblade_tsc_hz")]
pub extern "C" fn hz() -> u64 {
    // SAFETY: rte_get_tsc_hz (rte_cycles.h) reads a number; no condition.
    unsafe { dpdk_sys::rte_get_tsc_hz() }
}
