//! What is printed and kept of a run: tables in Markdown, and every sample in JSON.

use crate::case::Case;
use crate::contender::Contender;
use crate::own_cost::{self, RingSample};
use crate::rounds::Row;
use crate::stats::Interval;
use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where and when a run was.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cpus: usize,
    kernel: String,
    revision: String,
    /// UTC, as ISO 8601.
    date: String,
    /// Load averages and runnable tasks, as Linux writes them: near 0 if the machine was the run's alone.
    load_before: String,
    load_after: String,
    command: String,
}

impl Machine {
    /// This one, before a run of this checkout.
    pub(crate) fn before(checkout: &Path) -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
        let model = read("/proc/cpuinfo")?;
        let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let command: Vec<String> = std::env::args().skip(1).map(|word| portable(&word)).collect();
        Ok(Self {
            cpu: model.map_or("an unknown CPU", |(_, model)| model.trim()).to_owned(),
            cpus: std::thread::available_parallelism()?.get(),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            revision: revision(checkout),
            date: printed("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
            load_before: read("/proc/loadavg")?.trim().to_owned(),
            load_after: String::new(),
            command: command.join(" "),
        })
    }

    /// The line above tables; notes the load after the run.
    pub(crate) fn line(&mut self, what: &str) -> Result<String> {
        self.load_after =
            fs::read_to_string("/proc/loadavg").context("reading /proc/loadavg")?.trim().to_owned();
        let Self { cpu, cpus, kernel, revision, date, load_before, load_after, command } = self;
        Ok(format!(
            "`scripts/bench {command}`: {cpu}, {cpus} CPUs, Linux {kernel}; revision {revision}, {date}; load before \
             {load_before}, after {load_after}; {what}.\n"
        ))
    }
}

