//! The project's goals.

use crate::case::{Disk, Operation};
use crate::contender::Contender;
use crate::own_cost::{self, Instructions, RingSample};
use crate::rounds::{Row, find};
use crate::stats::{Interval, Sample};
use serde::Serialize;
use std::fmt;

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    const fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(bound) => figure >= bound,
            Self::AtMost(bound) => figure <= bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(formatter, "at least {}", plain(*bound)),
            Self::AtMost(bound) => write!(formatter, "at most {}", plain(*bound)),
        }
    }
}

/// A goal, and the figure by whose median it is met or missed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Goal {
    /// What is compared, and its unit.
    pub(crate) what: String,
    pub(crate) figure: Interval,
    pub(crate) bound: Bound,
    pub(crate) met: bool,
}

impl Goal {
    fn new(what: String, figure: Interval, bound: Bound) -> Self {
        Self { what, figure, bound, met: bound.holds(figure.median) }
    }
}

/// The goals as a table in Markdown.
pub(crate) fn render(goals: &[Goal]) -> String {
    let mut text = "| Goal | bound | median (lowest - highest) | |\n| --- | --- | ---: | --- |\n".to_owned();
    for Goal { what, figure: Interval { median, low, high }, bound, met } in goals {
        let [median, low, high] = [median, low, high].map(|figure| plain(*figure));
        let met = if *met { "met" } else { "missed" };
        text += &format!("| {what} | {bound} | {median} ({low} - {high}) | {met} |\n");
    }
    text
}

/// A number with three digits behind the point, or none if it is large.
fn plain(figure: f64) -> String {
    if figure < 100.0 { format!("{figure:.2}") } else { format!("{figure:.0}") }
}

/// Millions of requests a second that one lcore is to serve with the null bdev.
const NULL_GOAL: f64 = 4.3;
/// Millions of 4 KiB reads a second from memory over zero-copy memif.
const ZERO_COPY_GOAL: f64 = 1.4;
/// Instructions of ours a request, with the null bdev.
const INSTRUCTIONS_GOAL: f64 = 600.0;

/// Every goal whose figures were measured.
pub(crate) fn goals(rows: &[Row], ring: &[RingSample], instructions: &[Instructions]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for kind in own_cost::kinds(ring) {
        let rate = own_cost::over(ring, kind, |sample| sample.rate() / 1e6);
        let what = format!("null bdev over a ring, {kind}: million requests a second and lcore");
        goals.extend(rate.map(|rate| Goal::new(what, rate, Bound::AtLeast(NULL_GOAL))));
    }
    for Instructions { kind, total, ours } in instructions {
        let what = format!(
            "null bdev over a ring, {kind}: instructions of ours a request ({total} with DPDK's and SPDK's)"
        );
        // A count, the same in every round.
        let count = f64::from(*ours);
        let figure = Interval { median: count, low: count, high: count };
        goals.push(Goal::new(what, figure, Bound::AtMost(INSTRUCTIONS_GOAL)));
    }
    for row in rows {
        goals.extend(of_row(rows, row));
    }
    goals
}

