//! The flame graph of a profile: each function is as wide as its time, on the one that called it, in the colour of its
//! step.

use super::step::Step;
use super::{Share, Stacks, shares};
use anyhow::{Context, Result};
use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{self, Options};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Pixels across.
const WIDTH: usize = 1600;
/// Pixels across of a letter of the legend, of 10 pixels.
const LETTER: usize = 6;
/// Pixels across of a colour in the legend.
const SQUARE: usize = 10;

/// Writes it as SVG.
///
/// # Errors
/// If there are no stacks, or the file cannot be written.
pub fn write(path: &Path, stacks: &Stacks, title: &str, subtitle: &str) -> Result<()> {
    let drawn = draw(stacks, title, subtitle)?;
    fs::write(path, drawn).with_context(|| format!("writing {}", path.display()))
}

fn draw(stacks: &Stacks, title: &str, subtitle: &str) -> Result<String> {
    let mut palette = PaletteMap::default();
    for function in stacks.keys().flat_map(|stack| stack.split(';')) {
        palette.insert(function, colour(Step::of_function(function)));
    }
    let mut options = Options::default();
    title.clone_into(&mut options.title);
    options.subtitle = Some(subtitle.to_owned());
    options.image_width = Some(WIDTH);
    options.deterministic = true;
    // The picture is kept in the tree, where somebody else's script has no place.
    options.no_javascript = true;
    options.bgcolors = Some(BackgroundColor::Flat(Color { r: 255, g: 255, b: 255 }));
    options.palette_map = Some(&mut palette);
    let lines: Vec<String> = stacks.iter().map(|(stack, count)| format!("{stack} {count}")).collect();
    let mut drawn = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut drawn)
        .context("drawing the flame graph")?;
    let mut drawn = String::from_utf8(drawn)?;
    let end = drawn.rfind("</svg>").context("the flame graph is no SVG")?;
    let height = height(&drawn).context("the flame graph has no height")?;
    drawn.insert_str(end, &legend(&shares(stacks, 0.0), height));
    Ok(drawn)
}

/// The height an SVG says it has, in pixels.
fn height(svg: &str) -> Option<usize> {
    svg.split_once(" height=\"")?.1.split_once('"')?.0.parse().ok()
}

/// The steps with their colours and shares, at the right of the bottom line, whose left shows the function under the
/// mouse.
fn legend(shares: &[Share], height: usize) -> String {
    let labels: Vec<String> =
        shares.iter().map(|Share { step, percent, .. }| format!("{step} {percent:.1} %")).collect();
    let room = |label: &String| label.len() * LETTER + 2 * SQUARE + 6;
    let (mut x, y) = (WIDTH - labels.iter().map(room).sum::<usize>(), height - 22);
    let mut text = String::new();
    for (Share { step, .. }, label) in shares.iter().zip(&labels) {
        let Color { r, g, b } = colour(Some(*step));
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{SQUARE}\" height=\"{SQUARE}\" fill=\"rgb({r},{g},{b})\"/><text \
             x=\"{}\" y=\"{}\" style=\"font-size:10px\">{label}</text>",
            x + SQUARE + 3,
            y + SQUARE - 1
        );
        x += room(label);
    }
    text
}

/// Light enough for black letters.
const fn colour(step: Option<Step>) -> Color {
    let (r, g, b) = match step {
        Some(Step::Rx) => (128, 190, 240),
        Some(Step::Tx) => (110, 160, 235),
        Some(Step::Foresee) => (190, 225, 120),
        Some(Step::Parse) => (250, 220, 110),
        Some(Step::Admit) => (245, 190, 90),
        Some(Step::Submit) => (240, 155, 85),
        Some(Step::Bdev) => (150, 210, 150),
        Some(Step::Copy) => (100, 190, 120),
        Some(Step::Complete) => (235, 150, 150),
        Some(Step::Reply) => (240, 175, 205),
        Some(Step::Linux) => (160, 160, 215),
        Some(Step::Turn) => (205, 180, 235),
        Some(Step::Reactor) => (205, 205, 205),
        Some(Step::Other) => (190, 170, 150),
        None => (232, 232, 222),
    };
    Color { r, g, b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_is_drawn_with_its_share() {
        let stacks: Stacks =
            [("reactor_run;spdk_bdev_readv_blocks".to_owned(), 1), ("reactor_run".to_owned(), 3)].into();
        let svg = draw(&stacks, "the title", "under it").unwrap();
        for text in [
            "<svg",
            "the title",
            "under it",
            "reactor_run (4 samples, 100.00%)",
            "spdk_bdev_readv_blocks (1 samples, 25.00%)",
            ">bdev 25.0 %<",
            ">reactor 75.0 %<",
        ] {
            assert!(svg.contains(text), "no '{text}' in {svg}");
        }
        assert!(draw(&Stacks::new(), "", "").is_err());
    }
}
