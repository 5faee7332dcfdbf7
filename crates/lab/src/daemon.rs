//! A process of a test: its output is kept, and it ends with the test.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};
use tempfile::NamedTempFile;

use crate::{Error, Result, shown};

/// Time for a process to end after SIGTERM, before SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// A running process. Dropped, it gets SIGTERM and, after ten seconds, SIGKILL; its log is printed if the test fails.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    name: String,
    log: NamedTempFile,
    /// Readable when the process has ended.
    ended: OwnedFd,
}

impl Daemon {
    /// Starts `command`; standard output and standard error go to the log.
    ///
    /// # Errors
    /// If the command cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        Self::start_with(command, None)
    }

    /// Starts `command` with standard error at `errors`; only standard output goes to the log.
    ///
    /// # Errors
    /// If the command cannot be started.
    pub fn start_with_errors_at(command: &mut Command, errors: Stdio) -> Result<Self> {
        Self::start_with(command, Some(errors))
    }

    fn start_with(command: &mut Command, errors: Option<Stdio>) -> Result<Self> {
        let name = shown(command);
        let failed = |error: std::io::Error| Error::new(format!("cannot start {name}: {error}"));
        let log = NamedTempFile::new().map_err(failed)?;
        let output = File::options().append(true).open(log.path()).map_err(failed)?;
        let errors = match errors {
            Some(errors) => errors,
            None => output.try_clone().map_err(failed)?.into(),
        };
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().map_err(failed)?;
        let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let ended = pid
            .ok_or_else(|| Error::new(format!("{name}: {} is no process id", child.id())))
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed(error.into())))?;
        Ok(Self { child, name, log, ended })
    }

    /// The command it was started with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the process has written so far.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn log(&self) -> Result<String> {
        let text = std::fs::read(self.log.path())
            .map_err(|error| Error::new(format!("the log of {}: {error}", self.name)))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Checks that the process still runs.
    ///
    /// # Errors
    /// With status and log if the process has ended.
    pub fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => self.with_log(format!("ended ({status})")),
            Err(error) => Err(Error::new(format!("waiting for {}: {error}", self.name))),
        }
    }

    /// Waits until the log contains `text`.
    ///
    /// # Errors
    /// With the log after `limit`, or if the process ends without having written `text`.
    pub fn wait_for_log(&mut self, text: &str, limit: Duration) -> Result<()> {
        let failed = |error: nix::Error| Error::new(format!("watching a log: {error}"));
        let deadline = Instant::now() + limit;
        let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).map_err(failed)?;
        watch.add_watch(self.log.path(), AddWatchFlags::IN_MODIFY).map_err(failed)?;
        loop {
            // In this order: the log has what the process wrote before it ended.
            let running = self.check_running();
            if self.log()?.contains(text) {
                return Ok(());
            }
            running?;
            let events = [PollFd::new(watch.as_fd(), PollFlags::POLLIN), self.end_event()];
            if !wait_for(events, deadline).map_err(failed)? {
                return self.with_log(format!("has not logged {text:?} after {limit:?}"));
            }
            match watch.read_events() {
                Ok(_) | Err(nix::Error::EAGAIN) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Repeats `ready` until it is true, while the process runs. For state that announces no event.
    ///
    /// # Errors
    /// With the log after `limit`, or if the process ends; the error of `ready`.
    pub fn wait_ready(&mut self, limit: Duration, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            self.check_running()?;
            if ready()? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return self.with_log(format!("is not ready after {limit:?}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let failed = |error: String| Error::new(format!("{signal} to {}: {error}", self.name));
        let pid = i32::try_from(self.pid()).map_err(|error| failed(error.to_string()))?;
        kill(Pid::from_raw(pid), signal).map_err(|error| failed(error.to_string()))
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// With the log after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let failed = |error: &dyn std::fmt::Display| Error::new(format!("waiting for a process: {error}"));
        let deadline = Instant::now() + limit;
        if !wait_for([self.end_event()], deadline).map_err(|error| failed(&error))? {
            return self.with_log(format!("still runs after {limit:?}"));
        }
        self.child.wait().map_err(|error| failed(&error))
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// If the process does not end in ten seconds; it is killed then.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.terminate()
    }

    fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        // A stopped process sees SIGTERM only when it continues.
        self.signal(Signal::SIGCONT)?;
        self.wait(GRACE)
    }

    fn end_event(&self) -> PollFd<'_> {
        PollFd::new(self.ended.as_fd(), PollFlags::POLLIN)
    }

    fn with_log<T>(&self, what: String) -> Result<T> {
        Err(Error::new(format!("{} {what}: {}", self.name, self.log()?.trim())))
    }
}

/// Waits for one of `events`; false if none comes before `deadline`.
fn wait_for<const N: usize>(mut events: [PollFd<'_>; N], deadline: Instant) -> nix::Result<bool> {
    loop {
        // Rounded up: a wait must not end before its deadline.
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        match poll(&mut events, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error),
            Ok(0) if Instant::now() < deadline => {}
            Ok(events) => return Ok(events > 0),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait()
            && let Err(error) = self.terminate()
        {
            eprintln!("{error}");
            // SIGKILL fails only if the process has ended meanwhile.
            self.child.kill().unwrap_or_default();
            if let Err(error) = self.child.wait() {
                eprintln!("waiting for {}: {error}", self.name);
            }
        }
        if std::thread::panicking() {
            eprintln!("--- log of {}:\n{}---", self.name, self.log().unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Daemon {
        Daemon::start(Command::new("sh").args(["-c", script])).expect("sh is there")
    }

    #[test]
    fn a_line_of_the_log_ends_the_wait() {
        let mut daemon = shell("echo one; sleep 0.05; echo two >&2; exec sleep 600");
        daemon.wait_for_log("two", PATIENCE).expect("it is written");
        assert_eq!(daemon.log().expect("readable"), "one\ntwo\n");
        assert_eq!(daemon.stop().expect("it ends").code(), None, "SIGTERM ends it");
    }

    #[test]
    fn a_process_that_ends_first_ends_the_wait_with_its_log() {
        let refused = shell("echo why; exit 3").wait_for_log("ready", PATIENCE).expect_err("it is over");
        let sentence = refused.to_string();
        assert!(sentence.contains("exit status: 3") && sentence.ends_with("why"), "{sentence}");
    }

    #[test]
    fn what_was_written_just_before_the_end_counts() {
        let mut daemon = shell("echo ready");
        daemon.wait_for_log("ready", PATIENCE).expect("it is written");
        assert_eq!(daemon.wait(PATIENCE).expect("it ends").code(), Some(0));
    }

    #[test]
    fn a_wait_has_a_limit() {
        let mut daemon = shell("echo busy; exec sleep 600");
        let limit = Duration::from_millis(50);
        let sentences = [
            daemon.wait_for_log("ready", limit).expect_err("nothing comes").to_string(),
            daemon.wait(limit).expect_err("it runs").to_string(),
        ];
        assert!(sentences.iter().all(|sentence| sentence.contains("after 50ms")), "{sentences:?}");
        daemon.check_running().expect("it was left alone");
    }

    #[test]
    fn a_stopped_process_ends_too() {
        let daemon = shell("exec sleep 600");
        daemon.signal(Signal::SIGSTOP).expect("it runs");
        let pid = daemon.pid();
        drop(daemon);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
