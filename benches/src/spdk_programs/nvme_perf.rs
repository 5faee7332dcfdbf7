//! The initiator of SPDK's NVMe/TCP target: `perf`, on a core of its own.

use super::NQN;
use crate::cell::Cell;
use crate::sample::{Latency, Sample};
use anyhow::{Context, Result, ensure};

/// Hugepage memory it takes, MiB.
pub const MEM_MIB: u32 = 256;

/// The options of a run on core `cpu`.
pub fn options(cell: Cell, seconds: u64, cpu: usize) -> Vec<String> {
    let (workload, mix) = cell.operation.options();
    let mut options: Vec<String> = [
        ("-q", cell.depth.to_string()),
        ("-o", cell.size.bytes().to_string()),
        ("-w", workload.to_owned()),
        ("-t", seconds.to_string()),
        ("-c", format!("{:#x}", 1_u64 << cpu)),
        ("-s", MEM_MIB.to_string()),
        ("-r", format!("trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:4420 subnqn:{NQN}")),
    ]
    .into_iter()
    .flat_map(|(option, value)| [option.to_owned(), value])
    .collect();
    if let Some(mix) = mix {
        options.extend(["-M".to_owned(), mix.to_string()]);
    }
    options.push("-L".to_owned());
    options
}

/// Reads what it printed.
///
/// # Errors
/// If there is no total, or no request was answered.
pub fn parse(printed: &str) -> Result<Sample> {
    let shown = || printed.trim();
    let lines = || printed.lines().map(str::trim);
    let total = lines().find_map(|line| line.strip_prefix("Total")?.trim_start().strip_prefix(':'));
    let total = total.with_context(|| format!("perf printed no total: {}", shown()))?;
    let columns: Option<Vec<f64>> = total.split_whitespace().map(|word| word.parse().ok()).collect();
    // IOPS, MiB/s, and latency: average, min, max.
    let [iops, _, mean, _, max] = *columns.unwrap_or_default() else {
        anyhow::bail!("perf's total has not five numbers: {total:?}");
    };
    ensure!(iops > 0.0, "perf's total is {total:?}");
    // "  99.90000% : 26214.400us", the first such table.
    let at = |percent: f64| {
        lines().find_map(|line| {
            let (left, right) = line.split_once("% :")?;
            let matches = left.trim().parse::<f64>().is_ok_and(|value| (value - percent).abs() < 1e-9);
            matches.then(|| right.trim().strip_suffix("us")?.parse::<f64>().ok())?
        })
    };
    let (p50, p99, p99_9) = (at(50.0), at(99.0), at(99.9));
    ensure!(p50.is_some() && p99.is_some() && p99_9.is_some(), "perf printed no percentiles: {}", shown());
    let latency_us = Latency { mean, p50, p99, p99_9, max: Some(max), ..Latency::default() };
    Ok(Sample { iops, latency_us, ..Sample::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SPDK 20.07 with `-q 32 -o 4096 -w randread -t 1 -L`, as it came.
    const PRINTED: &str = "\
TELEMETRY: No legacy callbacks, legacy socket not created
Initializing NVMe Controllers
Attached to NVMe over Fabrics controller at 127.0.0.1:4420: nqn.2016-06.io.spdk:bench
Associating TCP  (addr:127.0.0.1 subnqn:nqn.2016-06.io.spdk:bench) NSID 1 with lcore 1
Initialization complete. Launching workers.
========================================================
                                                                                                              Latency(us)
Device Information                                                        :       IOPS      MiB/s    Average        min        max
TCP  (addr:127.0.0.1 subnqn:nqn.2016-06.io.spdk:bench) NSID 1 from core  1:   27856.00     108.81    1149.80      56.66   38228.97
========================================================
Total                                                                     :   27856.00     108.81    1149.80      56.66   38228.97

Summary latency data for TCP  (addr:127.0.0.1 subnqn:nqn.2016-06.io. from core 1:
=================================================================================
  1.00000% :    80.248us
 10.00000% :    92.787us
 25.00000% :    95.295us
 50.00000% :    98.220us
 75.00000% :   107.833us
 90.00000% :   225.698us
 95.00000% : 11983.726us
 98.00000% : 16049.633us
 99.00000% : 20008.542us
 99.50000% : 21827.500us
 99.90000% : 26214.400us
 99.99000% : 38305.123us
 99.99900% : 38305.123us
 99.99990% : 38305.123us
 99.99999% : 38305.123us

";

    #[test]
    fn the_total_and_the_percentiles_are_read() {
        let sample = parse(PRINTED).unwrap();
        assert_eq!(sample.iops, 27_856.0);
        let latency = Latency {
            mean: 1149.80,
            p50: Some(98.22),
            p99: Some(20_008.542),
            p99_9: Some(26_214.4),
            max: Some(38_228.97),
            ..Latency::default()
        };
        assert_eq!(sample.latency_us, latency);
    }

    #[test]
    fn a_run_without_a_result_is_an_error_that_shows_what_came() {
        let error = parse("spdk_nvme_probe() failed for transport address\n").unwrap_err().to_string();
        assert!(error.contains("spdk_nvme_probe() failed"), "{error}");
        let cut = PRINTED.split_once("Summary").unwrap().0;
        assert!(parse(cut).unwrap_err().to_string().contains("no percentiles"));
        assert!(parse(&PRINTED.replace("27856.00", "    0.00")).is_err());
    }
}
