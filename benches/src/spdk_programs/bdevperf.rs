//! The bdev alone: `bdevperf`, which is initiator and target in one, on one core.

use crate::cell::Cell;
use crate::sample::{Latency, Sample};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

/// The options of a run on core `cpu`. `-x` has it copy, as a target that sends bytes has to: without, the malloc
/// bdev hands out its own memory and nothing is moved.
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
    options.extend(["-x", "-u", "-R"].map(str::to_owned));
    options
}

/// Reads what it printed. It tells no latency: the mean is what a depth and a rate imply (Little's law), which at
/// depth 1 is the time of one request.
///
/// # Errors
/// If there is no total, the total is 0, or a request failed.
pub fn parse(printed: &str, depth: u16) -> Result<Sample> {
    let lines = || printed.lines().map(str::trim);
    if let Some(failed) = lines().find(|line| line.contains("Fail/s")) {
        bail!("bdevperf had failed requests: {failed}");
    }
    let total = lines().find_map(|line| line.strip_prefix("Total")?.trim_start().strip_prefix(':'));
    let total = total.with_context(|| format!("bdevperf printed no total: {}", printed.trim()))?;
    let iops = total.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
    let iops = iops.with_context(|| format!("bdevperf's total is {total:?}"))?;
    ensure!(iops > 0.0, "bdevperf's total is {total:?}");
    let latency_us = Latency { mean: 1e6 * f64::from(depth) / iops, ..Latency::default() };
    Ok(Sample { iops, latency_us, ..Sample::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SPDK 20.07 with `-q 32 -o 4096 -w randread -t 1 -x`, as it came.
    const PRINTED: &str = "\
Running I/O for 1 seconds...\n\
\r Thread name: Malloc0_1\n\
\r Core Mask: 0x1\n\
\r Malloc0             : 1786568.00 IOPS    6978.78 MiB/s\n\
\r =====================================================\n\
\r Total               : 1786568.00 IOPS    6978.78 MiB/s\n\n";

    #[test]
    fn the_total_is_read_and_the_mean_follows() {
        let sample = parse(PRINTED, 32).unwrap();
        assert_eq!(sample.iops, 1_786_568.0);
        assert!((sample.latency_us.mean - 17.911).abs() < 0.001, "{sample:?}");
        assert_eq!((sample.latency_us.p50, sample.initiator_busy_percent), (None, None));
    }

    #[test]
    fn a_run_without_a_result_is_an_error_that_shows_what_came() {
        let error = parse("EAL: no memory\n", 1).unwrap_err().to_string();
        assert!(error.contains("EAL: no memory"), "{error}");
        assert!(parse(&PRINTED.replace("1786568.00", "      0.00"), 1).is_err());
        let failing = format!("{PRINTED}\r Malloc0             :     117.00 Fail/s     0.00 TO/s\n");
        assert!(parse(&failing, 1).unwrap_err().to_string().contains("117.00 Fail/s"));
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
            "--json /c.json -m 0x2 -s 512 -r /s.sock -q 8 -o 4096 -w randrw -t 1 -M 70 -x -u -R"
        );
        assert!(!words(Operation::Read).contains("-M"));
    }
}
