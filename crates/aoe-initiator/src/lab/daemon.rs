//! A process of a test, with its output kept and its end certain.

use super::shown;
use crate::error::{Error, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

/// How long a process has to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// A running process; ended with SIGTERM, then SIGKILL, when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    name: String,
    log: NamedTempFile,
}

impl Daemon {
    /// Starts `command` with standard output and error going to a temporary file.
    ///
    /// # Errors
    /// [`Error::Lab`] if it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = shown(command);
        let failed = |error: std::io::Error| Error::Lab(format!("cannot start {name}: {error}"));
        let log = NamedTempFile::new().map_err(failed)?;
        let output = File::options().append(true).open(log.path()).map_err(failed)?;
        let errors = output.try_clone().map_err(failed)?;
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().map_err(failed)?;
        Ok(Self { child, name, log })
    }

    /// The command it was started with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    ///
    /// # Errors
    /// [`Error::Lab`] if its log cannot be read.
    pub fn log(&self) -> Result<String> {
        let text = std::fs::read(self.log.path())
            .map_err(|error| Error::Lab(format!("the log of {}: {error}", self.name)))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// An error with the log if the process has ended.
    ///
    /// # Errors
    /// [`Error::Lab`] then.
    pub fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                let log = self.log()?;
                Err(Error::Lab(format!("{} ended ({status}): {}", self.name, log.trim())))
            }
            Err(error) => Err(Error::Lab(format!("waiting for {}: {error}", self.name))),
        }
    }

    /// Waits until `ready` says so, as long as the process runs.
    ///
    /// # Errors
    /// [`Error::Lab`] with the log after `limit`, or if the process ends; what `ready` returns.
    pub fn wait_ready(&mut self, limit: Duration, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.check_running()?;
            if ready()? {
                return Ok(());
            }
            if begun.elapsed() >= limit {
                let log = self.log()?;
                return Err(Error::Lab(format!(
                    "{} is not ready after {limit:?}: {}",
                    self.name,
                    log.trim()
                )));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`Error::Lab`] if the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).map_err(|error| Error::Lab(error.to_string()))?;
        kill(Pid::from_raw(pid), signal)
            .map_err(|error| Error::Lab(format!("{signal} to {}: {error}", self.name)))
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// [`Error::Lab`] with the log after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if begun.elapsed() < limit => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => {
                    let log = self.log()?;
                    return Err(Error::Lab(format!(
                        "{} still runs after {limit:?}: {}",
                        self.name,
                        log.trim()
                    )));
                }
                Err(error) => return Err(Error::Lab(format!("waiting for {}: {error}", self.name))),
            }
        }
    }

    /// SIGTERM, and the status it ends with.
    ///
    /// # Errors
    /// [`Error::Lab`] if it does not end in 10 s; it is killed then.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(GRACE)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let ended = self.signal(Signal::SIGTERM).and_then(|()| self.wait(GRACE));
            if let Err(error) = ended {
                eprintln!("{error}");
                // A process that is gone already cannot be killed, which is as well.
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}
