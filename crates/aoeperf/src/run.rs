//! From a started EAL to a report: discovery, warm-up, the measured time, the rest, the sweep.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aoe_initiator::output;
use dpdk::{Burst, tsc};

use crate::discover::{Found, discover};
use crate::engine::{Engine, Phase};
use crate::options::Options;
use crate::ports::{self, PortQueue};
use crate::report::{self, Measured, Report};
use crate::windows::Windows;

/// Seconds without any answer after which the end is not waited for.
const SILENCE: u64 = 10;

/// Does what `options` say on every port of EAL's. `stop` ends the measured time early; what was recorded counts.
/// Returns whether something was done and nothing went wrong.
///
/// # Errors
/// Everything that keeps the load from starting, in one sentence, and files that can't be written.
pub fn run(options: &Options, stop: &AtomicBool) -> Result<bool> {
    let eal = dpdk::EalStarted::get().context("EAL has not started")?;
    let mut queues = ports::start(eal, options.mtu, options.initiators)?;
    let wait = Duration::from_secs_f64(options.wait);
    ports::wait_until_up(&queues, wait)?;
    let wanted: Vec<_> = options.targets.iter().flat_map(|addresses| addresses.iter()).collect();
    let found = discover(&mut queues, &wanted, wait)?;
    if options.list {
        print(&report::list(&found, &queues))?;
        return Ok(true);
    }
    warn_of_depth(&found, options);
    let (engine, report) = load(queues, &found, options, stop)?;
    for complaint in engine.complaints() {
        output::note(&format!("aoeperf: {complaint}\n"));
    }
    match options.json.as_deref() {
        Some("-") => print(&(serde_json::to_string_pretty(&report)? + "\n"))?,
        Some(file) => {
            let json = serde_json::to_string_pretty(&report)? + "\n";
            std::fs::write(file, json).with_context(|| format!("--json {file}"))?;
            print(&report.table())?;
        }
        None => print(&report.table())?,
    }
    if options.paths {
        let text = report::paths(&engine);
        if options.json.as_deref() == Some("-") { output::note(&text) } else { print(&text)? }
    }
    while options.hold && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(10));
    }
    if report.total.counts.requests == 0 {
        bail!("no request was answered with success in the measured time");
    }
    if report.verified.is_some_and(|verified| verified.sectors_checked == 0) {
        bail!("nothing was verified: no sector that was written has been read");
    }
    Ok(report.is_good())
}

fn print(text: &str) -> Result<()> {
    output::print(text).context("standard output can't be written")
}

/// A target drops what is more than it has room for, if it says the truth about its room.
fn warn_of_depth(found: &[Found], options: &Options) {
    if options.linux_window {
        return;
    }
    let deeper = |target: &&Found| {
        let room: u32 = target.routes.iter().map(|route| u32::from(route.buffer_count)).sum();
        u32::from(options.queue_depth) > room
    };
    if let Some(target) = found.iter().find(deeper) {
        output::note(&format!(
            "aoeperf: target {} advertises a buffer count of {} on {} path(s): some of {} outstanding requests may be \
             dropped\n",
            target.address,
            target.routes[0].buffer_count,
            target.routes.len(),
            options.queue_depth
        ));
    }
}

/// Loads the targets for the time that `options` say.
///
/// # Errors
/// Options that do not go with the targets.
pub fn load(
    queues: Vec<PortQueue>,
    found: &[Found],
    options: &Options,
    stop: &AtomicBool,
) -> Result<(Engine, Report)> {
    let mut engine = Engine::new(queues, found, options)?;
    let hz = tsc::hz();
    let mut progress = Progress::new(options, hz);
    let burst = &mut Burst::new();
    engine.begin(Phase::Load);
    let begun = tsc::now();
    turn_until(&mut engine, burst, begun + ticks(options.warmup, hz), stop, |_| ());
    let mut windows = Windows::new(options.time, hz);
    engine.start_recording();
    let measured_from = engine.clock();
    windows.begin(measured_from);
    turn_until(&mut engine, burst, measured_from + ticks(options.time, hz), stop, |engine| {
        windows.look(engine.clock(), || engine.requests());
        progress.look(engine);
    });
    engine.stop_recording();
    let (measured, busy) = (engine.clock() - measured_from, engine.busy());
    progress.end();
    engine.begin(Phase::Drain);
    finish(&mut engine, burst, hz);
    if options.verify {
        engine.begin(Phase::Sweep);
        finish(&mut engine, burst, hz);
    }
    let report =
        Report::new(&engine, options, Measured { ticks: measured, busy, hz, windows: windows.rates() });
    Ok((engine, report))
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn ticks(seconds: f64, hz: u64) -> u64 {
    // Seconds are 0 to 86400, and a counter's Hz below 2^36.
    (seconds * hz as f64) as u64
}

/// Turns until the clock says `until`, or somebody says `stop`.
fn turn_until(
    engine: &mut Engine,
    burst: &mut Burst,
    until: u64,
    stop: &AtomicBool,
    mut between: impl FnMut(&Engine),
) {
    // The flag and what is `between` are looked at now and then: a turn costs tens of nanoseconds.
    const TURNS: u32 = 64;
    loop {
        for _ in 0..TURNS {
            engine.turn(burst);
            if engine.clock() >= until {
                return;
            }
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
        between(engine);
    }
}

/// Turns until nothing is outstanding and nothing waits to be asked, or nobody has answered for long.
fn finish(engine: &mut Engine, burst: &mut Burst, hz: u64) {
    let mut last = (engine.answers(), engine.clock());
    while engine.outstanding() > 0 || engine.has_idle() {
        engine.turn(burst);
        if engine.answers() != last.0 {
            last = (engine.answers(), engine.clock());
        } else if engine.clock() - last.1 > SILENCE * hz {
            engine.give_up();
            return;
        }
    }
}

/// The line each second.
struct Progress {
    wanted: bool,
    rewrite: bool,
    bytes: f64,
    hz: u64,
    next: u64,
    requests: u64,
    second: u64,
}

impl Progress {
    fn new(options: &Options, hz: u64) -> Self {
        let rewrite = std::io::stderr().is_terminal();
        Self {
            wanted: !options.no_progress,
            rewrite,
            bytes: f64::from(options.io_size),
            hz,
            next: 0,
            requests: 0,
            second: 0,
        }
    }

    fn look(&mut self, engine: &Engine) {
        if self.wanted && engine.clock() >= self.next {
            self.line(engine);
        }
    }

    /// One line of what was answered since the last. It costs a system call, and the sum over all targets.
    #[cold]
    #[allow(clippy::cast_precision_loss)]
    fn line(&mut self, engine: &Engine) {
        let requests = engine.requests();
        if self.next == 0 {
            self.next = engine.clock();
        } else {
            self.second += 1;
            let over = (engine.clock() - self.next + self.hz) as f64 / self.hz as f64;
            let iops = (requests - self.requests) as f64 / over;
            let mib = iops * self.bytes / f64::from(1 << 20);
            let end = if self.rewrite { '\r' } else { '\n' };
            output::note(&format!("{:>6} s {iops:>12.0} IOPS {mib:>10.1} MiB/s{end}", self.second));
        }
        self.requests = requests;
        self.next += self.hz;
    }

    fn end(&self) {
        if self.wanted && self.rewrite && self.second > 0 {
            output::note("\n");
        }
    }
}
