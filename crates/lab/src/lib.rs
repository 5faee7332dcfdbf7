//! What tests and benches run in: network namespaces, veth pairs, daemons and hugepages.
//!
//! Everything is removed when dropped, and nothing outside of it is touched. Waits end with an event (a line of a log, the
//! end of a process), not with a sleep. [`needs_root`] is the one place that skips a test.
#![forbid(unsafe_code)]

mod daemon;
mod dpdk_files;
mod error;
mod hugepages;
pub mod json_rpc;
mod namespace;
mod skip;
mod vblade;
pub mod vdev;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

pub use daemon::Daemon;
pub use dpdk_files::DpdkFiles;
pub use error::{Error, Result};
pub use hugepages::Hugepages;
pub use namespace::{Namespace, Veth};
pub use skip::{is_skipped, test_name};
pub use vblade::Vblade;

/// Runs a command to its end.
///
/// # Errors
/// With its standard error if it cannot be run or fails.
pub fn run(command: &mut Command) -> Result<Output> {
    let name = shown(command);
    let output = command.output().map_err(|error| Error::new(format!("cannot run {name}: {error}")))?;
    if output.status.success() {
        return Ok(output);
    }
    let printed = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("{name} failed ({}): {}", output.status, printed.trim())))
}

/// The words of a command, as typed in a shell.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// The path of an installed program.
///
/// # Errors
/// If the program is not installed.
pub fn installed(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    directories
        .map(|directory| directory.join(program))
        .find(|path| path.exists())
        .ok_or_else(|| Error::new(format!("{program} is not installed: run scripts/setup --tests")))
}

/// Repeats `look` until it is true. For state that announces no event; the end of a process and a line of a log do
/// ([`Daemon`]).
///
/// # Panics
/// With `what` after `limit`.
#[track_caller]
pub fn until(what: &str, limit: Duration, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !look() {
        assert!(Instant::now() < deadline, "{what}: not after {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
