//! The CPUs of threads that do not poll.

use std::collections::BTreeSet;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

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
