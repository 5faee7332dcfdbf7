//! The thread that writes the log, and the bounded queue in front of it.
//!
//! Standard error may be full, closed, or a pipe or terminal that nobody reads; a disk may be full, and journald slow. A thread that
//! polls must not wait for them, and an error there must not end the program. Lines that find no room in the queue, or that can't
//! be written, are lost and counted; their number is written where they are missing.
//!
//! `tracing-appender` has such a queue too. It prints to standard output, and so waits, when it ends while nobody reads; it
//! does not count lines that could not be written, and an abort can't see whether lines are left. `tracing-journald` has none: it
//! sends on the thread that logs.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use nix::unistd::{Pid, gettid};
use tracing_subscriber::fmt::MakeWriter;

use super::destination::Destination;
use super::output::{Output, repeat_on_standard_error};
use super::record::Form;
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
    /// Lines that are lost since the start.
    all_lost: AtomicU64,
    /// Whether a file is to be opened anew.
    reopen: AtomicBool,
}

impl Counts {
    pub(super) const fn new() -> Self {
        Self {
            pending: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            all_lost: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
        }
    }

    /// Zero when all lines are written or lost.
    pub(super) const fn pending(&self) -> &AtomicUsize {
        &self.pending
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.all_lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// The queue's entrance. Never waits and never fails.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    lines: SyncSender<Line>,
    counts: &'static Counts,
}

#[derive(Debug)]
struct Line {
    bytes: Vec<u8>,
    /// Goes to standard error, beside the log.
    repeated: Option<Vec<u8>>,
}

impl Queue {
    /// Starts the thread, which writes to `output`. Call it before EAL binds threads to CPUs.
    pub(super) fn start(
        output: Output,
        form: Form,
        counts: &'static Counts,
    ) -> io::Result<(Self, WriterThread)> {
        let (lines, incoming) = sync_channel(LINES_MAX);
        let (started, thread) = sync_channel(1);
        thread::Builder::new().name("log-writer".into()).spawn(move || {
            // SPDK handles signals on its own thread. Should the mask fail, they arrive there a moment later.
            SigSet::all().thread_block().unwrap_or_default();
            // The receiver waits below; without it the thread has nothing to report.
            started.send(gettid()).unwrap_or_default();
            Writer { output, form, counts }.write_all_of(&incoming);
        })?;
        let id = thread.recv().map_err(io::Error::other)?;
        Ok((Self { lines, counts }, WriterThread { id }))
    }

    /// Takes a line; and what goes to standard error beside the log.
    pub(super) fn push(&self, bytes: Vec<u8>, repeated: Option<Vec<u8>>) {
        let length = bytes.len();
        let before = self.counts.pending.fetch_add(length, Ordering::AcqRel);
        if before.saturating_add(length) > BYTES_MAX || self.lines.try_send(Line { bytes, repeated }).is_err()
        {
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
        self.push(bytes.to_vec(), None);
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

/// The thread's side of the queue.
struct Writer {
    output: Output,
    form: Form,
    counts: &'static Counts,
}

impl Writer {
    /// Writes the lines until the other end is gone.
    fn write_all_of(&mut self, incoming: &Receiver<Line>) {
        let mut since_report = 0;
        loop {
            let line = if self.counts.lost.load(Ordering::Relaxed) == 0 {
                incoming.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                incoming.recv_timeout(RETRY)
            };
            let length = match line {
                Ok(line) => {
                    self.follow_rotation();
                    if self.output.write(&line.bytes).is_err() {
                        self.counts.lose();
                    }
                    if let Some(words) = line.repeated {
                        repeat_on_standard_error(&words);
                    }
                    line.bytes.len()
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

    /// Opens a file anew if that is asked for.
    fn follow_rotation(&mut self) {
        if !self.counts.reopen.swap(false, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.output.reopen() {
            let line =
                self.form.warning(&format!("the log can't be opened anew, and goes on as before: {error}"));
            if self.output.write(&line).is_err() {
                self.counts.lose();
            }
        }
    }

    /// Writes the number of lost lines, if there are any and it can be written.
    fn report_lost(&mut self) {
        let lost = self.counts.lost.load(Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        let lines = if lost == 1 { "line is" } else { "lines are" };
        let line = self.form.warning(&format!("{lost} log {lines} lost: {}", self.output.why_lost()));
        if self.output.write(&line).is_ok() {
            self.counts.lost.fetch_sub(lost, Ordering::Relaxed);
        }
    }
}

/// What logging has started.
pub(super) struct Started {
    pub(super) queue: Queue,
    pub(super) thread: WriterThread,
    pub(super) form: Form,
    /// As `--log-target` has it.
    pub(super) target: String,
    repeats: bool,
}

impl Started {
    /// Writes last words, which pass no filter.
    pub(super) fn sentence(&self, sentence: &str) {
        let repeated = self.repeats.then(|| format!("{sentence}\n").into_bytes());
        self.queue.push(self.form.sentence(sentence), repeated);
    }

    /// Lines that are lost since the start.
    pub(super) fn lost(&self) -> u64 {
        self.queue.counts.all_lost.load(Ordering::Relaxed)
    }

    /// Has the thread open a file anew with the next line.
    pub(super) fn reopen(&self) {
        self.queue.counts.reopen.store(true, Ordering::Relaxed);
    }
}

static STARTED: OnceLock<Started> = OnceLock::new();
static COUNTS: Counts = Counts::new();

/// Starts the thread. An abort then waits for the last lines, `abort_limit` at most.
///
/// # Errors
/// When the system has no thread to give, or it was called before.
pub(super) fn start(destination: Destination, abort_limit: Duration) -> io::Result<&'static Started> {
    let Destination { output, form, repeats, name } = destination;
    let (queue, thread) = Queue::start(output, form, &COUNTS)?;
    spdk::abort::wait_on_abort(COUNTS.pending(), abort_limit)?;
    let started = Started { queue, thread, form, target: name, repeats };
    STARTED.set(started).map_err(|_| io::Error::other("logging was started before"))?;
    self::started().ok_or_else(|| ErrorKind::NotFound.into())
}

/// What was started.
pub(super) fn started() -> Option<&'static Started> {
    STARTED.get()
}

#[cfg(test)]
mod tests;
