//! The answer to `aoe_get_histogram`.

use aoe_target::{Histogram, Histograms, VlanId};
use serde_json::{Value, json};

use crate::registry::Record;

/// The histograms of an export, whose times are in ticks of a clock with so many in a second.
#[must_use]
pub fn histogram_report(record: &Record, histograms: &Histograms, hz: u64) -> Value {
    let kind = |histogram| of_kind(histogram, hz);
    json!({
        "shelf": record.address().shelf.0,
        "slot": record.address().slot.0,
        "vlan": record.options().vlan.map(VlanId::get),
        "reads": kind(&histograms.reads),
        "writes": kind(&histograms.writes),
        "flushes": kind(&histograms.flushes),
    })
}

fn of_kind(histogram: &Histogram, hz: u64) -> Value {
    let nanoseconds = |ticks: u64| nanoseconds(ticks, hz);
    let buckets: Vec<(u64, u64)> =
        histogram.buckets().map(|(end, count)| (nanoseconds(end), count)).collect();
    json!({
        "count": histogram.count(),
        "sum_ns": nanoseconds(histogram.sum()),
        "mean_ns": nanoseconds(histogram.sum().checked_div(histogram.count()).unwrap_or_default()),
        "max_ns": nanoseconds(histogram.max()),
        "p50_ns": nanoseconds(histogram.quantile(500_000)),
        "p90_ns": nanoseconds(histogram.quantile(900_000)),
        "p99_ns": nanoseconds(histogram.quantile(990_000)),
        "p999_ns": nanoseconds(histogram.quantile(999_000)),
        "buckets": buckets,
    })
}

fn nanoseconds(ticks: u64, hz: u64) -> u64 {
    let exact = u128::from(ticks) * 1_000_000_000 / u128::from(hz.max(1));
    u64::try_from(exact).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_nanoseconds_whatever_the_clock() {
        let mut histogram = Histogram::default();
        (0..4).for_each(|_| histogram.record(2000));
        let report = of_kind(&histogram, 2_000_000_000);
        assert_eq!(
            (&report["count"], &report["sum_ns"], &report["mean_ns"], &report["max_ns"]),
            (&json!(4), &json!(4000), &json!(1000), &json!(1000))
        );
        assert_eq!(report["p50_ns"], 1000);
        assert_eq!(report["buckets"], json!([[1024, 4]]));
        let empty = of_kind(&Histogram::default(), 1);
        assert_eq!(
            (&empty["mean_ns"], &empty["p999_ns"], &empty["buckets"]),
            (&json!(0), &json!(0), &json!([]))
        );
    }
}
