//! The cores on which SPDK runs reactors.

/// The reactors' cores, in ascending order. Meaningful after the app has started.
pub fn cores() -> Vec<u32> {
    // SAFETY: the shim returns a constant.
    let none = unsafe { spdk_sys::spdk_shim_no_core() };
    // SAFETY: spdk_env_get_first_core (spdk/env.h) reads EAL's table of lcores and has no condition.
    let first = unsafe { spdk_sys::spdk_env_get_first_core() };
    let is_core = |core: &u32| *core != none;
    let all = std::iter::successors(Some(first).filter(is_core), |core| {
        // SAFETY: spdk_env_get_next_core (spdk/env.h) takes a core that it or the first call returned.
        Some(unsafe { spdk_sys::spdk_env_get_next_core(*core) }).filter(is_core)
    });
    all.collect()
}

/// The core of this thread's reactor.
pub fn current_core() -> u32 {
    // SAFETY: spdk_env_get_current_core (spdk/env.h) reads a variable of this thread and has no condition.
    unsafe { spdk_sys::spdk_env_get_current_core() }
}

/// The NUMA node of a core, where known.
pub fn numa_node(core: u32) -> Option<u32> {
    // SAFETY: spdk_env_get_numa_id (spdk/env.h) takes any number.
    u32::try_from(unsafe { spdk_sys::spdk_shim_core_numa_node(core) }).ok()
}
