//! Where an lcore's time goes: its stacks, sampled by Linux's `perf` while it serves a load, counted by the step of a
//! request's way that each was in; beside it the bare responder's over the same link.
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
use crate::process::Server;
use crate::record::{Machine, portable};
use crate::sample::Sample;
use anyhow::{Context, Result, bail, ensure};
use frames::Programs;
use sampling::{Recording, StackSample};
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
    /// Of the time from one request to the next, in nanoseconds.
    pub ns: f64,
}

/// A lcore's profile under one load.
#[derive(Debug)]
pub struct Profile {
    /// Whose lcore.
    pub contender: Contender,
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

/// Serves `cell` from these by turns, `rounds` times, and samples their lcores. Keeps of each the round with the highest
/// rate, for what else a shared machine does only makes programs slower.
///
/// # Errors
/// If a program fails, or too little was sampled to tell anything.
pub fn measure(
    lab: &Lab,
    contenders: [Contender; 2],
    cell: Cell,
    rounds: u32,
    stop: &AtomicBool,
) -> Result<[Profile; 2]> {
    let start = |contender| -> Result<_> {
        let server = lab.serve(contender, stop)?.with_context(|| format!("{contender} has no server"))?;
        Ok((contender, server, None::<Profile>))
    };
    let mut both = [start(contenders[0])?, start(contenders[1])?];
    for _ in 0..rounds {
        for (contender, server, best) in &mut both {
            let profile = take(lab, *contender, server, cell, stop)?;
            if best.as_ref().is_none_or(|best| best.sample.iops < profile.sample.iops) {
                *best = Some(profile);
            }
        }
    }
    let [one, other] = both.map(|(_, _, best)| best);
    one.zip(other).map(<[Profile; 2]>::from).context("no round was asked for")
}

/// Times that a round is taken anew in which the server went with its initiator, as DPDK's memif may.
const ATTEMPTS: u32 = 3;

/// One round of one of them.
fn take(
    lab: &Lab,
    contender: Contender,
    server: &mut Server,
    cell: Cell,
    stop: &AtomicBool,
) -> Result<Profile> {
    for _ in 0..ATTEMPTS {
        let pid = server.pid();
        let recording = Recording::start(lab, contender, pid)?;
        let (load, sample) = lab.measure(contender, Some(server), cell, stop)?;
        if server.pid() != pid {
            continue;
        }
        let perf = recording.command().to_owned();
        let samples = recording.finish(lab)?;
        let stacks = stacks(&samples)?;
        let [server, load, perf] = [server.command(), &load, &perf].map(portable);
        return Ok(Profile { contender, stacks, server, load, perf, sample });
    }
    bail!("{contender} went with its initiator {ATTEMPTS} times")
}

/// Samples below which shares mean nothing.
const FEWEST: usize = 100;

/// The stacks of the samples between the first and the last request.
fn stacks(samples: &[StackSample]) -> Result<Stacks> {
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
    Ok(stacks)
}

impl Profile {
    /// How many samples there are.
    pub fn samples(&self) -> u64 {
        self.stacks.values().sum()
    }

    /// Nanoseconds from one request to the next, also those in which the lcore waited.
    pub fn ns(&self) -> f64 {
        1e9 / self.sample.iops
    }

    /// What each step has, in the order of a request's way; those that have nothing as well.
    pub fn shares(&self) -> Vec<Share> {
        shares(&self.stacks, self.ns())
    }
}

fn shares(stacks: &Stacks, ns: f64) -> Vec<Share> {
    let all: u64 = stacks.values().sum();
    let share = |step: Step| {
        let samples =
            stacks.iter().filter(|(stack, _)| Step::of(stack) == step).map(|(_, count)| count).sum();
        let part = part(samples, all);
        Share { step, what: step.what(), samples, percent: 100.0 * part, ns: part * ns }
    };
    Step::ALL.into_iter().map(share).collect()
}

#[expect(clippy::cast_precision_loss, reason = "samples of minutes, some thousands a second")]
fn part(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

/// The shares of both beside each other as aligned text: nanoseconds of each step for a request, and its part of all.
pub fn table([link, target]: &[Profile; 2]) -> String {
    let names = [link, target].map(|profile| profile.contender.name());
    let mut text =
        format!("{:<14}{:>19}{:>19}{:>11}  what belongs to it\n", "step", names[0], names[1], "more");
    let mut line = |name: &str, [one, other]: [(f64, f64); 2], what: &str| {
        let [one_shown, other_shown] =
            [one, other].map(|(ns, percent)| format!("{ns:.0} ns {percent:>5.1} %"));
        let more = other.0 - one.0;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<14}{one_shown:>19}{other_shown:>19}{more:>+8.0} ns  {what}");
    };
    for (one, other) in link.shares().iter().zip(target.shares()) {
        line(one.step.name(), [(one.ns, one.percent), (other.ns, other.percent)], other.what);
    }
    line("all", [(link.ns(), 100.0), (target.ns(), 100.0)], "from one request to the next");
    text
}

#[derive(Serialize)]
struct Record<'a> {
    machine: &'a Machine,
    loadavg_after: String,
    command: &'a str,
    load: Cell,
    store_mib: u32,
    profiles: [ProfileRecord<'a>; 2],
}

#[derive(Serialize)]
struct ProfileRecord<'a> {
    contender: Contender,
    server_command: &'a str,
    load_command: &'a str,
    perf_command: &'a str,
    /// While it was sampled.
    iops: f64,
    samples: u64,
    shares: Vec<Share>,
}

/// Writes the profiles, the machine and the commands as JSON.
///
/// # Errors
/// If it cannot be written.
pub fn write(
    path: &Path,
    machine: &Machine,
    command: &str,
    store_mib: u32,
    cell: Cell,
    profiles: &[Profile; 2],
) -> Result<()> {
    let record = Record {
        machine,
        loadavg_after: fs::read_to_string("/proc/loadavg")?.trim().to_owned(),
        command,
        load: cell,
        store_mib,
        profiles: profiles.each_ref().map(|profile| ProfileRecord {
            contender: profile.contender,
            server_command: &profile.server,
            load_command: &profile.load,
            perf_command: &profile.perf,
            iops: profile.sample.iops,
            samples: profile.samples(),
            shares: profile.shares(),
        }),
    };
    let text = serde_json::to_string_pretty(&record)?;
    fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
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
        let shares = shares(&stacks, 800.0);
        let of = |step| shares.iter().find(|share| share.step == step).unwrap();
        assert_eq!((of(Step::Reactor).samples, of(Step::Reactor).percent), (3, 37.5));
        assert_eq!((of(Step::Admit).samples, of(Step::Admit).percent), (5, 62.5));
        assert_eq!(shares.iter().map(|share| share.samples).sum::<u64>(), 8);
        assert!((of(Step::Admit).ns - 500.0).abs() < 1e-9);
        let profile = |contender, iops| Profile {
            contender,
            stacks: stacks.clone(),
            server: String::new(),
            load: String::new(),
            perf: String::new(),
            sample: Sample { iops, ..Sample::default() },
        };
        let text = table(&[profile(Contender::MemifLink, 2.5e6), profile(Contender::Memif, 1.25e6)]);
        let reactor = "reactor            150 ns  37.5 %     300 ns  37.5 %    +150 ns  ";
        assert!(text.contains(reactor), "{text}");
        assert!(text.contains("all                400 ns 100.0 %     800 ns 100.0 %    +400 ns  "), "{text}");
    }
}
