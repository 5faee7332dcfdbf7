//! The CPU's time stamp counter, and its frequency.

/// The counter now, in ticks of [`hz`]. Costs some 20 cycles, is not ordered against the instructions around it, and
/// is the same on all lcores of a machine whose counters are invariant.
#[inline]
pub fn now() -> u64 {
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
pub fn hz() -> u64 {
    // SAFETY: rte_get_tsc_hz (rte_cycles.h) reads a number; no condition.
    unsafe { dpdk_sys::rte_get_tsc_hz() }
}
