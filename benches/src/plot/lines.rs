//! Panels of lines over the depth, both axes logarithmic: contenders are a factor of ten apart.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// A contender.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) colour: RGBColor,
    /// Depth and figure.
    pub(super) points: Vec<(u16, f64)>,
}

/// A panel.
pub(super) struct LineChart {
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
}

const PANEL: (u32, u32) = (430, 420);
const LEGEND_HEIGHT: u32 = 40;

/// The panels side by side with the same axes, and one legend below.
pub(super) fn draw(charts: &[LineChart], y_title: &str, x_title: &str) -> Result<Option<String>> {
    let figures = || charts.iter().flat_map(|chart| &chart.lines).flat_map(|line| &line.points);
    let Some(lowest) = figures().map(|point| point.1).reduce(f64::min) else { return Ok(None) };
    let highest = figures().map(|point| point.1).fold(lowest, f64::max);
    let depths = figures().map(|point| f64::from(point.0));
    let (first, last) = (depths.clone().fold(f64::INFINITY, f64::min), depths.fold(1.0, f64::max));
    let panels = u32::try_from(charts.len())?;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (PANEL.0 * panels, PANEL.1 + LEGEND_HEIGHT))
            .into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let (upper, lower) = root.split_vertically(PANEL.1);
        for (area, chart) in upper.split_evenly((1, charts.len())).iter().zip(charts) {
            // Room beside the first and the last depth, and whole decades' labels.
            let x = (first / 1.2..last * 1.2).log_scale();
            let y = (lowest / 1.5..highest * 1.5).log_scale();
            let mut context = ChartBuilder::on(area)
                .caption(&chart.title, ("sans-serif", 20))
                .margin(8)
                .margin_right(16)
                .x_label_area_size(42)
                .y_label_area_size(62)
                .build_cartesian_2d(
                    x.with_key_points(depth_labels(first, last)),
                    y.with_key_points(decade_labels(lowest, highest)),
                )
                .map_err(failed)?;
            context
                .configure_mesh()
                .x_desc(x_title)
                .y_desc(y_title)
                .axis_desc_style(("sans-serif", 16))
                .label_style(("sans-serif", 14))
                .x_label_formatter(&|depth| format!("{depth:.0}"))
                .y_label_formatter(&|figure| short(*figure))
                .light_line_style(TRANSPARENT)
                .bold_line_style(RGBColor(225, 225, 225))
                .draw()
                .map_err(failed)?;
            for line in &chart.lines {
                let points: Vec<(f64, f64)> =
                    line.points.iter().map(|&(depth, figure)| (f64::from(depth), figure)).collect();
                context
                    .draw_series(LineSeries::new(points.iter().copied(), line.colour.stroke_width(2)))
                    .map_err(failed)?;
                context
                    .draw_series(points.iter().map(|&point| Circle::new(point, 3, line.colour.filled())))
                    .map_err(failed)?;
            }
        }
        legend(&lower, charts)?;
        root.present().map_err(failed)?;
    }
    Ok(Some(svg))
}

/// Every contender of any panel, once.
fn legend(area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>, charts: &[LineChart]) -> Result<()> {
    let mut entries: Vec<(&str, RGBColor)> = Vec::new();
    for line in charts.iter().flat_map(|chart| &chart.lines) {
        if entries.iter().all(|entry| entry.0 != line.name) {
            entries.push((line.name, line.colour));
        }
    }
    let mut left = 60;
    for (name, colour) in entries {
        let stroke = colour.stroke_width(3);
        area.draw(&PathElement::new(vec![(left, 16), (left + 24, 16)], stroke)).map_err(failed)?;
        area.draw(&Text::new(name.to_owned(), (left + 30, 9), ("sans-serif", 16))).map_err(failed)?;
        left += 54 + 7 * i32::try_from(name.len())?;
    }
    Ok(())
}

/// The powers of two between the ends: what depths are.
fn depth_labels(first: f64, last: f64) -> Vec<f64> {
    (0..=8).map(|power| f64::from(1 << power)).filter(|depth| (first..=last).contains(depth)).collect()
}

/// 1, 2 and 5 of each decade.
fn decade_labels(lowest: f64, highest: f64) -> Vec<f64> {
    let range = lowest / 1.5..=highest * 1.5;
    let labels = (0..9).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
    labels.filter(|label| range.contains(label)).collect()
}

/// A rate with its unit.
fn short(rate: f64) -> String {
    match rate {
        rate if rate >= 1e6 => format!("{} M", rate / 1e6),
        rate if rate >= 1e3 => format!("{} k", rate / 1e3),
        rate => format!("{rate}"),
    }
}

pub(super) fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("drawing: {error}")
}
