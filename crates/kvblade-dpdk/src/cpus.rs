//! The CPUs of threads that do not poll.

use std::collections::BTreeSet;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The CPUs that this thread may run on and that are none of `lcores`; if there are none, all that it may run on.
pub(crate) fn beside(lcores: &BTreeSet<u32>) -> nix::Result<BTreeSet<u32>> {
    let cpus = sched_getaffinity(Pid::from_raw(0))?;
    let may = |cpu: &u32| usize::try_from(*cpu).is_ok_and(|cpu| cpus.is_set(cpu).unwrap_or(false));
    let count = u32::try_from(CpuSet::count()).unwrap_or(u32::MAX);
    let all: BTreeSet<u32> = (0..count).filter(may).collect();
    let others: BTreeSet<u32> = all.difference(lcores).copied().collect();
    Ok(if others.is_empty() { all } else { others })
}

/// Keeps this thread on these CPUs.
pub(crate) fn stay_on(cpus: &BTreeSet<u32>) -> nix::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus.iter().filter_map(|cpu| usize::try_from(*cpu).ok()) {
        set.set(cpu)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// The CPUs that this thread may run on.
///
/// # Errors
/// The kernel's.
pub(crate) fn own() -> nix::Result<Vec<u32>> {
    let cpus = sched_getaffinity(Pid::from_raw(0))?;
    let is_set = |cpu: &u32| usize::try_from(*cpu).is_ok_and(|cpu| cpus.is_set(cpu).unwrap_or(false));
    Ok((0..u32::try_from(CpuSet::count()).unwrap_or(0)).filter(is_set).collect())
}

/// Takes a thread off the CPUs of `lcores`, if it may run on another one. A polling thread would leave it little time.
pub(crate) fn leave(thread: Pid, lcores: &BTreeSet<u32>) -> nix::Result<()> {
    let mut cpus = sched_getaffinity(thread)?;
    for cpu in lcores.iter().filter_map(|lcore| usize::try_from(*lcore).ok()) {
        // A number beyond the set's size is no CPU that the thread could run on.
        cpus.unset(cpu).unwrap_or_default();
    }
    let any = (0..CpuSet::count()).any(|cpu| cpus.is_set(cpu).unwrap_or(false));
    if any { sched_setaffinity(thread, &cpus) } else { Ok(()) }
}
