//! A short rest for an idle CPU, without a system call.

/// Whether the CPU has an instruction that waits until a time (x86: TPAUSE). [`pause`] then uses it.
pub fn can_pause() -> bool {
    // SAFETY: rte_cpu_get_intrinsics_support (rte_cpuflags.h) reads the CPU's flags and has no condition.
    unsafe { dpdk_sys::dpdk_shim_can_pause() }
}

/// Pauses this CPU for about `nanoseconds`. Returns at once before EAL has started, which measures the clock.
#[inline]
pub fn pause(nanoseconds: u32) {
    // SAFETY: rte_power_pause (rte_power_intrinsics.h) refuses on a CPU without the instruction, and rte_pause has no
    // condition. rte_get_tsc_hz returns 0 before EAL has started.
    unsafe { dpdk_sys::dpdk_shim_pause(nanoseconds) };
}
