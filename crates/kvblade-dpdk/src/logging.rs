//! Log lines: our own, SPDK's and DPDK's, all through `tracing`.
//!
//! [`levels`] decides which of them are written, as text or as [`record`]s, and [`destination`] where to. No thread that logs waits
//! for the [`output`]: the [`writer`] has a thread of its own.
//!
//! Our own code logs nothing on the data path. SPDK and DPDK may, for instance when an I/O fails, so initiators can cause
//! log lines. Once the program serves, each place in SPDK and DPDK gets one line a second.

mod attempt;
mod destination;
mod layer;
mod levels;
mod output;
mod record;
mod writer;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt as text, registry, reload};

pub(crate) use self::attempt::{Attempted, begin_attempt, end_attempt};
pub(crate) use self::destination::{LogFormat, LogTarget};
use self::layer::Records;
pub(crate) use self::levels::{set_directives, set_level};
use self::record::Form;
use crate::launch_error::LaunchError;

/// Time that the end of the program gives the last lines, if nobody reads them.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Starts logging. Call it once, before any thread starts.
///
/// # Errors
/// One sentence, when `RUST_LOG` cannot be read, the target can't be opened, or logging was started before.
pub(crate) fn start(
    level: Option<LevelFilter>,
    format: LogFormat,
    target: &LogTarget,
) -> Result<(), LaunchError> {
    let failed =
        |error: &dyn fmt::Display| LaunchError::environment(format!("logging cannot start: {error}"));
    let filter = levels::at_start(level)?;
    let started = writer::start(target.open(format)?, FLUSH_LIMIT).map_err(|error| failed(&error))?;
    log_panics();
    let (filter, handle) = reload::Layer::new(filter);
    let replace = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    if !levels::install(Box::new(replace)) {
        return Err(failed(&"it was started before"));
    }
    let (queue, form) = (started.queue.clone(), started.form);
    // A file has none.
    let colours = started.target == "stderr" && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = (form == Form::Text).then(|| text::layer().with_writer(queue.clone()).with_ansi(colours));
    let records = (form != Form::Text).then_some(Records::new(form, queue));
    registry().with(filter).with(lines).with(records).try_init().map_err(|error| failed(&error))
}

/// The answer to `aoe_get_log_level`.
pub(crate) fn report() -> serde_json::Value {
    let started = writer::started();
    serde_json::json!({
        "directives": levels::in_force(),
        "format": started.map(|started| started.form.name()),
        "target": started.map(|started| started.target.as_str()),
        "lost": started.map_or(0, writer::Started::lost),
    })
}

/// Has a file that was renamed opened anew.
pub(crate) fn reopen() {
    if let Some(started) = writer::started() {
        started.reopen();
    }
}

/// Sends the words of a panic through the queue. The panic then aborts the process, which waits for the last lines.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("<unnamed>");
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            print_error(&format!("thread '{thread}' {panic}\n{backtrace}"));
        } else {
            print_error(&format!("thread '{thread}' {panic}"));
        }
    }));
}

/// Writes a line without time and level to the log, and to standard error. Never waits once [`start`] has been called, and never
/// fails: standard error is the last place where a failure could be reported.
pub(crate) fn print_error(line: &str) {
    match writer::started() {
        Some(started) => started.sentence(line),
        None => std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap_or_default(),
    }
}

/// Waits for the last lines before the process exits, a second at most.
pub(crate) fn flush() {
    if let Some(started) = writer::started() {
        started.queue.flush(FLUSH_LIMIT);
    }
}

/// Ends the process with exit code 1 and a last sentence.
pub(crate) fn exit_with(sentence: &str) -> ! {
    print_error(&format!("kvblade-dpdk: {sentence}"));
    flush();
    std::process::exit(1)
}

/// Takes the writing thread off the CPUs of `lcores`, which poll.
pub(crate) fn leave(lcores: &BTreeSet<u32>) {
    if let Some(started) = writer::started()
        && let Err(error) = started.thread.leave(lcores)
    {
        tracing::warn!("the thread that writes the log may run on an lcore's CPU: {error}");
    }
}

/// Limits SPDK's and DPDK's lines from now on. Call it when the start is over; all earlier lines pass.
pub(crate) fn limit_foreign_lines() {
    SERVING.store(true, Ordering::Relaxed);
}

static SERVING: AtomicBool = AtomicBool::new(false);

/// A line of SPDK's log. `level` is its `enum spdk_log_level` (`spdk/log.h`): 0 error, 1 warning, 2 notice,
/// 3 info, 4 debug. May be called from any thread.
pub(crate) fn spdk_log(level: i32, file: &str, line: i32, function: &str, message: &str) {
    spdk_line(&SERVING, level, (file, line), function, message);
}

