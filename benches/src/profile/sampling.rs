//! Samples of the thread that runs an lcore, taken by Linux's `perf`.

use crate::contender::Contender;
use crate::lab::Lab;
use anyhow::{Context, Result, bail, ensure};
use aoe_initiator::lab::Daemon;
use nix::sys::signal::Signal;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Samples a second. Odd, so that it keeps no step with what Linux does a thousand or a hundred times a second.
const HZ: u32 = 1999;
/// Bytes of the stack that are kept with a sample, in which perf finds the callers afterwards.
const STACK: u32 = 8192;
/// What perf gets to write the rest of its samples.
const WRITE: Duration = Duration::from_secs(60);
/// What perf gets to begin, before the load does.
const BEGIN: Duration = Duration::from_secs(10);

/// A function on the stack of a sample, as perf tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Where in the object's file, in bytes.
    pub offset: u64,
    /// The symbol there, without what was inlined into it; `[unknown]` if it has none.
    pub symbol: String,
    /// The program's or library's path; `[kernel.kallsyms]` for Linux.
    pub object: String,
}

/// A stack at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackSample {
    /// From the innermost outwards.
    pub callers: Vec<Caller>,
}

/// A perf that samples an lcore. It runs on that lcore's core: there it takes time from nothing that is measured, since
/// samples are counted by the thread's own time.
#[derive(Debug)]
pub struct Recording {
    perf: Daemon,
    data: PathBuf,
}

impl Recording {
    /// Begins to sample the lcore of a contender's process `pid`.
    ///
    /// # Errors
    /// If it has not just one, or perf does not run: it is in Debian's package linux-perf.
    pub fn start(lab: &Lab, contender: Contender, pid: u32) -> Result<Self> {
        let thread = match contender {
            // The main thread polls.
            Contender::MemifLink | Contender::VethLink => pid.to_string(),
            _ => reactor(pid)?,
        };
        let data = lab.path("perf.data");
        let mut command = lab.command("taskset");
        command.args(["-c", &lab.settings().target_cpu.to_string(), "perf", "record"]);
        // A VM has no hardware counters, so it goes by the time.
        command.args(["-e", "cpu-clock", "-F", &HZ.to_string(), "-t", &thread]);
        command.args(["--call-graph", &format!("dwarf,{STACK}"), "-o"]).arg(&data);
        let mut perf = Daemon::start(&mut command)?;
        let has_begun = || Ok(data.metadata().is_ok_and(|metadata| metadata.len() > 0));
        perf.wait_ready(BEGIN, has_begun).context("perf, of Debian's package linux-perf")?;
        Ok(Self { perf, data })
    }

    /// perf's command.
    pub fn command(&self) -> &str {
        self.perf.name()
    }

    /// Ends it and reads its samples.
    ///
    /// # Errors
    /// With what perf printed, if it wrote none.
    pub fn finish(mut self, lab: &Lab) -> Result<Vec<StackSample>> {
        self.perf.check_running()?;
        self.perf.signal(Signal::SIGINT)?;
        // It ends by the signal it was sent, so its status tells nothing.
        self.perf.wait(WRITE)?;
        let printed = self.perf.log()?;
        ensure!(printed.contains("Captured and wrote"), "perf wrote no samples: {}", printed.trim());
        let mut command = lab.command("perf");
        command.args(["script", "--no-inline", "-F", "time,ip,sym,dso", "-i"]).arg(&self.data);
        let output = command.output().context("running perf script")?;
        let complaints = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "perf script ended ({}): {}", output.status, complaints.trim());
        parse(&String::from_utf8_lossy(&output.stdout))
    }
}

/// The thread of a process that SPDK's reactor runs on, by the name that SPDK gives it.
fn reactor(pid: u32) -> Result<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).context("the target's threads")?;
    let is_reactor =
        |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("reactor_"));
    let threads: Vec<PathBuf> = tasks.filter_map(|task| Some(task.ok()?.path())).filter(is_reactor).collect();
    match threads.as_slice() {
        [thread] => Ok(thread.file_name().unwrap_or_default().to_string_lossy().into_owned()),
        _ => bail!("process {pid} has {} threads named reactor_N, not one", threads.len()),
    }
}

/// Reads what `perf script -F time,ip,sym,dso` prints: for each sample its time, then its callers, then an empty line.
fn parse(text: &str) -> Result<Vec<StackSample>> {
    let mut samples = Vec::new();
    for block in text.split("\n\n") {
        let mut lines = block.lines().filter(|line| !line.trim().is_empty());
        if lines.next().is_none() {
            continue;
        }
        let callers = lines.map(caller).collect::<Result<Vec<_>>>()?;
        if !callers.is_empty() {
            samples.push(StackSample { callers });
        }
    }
    Ok(samples)
}

/// "  1a3d89 datapath::lcore::Lcore::turn (/usr/bin/kvblade-dpdk)".
fn caller(line: &str) -> Result<Caller> {
    let parts = || {
        let (offset, rest) = line.trim().split_once(' ')?;
        let (symbol, object) = rest.strip_suffix(')')?.rsplit_once(" (")?;
        let offset = u64::from_str_radix(offset, 16).ok()?;
        Some(Caller { offset, symbol: symbol.to_owned(), object: object.to_owned() })
    };
    parts().with_context(|| format!("perf script printed '{line}', which is no caller"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_perf_prints_is_read() {
        let text = "  5780.871581: \n\t          295462 spdk_get_ticks (/usr/bin/kvblade-dpdk)\n\t          1a3414 \
                    datapath::remote::run::{{closure}} (/usr/bin/kvblade-dpdk)\n\n  5780.872072: \n\t            aad9 \
                    [unknown] (/usr/lib/librte_net_memif.so.23.0)\n\tffffffffffffffff [unknown] ([unknown])\n\n";
        let samples = parse(text).unwrap();
        let shown: Vec<Vec<(u64, &str, &str)>> = samples
            .iter()
            .map(|sample| sample.callers.iter().map(|one| (one.offset, &*one.symbol, &*one.object)).collect())
            .collect();
        assert_eq!(
            shown,
            [
                vec![
                    (0x29_5462, "spdk_get_ticks", "/usr/bin/kvblade-dpdk"),
                    (0x1a_3414, "datapath::remote::run::{{closure}}", "/usr/bin/kvblade-dpdk")
                ],
                vec![
                    (0xaad9, "[unknown]", "/usr/lib/librte_net_memif.so.23.0"),
                    (u64::MAX, "[unknown]", "[unknown]")
                ]
            ]
        );
        let error = parse("  1.0: \n\t nonsense\n").unwrap_err();
        assert!(error.to_string().contains("nonsense"), "{error}");
    }
}
