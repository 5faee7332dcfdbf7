//! What is kept of a run: the machine, what was asked for, and every figure.

use crate::round::Commands;
use crate::sample::Series;
use crate::scaling::ScalingSeries;
use crate::verdict::Verdict;
use crate::weather::{Interruptions, Weather};
use anyhow::{Context, Result};
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where and when a run was.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The CPU's model.
    pub cpu: String,
    /// CPUs there are.
    pub cpus: usize,
    /// Bytes of its last cache, as Linux writes it ("32768K").
    pub last_cache: String,
    /// Linux's release.
    pub kernel: String,
    /// Total memory, as Linux writes it.
    pub memory: String,
    /// Load averages and runnable tasks before the run: near 0 if the machine was the run's alone.
    pub loadavg: String,
    /// UTC, as ISO 8601.
    pub date: String,
    /// The checkout's revision, with "-dirty" if it was changed; "unknown" outside of one.
    pub revision: String,
}

impl Machine {
    /// This one, now.
    ///
    /// # Errors
    /// If Linux does not tell.
    pub fn this() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
        let field = |text: &str, name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
            value.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
        };
        let cache = |level| read(&format!("/sys/devices/system/cpu/cpu0/cache/index{level}/size")).ok();
        Ok(Self {
            cpu: field(&read("/proc/cpuinfo")?, "model name"),
            cpus: std::thread::available_parallelism()?.get(),
            last_cache: cache(3).or_else(|| cache(2)).unwrap_or_default().trim().to_owned(),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            memory: field(&read("/proc/meminfo")?, "MemTotal"),
            loadavg: read("/proc/loadavg")?.trim().to_owned(),
            date: printed("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
            revision: Self::revision_of(Path::new(env!("CARGO_MANIFEST_DIR"))),
        })
    }

    /// A checkout's revision, as [`Machine::revision`] has it.
    #[must_use]
    pub fn revision_of(checkout: &Path) -> String {
        let checkout = checkout.display().to_string();
        printed("git", &["-C", &checkout, "describe", "--always", "--dirty", "--abbrev=12"])
    }
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok();
    let output = output.filter(|output| output.status.success());
    output.map_or_else(
        || "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Effort {
    /// Rounds of everything.
    pub rounds: u32,
    /// Rounds of what targets 1 to 5 compare, those of everything among them.
    pub target_rounds: u32,
    /// Seconds that a sample may have waited for fair weather.
    pub patience: f64,
    /// Measured seconds of a run; SPDK's programs take whole ones, rounded up.
    pub seconds: f64,
    /// Seconds before, not measured.
    pub warmup: f64,
    /// MTU of the links.
    pub mtu: u16,
    /// MiB in memory behind each target.
    pub store_mib: u32,
    /// The target's core.
    pub target_cpu: usize,
    /// The initiator's core.
    pub initiator_cpu: usize,
    /// Exports where there are many of them.
    pub scaling_exports: u32,
}

/// A run's JSON.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// The part of the benches that ran.
    pub part: String,
    /// Where and when.
    pub machine: &'a Machine,
    /// Load averages after the run.
    pub loadavg_after: String,
    /// Of the whole run.
    pub seconds: f64,
    /// What was asked for.
    pub effort: &'a Effort,
    /// Interruptions a second of each core, before the first sample.
    pub interruptions: &'a [Interruptions],
    /// The best weather that was seen, by which each sample's is fair or not.
    pub best_weather: Option<Weather>,
    /// The commands of each contender: its server's, and its load's in the first cell.
    pub commands: &'a Commands,
    /// The figures of every round.
    pub figures: &'a [Series],
    /// Those of more exports, initiators and ports.
    pub scaling: &'a [ScalingSeries],
    /// The targets.
    pub targets: &'a [Verdict],
}

impl Record<'_> {
    /// Writes it to a file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }
}

/// A command as a record has it: programs by their names, for where they lie is this machine's affair.
#[must_use]
pub fn portable(command: &str) -> String {
    let name = |word: &str| match Path::new(word).file_name() {
        Some(name) if word.starts_with('/') && Path::new(word).is_file() => {
            name.to_string_lossy().into_owned()
        }
        _ => str::to_owned(word),
    };
    command.split(' ').map(name).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_go_by_their_names() {
        assert_eq!(portable("ip netns exec x /bin/sh -c /no/such"), "ip netns exec x sh -c /no/such");
    }
}
