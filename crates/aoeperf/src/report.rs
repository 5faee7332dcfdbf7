//! The report: a table for people, JSON for programs.

use std::fmt::Write as _;

use aoe_initiator::wire::SECTOR;
use serde::Serialize;

use crate::engine::Engine;
use crate::options::Options;
use crate::tally::{Latency, Tally};
use crate::windows::Rates;

/// Rows of the table by target; the others are in the JSON.
const ROWS: usize = 40;

/// Everything, as `--json` writes it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The program's version.
    pub aoeperf: &'static str,
    /// The options of the load.
    pub options: Asked,
    /// Measured time.
    pub seconds: f64,
    /// Of all targets.
    pub total: Total,
    /// Each target, in the order of their addresses.
    pub targets: Vec<OfTarget>,
    /// With `--verify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
}

/// The options that shape the load.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// `-w`
    pub workload: &'static str,
    /// Percent of the requests that were to be reads.
    pub read_percent: u8,
    /// `-o`, bytes.
    pub io_size: u32,
    /// `-q`
    pub queue_depth: u16,
    /// `-t`, seconds.
    pub time: f64,
    /// `--warmup`, seconds.
    pub warmup: f64,
    /// `--initiators`
    pub initiators: u16,
    /// `--linux-window`
    pub linux_window: bool,
    /// `--verify`
    pub verify: bool,
    /// `--seed`
    pub seed: u64,
}

/// Rates and latencies of the measured time; retransmits, errors and unexpected replies of the whole run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Counts {
    /// Requests answered with success in the measured time.
    pub requests: u64,
    /// Those a second.
    pub iops: f64,
    /// Data moved, 2^20 bytes a second.
    pub mib_per_s: f64,
    /// Microseconds.
    pub latency_us: Latency,
    /// Copies sent after the first.
    pub retransmits: u64,
    /// Requests that did not end with success, or read wrong data.
    pub errors: u64,
    /// Replies that no request waited for: second answers among them.
    pub unexpected: u64,
}

/// All targets together.
#[derive(Debug, Clone, Serialize)]
pub struct Total {
    /// The same as of a target.
    #[serde(flatten)]
    pub counts: Counts,
    /// Share of the measured time that the lcore spent in turns that received something.
    pub busy_percent: f64,
    /// The rate by short windows; not there if the time was shorter than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_iops: Option<Rates>,
}

/// Measurements beside the engine's counters.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Ticks of the measured time.
    pub ticks: u64,
    /// Those of turns that received something.
    pub busy: u64,
    /// Ticks of a second.
    pub hz: u64,
    /// The rate by windows.
    pub windows: Option<Rates>,
}

/// One target.
#[derive(Debug, Clone, Serialize)]
pub struct OfTarget {
    /// `SHELF.SLOT`
    pub address: String,
    /// What came of it.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Counts of verification.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Sectors read and found to be what was written, those of the final sweep included.
    pub sectors_checked: u64,
    /// Sectors with an acknowledged write.
    pub sectors_written: u64,
}

impl Report {
    /// Sums up an engine that recorded for so long.
    #[allow(clippy::cast_precision_loss, reason = "counts and ticks are far below 2^53")]
    pub fn new(engine: &Engine, options: &Options, measured: Measured) -> Self {
        let Measured { ticks, busy, hz, windows } = measured;
        let seconds = ticks.max(1) as f64 / hz.max(1) as f64;
        let rates = |tally: &Tally| {
            let iops = tally.requests() as f64 / seconds;
            (iops, iops * f64::from(options.io_size) / f64::from(1 << 20))
        };
        let mut all = Tally::default();
        let (mut retransmits, mut errors, mut unexpected) = (0, 0, engine.unexpected_elsewhere());
        let mut targets = Vec::with_capacity(engine.targets().len());
        let mut verified = Verified::default();
        for target in engine.targets() {
            all.add(&target.tally);
            retransmits += target.retransmits;
            errors += target.errors;
            unexpected += target.unexpected;
            if let Some(disk) = &target.disk {
                verified.sectors_checked += disk.checked();
                verified.sectors_written += disk.written();
            }
            let (iops, mib_per_s) = rates(&target.tally);
            let counts = Counts {
                requests: target.tally.requests(),
                iops,
                mib_per_s,
                latency_us: target.tally.latency(hz, seconds),
                retransmits: target.retransmits,
                errors: target.errors,
                unexpected: target.unexpected,
            };
            targets.push(OfTarget { address: target.address.to_string(), counts });
        }
        let (iops, mib_per_s) = rates(&all);
        let counts = Counts {
            requests: all.requests(),
            iops,
            mib_per_s,
            latency_us: all.latency(hz, seconds),
            retransmits,
            errors,
            unexpected,
        };
        Self {
            aoeperf: env!("CARGO_PKG_VERSION"),
            options: Asked {
                workload: options.workload.name(),
                read_percent: options.reads(),
                io_size: options.io_size,
                queue_depth: options.queue_depth,
                time: options.time,
                warmup: options.warmup,
                initiators: options.initiators,
                linux_window: options.linux_window,
                verify: options.verify,
                seed: options.seed,
            },
            seconds,
            total: Total {
                counts,
                busy_percent: 100.0 * busy as f64 / ticks.max(1) as f64,
                window_iops: windows,
            },
            targets,
            verified: options.verify.then_some(verified),
        }
    }

