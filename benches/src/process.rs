//! Programs of a run: on their cores, in the run's namespace, and gone when the run is.

use anyhow::{Result, bail, ensure};
use aoe_initiator::lab::{Daemon, Namespace};
use nix::sys::signal::Signal;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a server has to get ready: most of it is zeroing the bdev's memory, or making thousands of exports, each by
/// an RPC that SPDK looks for every 4 ms.
const READY: Duration = Duration::from_secs(300);
/// How often the log of a server that gets ready is looked at.
const GLANCE: Duration = Duration::from_millis(50);
/// What a program may take beyond the time it was asked to run.
const BEYOND: Duration = Duration::from_secs(45);
/// How often a program that should be at its end is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How often work is done for which the server was not there.
const ATTEMPTS: u32 = 3;
/// What a server gets to see that its initiator is gone, before it is held.
const FAREWELL: Duration = Duration::from_millis(50);

/// A command in `namespace` that does not outlive this process, however that ends.
pub fn command(namespace: &Namespace, program: impl AsRef<OsStr>) -> Command {
    let mut command = namespace.command("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// A server, which polls its core only while it is measured: a stopped process takes no time from the others, and need
/// not be started anew for each row.
#[derive(Debug)]
pub struct Server {
    daemon: Daemon,
    start: Command,
    ready: &'static str,
    may_end: bool,
    /// Sockets that one which crashed leaves, and at which the next could not listen.
    sockets: Vec<PathBuf>,
}

impl Server {
    /// Starts it, waits until its log has `ready`, and holds it.
    ///
    /// # Errors
    /// With its log if it ends or is not ready in five minutes; if `stop` is set.
    pub fn start(mut start: Command, ready: &'static str, stop: &AtomicBool) -> Result<Self> {
        let daemon = launch(&mut start, ready, stop)?;
        Ok(Self { daemon, start, ready, may_end: false, sockets: Vec::new() })
    }

    /// The same server, which may end when its initiator goes and is started anew then: DPDK's memif PMD unmaps the
    /// rings of a peer that goes while the lcore may still be at them, and may crash. `sockets` are those it listens at.
    #[must_use]
    pub fn ending_with_its_peer(mut self, sockets: impl IntoIterator<Item = PathBuf>) -> Self {
        self.may_end = true;
        self.sockets = sockets.into_iter().collect();
        self
    }

    /// The command it was started with.
    pub fn command(&self) -> &str {
        self.daemon.name()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Lets it run during `work`, and looks whether it still does. Work that failed because the server had gone with an
    /// initiator is done again.
    ///
    /// # Errors
    /// What `work` returns; with its log if it ended and must not, or can't be started anew.
    pub fn during<T>(&mut self, stop: &AtomicBool, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            self.daemon.signal(Signal::SIGCONT)?;
            let done = work();
            std::thread::sleep(FAREWELL);
            match self.daemon.check_running() {
                Ok(()) => self.daemon.signal(Signal::SIGSTOP)?,
                Err(ended) if self.may_end => {
                    eprintln!("starting a server anew that went with its initiator: {}", first_line(&ended));
                    for socket in self.sockets.iter().filter(|socket| socket.exists()) {
                        std::fs::remove_file(socket)?;
                    }
                    self.daemon = launch(&mut self.start, self.ready, stop)?;
                    // It may have gone with the initiator before, and late.
                    if done.is_err() && attempt < ATTEMPTS && !stop.load(Ordering::Relaxed) {
                        continue;
                    }
                }
                Err(ended) => return Err(ended.into()),
            }
            return done;
        }
    }
}

/// Starts a server, and holds it when it is ready.
fn launch(command: &mut Command, ready: &str, stop: &AtomicBool) -> Result<Daemon> {
    let mut daemon = Daemon::start(command)?;
    let begun = Instant::now();
    loop {
        let log = daemon.log()?;
        if log.contains(ready) {
            break;
        }
        daemon.check_running()?;
        ensure!(!stop.load(Ordering::Relaxed), "interrupted");
        if begun.elapsed() > READY {
            bail!("{} is not ready after {READY:?}: {}", daemon.name(), log.trim());
        }
        std::thread::sleep(GLANCE);
    }
    std::thread::sleep(FAREWELL);
    daemon.signal(Signal::SIGSTOP)?;
    Ok(daemon)
}

fn first_line(error: &aoe_initiator::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

impl Drop for Server {
    fn drop(&mut self) {
        // A held process does not see the SIGTERM that follows. One that is gone has no use for this.
        let _ = self.daemon.signal(Signal::SIGCONT);
    }
}

/// What a program that ran to its end left.
#[derive(Debug)]
pub struct Finished {
    /// What it printed, on both streams.
    pub printed: String,
    /// The process id it had.
    pub pid: u32,
}

/// Runs a program that measures for `seconds`, to its end. Nothing here wakes up meanwhile: there is no core to spare.
///
/// # Errors
/// With what it printed if it fails, or takes far longer than it should; if `stop` is set.
pub fn run_to_end(command: &mut Command, seconds: f64, stop: &AtomicBool) -> Result<Finished> {
    let mut daemon = Daemon::start(command)?;
    let begun = Instant::now();
    let asked = Duration::from_secs_f64(seconds);
    while begun.elapsed() < asked && !stop.load(Ordering::Relaxed) {
        std::thread::sleep((asked - begun.elapsed().min(asked)).min(Duration::from_secs(1)));
    }
    while daemon.check_running().is_ok() {
        ensure!(!stop.load(Ordering::Relaxed), "interrupted");
        if begun.elapsed() > asked + BEYOND {
            bail!("{} still runs after {:?}: {}", daemon.name(), asked + BEYOND, daemon.log()?.trim());
        }
        std::thread::sleep(LOOK);
    }
    let status = daemon.wait(Duration::ZERO)?;
    let printed = daemon.log()?;
    ensure!(status.success(), "{} ended ({status}): {}", daemon.name(), printed.trim());
    Ok(Finished { printed, pid: daemon.pid() })
}
