//! A whole beside its parts: a row that does another's work and more, and is faster, makes a run worthless.
//!
//! Rates are compared in pairs: samples that were taken with the two cores at the same distance, in the order of the rounds.
//! Virtual CPUs move between near and far from each other within a run, so that one row's median may be of near samples and the
//! other's of far ones.

use crate::distance::NEAR_NS;
use crate::rounds::{Row, find};
use crate::stats::Interval;
use serde::Serialize;

/// A whole is beaten by its part if the median of the ratios is above this: by more than what the samples of a row differ
/// where both do the same work, as where the part sets the rate of its whole.
const MARGIN: f64 = 1.1;

/// A row and a part of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Comparison {
    /// Contender and case.
    whole: String,
    part: String,
    rounds: usize,
    /// Samples of either row without one of the other row at the same distance.
    left_out: usize,
    /// The whole's rate by the part's, of the pairs; `None` without any.
    ratio: Option<Interval>,
}

/// Every row that has a part among them, with that part.
pub(crate) fn comparisons(rows: &[Row]) -> Vec<Comparison> {
    let with_parts = |whole: &Row| -> Vec<Comparison> {
        let parts = whole.contender.parts(whole.case).into_iter();
        parts.filter_map(|(who, case)| Some(compare(whole, find(rows, who, case)?))).collect()
    };
    rows.iter().flat_map(with_parts).collect()
}

fn compare(whole: &Row, part: &Row) -> Comparison {
    let rates = |row: &Row, near: bool| -> Vec<f64> {
        let at_distance = row.samples.iter().filter(|sample| (sample.round_trip_ns < NEAR_NS) == near);
        at_distance.map(|sample| sample.iops).collect()
    };
    let rounds = whole.samples.len().min(part.samples.len());
    let ratios: Vec<f64> = [true, false]
        .into_iter()
        .flat_map(|near| rates(whole, near).into_iter().zip(rates(part, near)))
        .map(|(whole, part)| whole / part)
        .collect();
    let name = |row: &Row| format!("{} {}", row.contender, row.case);
    let left_out = rounds - ratios.len();
    Comparison { whole: name(whole), part: name(part), rounds, left_out, ratio: Interval::of(ratios) }
}

impl Comparison {
    /// Whether at least half of the samples have a pair.
    pub(crate) fn is_possible(&self) -> bool {
        self.rounds - self.left_out >= self.rounds.div_ceil(2)
    }

    /// Why the run is not to be used.
    pub(crate) fn fault(&self) -> Option<String> {
        let Self { whole, part, rounds, left_out, ratio } = self;
        match ratio {
            Some(Interval { median, low, high }) if self.is_possible() => {
                (*median > MARGIN).then(|| {
                    format!(
                        "{whole} has {median:.2} ({low:.2} - {high:.2}) times the rate of {part}, which is a part of it"
                    )
                })
            }
            _ => Some(format!(
                "{whole} can be compared with {part}, which is a part of it, in {} of {rounds} samples only",
                rounds - left_out
            )),
        }
    }

    /// What was left out, and why.
    pub(crate) fn note(&self) -> Option<String> {
        let Self { whole, part, rounds, left_out, .. } = self;
        (*left_out > 0).then(|| {
            format!(
                "{whole} beside {part}: {left_out} of {rounds} samples left out, as the other row has none with the cores at the \
                 same distance"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::Contender;
    use crate::stats::Sample;

    const NEAR: f64 = 100.0;
    const FAR: f64 = 400.0;

    /// A row of rates and round trips.
    fn row(contender: Contender, case: &str, samples: &[(f64, f64)]) -> Row {
        let sample = |&(iops, round_trip_ns)| Sample { iops, round_trip_ns, ..Sample::default() };
        let samples = samples.iter().map(sample).collect();
        Row { build: 0, contender, case: case.parse().unwrap(), samples }
    }

    /// memif beside its link alone.
    fn compared(whole: &[(f64, f64)], link: &[(f64, f64)]) -> Comparison {
        let rows = [
            row(Contender::MemifLink, "null/4096/read/32", link),
            row(Contender::Memif, "memory:64/4096/read/32", whole),
        ];
        let mut all = comparisons(&rows);
        assert_eq!(all.len(), 1, "there is no row of the bdev");
        all.remove(0)
    }

    #[test]
    fn a_whole_that_beats_its_part_is_named() {
        let link = [(6e5, NEAR), (7e5, NEAR), (8e5, NEAR)];
        let beaten = compared(&[(9e5, NEAR), (9e5, NEAR), (8e5, NEAR)], &link);
        assert_eq!(
            beaten.fault().unwrap(),
            "memif memory:64/4096/read/32 has 1.29 (1.00 - 1.50) times the rate of memif-link null/4096/read/32, which is a \
             part of it"
        );
        assert_eq!(beaten.note(), None);
        assert_eq!(compared(&link, &link).fault(), None, "the link sets the rate");
    }

    #[test]
    fn samples_at_different_distances_are_not_compared() {
        // The cores were near for most of the whole's samples and far for most of the part's, which is twice as fast.
        let whole = [(5e5, NEAR), (5e5, NEAR), (5e5, NEAR), (2e5, FAR)];
        let link = [(1e6, NEAR), (4e5, FAR), (1e6, NEAR), (4e5, FAR)];
        let comparison = compared(&whole, &link);
        assert_eq!(comparison.ratio, Some(Interval { median: 0.5, low: 0.5, high: 0.5 }));
        assert_eq!(comparison.fault(), None);
        assert!(comparison.note().unwrap().contains("1 of 4 samples left out"));
        let beaten = [(1.5e6, NEAR), (1.5e6, NEAR), (1.5e6, NEAR), (6e5, FAR)];
        assert!(compared(&beaten, &link).fault().unwrap().contains("1.50"), "in the pairs that are left");
    }

    #[test]
    fn samples_of_different_rounds_make_pairs() {
        let whole = [(5e5, NEAR), (5e5, NEAR), (2e5, FAR), (2e5, FAR)];
        let link = [(4e5, FAR), (4e5, FAR), (1e6, NEAR), (1e6, NEAR)];
        let comparison = compared(&whole, &link);
        assert_eq!((comparison.note(), comparison.fault()), (None, None));
        assert_eq!(comparison.ratio, Some(Interval { median: 0.5, low: 0.5, high: 0.5 }));
    }

    #[test]
    fn too_few_pairs_fail() {
        let whole = [(5e5, NEAR), (5e5, NEAR), (5e5, NEAR), (2e5, FAR)];
        let link = [(4e5, FAR), (4e5, FAR), (4e5, FAR), (4e5, FAR)];
        assert!(compared(&whole, &link).fault().unwrap().ends_with("in 1 of 4 samples only"));
        let none = compared(&whole[..1], &link[..1]);
        assert_eq!((none.ratio, none.fault().is_some()), (None, true));
        assert_eq!(compared(&whole[3..], &link[3..]).fault(), None, "the only round can be compared");
    }

    #[test]
    fn one_disturbed_round_decides_nothing() {
        // Another program had the part's core in one round.
        let whole = [(5e5, NEAR); 4];
        let link = [(1e6, NEAR), (1e5, NEAR), (1e6, NEAR), (1e6, NEAR)];
        assert_eq!(compared(&whole, &link).fault(), None);
    }
}
