//! The figures held against the targets of the project: each a ratio or a difference of one run.

use crate::cell::{Cell, LIMIT_CELLS, LIMIT_DEPTH, Operation, Size};
use crate::contender::Contender;
use crate::sample::{Figures, Sample, Spread};
use crate::scaling::{More, ScalingSeries, cost};
use serde::Serialize;
use std::fmt;

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// No less.
    AtLeast(f64),
    /// More.
    Above(f64),
    /// No more.
    AtMost(f64),
    /// Anything: shown beside a target, for the reader.
    Free,
}

impl Bound {
    /// Whether a figure is within it; `None` where there is none.
    pub fn holds(self, figure: f64) -> Option<bool> {
        match self {
            Self::AtLeast(bound) => Some(figure >= bound),
            Self::Above(bound) => Some(figure > bound),
            Self::AtMost(bound) => Some(figure <= bound),
            Self::Free => None,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(formatter, ">= {bound:.2}"),
            Self::Above(bound) => write!(formatter, "> {bound:.2}"),
            Self::AtMost(bound) => write!(formatter, "<= {bound:.2}"),
            Self::Free => write!(formatter, "no target"),
        }
    }
}

/// A target and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The target's number.
    pub target: u8,
    /// What is compared.
    pub what: String,
    /// The figure, of the pairs of each round; judged by its median.
    pub figure: Spread,
    /// What it has to be.
    pub bound: Bound,
    /// Whether it is.
    pub pass: Option<bool>,
    /// The medians it came from.
    pub from: String,
}

impl Verdict {
    fn new(target: u8, what: String, figure: Spread, bound: Bound, from: String) -> Self {
        Self { target, what, figure, bound, pass: bound.holds(figure.median), from }
    }
}

/// Every target whose figures were measured.
pub fn verdicts(figures: &Figures, scaling: &[ScalingSeries]) -> Vec<Verdict> {
    let mut all = Vec::new();
    let [page_read, page_write, sector_read] = LIMIT_CELLS;
    all.extend([page_read, page_write].into_iter().filter_map(|cell| limit(figures, 1, cell, 0.90)));
    all.extend(limit(figures, 2, sector_read, 0.85));
    all.extend(against_vblade(figures));
    all.extend(latency(figures));
    all.extend(same_veth(figures));
    all.extend(against_nvmf(figures));
    all.extend(More::COMPARED.into_iter().filter_map(|more| growth(scaling, more)));
    all
}

/// Requests a second if a request cost what the link alone and the bdev alone cost, one after the other.
pub fn serial_limit(link: &Sample, bdev: &Sample) -> f64 {
    1.0 / (1.0 / link.iops + 1.0 / bdev.iops)
}

fn limit(figures: &Figures, target: u8, cell: Cell, least: f64) -> Option<Verdict> {
    let contenders = [Contender::Memif, Contender::MemifLink, Contender::Bdev];
    let ratio = |[us, link, bdev]: [&Sample; 3]| us.iops / serial_limit(link, bdev);
    let figure = figures.by_round(contenders, cell, ratio)?;
    let what = format!("{cell}: memif of its serial limit");
    Some(Verdict::new(target, what, figure, Bound::AtLeast(least), rates(figures, &contenders, cell)))
}

fn against_vblade(figures: &Figures) -> Vec<Verdict> {
    let cell = Cell::new(Size::SECTOR, Operation::Read, LIMIT_DEPTH);
    let sides = [
        (Contender::Memif, "memif to vblade over veth", Bound::AtLeast(8.0)),
        (Contender::Veth, "veth to vblade over veth", Bound::Free),
    ];
    let verdict = |(us, what, bound)| {
        let contenders = [us, Contender::Vblade];
        let figure = figures.by_round(contenders, cell, |[us, them]| us.iops / them.iops)?;
        Some(Verdict::new(2, format!("{cell}: {what}"), figure, bound, rates(figures, &contenders, cell)))
    };
    sides.into_iter().filter_map(verdict).collect()
}