/// The goals that a row of ours has.
fn of_row(rows: &[Row], row: &Row) -> Vec<Goal> {
    let Row { contender, case, samples, .. } = row;
    let is_memory = matches!(case.disk, Disk::Memory(_));
    let is_page_read = case.bytes == 4096 && case.operation == Operation::Read;
    let rate = |what: &str, goal| {
        let millions = Interval::over(samples, |sample| Some(sample.iops / 1e6))?;
        Some(Goal::new(format!("{contender} {case}: million {what}"), millions, Bound::AtLeast(goal)))
    };
    let ratio = |what: &str, other: &[Sample], figure: fn(&Sample, &Sample) -> f64, bound| {
        let ratio = Interval::of_rounds(samples, other, figure)?;
        Some(Goal::new(format!("{contender} {case}: {what}"), ratio, bound))
    };
    let by_rate = |us: &Sample, them: &Sample| us.iops / them.iops;
    let by_mean = |us: &Sample, them: &Sample| us.mean_us / them.mean_us;
    let of = |contender| find(rows, contender, *case);
    let mut goals = Vec::new();
    match contender {
        Contender::Memif | Contender::ZeroCopy
            if case.disk == Disk::Null && case.bytes == 512 && case.depth >= 64 =>
        {
            goals.push(rate("requests a second and lcore", NULL_GOAL));
        }
        Contender::Memif | Contender::ZeroCopy if is_memory => {
            if *contender == Contender::ZeroCopy && is_page_read && case.depth >= 32 {
                goals.push(rate("requests a second", ZERO_COPY_GOAL));
            }
            if case.depth >= 64 {
                let parts = contender.parts(*case).into_iter();
                let parts: Option<Vec<_>> = parts.map(|(part, case)| find(rows, part, case)).collect();
                if let Some([link, bdev]) = parts.as_deref() {
                    let rates = link.samples.iter().zip(&bdev.samples);
                    // A request that takes as long as on the link alone and on the bdev alone, one after the other.
                    let serial = rates.map(|(link, bdev)| 1.0 / (1.0 / link.iops + 1.0 / bdev.iops));
                    let serial: Vec<_> = serial.map(|iops| Sample { iops, ..Sample::default() }).collect();
                    goals.push(ratio(
                        "of the rate of link and bdev one after the other",
                        &serial,
                        by_rate,
                        Bound::AtLeast(0.9),
                    ));
                }
            }
            for nvmf in [Contender::NvmfPosix, Contender::NvmfUring].into_iter().filter_map(of) {
                let name = nvmf.contender;
                goals.push(match case.depth {
                    1 => ratio(
                        &format!("mean latency to {name}'s"),
                        &nvmf.samples,
                        by_mean,
                        Bound::AtMost(1.0 / 3.0),
                    ),
                    32 => ratio(&format!("times {name}'s rate"), &nvmf.samples, by_rate, Bound::AtLeast(2.0)),
                    _ => None,
                });
            }
        }
        Contender::Veth => {
            for (other, bound) in [(Contender::VethLink, 0.95), (Contender::Vblade, 1.0)] {
                let other = of(other);
                goals.extend(other.map(|other| {
                    ratio(
                        &format!("times {}'s rate", other.contender),
                        &other.samples,
                        by_rate,
                        Bound::AtLeast(bound),
                    )
                }));
            }
        }
        _ => {}
    }
    goals.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(contender: Contender, case: &str, rates: &[f64]) -> Row {
        let samples = rates.iter().map(|&iops| Sample { iops, ..Sample::default() }).collect();
        Row { build: 0, contender, case: case.parse().unwrap(), samples }
    }

    #[test]
    fn goals_are_judged_by_the_median_of_the_rounds() {
        let rows = [
            row(Contender::Veth, "memory:64/512/read/1", &[90.0, 100.0, 100.0]),
            row(Contender::VethLink, "memory:64/512/read/1", &[100.0, 100.0, 110.0]),
            row(Contender::ZeroCopy, "memory:64/4096/read/32", &[1.5e6, 1.3e6, 1.6e6]),
        ];
        let ring = RingSample { kind: "read-512".into(), turn_ns: 200.0, loop_ns: 250.0, tsc_hz: 2e9 };
        let counts = Instructions { kind: "read-512".into(), total: 1000, ours: 601 };
        let goals = goals(&rows, &[ring], &[counts]);
        let shown: Vec<_> = goals.iter().map(|goal| (goal.figure.median, goal.met)).collect();
        assert_eq!(shown, [(4.0, false), (601.0, false), (100.0 / 110.0, false), (1.5, true)]);
        assert!(
            render(&goals).contains("| at least 1.40 | 1.50 (1.30 - 1.60) | met |"),
            "{}",
            render(&goals)
        );
    }
}
