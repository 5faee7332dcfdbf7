//! The thread that writes to standard error, and the bounded queue in front of it.
//!
//! Standard error may be full, closed, or a pipe or terminal that nobody reads. A thread that polls must not wait for it,
//! and an error there must not end the program. Lines that find no room in the queue, or that can't be written, are lost
//! and counted; their number is written where they are missing.
//!
//! `tracing-appender` has such a queue too. It prints to standard output, and so waits, when it ends while nobody reads; it
//! does not count lines that could not be written, and an abort can't see whether lines are left.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::unistd::{Pid, gettid};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer as FormatWriter;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::cpus;

/// Lines that wait for the writer at most.
const LINES_MAX: usize = 1024;

/// Bytes that wait for the writer at most.
const BYTES_MAX: usize = 1 << 20;

/// Time after which the number of lost lines is written if no further line comes.
const RETRY: Duration = Duration::from_secs(1);

/// What the queue's two ends share.
#[derive(Debug)]
pub(super) struct Counts {
    /// Bytes that the queue has taken and the thread has not finished with.
    pending: AtomicUsize,
    /// Lines that are lost and whose number is not written yet.
    lost: AtomicU64,
}

impl Counts {
    pub(super) const fn new() -> Self {
        Self { pending: AtomicUsize::new(0), lost: AtomicU64::new(0) }
    }

    /// Zero when all lines are written or lost.
    pub(super) const fn pending(&self) -> &AtomicUsize {
        &self.pending
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// The queue's entrance. Never waits and never fails.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    lines: SyncSender<Vec<u8>>,
    counts: &'static Counts,
}

impl Queue {
    /// Starts the thread, which writes to `out`. Call it before EAL binds threads to CPUs.
    pub(super) fn start(out: File, counts: &'static Counts) -> io::Result<(Self, WriterThread)> {
        let (lines, incoming) = sync_channel(LINES_MAX);
        let (started, thread) = sync_channel(1);
        thread::Builder::new().name("log-writer".into()).spawn(move || {
            // SPDK handles signals on its own thread. Should the mask fail, they arrive there a moment later.
            SigSet::all().thread_block().unwrap_or_default();
            // The receiver waits below; without it the thread has nothing to report.
            started.send(gettid()).unwrap_or_default();
            Output { out, counts, cut: false }.write_all_of(&incoming);
        })?;
        let id = thread.recv().map_err(io::Error::other)?;
        Ok((Self { lines, counts }, WriterThread { id }))
    }

    fn push(&self, line: &[u8]) {
        let length = line.len();
        let before = self.counts.pending.fetch_add(length, Ordering::AcqRel);
        if before.saturating_add(length) > BYTES_MAX || self.lines.try_send(line.to_vec()).is_err() {
            self.counts.pending.fetch_sub(length, Ordering::AcqRel);
            self.counts.lose();
        }
    }

    /// Waits until the queue is empty, `limit` at most.
    pub(super) fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.counts.pending.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Write for Queue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The thread behind the queue.
#[derive(Debug)]
pub(super) struct WriterThread {
    id: Pid,
}

impl WriterThread {
    /// Takes the thread off the CPUs of `lcores`, if it may run on another one. A polling thread would leave it little time.
    pub(super) fn leave(&self, lcores: &BTreeSet<u32>) -> nix::Result<()> {
        cpus::leave(self.id, lcores)
    }
}

/// Standard error, as the thread sees it.
struct Output {
    out: File,
    counts: &'static Counts,
    /// Only the beginning of a line was written.
    cut: bool,
}

impl Output {
    /// Writes the lines until the other end is gone.
    fn write_all_of(&mut self, incoming: &Receiver<Vec<u8>>) {
        let mut since_report = 0;
        loop {
            let line = if self.counts.lost.load(Ordering::Relaxed) == 0 {
                incoming.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                incoming.recv_timeout(RETRY)
            };
            let length = match line {
                Ok(line) => {
                    if self.write(&line).is_err() {
                        self.counts.lose();
                    }
                    line.len()
                }
                Err(RecvTimeoutError::Timeout) => 0,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            since_report += usize::from(self.counts.lost.load(Ordering::Relaxed) > 0);
            // The lost lines are younger than those in the queue.
            if self.counts.pending.load(Ordering::Acquire) == length || since_report >= LINES_MAX {
                since_report = 0;
                self.report_lost();
            }
            self.counts.pending.fetch_sub(length, Ordering::AcqRel);
        }
    }

    /// Writes the number of lost lines, if there are any and it can be written.
    fn report_lost(&mut self) {
        let lost = self.counts.lost.load(Ordering::Relaxed);
        if lost > 0 && self.write(lost_line(lost).as_bytes()).is_ok() {
            self.counts.lost.fetch_sub(lost, Ordering::Relaxed);
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.cut {
            self.write_piece(b"\n")?;
            self.cut = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.write_piece(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) => {
                    self.cut = rest.len() < line.len();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Waits here if nobody reads.
    fn write_piece(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.out.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process that shares the pipe has made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut events = [PollFd::new(self.out.as_fd(), PollFlags::POLLOUT)];
                    match poll(&mut events, PollTimeout::NONE) {
                        Ok(_) | Err(nix::Error::EINTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                other => return other,
            }
        }
    }
}

/// Formed like a line of `tracing`'s, without passing the filter: a log with holes must say so.
fn lost_line(lost: u64) -> String {
    let mut line = String::new();
    if SystemTime.format_time(&mut FormatWriter::new(&mut line)).is_err() {
        line.clear();
    }
    let lines = if lost == 1 { "line is" } else { "lines are" };
    line + &format!(
        "  WARN kvblade_dpdk::logging: {lost} log {lines} lost: standard error was full or not read\n"
    )
}

static STANDARD_ERROR: OnceLock<(Queue, WriterThread)> = OnceLock::new();
static COUNTS: Counts = Counts::new();

/// The queue in front of standard error. The first call starts its thread; an abort then waits for the last lines, `abort_limit`
/// at most.
///
/// # Errors
/// When the system has no thread or descriptor to give.
pub(super) fn standard_error(abort_limit: Duration) -> io::Result<Queue> {
    if STANDARD_ERROR.get().is_none() {
        // A descriptor of its own: `Stderr` has a lock, which would be held while nobody reads.
        let out = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let started = Queue::start(out, &COUNTS)?;
        spdk::abort::wait_on_abort(COUNTS.pending(), abort_limit)?;
        STANDARD_ERROR.set(started).map_err(|_| io::Error::other("logging was started before"))?;
    }
    let started = STANDARD_ERROR.get().ok_or(ErrorKind::NotFound)?;
    Ok(started.0.clone())
}

/// The queue and its thread, if they were started.
pub(super) fn started() -> Option<&'static (Queue, WriterThread)> {
    STANDARD_ERROR.get()
}

#[cfg(test)]
mod tests;