fn latency(figures: &Figures) -> Vec<Verdict> {
    let cell = Cell::new(Size::PAGE, Operation::Read, 1);
    let number = |figure: Option<f64>| figure.unwrap_or(f64::NAN);
    let contenders = [Contender::Memif, Contender::MemifLink, Contender::Bdev];
    let excess = |[us, link, bdev]: [&Sample; 3]| {
        number(us.latency_us.p50) - number(link.latency_us.p50) - bdev.latency_us.mean
    };
    let p50 = figures.by_round(contenders, cell, excess).map(|figure| {
        let from = [
            (
                contenders[0],
                "p50",
                middle(figures, contenders[0], cell, |sample| number(sample.latency_us.p50)),
            ),
            (
                contenders[1],
                "p50",
                middle(figures, contenders[1], cell, |sample| number(sample.latency_us.p50)),
            ),
            (contenders[2], "mean", middle(figures, contenders[2], cell, |sample| sample.latency_us.mean)),
        ];
        let what = format!("{cell}: memif p50 less link p50 and bdev, us");
        Verdict::new(3, what, figure, Bound::AtMost(0.5), micros(&from))
    });
    let contenders = [Contender::Memif, Contender::MemifLink];
    let ratio = |[us, link]: [&Sample; 2]| number(us.latency_us.p99_9) / number(link.latency_us.p99_9);
    let p99_9 = figures.by_round(contenders, cell, ratio).map(|figure| {
        let from = contenders
            .map(|who| (who, "p99.9", middle(figures, who, cell, |sample| number(sample.latency_us.p99_9))));
        let what = format!("{cell}: memif p99.9 to link's");
        Verdict::new(3, what, figure, Bound::AtMost(2.0), micros(&from))
    });
    p50.into_iter().chain(p99_9).collect()
}

fn same_veth(figures: &Figures) -> Vec<Verdict> {
    let cells = || figures.cells().into_iter().filter(|cell| [1, 32].contains(&cell.depth));
    let against = |them: Contender, bound: Bound| {
        cells().filter_map(move |cell| {
            let contenders = [Contender::Veth, them];
            let figure = figures.by_round(contenders, cell, |[us, them]| us.iops / them.iops)?;
            let what = format!("{cell}: veth to {them}");
            Some(Verdict::new(4, what, figure, bound, rates(figures, &contenders, cell)))
        })
    };
    let link = against(Contender::VethLink, Bound::AtLeast(0.95));
    link.chain(against(Contender::Vblade, Bound::Above(1.0))).collect()
}

fn against_nvmf(figures: &Figures) -> Vec<Verdict> {
    let contenders = [Contender::Memif, Contender::Nvmf];
    let operations = [Operation::Read, Operation::Write];
    let rate = operations.into_iter().filter_map(|operation| {
        let cell = Cell::new(Size::PAGE, operation, 32);
        let figure = figures.by_round(contenders, cell, |[us, them]| us.iops / them.iops)?;
        let what = format!("{cell}: memif to nvmf, rate");
        Some(Verdict::new(5, what, figure, Bound::AtLeast(2.0), rates(figures, &contenders, cell)))
    });
    let time = operations.into_iter().filter_map(|operation| {
        let cell = Cell::new(Size::PAGE, operation, 1);
        let mean = |sample: &Sample| sample.latency_us.mean;
        let figure = figures.by_round(contenders, cell, |[us, them]| mean(us) / mean(them))?;
        let from = contenders.map(|who| (who, "mean", middle(figures, who, cell, mean)));
        let what = format!("{cell}: memif to nvmf, mean latency");
        Some(Verdict::new(5, what, figure, Bound::AtMost(1.0 / 3.0), micros(&from)))
    });
    rate.chain(time).collect()
}

fn growth(scaling: &[ScalingSeries], more: More) -> Option<Verdict> {
    let figure = cost(scaling, more)?;
    let median = |more| {
        let series = scaling.iter().find(|series| series.more == more)?;
        Spread::of(series.rounds.iter().map(|sample| sample.iops)).map(|spread| spread.median)
    };
    let from = format!(
        "{} IOPS, {} IOPS with one of each",
        thousands(median(more)?),
        thousands(median(More::Nothing)?)
    );
    let what = format!("{} read: cost of a request, {}", Size::SECTOR, more.title());
    Some(Verdict::new(6, what, figure, Bound::AtMost(1.05), from))
}

fn middle(figures: &Figures, who: Contender, cell: Cell, figure: impl Fn(&Sample) -> f64) -> f64 {
    figures.by_round([who], cell, |[sample]| figure(sample)).map_or(f64::NAN, |spread| spread.median)
}

fn rates(figures: &Figures, contenders: &[Contender], cell: Cell) -> String {
    let rate =
        |&who: &Contender| format!("{who} {}", thousands(middle(figures, who, cell, |sample| sample.iops)));
    contenders.iter().map(rate).collect::<Vec<_>>().join(", ") + " IOPS"
}

fn micros(figures: &[(Contender, &str, f64)]) -> String {
    let one = |(who, which, value): &(Contender, &str, f64)| format!("{who} {which} {value:.2}");
    figures.iter().map(one).collect::<Vec<_>>().join(", ") + " us"
}

/// A whole number with a space between thousands.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
