//! Tables: sorted, filtered, and as plain text.

use std::cmp::Ordering;
use std::fmt::Write;

/// The side at which a column's texts begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// A column: its head, and its side.
pub type Column = (&'static str, Side);

/// What a value says of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// All is well.
    Good,
    /// Worth a look.
    Warning,
    /// Something fails.
    Bad,
    /// Not known, or without meaning.
    Faint,
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    text: String,
    /// By which it is sorted, unless by its text.
    number: Option<f64>,
    tone: Tone,
}

impl Cell {
    /// A word.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), number: None, tone: Tone::Plain }
    }

    /// A number, as `text` shows it.
    #[must_use]
    pub fn number(number: f64, text: String) -> Self {
        Self { text, number: Some(number), tone: Tone::Plain }
    }

    /// A number that is not known.
    #[must_use]
    pub fn unknown() -> Self {
        Self { text: "-".into(), number: Some(-1.0), tone: Tone::Faint }
    }

    /// A number in full.
    #[must_use]
    pub fn count(count: u64) -> Self {
        Self::number(real(count), count.to_string())
    }

    /// The same with another tone.
    #[must_use]
    pub fn with_tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    /// As it is shown.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.text
    }

    /// Its tone.
    #[must_use]
    pub const fn tone(&self) -> Tone {
        self.tone
    }

    fn cmp(&self, other: &Self) -> Ordering {
        match (self.number, other.number) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            _ => self.text.cmp(&other.text),
        }
    }
}

/// Rows under columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    columns: &'static [Column],
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table. Each row has a cell for each column.
    #[must_use]
    pub const fn new(columns: &'static [Column], rows: Vec<Vec<Cell>>) -> Self {
        Self { columns, rows }
    }

    /// The columns.
    #[must_use]
    pub const fn columns(&self) -> &'static [Column] {
        self.columns
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }

    /// Sorts the rows by a column; rows that agree in it stay as they are.
    pub fn sort(&mut self, column: usize, descending: bool) {
        self.rows.sort_by(|one, other| {
            let order = one.get(column).zip(other.get(column)).map(|(one, other)| one.cmp(other));
            let order = order.unwrap_or(Ordering::Equal);
            if descending { order.reverse() } else { order }
        });
    }

    /// Keeps the rows in which a cell holds `part`, in whatever case.
    pub fn filter(&mut self, part: &str) {
        if part.is_empty() {
            return;
        }
        let part = part.to_lowercase();
        self.rows.retain(|row| row.iter().any(|cell| cell.text.to_lowercase().contains(&part)));
    }

    /// Width of each column, in characters.
    #[must_use]
    pub fn widths(&self) -> Vec<usize> {
        let width = |(index, column): (usize, &Column)| {
            let texts = self.rows.iter().filter_map(|row| row.get(index)).map(Cell::shown);
            texts.chain([column.0]).map(|text| text.chars().count()).max().unwrap_or_default()
        };
        self.columns.iter().enumerate().map(width).collect()
    }

    /// As lines of text, the first of them with the heads.
    #[must_use]
    pub fn to_text(&self) -> String {
        let widths = self.widths();
        let mut text = String::new();
        let heads = self.columns.iter().map(|(head, _)| *head).collect();
        for row in
            [heads].into_iter().chain(self.rows.iter().map(|row| row.iter().map(Cell::shown).collect()))
        {
            let row: Vec<&str> = row;
            let mut line = String::new();
            for ((cell, (_, side)), width) in row.into_iter().zip(self.columns).zip(&widths) {
                let gap = if line.is_empty() { "" } else { "  " };
                line.push_str(gap);
                line.push_str(&aligned(cell, *side, *width));
            }
            writeln!(text, "{}", line.trim_end()).expect("a String takes any text");
        }
        text
    }
}

/// A text in a field of that width.
#[must_use]
pub fn aligned(text: &str, side: Side, width: usize) -> String {
    match side {
        Side::Left => format!("{text:<width$}"),
        Side::Right => format!("{text:>width$}"),
    }
}

/// As a number for people: it may lose its last digits.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a number that people read")]
pub const fn real(number: u64) -> f64 {
    number as f64
}

/// A number of at most six characters: 12, 9999, 12.3k, 1.25M.
#[must_use]
pub fn short(number: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let unit = UNITS.into_iter().find(|(size, _)| number >= 10.0 * size || (number >= *size && *size > 1e3));
    let Some((size, unit)) = unit else {
        return if number < 10.0 && number.fract() > 0.05 {
            format!("{number:.1}")
        } else {
            format!("{number:.0}")
        };
    };
    let number = number / size;
    let places = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
    format!("{number:.places$}{unit}")
}

/// A time of so many nanoseconds: 85us, 1.25ms, 2.1s.
#[must_use]
pub fn time(nanoseconds: u64) -> String {
    let micros = real(nanoseconds) / 1e3;
    let (number, unit) = match micros {
        micros if micros < 1e3 => (micros, "us"),
        micros if micros < 1e6 => (micros / 1e3, "ms"),
        micros => (micros / 1e6, "s"),
    };
    let places = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
    format!("{number:.places$}{unit}")
}

/// A time in the past, in its two largest units.
#[must_use]
pub fn ago(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 2] = [("NAME", Side::Left), ("READS", Side::Right)];

    fn table() -> Table {
        let row = |name: &str, reads: u64| vec![Cell::text(name), Cell::count(reads)];
        let unknown = vec![Cell::text("malloc3"), Cell::unknown()];
        Table::new(&COLUMNS, vec![row("disk1", 9), row("Disk2", 100), unknown])
    }

    fn names(table: &Table) -> Vec<&str> {
        table.rows().iter().map(|row| row[0].shown()).collect()
    }

    #[test]
    fn columns_are_as_wide_as_their_longest_text() {
        assert_eq!(table().to_text(), "NAME     READS\ndisk1        9\nDisk2      100\nmalloc3      -\n");
        assert_eq!(Table::new(&COLUMNS, Vec::new()).to_text(), "NAME  READS\n");
    }

    #[test]
    fn rows_are_sorted_by_number_or_word_and_unknown_numbers_are_the_least() {
        let mut table = table();
        table.sort(1, true);
        assert_eq!(names(&table), ["Disk2", "disk1", "malloc3"]);
        table.sort(0, false);
        assert_eq!(names(&table), ["Disk2", "disk1", "malloc3"]);
        table.sort(7, false);
        assert_eq!(names(&table).len(), 3);
    }

    #[test]
    fn a_filter_keeps_rows_that_hold_it_in_any_case() {
        let mut table = table();
        table.filter("");
        assert_eq!(names(&table).len(), 3);
        table.filter("DISK");
        assert_eq!(names(&table), ["disk1", "Disk2"]);
        table.filter("100");
        assert_eq!(names(&table), ["Disk2"]);
    }

    #[test]
    fn numbers_and_times_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (0.4, "0.4"),
            (7.0, "7"),
            (9999.0, "9999"),
            (12_345.0, "12.3k"),
            (123_456.0, "123k"),
            (1_250_000.0, "1.25M"),
            (98_765_432.0, "98.8M"),
            (2.5e12, "2.50T"),
        ] {
            assert_eq!(short(number), text);
        }
        for (nanoseconds, text) in [
            (850, "0.85us"),
            (85_000, "85.0us"),
            (1_250_000, "1.25ms"),
            (2_100_000_000, "2.10s"),
            (0, "0.00us"),
        ] {
            assert_eq!(time(nanoseconds), text);
        }
        assert_eq!([59, 61, 3600, 90_061].map(ago), ["59s", "1m01s", "1h00m", "1d01h"]);
    }
}
