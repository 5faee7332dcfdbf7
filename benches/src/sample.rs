//! What one run of a contender came to, and how the runs of all rounds are put together.

use crate::cell::Cell;
use crate::contender::Contender;
use crate::weather::Weather;
use serde::Serialize;

/// Latencies in microseconds, from the first copy of a request to its answer; `None` where the program that drives the
/// load does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Arithmetic mean.
    pub mean: f64,
    /// Half are no longer.
    pub p50: Option<f64>,
    /// 99 in 100 are no longer.
    pub p99: Option<f64>,
    /// 999 in 1000 are no longer.
    pub p99_9: Option<f64>,
    /// Longest.
    pub max: Option<f64>,
    /// 1,000 of each second are longer; `None` also where a second had no more than those.
    pub slowest_1000: Option<f64>,
}

/// One run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Requests a second.
    pub iops: f64,
    /// Requests a second that a tenth of the windows of 10 ms reached; `None` where the program that drives the load does
    /// not tell.
    pub iops_10ms: Option<f64>,
    /// Latencies.
    pub latency_us: Latency,
    /// Copies sent after the first.
    pub retransmits: u64,
    /// Share of its time the initiator was at work, percent, where it tells. Near 100 at a depth above 1, the
    /// initiator sets the rate and not the target.
    pub initiator_busy_percent: Option<f64>,
    /// The two cores before it.
    pub weather_before: Option<Weather>,
    /// The two cores after it.
    pub weather_after: Option<Weather>,
    /// Whether the weather was fair, before and after. False where nobody looked.
    pub fair: bool,
}

impl Sample {
    /// The best of each figure in these, though they be those of different runs: the highest rate, and the lowest of
    /// each latency that all of them tell. `None` without any. What is no better or worse stays at its default.
    pub fn best<'a>(samples: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let only_figures = |sample: &Self| Self {
            iops: sample.iops,
            iops_10ms: sample.iops_10ms,
            latency_us: sample.latency_us,
            ..Self::default()
        };
        samples.into_iter().map(only_figures).reduce(|best, sample| {
            let (one, other) = (best.latency_us, sample.latency_us);
            let lower = |figure: fn(&Latency) -> Option<f64>| Some(figure(&one)?.min(figure(&other)?));
            let latency_us = Latency {
                mean: one.mean.min(other.mean),
                p50: lower(|latency| latency.p50),
                p99: lower(|latency| latency.p99),
                p99_9: lower(|latency| latency.p99_9),
                max: lower(|latency| latency.max),
                slowest_1000: lower(|latency| latency.slowest_1000),
            };
            let iops_10ms = best.iops_10ms.zip(sample.iops_10ms).map(|(one, other)| one.max(other));
            Self { iops: best.iops.max(sample.iops), iops_10ms, latency_us, ..Self::default() }
        })
    }

    /// The rate while nothing disturbs, as near as can be told: that of windows which are shorter than most disturbances
    /// if there are any, else of the whole time. To compare what the same program drives.
    pub fn undisturbed_iops(&self) -> f64 {
        self.iops_10ms.unwrap_or(self.iops)
    }
}

/// One contender in one cell, a sample for each round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    /// Who.
    pub contender: Contender,
    /// The conditions.
    #[serde(flatten)]
    pub cell: Cell,
    /// A sample for each round.
    pub rounds: Vec<Sample>,
}

/// A figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// Lowest.
    pub min: f64,
    /// Highest.
    pub max: f64,
}

impl Spread {
    /// Of these figures; `None` without any, or if one is no number.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        if figures.iter().any(|figure| figure.is_nan()) {
            return None;
        }
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let half = figures.len() / 2;
        let median = if figures.len().is_multiple_of(2) {
            f64::midpoint(figures[half - 1], figures[half])
        } else {
            figures[half]
        };
        Some(Self { median, min, max })
    }

    /// Highest less lowest, percent of the median.
    pub fn percent(&self) -> f64 {
        100.0 * (self.max - self.min) / self.median
    }
}

/// A ratio or a difference of several contenders, in the two ways there are to put their rounds together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Of the best that each of them did in these rounds. What else a shared machine does makes programs slower, and not
    /// all of them alike: the best is nearest to what each does by itself.
    pub best: f64,
    /// Of what they did in the same round.
    pub rounds: Spread,
}

impl Comparison {
    /// Of the samples of each, in the order of the rounds. `None` if there is no round, or a figure is no number.
    pub fn of<const N: usize>(samples: [&[Sample]; N], figure: impl Fn([&Sample; N]) -> f64) -> Option<Self> {
        let rounds = (0..in_common(samples)).map(|round| figure(samples.map(|samples| &samples[round])));
        let rounds = Spread::of(rounds)?;
        let best = figure(bests(samples)?.each_ref());
        (!best.is_nan()).then_some(Self { best, rounds })
    }
}

/// Rounds that all of these have.
fn in_common<const N: usize>(samples: [&[Sample]; N]) -> usize {
    samples.iter().map(|samples| samples.len()).min().unwrap_or(0)
}

/// The best of each, in the rounds that all of them have: nobody's is of more rounds than another's. `None` without any.
pub fn bests<const N: usize>(samples: [&[Sample]; N]) -> Option<[Sample; N]> {
    let count = in_common(samples);
    (count > 0).then(|| samples.map(|samples| Sample::best(&samples[..count]).unwrap_or_default()))
}

/// All runs of all contenders.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Figures(Vec<Series>);

