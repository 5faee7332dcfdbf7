//! The initiator of every AoE target: `aoeperf` on the other end of its link.

use crate::cell::Cell;
use crate::sample::{Latency, Sample};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::Path;

/// What a load is besides its cell.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    /// `--target`s.
    pub targets: &'a [String],
    /// Initiators that take turns, each with an address of its own.
    pub initiators: u16,
    /// Measured seconds.
    pub seconds: f64,
    /// Seconds before, not measured.
    pub warmup: f64,
    /// MTU of the link.
    pub mtu: u16,
    /// Where it is to write its figures.
    pub json: &'a Path,
}

/// Its own options, those after `--`.
pub fn options(cell: Cell, load: &Load<'_>) -> Vec<String> {
    let (workload, mix) = cell.operation.options();
    let mut options: Vec<String> =
        load.targets.iter().flat_map(|target| ["--target".to_owned(), target.clone()]).collect();
    let values = [
        ("-q", cell.depth.to_string()),
        ("-o", cell.size.bytes().to_string()),
        ("-w", workload.to_owned()),
        ("-t", load.seconds.to_string()),
        ("--warmup", load.warmup.to_string()),
        ("--mtu", load.mtu.to_string()),
        ("--initiators", load.initiators.to_string()),
        ("--json", load.json.display().to_string()),
    ];
    options.extend(values.into_iter().flat_map(|(option, value)| [option.to_owned(), value]));
    if let Some(mix) = mix {
        options.extend(["-M".to_owned(), mix.to_string()]);
    }
    options.push("--no-progress".to_owned());
    options
}

#[derive(Deserialize)]
struct Report {
    total: Total,
}

#[derive(Deserialize)]
struct Total {
    iops: f64,
    window_iops: Option<Windows>,
    latency_us: Latencies,
    retransmits: u64,
    errors: u64,
    busy_percent: f64,
}

#[derive(Deserialize)]
struct Windows {
    p90: f64,
}

#[derive(Deserialize)]
struct Latencies {
    mean: f64,
    p50: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
    slowest_us: Slowest,
}

#[derive(Deserialize)]
struct Slowest {
    #[serde(rename = "1000")]
    thousand: Option<f64>,
}

/// Reads the figures it wrote.
///
/// # Errors
/// If they are not of this form, nothing was answered, or a request failed.
pub fn parse(json: &str) -> Result<Sample> {
    let Report { total } = serde_json::from_str(json).context("aoeperf's figures")?;
    ensure!(total.errors == 0, "{} requests of aoeperf failed", total.errors);
    ensure!(total.iops > 0.0, "no request of aoeperf was answered");
    let Latencies { mean, p50, p99, p99_9, max, slowest_us } = total.latency_us;
    Ok(Sample {
        iops: total.iops,
        iops_10ms: total.window_iops.map(|windows| windows.p90),
        latency_us: Latency {
            mean,
            p50: Some(p50),
            p99: Some(p99),
            p99_9: Some(p99_9),
            max: Some(max),
            slowest_1000: slowest_us.thousand,
        },
        retransmits: total.retransmits,
        initiator_busy_percent: Some(total.busy_percent),
        ..Sample::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Operation, Size};

    #[test]
    fn figures_are_read_and_a_slow_second_has_no_thousandth() {
        let report = |slowest: &str, errors: u32| {
            format!(
                r#"{{"total": {{"iops": 5e5, "retransmits": 2, "errors": {errors}, "busy_percent": 60.5, "window_iops":
                    {{"p50": 5e5, "p90": 6e5}}, "latency_us": {{"mean": 2.5, "p50": 2, "p99": 3, "p99_9": 9, "max": 70, "slowest_us": {{{slowest}}}}}}}}}"#
            )
        };
        let sample = parse(&report(r#""10": 50, "1000": 8.5"#, 0)).unwrap();
        let Latency { mean, p50, p99_9, slowest_1000, .. } = sample.latency_us;
        assert_eq!((sample.iops, sample.iops_10ms, sample.retransmits), (500_000.0, Some(600_000.0), 2));
        assert_eq!((mean, p50, p99_9, slowest_1000), (2.5, Some(2.0), Some(9.0), Some(8.5)));
        assert_eq!(parse(&report(r#""10": 50"#, 0)).unwrap().latency_us.slowest_1000, None);
        assert!(parse(&report("", 3)).unwrap_err().to_string().contains("3 requests"));
    }

    #[test]
    fn a_load_is_asked_for_in_its_own_words() {
        let targets = ["1.1".to_owned()];
        let load = Load {
            targets: &targets,
            initiators: 3,
            seconds: 0.5,
            warmup: 0.1,
            mtu: 9000,
            json: Path::new("/f.json"),
        };
        let words = options(Cell::new(Size::PAGE, Operation::Mixed, 32), &load).join(" ");
        assert_eq!(
            words,
            "--target 1.1 -q 32 -o 4096 -w randrw -t 0.5 --warmup 0.1 --mtu 9000 --initiators 3 --json /f.json -M 70 \
             --no-progress"
        );
    }
}
