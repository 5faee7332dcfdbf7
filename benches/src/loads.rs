//! The programs that drive a load, and what they report.

use crate::case::Case;
use crate::spdk_programs::NQN;
use crate::stats::Sample;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::Path;

/// The options that aoeperf, `bdevperf` and `spdk_nvme_perf` have in common.
fn common(case: Case, seconds: impl ToString) -> Vec<String> {
    [
        ("-q", case.depth.to_string()),
        ("-o", case.bytes.to_string()),
        ("-w", format!("rand{}", case.operation)),
        ("-t", seconds.to_string()),
    ]
    .into_iter()
    .flat_map(|(option, value)| [option.to_owned(), value])
    .collect()
}

/// Seconds that aoeperf runs before it measures.
pub(crate) const WARMUP: f64 = 0.1;

/// What aoeperf asks beside its case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// `--target`: an address or a range of addresses.
    pub(crate) target: &'a str,
    /// Initiators that take turns, each with an address of its own.
    pub(crate) initiators: u16,
    /// MTU of the ports.
    pub(crate) mtu: u16,
    /// Measured seconds.
    pub(crate) seconds: f64,
}

/// aoeperf's own options, those after `--`. It holds its ports open after its report: see [`crate::sampler`].
pub(crate) fn aoeperf(case: Case, asked: Asked<'_>, json: &Path) -> Vec<String> {
    let Asked { target, initiators, mtu, seconds } = asked;
    let mut options = common(case, seconds);
    options.extend(["--target".to_owned(), target.to_owned()]);
    options.extend([
        format!("--warmup={WARMUP}"),
        format!("--mtu={mtu}"),
        format!("--initiators={initiators}"),
    ]);
    options.extend([format!("--json={}", json.display()), "--no-progress".to_owned()]);
    options.extend(["--hold".to_owned(), "--wait=60".to_owned()]);
    options
}

/// Reads the figures that aoeperf wrote: an error if a request failed or none was answered.
pub(crate) fn read_aoeperf(json: &str) -> Result<Sample> {
    let report: Value = serde_json::from_str(json).context("aoeperf's figures")?;
    let total = |name: &str| {
        let figure = report.pointer(&format!("/total/{name}")).and_then(Value::as_f64);
        figure.with_context(|| format!("aoeperf reported no number as '{name}': {json}"))
    };
    let (errors, iops) = (total("errors")?, total("iops")?);
    ensure!(errors == 0.0, "{errors} requests of aoeperf failed");
    ensure!(iops > 0.0, "no request of aoeperf was answered");
    Ok(Sample {
        iops,
        mean_us: total("latency_us/mean")?,
        p50_us: Some(total("latency_us/p50")?),
        p99_9_us: Some(total("latency_us/p99_9")?),
        resent: total("retransmits")?,
        initiator_busy_percent: Some(total("busy_percent")?),
        ..Sample::default()
    })
}

/// The options of `bdevperf` on core `cpu`. Without `-Z` it copies, as a target that sends bytes has to: with that option,
/// the malloc bdev hands out its own memory and nothing is moved.
pub(crate) fn bdevperf(
    case: Case,
    seconds: u64,
    config: &Path,
    cpu: usize,
    mem_mib: u32,
    socket: &Path,
) -> Vec<String> {
    let mut options = common(case, seconds);
    options.extend(
        ["--json", &config.display().to_string(), "-r", &socket.display().to_string()].map(str::to_owned),
    );
    options.extend(["-m", &format!("{:#x}", 1_u64 << cpu), "-s", &mem_mib.to_string()].map(str::to_owned));
    options.extend(["--disable-cpumask-locks", "-u", "-R"].map(str::to_owned));
    options
}

/// Reads what bdevperf printed. The mean is what a depth and a rate imply (Little's law). The average that bdevperf prints
/// is the bdev layer's: it leaves out what bdevperf does between two requests.
pub(crate) fn read_bdevperf(printed: &str, depth: u16) -> Result<Sample> {
    // IOPS, MiB/s, failed and timed out a second, and latency: average, min, max.
    let [iops, _, failed, timed_out, ..] = *total("bdevperf", printed)? else {
        bail!("bdevperf's total has not four numbers or more: {}", printed.trim());
    };
    ensure!(failed == 0.0, "bdevperf had failed requests: {failed} a second");
    ensure!(timed_out == 0.0, "bdevperf had requests that timed out: {timed_out} a second");
    ensure!(iops > 0.0, "bdevperf completed no request");
    Ok(Sample { iops, mean_us: 1e6 * f64::from(depth) / iops, ..Sample::default() })
}

/// Hugepage memory that `spdk_nvme_perf` takes, MiB.
pub(crate) const NVME_PERF_MIB: u32 = 256;

