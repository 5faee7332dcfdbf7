//! The figures as SVG: rate by depth, latency at depth 1, and the serial limit. Everything is the best of the rounds, by
//! which the targets are judged.

mod bars;
mod lines;

use crate::cell::{Cell, LIMIT_CELLS, Operation, Size};
use crate::contender::Contender;
use crate::sample::{Figures, Sample};
use crate::verdict::serial_limit;
use anyhow::{Context, Result};
use bars::{Bar, BarChart, Group};
use lines::{Line, LineChart};
use plotters::style::RGBColor;
use std::fs;
use std::path::{Path, PathBuf};

/// Writes every plot whose figures there are. Returns their paths.
///
/// # Errors
/// If a file cannot be written.
pub fn write_all(directory: &Path, figures: &Figures) -> Result<Vec<PathBuf>> {
    let mut plots: Vec<(String, Option<String>)> = Vec::new();
    let mut sizes: Vec<Size> = figures.cells().into_iter().map(|cell| cell.size).collect();
    sizes.dedup();
    for &size in &sizes {
        plots.push((format!("iops-{}.svg", size.bytes()), rate_by_depth(figures, size)?));
    }
    plots.push(("latency.svg".to_owned(), latency(figures, &sizes)?));
    plots.push(("limits.svg".to_owned(), limits(figures)?));
    let mut written = Vec::new();
    for (name, svg) in plots {
        let Some(svg) = svg else { continue };
        let path = directory.join(name);
        fs::write(&path, svg).with_context(|| format!("writing {}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

/// A colour for each, told apart by colour-blind readers too; the two links are grey.
const fn colour(contender: Contender) -> RGBColor {
    match contender {
        Contender::MemifLink => RGBColor(90, 90, 90),
        Contender::VethLink => RGBColor(160, 160, 160),
        Contender::Bdev => RGBColor(204, 121, 167),
        Contender::Memif => RGBColor(0, 114, 178),
        Contender::Veth => RGBColor(86, 180, 233),
        Contender::Vblade => RGBColor(213, 94, 0),
        Contender::Nvmf => RGBColor(0, 158, 115),
    }
}

fn best(figures: &Figures, who: Contender, cell: Cell, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
    let [best] = figures.bests([who], cell)?;
    Some(figure(&best)).filter(|value| !value.is_nan())
}

/// Requests a second over the depth, a panel for each operation and a line for each contender.
fn rate_by_depth(figures: &Figures, size: Size) -> Result<Option<String>> {
    let cells = figures.cells();
    let mut charts = Vec::new();
    for operation in [Operation::Read, Operation::Write, Operation::Mixed] {
        let of_chart: Vec<Cell> =
            cells.iter().copied().filter(|cell| (cell.size, cell.operation) == (size, operation)).collect();
        let line = |who| Line {
            name: Contender::label(who),
            colour: colour(who),
            points: of_chart
                .iter()
                .filter_map(|&cell| Some((cell.depth, best(figures, who, cell, |sample| sample.iops)?)))
                .collect(),
        };
        let mut lines: Vec<Line> = Contender::ALL.into_iter().map(line).collect();
        lines.retain(|line| !line.points.is_empty());
        if !lines.is_empty() {
            charts.push(LineChart { title: format!("{size} {operation}"), lines });
        }
    }
    lines::draw(&charts, "requests a second", "requests outstanding (QD)")
}

/// Percentiles of reads at depth 1, a panel for each size.
fn latency(figures: &Figures, sizes: &[Size]) -> Result<Option<String>> {
    type Percentile = (&'static str, fn(&Sample) -> f64);
    const PERCENTILES: [Percentile; 3] = [
        ("p50", |sample| sample.latency_us.p50.unwrap_or(sample.latency_us.mean)),
        ("p99", |sample| sample.latency_us.p99.unwrap_or(f64::NAN)),
        ("p99.9", |sample| sample.latency_us.p99_9.unwrap_or(f64::NAN)),
    ];
    let mut charts = Vec::new();
    for &size in sizes {
        let cell = Cell::new(size, Operation::Read, 1);
        let group = |who: Contender| Group {
            name: who.label().to_owned(),
            bars: PERCENTILES
                .into_iter()
                .zip([1.0, 0.6, 0.3])
                .filter_map(|((name, figure), strength)| {
                    let value = best(figures, who, cell, figure)?;
                    // bdevperf tells no percentiles.
                    let name = if who == Contender::Bdev { "mean" } else { name };
                    Some(Bar { label: format!("{name} {value:.1}"), value, colour: colour(who), strength })
                })
                .collect(),
        };
        let mut groups: Vec<Group> = Contender::ALL.into_iter().map(group).collect();
        groups.retain(|group| !group.bars.is_empty());
        if !groups.is_empty() {
            charts.push(BarChart { title: format!("{size} read, QD 1"), groups, logarithmic: true });
        }
    }
    bars::draw(&charts, "microseconds")
}

/// What a target states the serial limit of: both parts alone, the limit they make, and what there is.
fn limits(figures: &Figures) -> Result<Option<String>> {
    let mut groups = Vec::new();
    for cell in LIMIT_CELLS {
        let all = [Contender::Memif, Contender::MemifLink, Contender::Bdev];
        let Some([us, link, bdev]) = figures.bests(all, cell) else { continue };
        let limit = serial_limit(&link, &bdev);
        let us = us.iops;
        let mut bars = Vec::new();
        let parts = [("link", Contender::MemifLink, link.iops), ("bdev", Contender::Bdev, bdev.iops)];
        for (name, who, value) in parts {
            bars.push(Bar {
                label: format!("{name} {}", millions(value)),
                value,
                colour: colour(who),
                strength: 1.0,
            });
        }
        bars.push(Bar {
            label: format!("serial limit {}", millions(limit)),
            value: limit,
            colour: RGBColor(230, 159, 0),
            strength: 1.0,
        });
        bars.push(Bar {
            label: format!("kvblade-dpdk {}, {:.0} %", millions(us), 100.0 * us / limit),
            value: us,
            colour: colour(Contender::Memif),
            strength: 1.0,
        });
        groups.push(Group { name: cell.to_string(), bars });
    }
    if groups.is_empty() {
        return Ok(None);
    }
    let title = "memif: the link alone, the bdev alone, the limit they make, and kvblade-dpdk".to_owned();
    bars::draw(&[BarChart { title, groups, logarithmic: false }], "requests a second")
}

/// A rate with its unit.
fn millions(rate: f64) -> String {
    if rate >= 1e6 { format!("{:.2} M", rate / 1e6) } else { format!("{:.0} k", rate / 1e3) }
}

#[cfg(test)]
mod tests;
