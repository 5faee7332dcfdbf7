//! How long requests take: the histograms of the target, their sums and differences, and the buckets that Prometheus gets.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// The ends of Prometheus' buckets: in nanoseconds, and in seconds as `le` has it. They are the same for all targets, so that the series
/// of several can be added. (`le` is OpenMetrics' canonical number, in both formats, so that a change of format makes no new series.)
pub(crate) const BOUNDS: [(u64, &str); 22] = [
    (1_000, "1e-06"),
    (2_000, "2e-06"),
    (5_000, "5e-06"),
    (10_000, "1e-05"),
    (20_000, "2e-05"),
    (50_000, "5e-05"),
    (100_000, "0.0001"),
    (200_000, "0.0002"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_000_000, "0.002"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (20_000_000, "0.02"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (200_000_000, "0.2"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1.0"),
    (2_000_000_000, "2.0"),
    (5_000_000_000, "5.0"),
    (10_000_000_000, "10.0"),
];

/// The times of one kind of request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Histogram {
    #[serde(default)]
    count: u64,
    #[serde(default)]
    sum_ns: u64,
    /// The time at which each bucket ends, in nanoseconds, and its number of requests.
    #[serde(default, deserialize_with = "read_buckets")]
    buckets: BTreeMap<u64, u64>,
}

fn read_buckets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<u64, u64>, D::Error> {
    Ok(Vec::<(u64, u64)>::deserialize(deserializer)?.into_iter().collect())
}

/// The median, and the time that 1 % of the requests exceed, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Histogram {
    /// Number of requests.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Sum of their times, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "Prometheus computes with doubles")]
    pub(crate) const fn sum_seconds(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        for (end, count) in &other.buckets {
            *self.buckets.entry(*end).or_default() += count;
        }
    }

    /// What has come since `before`. One that has less than before has begun anew.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let less = |(end, count): (&u64, &u64)| self.buckets.get(end).is_none_or(|now| now < count);
        if before.buckets.iter().any(less) {
            return self.clone();
        }
        let grown = |(end, count): (&u64, &u64)| {
            let grown = count - before.buckets.get(end).copied().unwrap_or_default();
            (grown > 0).then_some((*end, grown))
        };
        Self {
            count: self.count.saturating_sub(before.count),
            sum_ns: self.sum_ns.saturating_sub(before.sum_ns),
            buckets: self.buckets.iter().filter_map(grown).collect(),
        }
    }

    /// The requests that took at most as long as each of [`BOUNDS`] says. One of the target's buckets that a bound divides counts
    /// above it; it is at most an eighth wide.
    pub(crate) fn cumulative(&self) -> [u64; BOUNDS.len()] {
        BOUNDS.map(|(bound, _)| self.buckets.range(..=bound).map(|(_, count)| count).sum())
    }

    /// `None` without requests.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        Some(Quantiles { p50: self.quantile(50)?, p99: self.quantile(99)? })
    }

    /// The time, in seconds, that so many of a hundred requests do not exceed: the end of its bucket.
    #[expect(clippy::cast_precision_loss, reason = "a time that people read")]
    fn quantile(&self, of_a_hundred: u64) -> Option<f64> {
        let all: u64 = self.buckets.values().sum();
        let rank = (u128::from(all) * u128::from(of_a_hundred)).div_ceil(100).max(1);
        let mut seen = 0_u128;
        for (end, count) in &self.buckets {
            seen += u128::from(*count);
            if seen >= rank {
                return Some(*end as f64 / 1e9);
            }
        }
        None
    }
}

/// The times of an export's requests: the answer to `aoe_get_histogram`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Latency {
    pub(crate) reads: Histogram,
    pub(crate) writes: Histogram,
    pub(crate) flushes: Histogram,
}

impl Latency {
    pub(crate) fn add(&mut self, other: &Self) {
        self.reads.add(&other.reads);
        self.writes.add(&other.writes);
        self.flushes.add(&other.flushes);
    }

    /// As [`Histogram::since`].
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            reads: self.reads.since(&before.reads),
            writes: self.writes.since(&before.writes),
            flushes: self.flushes.since(&before.flushes),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn histogram(buckets: &[(u64, u64)]) -> Histogram {
        let count: u64 = buckets.iter().map(|(_, count)| count).sum();
        let sum: u64 = buckets.iter().map(|(end, count)| end * count).sum();
        serde_json::from_value(json!({"count": count, "sum_ns": sum, "mean_ns": 7, "buckets": buckets}))
            .unwrap()
    }

    #[test]
    fn a_bucket_that_a_bound_divides_counts_above_it_and_none_counts_twice() {
        let all = histogram(&[(1, 1), (1_000, 2), (1_001, 4), (900_000_000, 8), (u64::MAX / 100, 16)]);
        let cumulative = all.cumulative();
        assert_eq!((cumulative[0], cumulative[1]), (3, 7));
        assert_eq!((cumulative[17], cumulative[18], cumulative[21]), (7, 15, 15));
        assert!(cumulative.is_sorted());
        assert_eq!(all.count(), 31, "the last ones are beyond all bounds");
    }

    #[test]
    fn bounds_are_written_as_they_are() {
        for (nanoseconds, seconds) in BOUNDS {
            let written: f64 = seconds.parse().unwrap();
            let exact = Histogram { sum_ns: nanoseconds, ..Histogram::default() }.sum_seconds();
            assert!((written - exact).abs() < 1e-12, "{seconds}");
        }
        assert!(BOUNDS.is_sorted_by_key(|(nanoseconds, _)| *nanoseconds));
    }

    #[test]
    fn differences_are_those_of_buckets_and_a_histogram_that_began_anew_counts_whole() {
        let before = histogram(&[(1_000, 5), (2_000, 5)]);
        let now = histogram(&[(1_000, 5), (2_000, 6), (4_000, 99)]);
        let grown = now.since(&before);
        assert_eq!(grown, histogram(&[(2_000, 1), (4_000, 99)]));
        assert_eq!(grown.quantiles(), Some(Quantiles { p50: 4e-6, p99: 4e-6 }));
        assert_eq!(before.since(&before).quantiles(), None);
        assert_eq!(before.since(&now), before, "fewer than before");
        let mut sum = before.clone();
        sum.add(&now);
        assert_eq!(sum, histogram(&[(1_000, 10), (2_000, 11), (4_000, 99)]));
    }

    #[test]
    fn quantiles_are_ends_of_buckets() {
        let all = histogram(&[(1_000, 50), (2_000, 49), (1_000_000, 1)]);
        assert_eq!(all.quantiles(), Some(Quantiles { p50: 1e-6, p99: 2e-6 }));
        assert_eq!(Histogram::default().quantiles(), None);
    }
}
