//! The figures side by side in a terminal: the median over the rounds, and the spread; the targets with the best, too.

use crate::cell::Cell;
use crate::sample::{Sample, Series, Spread};
use crate::verdict::{Verdict, thousands};
use crate::weather::Interruptions;

const HEAD: [&str; 12] = [
    "size",
    "op",
    "QD",
    "contender",
    "IOPS",
    "min",
    "max",
    "p50 us",
    "p99 us",
    "p99.9 us",
    "resent",
    "initiator",
];
/// Columns of text; the others are numbers and end where their head ends.
const LEFT: [usize; 3] = [0, 1, 3];

/// The series as aligned text, an empty line between cells.
pub fn render(series: &[Series]) -> String {
    let mut series: Vec<&Series> = series.iter().collect();
    series.sort_by_key(|series| (series.cell, series.contender));
    let rows: Vec<(Cell, [String; HEAD.len()])> =
        series.iter().map(|series| (series.cell, row(series))).collect();
    let heads = HEAD.map(str::to_owned);
    let widths: [usize; HEAD.len()] = std::array::from_fn(|column| {
        let fields = rows.iter().map(|(_, row)| &row[column]).chain([&heads[column]]);
        fields.map(String::len).max().unwrap_or(0)
    });
    let mut text = aligned(&heads, &widths);
    let mut before = None;
    for (cell, row) in &rows {
        if before.replace(cell) != Some(cell) {
            text.push('\n');
        }
        text.push_str(&aligned(row, &widths));
    }
    text
}

fn row(series: &Series) -> [String; HEAD.len()] {
    let of = |figure: &dyn Fn(&Sample) -> f64| Spread::of(series.rounds.iter().map(figure));
    let micros = |figure: &dyn Fn(&Sample) -> Option<f64>| {
        of(&|sample| figure(sample).unwrap_or(f64::NAN))
            .map_or_else(|| "-".to_owned(), |spread| format!("{:.1}", spread.median))
    };
    let rate = of(&|sample| sample.iops);
    let rate = |part: fn(Spread) -> f64| rate.map_or_else(|| "-".to_owned(), |rate| thousands(part(rate)));
    let busy = of(&|sample| sample.initiator_busy_percent.unwrap_or(f64::NAN));
    [
        series.cell.size.to_string(),
        series.cell.operation.to_string(),
        series.cell.depth.to_string(),
        series.contender.to_string(),
        rate(|rate| rate.median),
        rate(|rate| rate.min),
        rate(|rate| rate.max),
        micros(&|sample| sample.latency_us.p50),
        micros(&|sample| sample.latency_us.p99),
        micros(&|sample| sample.latency_us.p99_9),
        series.rounds.iter().map(|sample| sample.retransmits).sum::<u64>().to_string(),
        busy.map_or_else(|| "-".to_owned(), |busy| format!("{:.0} %", busy.median)),
    ]
}

fn aligned(fields: &[String; HEAD.len()], widths: &[usize; HEAD.len()]) -> String {
    let mut text = String::new();
    for (column, (field, width)) in fields.iter().zip(widths).enumerate() {
        text.push_str(if column == 0 { "" } else { "  " });
        text.push_str(&if LEFT.contains(&column) {
            format!("{field:<width$}")
        } else {
            format!("{field:>width$}")
        });
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// The targets, a line each, with what the best came from on the next.
pub fn render_verdicts(verdicts: &[Verdict]) -> String {
    let width = verdicts.iter().map(|verdict| verdict.what.len()).max().unwrap_or(0);
    let line = |verdict: &Verdict| {
        let Verdict { target, what, best, rounds, bound, pass, from } = verdict;
        let word = match pass {
            Some(true) => "pass",
            Some(false) => "FAIL",
            None => "    ",
        };
        format!(
            "{word}  {target}  {what:<width$}  best {best:>5.2}   rounds {:>5.2} ({:.2} to {:.2})  {bound}\n         {from}\n",
            rounds.median, rounds.min, rounds.max
        )
    };
    verdicts.iter().map(line).collect()
}

/// How often each core was interrupted, in a line.
pub fn interruptions(cores: &[Interruptions]) -> String {
    let core = |core: &Interruptions| {
        let Interruptions { cpu, over_1_us, over_5_us, over_20_us, over_50_us } = core;
        format!("core {cpu} {over_1_us:.0}, {over_5_us:.0}, {over_20_us:.0}, {over_50_us:.0}")
    };
    let cores: Vec<String> = cores.iter().map(core).collect();
    format!("interruptions a second of more than 1, 5, 20, 50 us: {}", cores.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{LIMIT_CELLS, Operation, Size};
    use crate::contender::Contender;
    use crate::sample::Figures;
    use crate::verdict::verdicts;

    fn figures() -> Figures {
        let mut figures = Figures::default();
        for cell in [LIMIT_CELLS[0], Cell::new(Size::SECTOR, Operation::Mixed, 1)] {
            for (contender, iops) in
                [(Contender::Memif, 900.0), (Contender::MemifLink, 2000.0), (Contender::Bdev, 2000.0)]
            {
                // Each is fast in one round, the bdev in the other one.
                let (first, second) =
                    if contender == Contender::Bdev { (iops * 1.5, iops) } else { (iops, iops * 1.5) };
                figures.push(contender, cell, Sample { iops: first, ..Sample::default() });
                figures.push(contender, cell, Sample { iops: second, ..Sample::default() });
            }
        }
        figures
    }

    #[test]
    fn cells_are_apart_and_columns_end_together() {
        let text = render(figures().series());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + 2 * 4, "{text}");
        assert!(lines[1].is_empty() && lines[5].is_empty(), "{text}");
        let full = lines.iter().filter(|line| !line.is_empty());
        assert!(full.clone().all(|line| line.len() >= lines[0].len() - "tor".len()), "{text}");
        assert!(lines[2].starts_with("512 B  70/30   1  memif-link  2 500  2 000  3 000"), "{text}");
    }

    #[test]
    fn a_verdict_shows_word_best_rounds_bound_and_source() {
        let text = render_verdicts(&verdicts(&figures(), &[]));
        // Of the best 1,350 to 1,500; in the rounds, 900 to 1,200 and 1,350 to 1,200.
        let expected = "pass  1  4 KiB read QD 64: memif of its serial limit  best  0.90   rounds  0.94 (0.75 to 1.12)  \
                        >= 0.90\n         memif 1 350, memif-link 3 000, bdev 3 000 IOPS\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn interruptions_are_a_line_with_both_cores() {
        let first =
            Interruptions { cpu: 0, over_1_us: 900.4, over_5_us: 450.0, over_20_us: 350.0, over_50_us: 3.0 };
        let second = Interruptions { cpu: 1, ..Interruptions::default() };
        assert_eq!(
            interruptions(&[first, second]),
            "interruptions a second of more than 1, 5, 20, 50 us: core 0 900, 450, 350, 3; core 1 0, 0, 0, 0"
        );
    }
}
