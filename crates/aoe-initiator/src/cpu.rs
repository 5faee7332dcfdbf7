//! The core that a load runs on.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::error::{Error, Result};

/// Keeps the calling thread on one core.
///
/// # Errors
/// [`Error::Cpu`] if there is no such core.
pub fn pin_to_cpu(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|source| Error::Cpu { cpu, source })
}