/// [`spdk_log`]; `limited` is [`SERVING`].
fn spdk_line(limited: &AtomicBool, level: i32, (file, line): (&str, i32), function: &str, message: &str) {
    static PLACES: Places = Places::new();
    let message = message.trim_end();
    if attempt::is_repeated(level, message) {
        return tracing::trace!(target: "spdk", "{message}");
    }
    // Our own bdevs limit their lines: one a second for each bdev. A limit in common would let the failure of one disk hide another's.
    if (file, line) == PLACE_OF_OUR_BDEVS {
        return emit_spdk_line(level, format_args!("{message}"));
    }
    let Some(suppressed) = PLACES.admit(&(file, line), limited) else { return };
    let file = file.rsplit('/').next().unwrap_or(file);
    emit_spdk_line(level, format_args!("{message} ({file}:{line} {function}){suppressed}"));
}

/// File and line that `spdk_shim_log` gives, through which our own bdevs log. SPDK's lines without a file have line -1.
const PLACE_OF_OUR_BDEVS: (&str, i32) = ("", 0);

fn emit_spdk_line(level: i32, line: fmt::Arguments<'_>) {
    match level {
        ..=0 => tracing::error!(target: "spdk", "{line}"),
        1 => tracing::warn!(target: "spdk", "{line}"),
        2 => tracing::info!(target: "spdk", "{line}"),
        3 => tracing::debug!(target: "spdk", "{line}"),
        4.. => tracing::trace!(target: "spdk", "{line}"),
    }
}

/// A line of DPDK's log. `level` is one of `RTE_LOG_*` (`rte_log.h`): 1 emergency to 4 error, 5 warning, 6 notice,
/// 7 info, 8 debug. May be called from any thread.
pub(crate) fn dpdk_log(level: u32, message: &str) {
    static PLACES: Places = Places::new();
    // DPDK does not report the place of a line. The words before the first number identify it.
    let start = message.split(|c: char| c.is_ascii_digit()).next().unwrap_or(message);
    let Some(suppressed) = PLACES.admit(&start, &SERVING) else { return };
    let message = message.trim_end();
    match level {
        ..=4 => tracing::error!(target: "dpdk", "{message}{suppressed}"),
        5 => tracing::warn!(target: "dpdk", "{message}{suppressed}"),
        6 => tracing::info!(target: "dpdk", "{message}{suppressed}"),
        7 => tracing::debug!(target: "dpdk", "{message}{suppressed}"),
        8.. => tracing::trace!(target: "dpdk", "{message}{suppressed}"),
    }
}

/// A limiter for each place that logs. Places with the same hash share one.
struct Places([RateLimited; 256]);

impl Places {
    const fn new() -> Self {
        Self([const { RateLimited::new() }; 256])
    }

    /// The text to append to a line from `place`; `None` to suppress the line.
    fn admit(&self, place: &impl Hash, limited: &AtomicBool) -> Option<Suppressed> {
        if !limited.load(Ordering::Relaxed) {
            return Some(Suppressed(0));
        }
        let mut hasher = DefaultHasher::new();
        place.hash(&mut hasher);
        let at = usize::from(hasher.finish().to_le_bytes()[0]);
        self.0.get(at)?.admit_now().map(Suppressed)
    }
}

/// The number of suppressed lines, in words.
struct Suppressed(u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " [and {count} more lines like it]"),
        }
    }
}

/// Lets one event a second pass and counts the others. One per kind of event; any thread may ask.
///
/// Time is given by the caller as the time since some fixed moment, so that it can be tested without waiting.
#[derive(Debug)]
struct RateLimited {
    /// When the next event may pass, in nanoseconds on the caller's clock.
    next: AtomicU64,
    suppressed: AtomicU64,
}

impl RateLimited {
    /// The time between two events that pass.
    const INTERVAL: Duration = Duration::from_secs(1);

    /// A limiter that lets the first event pass.
    const fn new() -> Self {
        Self { next: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// Whether an event at time `now` may pass: if so, the number of those that have not passed since the last
    /// that did.
    fn admit(&self, now: Duration) -> Option<u64> {
        let now = nanoseconds(now);
        let next = self.next.load(Ordering::Relaxed);
        let later = now.saturating_add(nanoseconds(Self::INTERVAL));
        // Of several threads at the same moment, one advances the time and passes.
        if now >= next
            && self.next.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            return Some(self.suppressed.swap(0, Ordering::Relaxed));
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// [`Self::admit`] at the present moment.
    fn admit_now(&self) -> Option<u64> {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        self.admit(START.elapsed())
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