    /// Whether there were requests and none failed.
    pub fn is_good(&self) -> bool {
        let checked = self.verified.is_none_or(|verified| verified.sectors_checked > 0);
        self.total.counts.requests > 0 && self.total.counts.errors == 0 && checked
    }

    /// The table.
    pub fn table(&self) -> String {
        let asked = &self.options;
        let mut text = format!(
            "{} of {} bytes, queue depth {}, {} targets, {:.2} s measured, this lcore {:.0} % busy\n\n",
            asked.workload,
            asked.io_size,
            asked.queue_depth,
            self.targets.len(),
            self.seconds,
            self.total.busy_percent
        );
        writeln!(
            text,
            "{:>12} {:>11} {:>9} | latency, us {:>7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} | {:>8} {:>6}",
            "target",
            "IOPS",
            "MiB/s",
            "min",
            "mean",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "p99.99",
            "retrans.",
            "errors"
        )
        .expect("a String takes any text");
        for target in self.targets.iter().take(ROWS) {
            row(&mut text, &target.address, &target.counts);
        }
        if self.targets.len() > ROWS {
            writeln!(text, "{:>12} {} more, in --json", "...", self.targets.len() - ROWS)
                .expect("a String takes any text");
        }
        row(&mut text, "total", &self.total.counts);
        let unexpected = self.total.counts.unexpected;
        if unexpected > 0 {
            writeln!(text, "\n{unexpected} replies that no request waited for")
                .expect("a String takes any text");
        }
        if let Some(verified) = self.verified {
            writeln!(
                text,
                "\nverified: {} sectors read were what had been written; {} sectors were written",
                verified.sectors_checked, verified.sectors_written
            )
            .expect("a String takes any text");
        }
        text
    }
}

fn row(text: &mut String, name: &str, counts: &Counts) {
    let Latency { min, mean, p50, p90, p99, p99_9, p99_99, max, slowest_us: _ } = counts.latency_us;
    writeln!(
        text,
        "{name:>12} {:>11.0} {:>9.1} | {min:>8.2} {mean:>8.2} {p50:>8.2} {p90:>8.2} {p99:>8.2} {p99_9:>8.2} {p99_99:>8.2} {max:>8.2} | {:>8} {:>6}",
        counts.iops, counts.mib_per_s, counts.retransmits, counts.errors
    ).expect("a String takes any text");
}

/// The paths of an engine, for `--paths`.
pub fn paths(engine: &Engine) -> String {
    let mut text = format!(
        "\n{:>12} {:<20} {:<17} {:>12} {:>8} {:>7}\n",
        "target", "port", "MAC address", "answered", "retrans.", "window"
    );
    for path in engine.paths() {
        let window = path.window.open().map_or_else(|| "-".into(), |open| open.to_string());
        writeln!(
            text,
            "{:>12} {:<20} {:<17} {:>12} {:>8} {window:>7}",
            engine.targets()[path.target].address.to_string(),
            engine.queues()[path.queue].name,
            path.mac.to_string(),
            path.answered,
            path.retransmits
        )
        .expect("a String takes any text");
    }
    text
}

/// The exports that were found, for `--list`.
pub fn list(found: &[crate::discover::Found], queues: &[crate::ports::PortQueue]) -> String {
    let mut text = format!(
        "{:>12} {:<17} {:<20} {:>14} {:>10} {:>7} {:>9}  config string\n",
        "target", "MAC address", "port", "sectors", "MiB", "buffers", "max bytes"
    );
    for target in found {
        for route in &target.routes {
            writeln!(
                text,
                "{:>12} {:<17} {:<20} {:>14} {:>10} {:>7} {:>9}  {}",
                target.address.to_string(),
                route.mac.to_string(),
                queues[route.queue].name,
                target.sectors,
                target.sectors >> 11,
                route.buffer_count,
                usize::from(route.max_sectors) * SECTOR,
                target.config.escape_ascii()
            )
            .expect("a String takes any text");
        }
    }
    text
}