/// The options of `spdk_nvme_perf` on core `cpu`, against the target at a TCP port of loopback.
pub(crate) fn nvme_perf(case: Case, seconds: u64, cpu: usize, port: u16) -> Vec<String> {
    let mut options = common(case, seconds);
    let transport = format!("trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:{port} subnqn:{NQN}");
    options.extend(["-c", &format!("{:#x}", 1_u64 << cpu), "-r", &transport, "-L"].map(str::to_owned));
    options.extend(["-s".to_owned(), NVME_PERF_MIB.to_string()]);
    options
}

/// Reads what `spdk_nvme_perf` printed.
pub(crate) fn read_nvme_perf(printed: &str) -> Result<Sample> {
    // IOPS, MiB/s, and latency: average, min, max.
    let [iops, _, mean_us, ..] = *total("spdk_nvme_perf", printed)? else {
        bail!("spdk_nvme_perf's total has not three numbers or more: {}", printed.trim());
    };
    ensure!(iops > 0.0, "spdk_nvme_perf completed no request");
    // " 99.90000% :    28.672us", the first such table.
    let at = |percent: &str| {
        let line = printed.lines().find_map(|line| line.trim().strip_prefix(percent)?.strip_prefix("% :"));
        line?.trim().strip_suffix("us")?.parse().ok()
    };
    let (p50_us, p99_9_us) = (at("50.00000"), at("99.90000"));
    ensure!(
        p50_us.is_some() && p99_9_us.is_some(),
        "spdk_nvme_perf printed no percentiles: {}",
        printed.trim()
    );
    Ok(Sample { iops, mean_us, p50_us, p99_9_us, ..Sample::default() })
}

/// The numbers on the line "Total :" of one of SPDK's programs.
fn total(program: &str, printed: &str) -> Result<Vec<f64>> {
    let mut lines = printed.lines().map(str::trim);
    let total = lines.find_map(|line| line.strip_prefix("Total")?.trim_start().strip_prefix(':'));
    let total = total.with_context(|| format!("{program} printed no total: {}", printed.trim()))?;
    total
        .split_whitespace()
        .map(|word| word.parse().with_context(|| format!("{program}'s total: '{word}'")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aoeperfs_figures_are_read_and_a_failed_request_is_an_error() {
        let report = |errors: u32| {
            format!(
                r#"{{"total": {{"iops": 5e5, "retransmits": 2, "errors": {errors}, "busy_percent": 60.5,
                "latency_us": {{"mean": 2.5, "p50": 2, "p99": 3, "p99_9": 9, "max": 70}}}}}}"#
            )
        };
        let sample = read_aoeperf(&report(0)).unwrap();
        assert_eq!((sample.iops, sample.p99_9_us, sample.resent), (500_000.0, Some(9.0), 2.0));
        assert!(read_aoeperf(&report(3)).unwrap_err().to_string().contains("3 requests"));
    }

    /// The last lines of SPDK 26.01's bdevperf with `-q 32 -o 4096 -w randread -t 1`, as they came.
    const BDEVPERF: &str = "\
\r Device Information          : runtime(s)       IOPS      MiB/s     Fail/s     TO/s    Average        min        max
\t Malloc0             :       1.00  473347.60    1849.01       0.00     0.00      67.41       8.12   28230.89
\r Total                       :             473347.60    1849.01       0.00     0.00      67.41       8.12   28230.89
";

    #[test]
    fn bdevperfs_total_is_read_and_the_mean_follows() {
        let sample = read_bdevperf(BDEVPERF, 32).unwrap();
        assert_eq!(sample.iops, 473_347.6);
        assert!((sample.mean_us - 67.604).abs() < 0.001, "{sample:?}");
        let failing = BDEVPERF.replace("0.00     0.00", "117.00     0.00");
        assert!(read_bdevperf(&failing, 1).unwrap_err().to_string().contains("failed requests: 117 "));
        let none = read_bdevperf("EAL: no memory\n", 1).unwrap_err().to_string();
        assert!(none.contains("EAL: no memory"), "{none}");
    }

    /// Lines of SPDK 26.01's `spdk_nvme_perf` with `-q 32 -o 4096 -w randread -t 1 -L`, as they came.
    const NVME_PERF: &str = "\
Device Information                                                       :       IOPS      MiB/s    Average        min        max
Total                                                                    :   14274.47      55.76    2241.89      33.07  105613.33

  1.00000% :    37.415us
 50.00000% :    41.748us
 99.90000% : 105664.197us
";

    #[test]
    fn nvme_perfs_total_and_percentiles_are_read() {
        let sample = read_nvme_perf(NVME_PERF).unwrap();
        assert_eq!((sample.iops, sample.mean_us, sample.p50_us), (14_274.47, 2241.89, Some(41.748)));
        assert_eq!(sample.p99_9_us, Some(105_664.197));
        let cut = NVME_PERF.split_once("\n\n").unwrap().0;
        assert!(read_nvme_perf(cut).unwrap_err().to_string().contains("no percentiles"));
        assert!(read_nvme_perf(&NVME_PERF.replace("14274.47", "    0.00")).is_err());
    }
}