impl Figures {
    /// Adds the sample of the next round.
    pub fn push(&mut self, contender: Contender, cell: Cell, sample: Sample) {
        match self.0.iter_mut().find(|series| series.contender == contender && series.cell == cell) {
            Some(series) => series.rounds.push(sample),
            None => self.0.push(Series { contender, cell, rounds: vec![sample] }),
        }
    }

    /// The samples of a contender in a cell, in the order of the rounds; none if it was not measured.
    pub fn rounds(&self, contender: Contender, cell: Cell) -> &[Sample] {
        let found = self.0.iter().find(|series| series.contender == contender && series.cell == cell);
        found.map_or(&[], |series| &series.rounds)
    }

    /// All series.
    pub fn series(&self) -> &[Series] {
        &self.0
    }

    /// The cells that were measured, in order.
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells: Vec<Cell> = self.0.iter().map(|series| series.cell).collect();
        cells.sort_unstable();
        cells.dedup();
        cells
    }

    /// All samples, to say more of them.
    pub fn samples_mut(&mut self) -> impl Iterator<Item = &mut Sample> {
        self.0.iter_mut().flat_map(|series| &mut series.rounds)
    }

    /// A figure of several contenders in a cell, of the best of each, and round by round: the rounds interleave, so what
    /// the machine did for a while falls on both sides of a ratio. `None` if a contender lacks the cell.
    pub fn compare<const N: usize>(
        &self,
        contenders: [Contender; N],
        cell: Cell,
        figure: impl Fn([&Sample; N]) -> f64,
    ) -> Option<Comparison> {
        Comparison::of(contenders.map(|contender| self.rounds(contender, cell)), figure)
    }

    /// What the best of such a comparison come to.
    pub fn bests<const N: usize>(&self, contenders: [Contender; N], cell: Cell) -> Option<[Sample; N]> {
        bests(contenders.map(|contender| self.rounds(contender, cell)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Operation, Size};

    fn sample(iops: f64) -> Sample {
        Sample { iops, ..Sample::default() }
    }

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([1.0, f64::NAN]), None);
        assert_eq!(Spread::of([90.0, 100.0, 110.0]).unwrap().percent(), 20.0);
    }

    #[test]
    fn the_undisturbed_rate_is_that_of_windows_where_all_tell_it() {
        let told = |iops, iops_10ms| Sample { iops, iops_10ms, ..Sample::default() };
        assert_eq!(told(5.0, Some(7.0)).undisturbed_iops(), 7.0);
        assert_eq!(told(5.0, None).undisturbed_iops(), 5.0);
        let best = |samples: &[Sample]| Sample::best(samples).unwrap().undisturbed_iops();
        assert_eq!(best(&[told(5.0, Some(7.0)), told(6.0, Some(6.5))]), 7.0);
        assert_eq!(best(&[told(5.0, Some(7.0)), told(6.0, None)]), 6.0);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let cell = Cell::new(Size::PAGE, Operation::Read, 1);
        let mut figures = Figures::default();
        // The machine halves its speed in the second round: the ratio is 0.5 in each all the same.
        for iops in [1000.0, 500.0, 1000.0] {
            figures.push(Contender::MemifLink, cell, sample(iops));
            figures.push(Contender::Memif, cell, sample(iops / 2.0));
        }
        let ratio = |[us, link]: [&Sample; 2]| us.iops / link.iops;
        let figure = figures.compare([Contender::Memif, Contender::MemifLink], cell, ratio).unwrap();
        assert_eq!(figure.rounds, Spread { median: 0.5, min: 0.5, max: 0.5 });
        assert_eq!(figures.compare([Contender::Memif, Contender::Vblade], cell, ratio), None);
        assert_eq!(figures.cells(), [cell]);
    }

    #[test]
    fn the_best_is_of_each_figure_and_not_of_one_run() {
        let latency = |mean, p50| Latency { mean, p50: Some(p50), p99: None, ..Latency::default() };
        let samples = [
            Sample { iops: 10.0, latency_us: latency(3.0, 2.0), retransmits: 5, ..Sample::default() },
            Sample { iops: 20.0, latency_us: latency(4.0, 1.0), fair: true, ..Sample::default() },
        ];
        let best = Sample { iops: 20.0, latency_us: latency(3.0, 1.0), ..Sample::default() };
        assert_eq!(Sample::best(&samples), Some(best));
        assert_eq!(Sample::best([]), None);
        let untold = Sample { latency_us: Latency::default(), ..samples[0] };
        let best = Sample::best([&samples[0], &untold]).unwrap();
        assert_eq!(best.latency_us.p50, None, "the best of what not all tell is not known");
    }

    #[test]
    fn the_best_of_each_may_be_of_different_rounds() {
        // The machine is slow for one of them in the first round, and for the other in the second.
        let (us, them) = ([sample(50.0), sample(100.0)], [sample(200.0), sample(80.0)]);
        let ratio = |[us, them]: [&Sample; 2]| us.iops / them.iops;
        let Comparison { best, rounds } = Comparison::of([&us, &them], ratio).unwrap();
        assert_eq!((best, rounds), (0.5, Spread { median: 0.75, min: 0.25, max: 1.25 }));
    }

    #[test]
    fn nobody_is_best_in_a_round_that_others_lack() {
        let (us, them) = ([sample(50.0), sample(60.0), sample(100.0)], [sample(100.0), sample(90.0)]);
        let ratio = |[us, them]: [&Sample; 2]| us.iops / them.iops;
        assert_eq!(Comparison::of([&us, &them], ratio).unwrap().best, 0.6);
        assert_eq!(Comparison::of([&us, &[]], ratio), None);
    }
}
