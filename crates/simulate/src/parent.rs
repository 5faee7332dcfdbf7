//! The process that has others run seeds, and reports.

use std::{
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    options::Options,
    shrink::{self, Failure},
};

/// Seeds that a child runs: EAL's rings and ports are never freed, so a process can run some hundreds.
const SEEDS_OF_A_CHILD: u64 = 100;

/// What all seeds did.
#[derive(Debug, Clone, Default)]
struct Totals {
    seeds: u64,
    /// Requests, frames, replies, drops, ticks.
    counts: [u64; 5],
    failures: Vec<Failure>,
}

/// Runs the seeds that the command line asks for.
pub(crate) fn run(options: &Options) -> ExitCode {
    let begun = Instant::now();
    let totals = match run_all(options) {
        Ok(totals) => totals,
        Err(error) => {
            eprintln!("simulate: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let [requests, frames, replies, drops, ticks] = totals.counts;
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{} seeds in {seconds:.1} s: {requests} requests, {frames} frames, {replies} replies, {drops} drops, {ticks} ticks; \
         {} failed",
        totals.seeds,
        totals.failures.len()
    );
    for failure in &totals.failures {
        println!("\nseed {}: {}", failure.seed, failure.broken);
        if !options.no_shrink {
            let (smaller, broken) =
                shrink::shrink(options, failure, |candidate| broken_by(candidate, failure.seed));
            println!("smaller: {} requests: {broken}", smaller.keep.len());
            println!(
                "again: scripts/simulate --seed {} {}",
                failure.seed,
                smaller.parts_arguments().join(" ")
            );
        }
    }
    if totals.failures.is_empty() && totals.seeds > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_all(options: &Options) -> Result<Totals> {
    let deadline = options.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let first = options.seed.unwrap_or(options.from);
    let count = match (options.seed, options.seeds) {
        (Some(_), _) => 1,
        (None, Some(seeds)) => seeds,
        (None, None) => {
            if deadline.is_some() {
                u64::MAX - first
            } else {
                1000
            }
        }
    };
    let next = AtomicU64::new(first);
    let totals = Mutex::new(Totals::default());
    let is_over = || {
        let failed = totals.lock().is_ok_and(|totals| !totals.failures.is_empty());
        deadline.is_some_and(|deadline| Instant::now() > deadline) || failed && !options.keep_going
    };
    let work = || -> Result<()> {
        loop {
            let from = next.fetch_add(SEEDS_OF_A_CHILD, Ordering::Relaxed);
            if from >= first + count || is_over() {
                return Ok(());
            }
            run_child(options, from, SEEDS_OF_A_CHILD.min(first + count - from), &totals)?;
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    Ok(totals.into_inner().unwrap_or_default())
}

/// Runs seeds in a child, and in another one those behind a seed that ended it.
fn run_child(options: &Options, from: u64, seeds: u64, totals: &Mutex<Totals>) -> Result<()> {
    let (mut from, end) = (from, from + seeds);
    while from < end {
        let outcome = run_seeds(options, from, end - from)?;
        let mut totals = totals.lock().expect("no worker panics");
        totals.seeds += outcome.seeds;
        totals.counts.iter_mut().zip(outcome.counts).for_each(|(total, count)| *total += count);
        let Some(failure) = outcome.failures.into_iter().next() else { return Ok(()) };
        from = failure.seed + 1;
        totals.failures.push(failure);
        if !options.keep_going {
            return Ok(());
        }
    }
    Ok(())
}

/// Runs seeds in a child until one fails.
fn run_seeds(options: &Options, from: u64, seeds: u64) -> Result<Totals> {
    let own = std::env::current_exe().context("this program's path")?;
    let mut command = Command::new(own);
    command.args(options.child_arguments(from, seeds)).stdin(Stdio::null()).stdout(Stdio::piped());
    if !options.trace {
        command.stderr(Stdio::piped());
    }
    let mut child = command.spawn().context("starting this program again")?;
    // What SPDK and a panic say goes into a report, if there is one.
    let errors = child.stderr.take().map(|stderr| {
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).collect::<Vec<String>>()
        })
    });
    let output = child.stdout.take().context("the child's output")?;
    let mut totals = Totals::default();
    let (mut seed, mut ended, mut broken) = (None, false, None);
    for line in BufReader::new(output).lines() {
        let line = line.context("the child's output")?;
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "seed" => seed = rest.parse::<u64>().ok(),
            "ok" => {
                totals.seeds += 1;
                let counts = rest.split(' ').filter_map(|number| number.parse::<u64>().ok());
                totals.counts.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
                seed = None;
            }
            "broken" => {
                broken = Some(rest.to_owned());
                break;
            }
            "end" => ended = true,
            // SPDK's own lines.
            _ => {}
        }
    }
    if broken.is_some() {
        // What such a seed leaves behind is not to be trusted.
        child.kill().context("ending the child")?;
    }
    let status = child.wait().context("waiting for the child")?;
    let errors = errors.map(|reader| reader.join().unwrap_or_default()).unwrap_or_default();
    match (seed, broken) {
        (Some(seed), Some(broken)) => {
            totals.seeds += 1;
            totals.failures.push(Failure { seed, broken });
        }
        (Some(seed), None) => {
            totals.seeds += 1;
            // A panic's place and its message; else what was said last.
            let panicked = errors.iter().position(|line| line.contains("panicked at"));
            let said = panicked.unwrap_or(errors.len().saturating_sub(2));
            let last = errors[said..].iter().take(2).cloned().collect::<Vec<_>>().join(" ");
            totals
                .failures
                .push(Failure { seed, broken: format!("the process ended with {status}: {last}") });
        }
        (None, _) if !ended => bail!("the child ended with {status} before a seed: {}", errors.join("\n")),
        (None, _) => {}
    }
    Ok(totals)
}

/// Runs one seed; the rule that it breaks, if it does.
fn broken_by(options: &Options, seed: u64) -> Option<String> {
    let outcome = run_seeds(options, seed, 1);
    outcome.map_or_else(
        |error| Some(error.to_string()),
        |totals| totals.failures.into_iter().next().map(|f| f.broken),
    )
}
