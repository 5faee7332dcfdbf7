//! The network and the targets of a test: namespaces, veth pairs, and processes in them, all gone when
//! dropped.
//!
//! Nothing outside the namespaces made here is touched. Needs root and the `ip` command.

mod daemon;
mod netns;
mod vblade;

pub use daemon::Daemon;
pub use netns::{Namespace, Veth};
pub use vblade::Vblade;

use crate::error::{Error, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::process::{Command, Output};

/// Keeps the calling thread on one core.
///
/// # Errors
/// [`Error::Lab`] if there is no such core.
pub fn pin_to_cpu(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|error| Error::Lab(format!("pinning to CPU {cpu}: {error}")))
}

/// Runs a command to its end.
///
/// # Errors
/// [`Error::Lab`] with its standard error if it cannot be run or fails.
pub fn run(command: &mut Command) -> Result<Output> {
    let output =
        command.output().map_err(|error| Error::Lab(format!("cannot run {}: {error}", shown(command))))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Lab(format!("{} failed ({}): {}", shown(command), output.status, said.trim())))
}

/// A command as one would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
