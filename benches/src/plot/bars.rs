//! Panels of bars in groups, each with its figure written upright above it.

use super::lines::failed;
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A figure.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    pub(super) colour: RGBColor,
    /// Opacity, 0 to 1: bars of one contender differ by it.
    pub(super) strength: f64,
}

/// Bars side by side with a name below.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) bars: Vec<Bar>,
}

/// A panel.
pub(super) struct BarChart {
    pub(super) title: String,
    pub(super) groups: Vec<Group>,
    pub(super) logarithmic: bool,
}

const BAR: u32 = 30;
const GAP: u32 = 24;
const LEFT: i32 = 56;
const TOP: i32 = 40;
const PLOT: i32 = 340;
const BOTTOM: u32 = 36;
/// Above the highest bar, for its label.
const HEADROOM: i32 = 130;

/// The panels one above the other. The axis begins at 0, or, if logarithmic, at half of the lowest figure.
pub(super) fn draw(charts: &[BarChart], unit: &str) -> Result<Option<String>> {
    if charts.is_empty() {
        return Ok(None);
    }
    let width = charts.iter().map(width).max().unwrap_or(0);
    let height = TOP.unsigned_abs() + PLOT.unsigned_abs() + BOTTOM;
    let mut svg = String::new();
    {
        let size = (width, height * u32::try_from(charts.len())?);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        for (area, chart) in root.split_evenly((charts.len(), 1)).iter().zip(charts) {
            panel(area, chart, unit)?;
        }
        root.present().map_err(failed)?;
    }
    Ok(Some(svg))
}

fn width(chart: &BarChart) -> u32 {
    let groups = chart.groups.iter().map(group_width).sum::<u32>();
    let title = 8 * u32::try_from(chart.title.len()).unwrap_or(u32::MAX);
    LEFT.unsigned_abs() + GAP + groups.max(title)
}

fn group_width(group: &Group) -> u32 {
    let bars = BAR * u32::try_from(group.bars.len()).unwrap_or(u32::MAX);
    let name = 8 * u32::try_from(group.name.len()).unwrap_or(u32::MAX);
    GAP + bars.max(name)
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    chart: &BarChart,
    unit: &str,
) -> Result<()> {
    let values = || chart.groups.iter().flat_map(|group| &group.bars).map(|bar| bar.value);
    let highest = values().fold(f64::MIN_POSITIVE, f64::max);
    let lowest = values().fold(highest, f64::min);
    let floor = if chart.logarithmic { lowest / 2.0 } else { 0.0 };
    let base = TOP + PLOT;
    let top = |value: f64| {
        let share = if chart.logarithmic {
            (value / floor).log10() / (highest / floor).log10().max(f64::MIN_POSITIVE)
        } else {
            value / highest
        };
        base - pixels(share * f64::from(PLOT - HEADROOM))
    };
    let at = |horizontal, vertical| Pos::new(horizontal, vertical);
    let title = ("sans-serif", 20).into_font().color(&BLACK);
    area.draw(&Text::new(chart.title.clone(), (LEFT, 10), title)).map_err(failed)?;
    let small = ("sans-serif", 14).into_font().color(&RGBColor(80, 80, 80));
    let axis = if chart.logarithmic { format!("{unit}, logarithmic") } else { unit.to_owned() };
    let sideways = small.clone().transform(FontTransform::Rotate270).pos(at(HPos::Left, VPos::Top));
    area.draw(&Text::new(axis, (LEFT - 26, base), sideways)).map_err(failed)?;

    let mut left = LEFT + 8;
    for group in &chart.groups {
        let begin = left;
        for bar in &group.bars {
            let right = left + BAR.cast_signed() - 4;
            let fill = bar.colour.mix(bar.strength).filled();
            area.draw(&Rectangle::new([(left, top(bar.value)), (right, base)], fill)).map_err(failed)?;
            let upright = ("sans-serif", 14)
                .into_font()
                .transform(FontTransform::Rotate270)
                .color(&BLACK)
                .pos(at(HPos::Left, VPos::Center));
            let place = (i32::midpoint(left, right), top(bar.value) - 6);
            area.draw(&Text::new(bar.label.clone(), place, upright)).map_err(failed)?;
            left += BAR.cast_signed();
        }
        let name = ("sans-serif", 16).into_font().color(&BLACK).pos(at(HPos::Left, VPos::Top));
        area.draw(&Text::new(group.name.clone(), (begin, base + 6), name)).map_err(failed)?;
        left = begin + group_width(group).cast_signed();
    }
    let line = vec![(LEFT, base), (left - GAP.cast_signed(), base)];
    area.draw(&PathElement::new(line, BLACK.stroke_width(1))).map_err(failed)?;
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "a share of the panel's height")]
fn pixels(height: f64) -> i32 {
    height.clamp(0.0, f64::from(PLOT)).round() as i32
}
