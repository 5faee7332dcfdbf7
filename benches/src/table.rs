//! The figures side by side: median over the rounds, spread, and the ratio to the first contender.

use crate::matrix::{Figures, Operation, Runs};
use aoe_initiator::load::LoadReport;
use serde::Serialize;

/// A row: one contender in one cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Bytes a request moves.
    pub bytes: u32,
    /// Reads or writes.
    pub operation: Operation,
    /// Requests outstanding.
    pub depth: u16,
    /// The contender.
    pub contender: &'static str,
    /// Requests a second, median over the rounds.
    pub iops: f64,
    /// Highest less lowest round, percent of the median.
    pub spread_percent: f64,
    /// Median over the rounds of half of the requests' latency bound, microseconds.
    pub p50_us: f64,
    /// The same for 99 in 100 requests.
    pub p99_us: f64,
    /// Copies sent after the first, all rounds together.
    pub retransmits: u64,
    /// Median share of its time the initiator was at work.
    pub initiator_busy_percent: f64,
    /// Rate relative to the first contender's in the same cell.
    pub ratio: f64,
}

/// The middle value; of an even number, the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

/// Makes the rows, in the order of the figures.
pub fn rows(figures: &Figures) -> Vec<Row> {
    let mut reference = f64::NAN;
    let mut cell = None;
    figures
        .runs
        .iter()
        .map(|Runs { contender, cell: conditions, rounds }| {
            let of = |figure: fn(&LoadReport) -> f64| rounds.iter().map(figure).collect::<Vec<_>>();
            let rates = of(|report| report.iops);
            let iops = median(rates.clone());
            if cell.replace(*conditions) != Some(*conditions) {
                reference = iops;
            }
            let highest = rates.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let lowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
            Row {
                bytes: conditions.bytes,
                operation: conditions.operation,
                depth: conditions.depth,
                contender,
                iops,
                spread_percent: 100.0 * (highest - lowest) / iops,
                p50_us: median(of(|report| report.latency_us.p50)),
                p99_us: median(of(|report| report.latency_us.p99)),
                retransmits: rounds.iter().map(|report| report.retransmits).sum(),
                initiator_busy_percent: median(of(|report| report.initiator_busy_percent)),
                ratio: iops / reference,
            }
        })
        .collect()
}

const HEAD: [&str; 11] = [
    "bytes",
    "op",
    "QD",
    "contender",
    "IOPS",
    "spread",
    "p50 us",
    "p99 us",
    "retransmits",
    "initiator",
    "ratio",
];
/// Columns of text; the others are numbers and end where their head ends.
const LEFT: [usize; 2] = [1, 3];

/// The rows as aligned text, an empty line between cells.
pub fn render(rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        [
            row.bytes.to_string(),
            match row.operation {
                Operation::Read => "read".to_owned(),
                Operation::Write => "write".to_owned(),
            },
            row.depth.to_string(),
            row.contender.to_owned(),
            thousands(row.iops),
            format!("{:.1} %", row.spread_percent),
            format!("{:.1}", row.p50_us),
            format!("{:.1}", row.p99_us),
            row.retransmits.to_string(),
            format!("{:.0} %", row.initiator_busy_percent),
            format!("{:.2}", row.ratio),
        ]
    }));
    let widths: [usize; HEAD.len()] =
        std::array::from_fn(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0));
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let same_cell = index > 1 && lines[index - 1][..3] == line[..3];
        if index > 0 && !same_cell {
            text.push('\n');
        }
        for (column, (field, width)) in line.iter().zip(widths).enumerate() {
            let separator = if column == 0 { "" } else { "  " };
            text.push_str(separator);
            if LEFT.contains(&column) {
                text.push_str(&format!("{field:<width$}"));
            } else {
                text.push_str(&format!("{field:>width$}"));
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// A whole number with a space between thousands.
fn thousands(value: f64) -> String {
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
mod tests {
    use super::*;
    use crate::matrix::Cell;
    use aoe_initiator::load::Latency;

    fn report(iops: f64, p50: f64, retransmits: u64) -> LoadReport {
        LoadReport {
            workload: "randread",
            bytes: 512,
            depth: 1,
            seconds: 1.0,
            reads: 0,
            writes: 0,
            iops,
            mb_per_second: 0.0,
            latency_us: Latency { p50, p99: 2.0 * p50, ..Latency::default() },
            initiator_busy_percent: 50.0,
            retransmits,
            unanswered: 0,
            duplicate_replies: 0,
            unexpected_replies: 0,
            ata_failures: 0,
            aoe_errors: 0,
            short_replies: 0,
            send_refused: 0,
            verified: None,
        }
    }

    fn figures() -> Figures {
        let cell = |depth| Cell { bytes: 512, operation: Operation::Read, depth };
        let runs = |contender, depth, rates: [f64; 3]| Runs {
            contender,
            cell: cell(depth),
            rounds: rates.map(|iops| report(iops, 1e6 / iops, 1)).to_vec(),
        };
        Figures {
            commands: Vec::new(),
            runs: vec![
                runs("vblade", 1, [100.0, 90.0, 110.0]),
                runs("kvblade-dpdk", 1, [410.0, 400.0, 390.0]),
                runs("vblade", 32, [1000.0, 1000.0, 1000.0]),
                runs("kvblade-dpdk", 32, [500.0, 500.0, 500.0]),
            ],
        }
    }

    #[test]
    fn each_cell_is_compared_with_its_own_first_contender() {
        let rows = rows(&figures());
        let ratios: Vec<f64> = rows.iter().map(|row| row.ratio).collect();
        assert_eq!(ratios, [1.0, 4.0, 1.0, 0.5]);
        assert_eq!((rows[0].iops, rows[0].spread_percent, rows[0].retransmits), (100.0, 20.0, 3));
        assert_eq!((rows[1].p50_us, rows[1].p99_us), (2500.0, 5000.0));
    }

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn numbers_end_in_one_column_and_cells_are_apart() {
        let text = render(&rows(&figures()));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + 2 + 4);
        assert!(lines[1].is_empty() && lines[4].is_empty());
        assert!(
            lines.iter().filter(|line| !line.is_empty()).all(|line| line.len() == lines[0].len()),
            "{text}"
        );
        assert!(lines[5].contains("1 000") && lines[6].ends_with("0.50"), "{text}");
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([999.0, 1000.0, 259_999.6].map(thousands), ["999", "1 000", "260 000"]);
    }
}
