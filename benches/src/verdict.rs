//! The figures held against the targets of the project: each a ratio or a difference of one run, judged by the best
//! that each contender did, with what its rounds came to beside it.

use crate::cell::{Cell, LIMIT_CELLS, LIMIT_DEPTH, NVMF_CELLS, Operation, PAGE_READ, Size, VETH_DEPTHS};
use crate::contender::Contender;
use crate::sample::{Comparison, Figures, Sample, Spread};
use crate::scaling::{Cost, More, ScalingSeries, cost};
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
    /// The figure, of the best that each did in all rounds; it is judged.
    pub best: f64,
    /// The figure, round by round.
    pub rounds: Spread,
    /// What it has to be.
    pub bound: Bound,
    /// Whether the best is.
    pub pass: Option<bool>,
    /// What the best came from.
    pub from: String,
}

impl Verdict {
    fn new(target: u8, what: String, figure: Comparison, bound: Bound, from: String) -> Self {
        let Comparison { best, rounds } = figure;
        Self { target, what, best, rounds, bound, pass: bound.holds(best), from }
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
    all.extend(
        More::COMPARED.into_iter().filter_map(|(less, more, judged)| growth(scaling, less, more, judged)),
    );
    all
}

/// Requests a second if a request cost what the link alone and the bdev alone cost, one after the other.
pub fn serial_limit(link: &Sample, bdev: &Sample) -> f64 {
    1.0 / (1.0 / link.iops + 1.0 / bdev.iops)
}

fn limit(figures: &Figures, target: u8, cell: Cell, least: f64) -> Option<Verdict> {
    let contenders = [Contender::Memif, Contender::MemifLink, Contender::Bdev];
    let ratio = |[us, link, bdev]: [&Sample; 3]| us.iops / serial_limit(link, bdev);
    let figure = figures.compare(contenders, cell, ratio)?;
    let what = format!("{cell}: memif of its serial limit");
    Some(Verdict::new(target, what, figure, Bound::AtLeast(least), rates(figures, contenders, cell)?))
}

fn against_vblade(figures: &Figures) -> Vec<Verdict> {
    let cell = Cell::new(Size::SECTOR, Operation::Read, LIMIT_DEPTH);
    let sides = [
        (Contender::Memif, "memif to vblade over veth", Bound::AtLeast(8.0)),
        (Contender::Veth, "veth to vblade over veth", Bound::Free),
    ];
    let verdict = |(us, what, bound)| {
        let contenders = [us, Contender::Vblade];
        let figure = figures.compare(contenders, cell, |[us, them]| us.iops / them.iops)?;
        Some(Verdict::new(2, format!("{cell}: {what}"), figure, bound, rates(figures, contenders, cell)?))
    };
    sides.into_iter().filter_map(verdict).collect()
}

fn latency(figures: &Figures) -> Vec<Verdict> {
    let tails: [(&str, &str, Bound, Time); 2] = [
        ("memif p99.9 to link's", "p99.9", Bound::AtMost(2.0), |sample| sample.latency_us.p99_9),
        // Loads with different rates have another number of requests beyond their p99.9 in a second.
        ("memif's 1,000th slowest of a second to link's", "1,000th", Bound::Free, |sample| {
            sample.latency_us.slowest_1000
        }),
    ];
    let tails = tails.into_iter().filter_map(|(what, which, bound, time)| {
        let contenders = [Contender::Memif, Contender::MemifLink];
        let times = [(which, time); 2];
        timed(figures, contenders, times, PAGE_READ, |[us, link]| us / link)
            .map(|(figure, from)| Verdict::new(3, format!("{PAGE_READ}: {what}"), figure, bound, from))
    });
    let contenders = [Contender::Memif, Contender::MemifLink, Contender::Bdev];
    let times = [("p50", p50 as Time), ("p50", p50), ("mean", mean)];
    let excess = timed(figures, contenders, times, PAGE_READ, |[us, link, bdev]| us - link - bdev);
    let excess = excess.map(|(figure, from)| {
        let what = format!("{PAGE_READ}: memif p50 less link p50 and bdev, us");
        Verdict::new(3, what, figure, Bound::AtMost(0.5), from)
    });
    excess.into_iter().chain(tails).collect()
}

fn same_veth(figures: &Figures) -> Vec<Verdict> {
    let cells = || figures.cells().into_iter().filter(|cell| VETH_DEPTHS.contains(&cell.depth));
    let against = |them: Contender, bound: Bound| {
        cells().filter_map(move |cell| {
            let contenders = [Contender::Veth, them];
            let figure = figures
                .compare(contenders, cell, |[us, them]| us.undisturbed_iops() / them.undisturbed_iops())?;
            let what = format!("{cell}: veth to {them}");
            Some(Verdict::new(4, what, figure, bound, undisturbed(figures, contenders, cell)?))
        })
    };
    let link = against(Contender::VethLink, Bound::AtLeast(0.95));
    link.chain(against(Contender::Vblade, Bound::Above(1.0))).collect()
}

fn against_nvmf(figures: &Figures) -> Vec<Verdict> {
    let contenders = [Contender::Memif, Contender::Nvmf];
    let (at_1, at_32) = (|cell: &Cell| cell.depth == 1, |cell: &Cell| cell.depth == 32);
    let rate = NVMF_CELLS.into_iter().filter(at_32).filter_map(|cell| {
        let figure = figures.compare(contenders, cell, |[us, them]| us.iops / them.iops)?;
        let what = format!("{cell}: memif to nvmf, rate");
        Some(Verdict::new(5, what, figure, Bound::AtLeast(2.0), rates(figures, contenders, cell)?))
    });
    let time = NVMF_CELLS.into_iter().filter(at_1).filter_map(|cell| {
        let times = [("mean", mean as Time); 2];
        let (figure, from) = timed(figures, contenders, times, cell, |[us, them]| us / them)?;
        let what = format!("{cell}: memif to nvmf, mean latency");
        Some(Verdict::new(5, what, figure, Bound::AtMost(1.0 / 3.0), from))
    });
    rate.chain(time).collect()
}

fn growth(scaling: &[ScalingSeries], less: More, more: More, judged: bool) -> Option<Verdict> {
    let Cost { figure, best } = cost(scaling, less, more)?;
    let [small, large] = best.map(|best| thousands(best.undisturbed_iops()));
    let from = format!("{large} IOPS, {small} IOPS with {}", less.title());
    let what = format!("{} read: cost of a request, {}", Size::SECTOR, more.title());
    let bound = if judged { Bound::AtMost(1.05) } else { Bound::Free };
    Some(Verdict::new(6, what, figure, bound, from))
}

/// A latency of a sample, where it is told.
type Time = fn(&Sample) -> Option<f64>;

fn p50(sample: &Sample) -> Option<f64> {
    sample.latency_us.p50
}

#[expect(clippy::unnecessary_wraps, reason = "as the others, which are not always told")]
fn mean(sample: &Sample) -> Option<f64> {
    Some(sample.latency_us.mean)
}

/// A figure of one latency of each contender, and what its best came from. `None` if one does not tell.
fn timed<const N: usize>(
    figures: &Figures,
    contenders: [Contender; N],
    times: [(&str, Time); N],
    cell: Cell,
    figure: impl Fn([f64; N]) -> f64,
) -> Option<(Comparison, String)> {
    let all = |samples: [&Sample; N]| std::array::from_fn(|of| times[of].1(samples[of]).unwrap_or(f64::NAN));
    let compared = figures.compare(contenders, cell, |samples| figure(all(samples)))?;
    let best = all(figures.bests(contenders, cell)?.each_ref());
    let parts = contenders.iter().zip(times).zip(best);
    let parts = parts.map(|((who, (which, _)), time): (_, f64)| format!("{who} {which} {time:.2}"));
    Some((compared, parts.collect::<Vec<_>>().join(", ") + " us"))
}

/// The best rates of these contenders.
fn rates<const N: usize>(figures: &Figures, contenders: [Contender; N], cell: Cell) -> Option<String> {
    told(figures, contenders, cell, |best| best.iops)
}

fn undisturbed<const N: usize>(figures: &Figures, contenders: [Contender; N], cell: Cell) -> Option<String> {
    told(figures, contenders, cell, Sample::undisturbed_iops)
}

fn told<const N: usize>(
    figures: &Figures,
    contenders: [Contender; N],
    cell: Cell,
    iops: impl Fn(&Sample) -> f64,
) -> Option<String> {
    let best = figures.bests(contenders, cell)?;
    let rates = contenders.iter().zip(&best).map(|(who, best)| format!("{who} {}", thousands(iops(best))));
    Some(rates.collect::<Vec<_>>().join(", ") + " IOPS")
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
