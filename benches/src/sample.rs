//! What one run of a contender came to, and how the runs of all rounds are put together.

use crate::cell::Cell;
use crate::contender::Contender;
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
}

/// One run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Requests a second.
    pub iops: f64,
    /// Latencies.
    pub latency_us: Latency,
    /// Copies sent after the first.
    pub retransmits: u64,
    /// Share of its time the initiator was at work, percent, where it tells. Near 100 at a depth above 1, the
    /// initiator sets the rate and not the target.
    pub initiator_busy_percent: Option<f64>,
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

    /// A figure of several contenders in a cell, taken round by round: the rounds interleave, so what the machine did
    /// meanwhile falls on both sides of a ratio. `None` if a contender lacks the cell.
    pub fn by_round<const N: usize>(
        &self,
        contenders: [Contender; N],
        cell: Cell,
        figure: impl Fn([&Sample; N]) -> f64,
    ) -> Option<Spread> {
        let rounds = contenders.map(|contender| self.rounds(contender, cell));
        let count = rounds.iter().map(|rounds| rounds.len()).min().unwrap_or(0);
        Spread::of((0..count).map(|round| figure(rounds.map(|rounds| &rounds[round]))))
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
    fn ratios_are_taken_round_by_round() {
        let cell = Cell::new(Size::PAGE, Operation::Read, 1);
        let mut figures = Figures::default();
        // The machine halves its speed in the second round: the ratio is 0.5 in each all the same.
        for iops in [1000.0, 500.0, 1000.0] {
            figures.push(Contender::MemifLink, cell, sample(iops));
            figures.push(Contender::Memif, cell, sample(iops / 2.0));
        }
        let ratio = |[us, link]: [&Sample; 2]| us.iops / link.iops;
        let spread = figures.by_round([Contender::Memif, Contender::MemifLink], cell, ratio).unwrap();
        assert_eq!(spread, Spread { median: 0.5, min: 0.5, max: 0.5 });
        assert_eq!(figures.by_round([Contender::Memif, Contender::Vblade], cell, ratio), None);
        assert_eq!(figures.cells(), [cell]);
    }
}
