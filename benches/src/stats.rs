//! From samples to a figure: the median of the rounds with the lowest and the highest.

use serde::Serialize;

/// One sample of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Sample {
    pub(crate) iops: f64,
    /// Mean latency in microseconds, from the first copy of a request to its answer.
    pub(crate) mean_us: f64,
    /// Half are no longer; `None` where the program that drives the load does not report it.
    pub(crate) p50_us: Option<f64>,
    /// 999 in 1000 are no longer.
    pub(crate) p99_9_us: Option<f64>,
    /// Requests sent again.
    pub(crate) resent: f64,
    /// Share of its time that the initiator was at work, percent. Near 100 at a depth above 1, the initiator sets the
    /// rate and not the target.
    pub(crate) initiator_busy_percent: Option<f64>,
    /// Nanoseconds of a cache line's round trip between the two cores, right before.
    pub(crate) round_trip_ns: f64,
}

/// A figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Interval {
    /// The middle one; of an even number, the mean of the two in the middle.
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Interval {
    /// Of these figures; `None` without any.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (low, high) = (*figures.first()?, *figures.last()?);
        let half = figures.len() / 2;
        let below = if figures.len().is_multiple_of(2) { half - 1 } else { half };
        Some(Self { median: f64::midpoint(figures[below], figures[half]), low, high })
    }

    /// Of a figure of these samples; `None` without any, or if one does not have it.
    pub(crate) fn over(samples: &[Sample], figure: impl Fn(&Sample) -> Option<f64>) -> Option<Self> {
        Self::of(samples.iter().map(figure).collect::<Option<Vec<_>>>()?)
    }

    /// Of a figure of two rows, round by round: samples of one round are neighbours in time.
    pub(crate) fn of_rounds(
        these: &[Sample],
        those: &[Sample],
        figure: impl Fn(&Sample, &Sample) -> f64,
    ) -> Option<Self> {
        Self::of(these.iter().zip(those).map(|(this, that)| figure(this, that)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(Interval::of([3.0, 1.0, 2.0]), Some(Interval { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Interval::of([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Interval::of([]), None);
        assert_eq!(Interval::over(&[Sample::default()], |sample| sample.p50_us), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The machine halves its speed in the second round; the ratio stays.
        let rates = |rates: [f64; 3]| rates.map(|iops| Sample { iops, ..Sample::default() });
        let (us, them) = (rates([500.0, 250.0, 500.0]), rates([1000.0, 500.0, 1000.0]));
        let ratio = Interval::of_rounds(&us, &them, |us, them| us.iops / them.iops).unwrap();
        assert_eq!(ratio, Interval { median: 0.5, low: 0.5, high: 0.5 });
    }
}
