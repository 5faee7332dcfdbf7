//! The bdev alone: `bdevperf`, which is initiator and target in one, on one core.

use crate::cell::Cell;
use crate::sample::{Latency, Sample};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

/// The options of a run on core `cpu`. Without `-Z` it copies, as a target that sends bytes has to: with that option, the
/// malloc bdev hands out its own memory and nothing is moved. SPDK's programs lock their cores against each other; here the
/// one that is not measured is stopped, so that they may share one.
pub fn options(
    cell: Cell,
    seconds: u64,
    config: &Path,
    cpu: usize,
    mem_mib: u32,
    socket: &Path,
) -> Vec<String> {
    let (workload, mix) = cell.operation.options();
    let mut options: Vec<String> = [
        ("--json", config.display().to_string()),
        ("-m", format!("{:#x}", 1_u64 << cpu)),
        ("-s", mem_mib.to_string()),
        ("-r", socket.display().to_string()),
        ("-q", cell.depth.to_string()),
        ("-o", cell.size.bytes().to_string()),
        ("-w", workload.to_owned()),
        ("-t", seconds.to_string()),
    ]
    .into_iter()
    .flat_map(|(option, value)| [option.to_owned(), value])
    .collect();
    if let Some(mix) = mix {
        options.extend(["-M".to_owned(), mix.to_string()]);
    }
    options.extend(["--disable-cpumask-locks", "-u", "-R"].map(str::to_owned));
    options
}

/// Reads what it printed. The mean is what a depth and a rate imply (Little's law), which at depth 1 is the time of one
/// request. The average that bdevperf prints is the bdev layer's: it leaves out what bdevperf does between two requests.
///
/// # Errors
/// If there is no total, the total is 0, or a request failed or took too long.
pub fn parse(printed: &str, depth: u16) -> Result<Sample> {
    let mut lines = printed.lines().map(str::trim);
    let total = lines.find_map(|line| line.strip_prefix("Total")?.trim_start().strip_prefix(':'));
    let total = total.with_context(|| format!("bdevperf printed no total: {}", printed.trim()))?;
    let columns: Option<Vec<f64>> = total.split_whitespace().map(|word| word.parse().ok()).collect();
    // IOPS, MiB/s, failed and timed out a second, and latency: average, min, max.
    let [iops, _, failed, timed_out, ..] = *columns.unwrap_or_default() else {
        bail!("bdevperf's total has not four numbers or more: {total:?}");
    };
    ensure!(failed == 0.0, "bdevperf had failed requests: {failed} a second");
    ensure!(timed_out == 0.0, "bdevperf had requests that timed out: {timed_out} a second");
    ensure!(iops > 0.0, "bdevperf's total is {total:?}");
    let latency_us = Latency { mean: 1e6 * f64::from(depth) / iops, ..Latency::default() };
    Ok(Sample { iops, latency_us, ..Sample::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SPDK 26.01 with `-q 32 -o 4096 -w randread -t 1`, as it came.
    const PRINTED: &str = "\
Running I/O for 1 seconds...\n   473312.00 IOPS,  1848.88 MiB/s\r
                                                                                                Latency(us)
\r Device Information          : runtime(s)       IOPS      MiB/s     Fail/s     TO/s    Average        min        max
Job: Malloc0 (Core Mask 0x1, workload: randread, depth: 32, IO size: 4096)
\t Malloc0             :       1.00  473347.60    1849.01       0.00     0.00      67.41       8.12   28230.89
\r ===================================================================================================================
\r Total                       :             473347.60    1849.01       0.00     0.00      67.41       8.12   28230.89
";

    #[test]
    fn the_total_is_read_and_the_mean_follows() {
        let sample = parse(PRINTED, 32).unwrap();
        assert_eq!(sample.iops, 473_347.6);
        assert!((sample.latency_us.mean - 67.604).abs() < 0.001, "{sample:?}");
        assert_eq!((sample.latency_us.p50, sample.initiator_busy_percent), (None, None));
    }

    #[test]
    fn a_run_without_a_result_is_an_error_that_shows_what_came() {
        let error = parse("EAL: no memory\n", 1).unwrap_err().to_string();
        assert!(error.contains("EAL: no memory"), "{error}");
        assert!(parse(&PRINTED.replace("473347.60", "     0.00"), 1).is_err());
        let of_failing = |from: &str, to: &str| {
            let failing = PRINTED.replace(from, to);
            assert_ne!(failing, PRINTED);
            parse(&failing, 1).unwrap_err().to_string()
        };
        assert!(of_failing("0.00     0.00", "117.00     0.00").contains("failed requests: 117 "));
        assert!(of_failing("0.00     0.00", "0.00     3.00").contains("timed out: 3 "));
    }

    #[test]
    fn a_mix_is_asked_for_with_its_share_of_reads() {
        use crate::cell::{Operation, Size};
        let words = |operation| {
            let cell = Cell::new(Size::PAGE, operation, 8);
            options(cell, 1, Path::new("/c.json"), 1, 512, Path::new("/s.sock")).join(" ")
        };
        assert_eq!(
            words(Operation::Mixed),
            "--json /c.json -m 0x2 -s 512 -r /s.sock -q 8 -o 4096 -w randrw -t 1 -M 70 --disable-cpumask-locks \
             -u -R"
        );
        assert!(!words(Operation::Read).contains("-M"));
    }
}
