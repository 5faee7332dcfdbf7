//! The initiator of SPDK's NVMe/TCP target: `spdk_nvme_perf`, on a core of its own.

use super::NQN;
use crate::cell::Cell;
use crate::sample::{Latency, Sample};
use anyhow::{Context, Result, ensure};

/// Hugepage memory it takes, MiB.
pub const MEM_MIB: u32 = 256;

/// The options of a run on core `cpu`, against the target at a TCP port of loopback.
pub fn options(cell: Cell, seconds: u64, cpu: usize, port: u16) -> Vec<String> {
    let (workload, mix) = cell.operation.options();
    let mut options: Vec<String> = [
        ("-q", cell.depth.to_string()),
        ("-o", cell.size.bytes().to_string()),
        ("-w", workload.to_owned()),
        ("-t", seconds.to_string()),
        ("-c", format!("{:#x}", 1_u64 << cpu)),
        ("-s", MEM_MIB.to_string()),
        ("-r", format!("trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:{port} subnqn:{NQN}")),
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

    /// SPDK 26.01 with `-q 32 -o 4096 -w randread -t 1 -L`, as it came.
    const PRINTED: &str = "\
[2026-11-29 16:25:18.699721] nvme_qpair.c: 885:spdk_nvme_qpair_process_completions: *ERROR*: [,nqn.2016-06.io.spdk:bench,127.0.0.1,cntlid:1,qid:1,qpair:0x55ad55783b50,DISCONNECTED] CQ transport error -6 (No such device or address)
Initializing NVMe Controllers
Attached to NVMeoF Controller at TCP (addr:127.0.0.1 subnqn:nqn.2016-06.io.spdk:bench)
Associating TCP (addr:127.0.0.1 subnqn:nqn.2016-06.io.spdk:bench) NSID 1 with lcore 1
Initialization complete. Launching workers.
========================================================
                                                                                                             Latency(us)
Device Information                                                       :       IOPS      MiB/s    Average        min        max
TCP (addr:127.0.0.1 subnqn:nqn.2016-06.io.spdk:bench) NSID 1 from core  1:   14274.47      55.76    2241.89      33.07  105613.33
========================================================
Total                                                                    :   14274.47      55.76    2241.89      33.07  105613.33

Summary latency data for TCP (addr:127.0.0.1 subnqn:nqn.2016-06.io.s from core 1:
=================================================================================
  1.00000% :    37.415us
 10.00000% :    39.188us
 25.00000% :    40.172us
 50.00000% :    41.748us
 75.00000% :    44.308us
 90.00000% :    72.074us
 95.00000% : 21374.818us
 98.00000% : 34885.317us
 99.00000% : 49202.412us
 99.50000% : 60091.471us
 99.90000% : 105664.197us
 99.99000% : 105664.197us
 99.99900% : 105664.197us
 99.99990% : 105664.197us
 99.99999% : 105664.197us

";

    #[test]
    fn the_total_and_the_percentiles_are_read() {
        let sample = parse(PRINTED).unwrap();
        assert_eq!(sample.iops, 14_274.47);
        let latency = Latency {
            mean: 2241.89,
            p50: Some(41.748),
            p99: Some(49_202.412),
            p99_9: Some(105_664.197),
            max: Some(105_613.33),
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
        assert!(parse(&PRINTED.replace("14274.47", "    0.00")).is_err());
    }
}
