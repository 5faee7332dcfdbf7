//! Latency between two samples, of histograms that only grow.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// How many requests took how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Histogram {
    /// Requests by the time at which their bucket ends, in nanoseconds.
    buckets: BTreeMap<u64, u64>,
    max: u64,
}

/// Quantiles of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Latency {
    pub(super) requests: u64,
    pub(super) p50_ns: u64,
    pub(super) p99_ns: u64,
    pub(super) max_ns: u64,
}

impl Histogram {
    /// The reads and writes in the answer to `aoe_get_histogram`.
    pub(super) fn of(answer: &Value) -> Self {
        let mut sum = Self::default();
        for kind in ["reads", "writes"].into_iter().filter_map(|kind| answer.get(kind)) {
            let buckets = kind.get("buckets").and_then(Value::as_array).into_iter().flatten();
            for bucket in buckets {
                let part = |index: usize| bucket.get(index).and_then(Value::as_u64);
                if let (Some(end), Some(count)) = (part(0), part(1)) {
                    *sum.buckets.entry(end).or_default() += count;
                }
            }
            sum.max = sum.max.max(kind.get("max_ns").and_then(Value::as_u64).unwrap_or_default());
        }
        sum
    }

    /// What has come to it since `before`; all of it if it has begun anew.
    pub(super) fn since(&self, before: &Self) -> Self {
        let count = |end: &u64| self.buckets.get(end).copied().unwrap_or_default();
        if before.buckets.iter().any(|(end, before)| count(end) < *before) {
            return self.clone();
        }
        let grown = |(end, count): (&u64, &u64)| {
            let grown = count - before.buckets.get(end).copied().unwrap_or_default();
            (grown > 0).then_some((*end, grown))
        };
        let buckets: BTreeMap<u64, u64> = self.buckets.iter().filter_map(grown).collect();
        let end = buckets.last_key_value().map_or(0, |(end, _)| *end);
        // The longest of all is one of these, if none was as long before.
        let max = if self.max > before.max { self.max } else { end.min(self.max) };
        Self { buckets, max }
    }

    /// Its quantiles; `None` without requests.
    pub(super) fn latency(&self) -> Option<Latency> {
        let requests: u64 = self.buckets.values().sum();
        (requests > 0).then(|| Latency {
            requests,
            p50_ns: self.quantile(requests, 50),
            p99_ns: self.quantile(requests, 99),
            max_ns: self.max,
        })
    }

    /// The time that so many percent of its `requests` took at most.
    fn quantile(&self, requests: u64, percent: u64) -> u64 {
        let rank = (u128::from(requests) * u128::from(percent)).div_ceil(100);
        let mut counted = 0;
        for (end, count) in &self.buckets {
            counted += u128::from(*count);
            if counted >= rank {
                return (*end).min(self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn histogram(reads: &Value, max: u64) -> Histogram {
        Histogram::of(&json!({
            "reads": {"buckets": reads, "max_ns": max}, "writes": {"buckets": [[1000, 1]], "max_ns": 900},
            "flushes": {"buckets": [[9_000_000, 5]], "max_ns": 9_000_000},
        }))
    }

    #[test]
    fn reads_and_writes_are_taken_together_and_flushes_left_out() {
        let latency = histogram(&json!([[1000, 97], [2000, 1], [64_000, 1]]), 60_000).latency().unwrap();
        assert_eq!(latency, Latency { requests: 100, p50_ns: 1000, p99_ns: 2000, max_ns: 60_000 });
        assert_eq!(Histogram::default().latency(), None);
        assert_eq!(Histogram::of(&Value::Null).latency(), None);
    }

    #[test]
    fn only_what_came_between_two_samples_counts() {
        let before = histogram(&json!([[1000, 10], [64_000, 1]]), 60_000);
        let now = histogram(&json!([[1000, 10], [2000, 4], [64_000, 1]]), 60_000);
        let expected = Latency { requests: 4, p50_ns: 2000, p99_ns: 2000, max_ns: 2000 };
        assert_eq!(now.since(&before).latency(), Some(expected));
        assert_eq!(now.since(&now).latency(), None);
        // One that was enabled anew has fewer.
        let anew = histogram(&json!([[2000, 3]]), 1900);
        assert_eq!(anew.since(&before), anew);
        // The longest of all came in between.
        let longer = histogram(&json!([[1000, 10], [64_000, 1], [128_000, 1]]), 100_000);
        assert_eq!(longer.since(&before).latency().unwrap().max_ns, 100_000);
    }
}
