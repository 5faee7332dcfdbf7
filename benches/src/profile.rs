//! Where an lcore's time goes: its stacks, sampled by Linux's `perf` while it serves a load, counted by the step of a
//! request's way that each was in.
//!
//! [`sampling`] takes the samples, [`frames`] names the functions in them, also the inlined ones, [`step`] says whose
//! time each is, and [`flame`] draws them.

pub mod flame;
pub mod frames;
pub mod sampling;
pub mod step;

use crate::cell::Cell;
use crate::contender::Contender;
use crate::lab::Lab;
use crate::record::{Machine, portable};
use crate::sample::Sample;
use anyhow::{Context, Result, ensure};
use frames::Programs;
use sampling::Recording;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use step::Step;

/// Stacks, each with its functions from the outermost to the innermost, joined by semicolons, and how often it was met.
pub type Stacks = BTreeMap<String, u64>;

/// What a step has of the lcore's time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// The step.
    pub step: Step,
    /// What belongs to it.
    pub what: &'static str,
    /// Samples in it.
    pub samples: u64,
    /// Of all samples, in percent.
    pub percent: f64,
}

/// A lcore's profile under one load.
#[derive(Debug)]
pub struct Profile {
    /// The load.
    pub cell: Cell,
    /// Its stacks.
    pub stacks: Stacks,
    /// The target's command.
    pub server: String,
    /// The initiator's.
    pub load: String,
    /// perf's.
    pub perf: String,
    /// What the load came to while the samples were taken, which costs some of it.
    pub sample: Sample,
}

/// Serves `cell` from kvblade-dpdk over memif, and samples its lcore.
///
/// # Errors
/// If a program fails, or too little was sampled to tell anything.
pub fn measure(lab: &Lab, cell: Cell, stop: &AtomicBool) -> Result<Profile> {
    let contender = Contender::Memif;
    let mut server = lab.serve(contender, stop)?.context("kvblade-dpdk was not started")?;
    let command = server.command().to_owned();
    let recording = Recording::start(lab, server.pid())?;
    let (load, sample) = lab.measure(contender, Some(&mut server), cell, stop)?;
    let perf = recording.command().to_owned();
    let samples = recording.finish(lab)?;
    let mut programs = Programs::default();
    let named: Vec<String> = samples.iter().map(|sample| programs.stack(&sample.callers)).collect();
    let under_load = step::under_load(&named);
    ensure!(
        under_load.len() >= FEWEST,
        "{} of {} samples are from under load; {FEWEST} are needed to tell anything: let it run for longer",
        under_load.len(),
        samples.len()
    );
    let mut stacks = Stacks::new();
    for stack in under_load {
        *stacks.entry(stack.clone()).or_default() += 1;
    }
    let [server, load, perf] = [command, load, perf].map(|shown| portable(&shown));
    Ok(Profile { cell, stacks, server, load, perf, sample })
}

/// Samples below which shares mean nothing.
const FEWEST: usize = 100;

/// What each step has, in the order of a request's way; those that have nothing as well.
pub fn shares(stacks: &Stacks) -> Vec<Share> {
    let all: u64 = stacks.values().sum();
    let share = |step: Step| {
        let samples =
            stacks.iter().filter(|(stack, _)| Step::of(stack) == step).map(|(_, count)| count).sum();
        Share { step, what: step.what(), samples, percent: percent(samples, all) }
    };
    Step::ALL.into_iter().map(share).collect()
}

#[expect(clippy::cast_precision_loss, reason = "samples of minutes, some thousands a second")]
fn percent(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { 100.0 * part as f64 / all as f64 }
}

/// The shares as aligned text.
pub fn table(shares: &[Share]) -> String {
    let mut text = format!("{:<14}{:>8}  {:>9}  what belongs to it\n", "step", "share", "samples");
    for Share { step, what, samples, percent } in shares {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<14}{percent:>6.1} %  {samples:>9}  {what}", step.name());
    }
    text
}

#[derive(Serialize)]
struct Record<'a> {
    machine: &'a Machine,
    loadavg_after: String,
    command: &'a str,
    load: Cell,
    store_mib: u32,
    server_command: &'a str,
    load_command: &'a str,
    perf_command: &'a str,
    /// While it was sampled.
    iops: f64,
    samples: u64,
    shares: &'a [Share],
}

impl Profile {
    /// Writes `profile.json` into a directory: the shares, the machine and the commands.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, results: &Path, machine: &Machine, command: &str, store_mib: u32) -> Result<()> {
        let path = results.join("profile.json");
        let record = Record {
            machine,
            loadavg_after: fs::read_to_string("/proc/loadavg")?.trim().to_owned(),
            command,
            load: self.cell,
            store_mib,
            server_command: &self.server,
            load_command: &self.load,
            perf_command: &self.perf,
            iops: self.sample.iops,
            samples: self.stacks.values().sum(),
            shares: &shares(&self.stacks),
        };
        let text = serde_json::to_string_pretty(&record)?;
        fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_all_samples_and_add_up() {
        let stacks: Stacks = [
            ("reactor_run;spdk_thread_poll".to_owned(), 1),
            ("reactor_run;spdk_thread_poll;spdk_get_ticks".to_owned(), 2),
            ("reactor_run;spdk_thread_poll;datapath::lcore::turn;datapath::receive::accept".to_owned(), 5),
        ]
        .into();
        let shares = shares(&stacks);
        let of = |step| shares.iter().find(|share| share.step == step).unwrap();
        assert_eq!((of(Step::Reactor).samples, of(Step::Reactor).percent), (3, 37.5));
        assert_eq!((of(Step::Admit).samples, of(Step::Admit).percent), (5, 62.5));
        assert_eq!(shares.iter().map(|share| share.samples).sum::<u64>(), 8);
        let text = table(&shares);
        assert!(text.contains("reactor         37.5 %          3  "), "{text}");
    }
}
