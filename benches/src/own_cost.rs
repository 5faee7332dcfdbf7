//! The target without a link and without a disk: an lcore on a ring port with the null bdev, from rx to tx.

use crate::sampler::Sampler;
use crate::stats::Interval;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Bursts of each kind in a sample.
const TURNS: &str = "20000";

/// What `ring` of `benches/micro` prints for one kind of request.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct RingSample {
    /// The kind: `read-4k`.
    pub(crate) kind: String,
    /// Nanoseconds a request of the lcore's turn.
    pub(crate) turn_ns: f64,
    /// Nanoseconds a request of the turn and SPDK's loop around it.
    pub(crate) loop_ns: f64,
    /// Ticks a second of the time stamp counter.
    pub(crate) tsc_hz: f64,
}

impl RingSample {
    /// Requests a second that one lcore serves.
    pub(crate) fn rate(&self) -> f64 {
        1e9 / self.loop_ns
    }

    /// Ticks of the time stamp counter a request.
    pub(crate) fn cycles(&self) -> f64 {
        self.loop_ns * self.tsc_hz / 1e9
    }
}

/// One sample of each kind.
pub(crate) fn ring(sampler: &Sampler<'_>) -> Result<Vec<RingSample>> {
    let printed = sampler.ring(TURNS)?;
    let lines = printed.lines().filter(|line| line.starts_with('{'));
    let samples = lines.map(serde_json::from_str).collect::<Result<Vec<_>, _>>().context("ring's figures")?;
    ensure!(!samples.is_empty(), "ring printed no figures: {printed}");
    Ok(samples)
}

/// A figure of one kind over all rounds.
pub(crate) fn over(
    samples: &[RingSample],
    kind: &str,
    figure: impl Fn(&RingSample) -> f64,
) -> Option<Interval> {
    Interval::of(samples.iter().filter(|sample| sample.kind == kind).map(figure))
}

/// The kinds that were measured.
pub(crate) fn kinds(samples: &[RingSample]) -> BTreeSet<&str> {
    samples.iter().map(|sample| sample.kind.as_str()).collect()
}

/// Instructions of an lcore's turn per request of one kind with the null bdev.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Instructions {
    pub(crate) kind: String,
    pub(crate) total: u32,
    /// Those of this project's Rust.
    pub(crate) ours: u32,
}

/// Counts them with callgrind, which comes to the same number every time.
pub(crate) fn instructions(sampler: &Sampler<'_>) -> Result<Vec<Instructions>> {
    read_instructions(&sampler.count_instructions()?)
}

/// Reads the lines "read-4k  null  1071  691  36  344  0" of benches/instructions/count.py.
fn read_instructions(printed: &str) -> Result<Vec<Instructions>> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [kind, "null", total, ours, ..] = words[..] else { return None };
        Some(Instructions { kind: kind.to_owned(), total: total.parse().ok()?, ours: ours.parse().ok()? })
    };
    let counts: Vec<_> = printed.lines().filter_map(line).collect();
    ensure!(!counts.is_empty(), "count.py printed no turn with the null bdev: {printed}");
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_turns_with_the_null_bdev_are_read() {
        let printed = "an lcore's turn      total   ours\n    read-4k  null      1071    691     36    344      0\n    \
                       read-4k  malloc    2108    790     36    870    412\n";
        let counts = read_instructions(printed).unwrap();
        assert_eq!(counts, [Instructions { kind: "read-4k".into(), total: 1071, ours: 691 }]);
        assert!(read_instructions("nothing").is_err());
    }
}