/// A checkout's revision, with "-dirty" if it was changed; "unknown" outside of one.
pub(crate) fn revision(checkout: &Path) -> String {
    printed("git", &["-C", &checkout.display().to_string(), "describe", "--always", "--dirty", "--abbrev=12"])
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
    output.map_or_else(
        || "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// A command without the directories of its paths, which are this machine's affair.
pub(crate) fn portable(command: &str) -> String {
    let name = |word: &str| match Path::new(word).file_name() {
        Some(name) if word.starts_with('/') => name.to_string_lossy().into_owned(),
        _ => word.to_owned(),
    };
    command.split(' ').map(name).collect::<Vec<_>>().join(" ")
}

/// Writes a record, a line for each element of its lists: small enough to be kept in the tree.
pub(crate) fn write(path: &Path, record: &[(&str, Value)]) -> Result<()> {
    let entry = |(name, value): &(&str, Value)| {
        let text = match value {
            Value::Array(elements) => {
                let lines: Vec<String> = elements.iter().map(|element| format!("\n    {element}")).collect();
                format!("[{}\n  ]", lines.join(","))
            }
            other => other.to_string(),
        };
        format!("  \"{name}\": {text}")
    };
    let text = format!("{{\n{}\n}}\n", record.iter().map(entry).collect::<Vec<_>>().join(",\n"));
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

/// A rate: the median with its unit, and the lowest and highest in the same unit.
pub(crate) fn human(rate: &Interval) -> String {
    let (unit, name, digits) = match rate.median {
        rate if rate >= 1e6 => (1e6, "M", 2),
        rate if rate >= 1e5 => (1e3, "k", 0),
        _ => (1e3, "k", 1),
    };
    let [median, low, high] =
        [rate.median, rate.low, rate.high].map(|figure| format!("{:.digits$}", figure / unit));
    format!("{median} {name} ({low} - {high})")
}

/// The rates, a line for each case and a column for each contender. A star: the initiator was at work all the time and may
/// have set the rate.
pub(crate) fn rates(rows: &[Row]) -> String {
    table(rows, |row| {
        let busy = Interval::over(&row.samples, |sample| sample.initiator_busy_percent);
        let star = if row.case.depth > 1 && busy.is_some_and(|busy| busy.median >= 95.0) { "*" } else { "" };
        row.rate().map(|rate| human(&rate) + star)
    })
}

/// The latencies in microseconds of the cases with this depth: the median of the rounds' medians, and of their p99.9.
pub(crate) fn latencies(rows: &[Row], depth: u16) -> String {
    let rows: Vec<Row> = rows.iter().filter(|row| row.case.depth == depth).cloned().collect();
    table(&rows, |row| {
        let Interval { median, low, high } = Interval::over(&row.samples, |sample| sample.p50_us)?;
        let tail = Interval::over(&row.samples, |sample| sample.p99_9_us)?;
        Some(format!("{median:.1} ({low:.1} - {high:.1}), {:.0}", tail.median))
    })
}

fn table(rows: &[Row], field: impl Fn(&Row) -> Option<String>) -> String {
    let mut cases: Vec<Case> = Vec::new();
    for row in rows {
        if !cases.contains(&row.case) {
            cases.push(row.case);
        }
    }
    let shown: Vec<(&Row, String)> = rows.iter().filter_map(|row| Some((row, field(row)?))).collect();
    let has_any = |contender: &Contender| shown.iter().any(|(row, _)| row.contender == *contender);
    let contenders: Vec<&Contender> = Contender::value_variants().iter().filter(|who| has_any(who)).collect();
    let names: Vec<String> = contenders.iter().map(ToString::to_string).collect();
    let mut text = format!("| disk | bytes | op | QD | {} |\n", names.join(" | "));
    text += &format!("| --- | ---: | --- | ---: |{}\n", " ---: |".repeat(names.len()));
    for case in cases {
        let fields = contenders.iter().map(|contender| {
            let found = shown.iter().find(|(row, _)| row.contender == **contender && row.case == case);
            found.map_or("", |(_, field)| field)
        });
        text += &format!("{} {} |\n", case_columns(case), fields.collect::<Vec<_>>().join(" | "));
    }
    text
}

/// The first columns of a case's line.
pub(crate) fn case_columns(case: Case) -> String {
    let Case { disk, bytes, operation, depth } = case;
    format!("| {disk} | {bytes} | {operation} | {depth} |")
}

/// What the target takes without a link.
pub(crate) fn ring(samples: &[RingSample]) -> String {
    let mut text = "| null bdev over a ring | requests a second and lcore | ns a request | TSC cycles | of it, ns in the \
                    lcore's turn |\n| --- | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    for kind in own_cost::kinds(samples) {
        let figure = |figure: fn(&RingSample) -> f64| own_cost::over(samples, kind, figure);
        let short = |figure: Option<Interval>| {
            figure.map_or_else(String::new, |Interval { median, low, high }| {
                format!("{median:.0} ({low:.0} - {high:.0})")
            })
        };
        let rate = figure(RingSample::rate).map_or_else(String::new, |rate| human(&rate));
        let (all, cycles, turn) =
            (figure(|one| one.loop_ns), figure(RingSample::cycles), figure(|one| one.turn_ns));
        text += &format!("| {kind} | {rate} | {} | {} | {} |\n", short(all), short(cycles), short(turn));
    }
    text
}

/// Two builds side by side: each one's rates, and the ratio round by round. "slower" and "faster" are those whose ratio was
/// on the same side of 1 in every round.
pub(crate) fn ratios(rows: &[Row]) -> (String, Vec<String>) {
    let mut text = "| | disk | bytes | op | QD | base | this | this / base, median (lowest - highest) | |\n\
                    | --- | --- | ---: | --- | ---: | ---: | ---: | ---: | --- |\n"
        .to_owned();
    let mut slower = Vec::new();
    for pair in rows.chunks_exact(2) {
        let [base, this] = pair else { continue };
        let ratio = Interval::of_rounds(&this.samples, &base.samples, |this, base| this.iops / base.iops);
        let (Some(ratio), Some(base_rate), Some(rate)) = (ratio, base.rate(), this.rate()) else { continue };
        let verdict = if ratio.high < 1.0 {
            slower.push(format!("{} {}", this.contender, this.case));
            "slower"
        } else if ratio.low > 1.0 {
            "faster"
        } else {
            ""
        };
        let Interval { median, low, high } = ratio;
        let (base, this, case) = (human(&base_rate), human(&rate), case_columns(base.case));
        text += &format!(
            "| {} {case} {base} | {this} | {median:.2} ({low:.2} - {high:.2}) | {verdict} |\n",
            pair[0].contender
        );
    }
    (text, slower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Sample;

    fn row(build: usize, contender: Contender, rates: &[f64]) -> Row {
        let sample = |&iops: &f64| Sample { iops, initiator_busy_percent: Some(99.0), ..Sample::default() };
        Row {
            build,
            contender,
            case: "null/512/read/32".parse().unwrap(),
            samples: rates.iter().map(sample).collect(),
        }
    }

    #[test]
    fn a_case_is_a_line_and_a_contender_a_column() {
        let rows = [row(0, Contender::Memif, &[3e6, 1e6, 2e6]), row(0, Contender::ZeroCopy, &[50_000.0])];
        let text = rates(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "| disk | bytes | op | QD | memif | zero-copy |");
        assert_eq!(lines[2], "| null | 512 | read | 32 | 2.00 M (1.00 - 3.00)* | 50.0 k (50.0 - 50.0)* |");
    }

    #[test]
    fn a_build_is_slower_if_it_was_in_every_round() {
        let of =
            |this: &[f64]| ratios(&[row(0, Contender::Memif, &[1e6, 2e6]), row(1, Contender::Memif, this)]);
        let (text, slower) = of(&[0.8e6, 1.8e6]);
        assert!(
            text.contains("| memif | null | 512 | read | 32 | 1.50 M (1.00 - 2.00) | 1.30 M (0.80 - 1.80) |"),
            "{text}"
        );
        assert!(text.ends_with("| 0.85 (0.80 - 0.90) | slower |\n"), "{text}");
        assert_eq!(slower, ["memif null/512/read/32"]);
        assert_eq!(of(&[0.9e6, 2.1e6]).1, Vec::<String>::new());
    }

    #[test]
    fn a_record_has_a_line_for_each_row_and_is_json() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let rows = serde_json::to_value([row(0, Contender::Memif, &[1.0]), row(0, Contender::Veth, &[2.0])])
            .unwrap();
        write(file.path(), &[("rows", rows.clone()), ("seconds", 0.5.into())]).unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        assert_eq!(text.lines().count(), 7);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["rows"], rows);
    }
}
