//! An upgrade: the program starts itself anew, and the new process takes over from it (`--take-over`).
//!
//! The thread that waits for signals does it, on SIGUSR2: the new process inherits that thread's CPUs, and it was started before EAL
//! bound threads to CPUs.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The option of a process that takes over.
const TAKE_OVER: &str = "--take-over";

/// The way in which the program was started.
pub(crate) struct Upgrade {
    /// Its file, which may have another content by now.
    program: PathBuf,
    words: Vec<OsString>,
}

/// Has the thread that waits for signals start an upgrade.
///
/// # Errors
/// The kernel's.
pub(crate) fn ask() -> nix::Result<()> {
    kill(Pid::this(), Signal::SIGUSR2)
}

impl Upgrade {
    /// Of a program that was started with `argv`. At its start: later its file may be another one.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn of(argv: &[OsString]) -> std::io::Result<Self> {
        let words = argv.iter().skip(1).filter(|word| *word != OsStr::new(TAKE_OVER)).cloned().collect();
        Ok(Self { program: std::env::current_exe()?, words })
    }

    /// Starts the new process.
    pub(crate) fn begin(&self) {
        match self.start() {
            Ok(process) => tracing::info!(process, "an upgrade: another process is to take over"),
            Err(sentence) => {
                tracing::error!("an upgrade has not begun, and this process serves on: {sentence}");
            }
        }
    }

    /// Returns the number of the new process.
    fn start(&self) -> Result<u32, String> {
        spdk::app::close_on_exec().map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.program);
        // The service manager's watchdog names this process in it; without it the watchdog is that of each process.
        command.args(&self.words).arg(TAKE_OVER).env_remove("WATCHDOG_PID");
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", self.program.display()))?;
        let process = child.id();
        // This process ends first if all goes well.
        let wait = move || match child.wait() {
            Ok(status) => tracing::error!(process, %status, "no process takes over, and this one serves on"),
            Err(error) => tracing::error!(process, %error, "the process that is to take over is not watched"),
        };
        thread::Builder::new().name("upgrade".into()).spawn(wait).map_err(|error| error.to_string())?;
        Ok(process)
    }
}
