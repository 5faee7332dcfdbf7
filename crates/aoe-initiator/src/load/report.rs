//! The report of a load: rates, latencies and errors.

use super::spec::{LoadSpec, Workload, bytes_of};
use crate::error::{Error, Result};
use crate::queue::{Completion, Outcome, Queue};
use crate::wire::ata;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Latencies in microseconds, from the first copy of a request to its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Shortest.
    pub min: f64,
    /// Half are no longer.
    pub p50: f64,
    /// 99 in 100 are no longer.
    pub p99: f64,
    /// 999 in 1000 are no longer.
    pub p999: f64,
    /// Longest.
    pub max: f64,
    /// Arithmetic mean.
    pub mean: f64,
}

/// Counts of a verified load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Sectors read and found to be what was acknowledged.
    pub sectors_checked: u64,
    /// Sectors read before anything was written to them.
    pub sectors_unwritten: u64,
    /// Writes acknowledged.
    pub writes_acknowledged: u64,
    /// Writes that failed or were not answered.
    pub writes_of_unknown_fate: u64,
}

/// The result of a load. Rates and latencies are of the measured time, counts of trouble of the whole run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadReport {
    /// `read`, `write`, `randread`, `randwrite` or `rw`.
    pub workload: &'static str,
    /// Bytes a request moved.
    pub bytes: usize,
    /// Requests outstanding.
    pub depth: usize,
    /// Measured time, seconds.
    pub seconds: f64,
    /// Reads answered in the measured time.
    pub reads: u64,
    /// Writes answered in the measured time.
    pub writes: u64,
    /// Requests a second.
    pub iops: f64,
    /// Data moved, 10^6 bytes a second.
    pub mb_per_second: f64,
    /// Latencies.
    pub latency_us: Latency,
    /// Share of the measured time, percent, this side spent on turns that received something. Near 100 at a
    /// depth above 1, the initiator and not the target is what limits the rate.
    pub initiator_busy_percent: f64,
    /// Copies sent after the first.
    pub retransmits: u64,
    /// Requests nobody answered.
    pub unanswered: u64,
    /// Second answers to a request.
    pub duplicate_replies: u64,
    /// Answers to nothing that was asked.
    pub unexpected_replies: u64,
    /// Requests answered with an ATA failure.
    pub ata_failures: u64,
    /// Requests answered with an AoE error.
    pub aoe_errors: u64,
    /// Reads answered with less data than asked for.
    pub short_replies: u64,
    /// Times the kernel took no more frames for the moment.
    pub send_refused: u64,
    /// Counts of verification, if the load was verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
}

impl LoadReport {
    /// Requests that were not answered with success.
    pub const fn failures(&self) -> u64 {
        self.unanswered + self.ata_failures + self.aoe_errors + self.short_replies
    }
}

/// Counts while the load runs.
pub(super) struct Tally {
    measure_from: Instant,
    end: Instant,
    latency: Histogram<u64>,
    reads: u64,
    writes: u64,
    ata_failures: u64,
    aoe_errors: u64,
    short: u64,
    busy: Duration,
}

impl Tally {
    pub(super) fn new(measure_from: Instant, end: Instant) -> Result<Self> {
        // Nanoseconds, up to 100 s, three digits.
        let latency = Histogram::new_with_bounds(1, 100_000_000_000, 3)
            .map_err(|error| Error::Load(format!("the latency histogram: {error}")))?;
        Ok(Self {
            measure_from,
            end,
            latency,
            reads: 0,
            writes: 0,
            ata_failures: 0,
            aoe_errors: 0,
            short: 0,
            busy: Duration::ZERO,
        })
    }

    /// A turn that received something took `time` and ended at `now`.
    #[inline]
    pub(super) fn busy(&mut self, time: Duration, now: Instant) {
        if now >= self.measure_from && now < self.end {
            self.busy += time;
        }
    }

    #[inline]
    pub(super) fn completion(&mut self, completion: &Completion<'_>, now: Instant) {
        match completion.outcome {
            Outcome::Done(_) => {
                if now >= self.measure_from && now < self.end {
                    if completion.request.aflags & ata::AFLAG_WRITE == 0 {
                        self.reads += 1;
                    } else {
                        self.writes += 1;
                    }
                    let nanos = u64::try_from(completion.latency.as_nanos()).unwrap_or(u64::MAX);
                    self.latency.saturating_record(nanos);
                }
            }
            Outcome::Failed { .. } => self.ata_failures += 1,
            Outcome::Refused { .. } => self.aoe_errors += 1,
            Outcome::Short { .. } => self.short += 1,
            // The window counts these.
            Outcome::NoAnswer => {}
        }
    }

    // Counts and nanoseconds are far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn report(
        self,
        spec: &LoadSpec,
        queue: &Queue,
        finished: Instant,
        verified: Option<Verified>,
    ) -> LoadReport {
        let measured = finished.min(self.end).saturating_duration_since(self.measure_from);
        let seconds = measured.max(Duration::from_nanos(1)).as_secs_f64();
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let at = |quantile| micros(self.latency.value_at_quantile(quantile));
        let iops = (self.reads + self.writes) as f64 / seconds;
        let bytes = bytes_of(spec.sectors_per_io);
        let counters = queue.counters();
        LoadReport {
            workload: spec.workload.name(),
            bytes,
            depth: spec.depth,
            seconds,
            reads: self.reads,
            writes: self.writes,
            iops,
            mb_per_second: iops * bytes as f64 / 1e6,
            latency_us: Latency {
                min: micros(self.latency.min()),
                p50: at(0.5),
                p99: at(0.99),
                p999: at(0.999),
                max: micros(self.latency.max()),
                mean: self.latency.mean() / 1000.0,
            },
            initiator_busy_percent: 100.0 * self.busy.as_secs_f64() / seconds,
            retransmits: counters.retransmits,
            unanswered: counters.given_up,
            duplicate_replies: counters.duplicates,
            unexpected_replies: counters.unexpected,
            ata_failures: self.ata_failures,
            aoe_errors: self.aoe_errors,
            short_replies: self.short,
            send_refused: queue.tx_refused(),
            verified,
        }
    }
}

impl Workload {
    /// As the command line calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::RandomRead => "randread",
            Self::RandomWrite => "randwrite",
            Self::RandomMixed(_) => "rw",
        }
    }
}
