//! `scripts/bench instructions`: how many instructions a request costs, by callgrind, which counts what a process
//! executes and comes to the same number each time, on any machine that runs the same build.
//!
//! Two things are counted: what `aoe-target` does from parse to emit ([`parse_to_emit`]), as the difference of a run of
//! many requests and one of few, so that the start of the program cancels out; and an lcore's whole turn on a ring
//! port ([`turns`]). `--check` compares both with the baseline that is in the tree, `--write` renews that.
#![forbid(unsafe_code)]

mod baseline;
mod callgrind;
mod parse_to_emit;
mod turns;

use std::process::ExitCode;

use baseline::{Baseline, Counts};
use parse_to_emit::KINDS;

/// Requests of the short and of the long run.
const RUNS: [u64; 2] = [1_000, 11_000];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => count().map(drop),
        ["--check"] => check(),
        ["--write"] => write(),
        ["--loop", kind, requests] => match (kind.parse::<usize>(), requests.parse()) {
            (Ok(kind), Ok(requests)) if kind < KINDS.len() => parse_to_emit::serve(kind, requests),
            _ => Err(format!("--loop {kind} {requests}: expected a kind below {} and a number", KINDS.len())),
        },
        _ => Err(format!("'{}': expected nothing, --check or --write", arguments.join(" "))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Counts everything and prints it. Of a turn, only what is ours goes into a baseline: the rest depends on how SPDK, DPDK
/// and the C library were built.
fn count() -> Result<Counts, String> {
    let mut counts = Counts::new();
    println!("instructions per request\n\naoe-target, from parse to emit");
    for (kind, (name, ..)) in KINDS.iter().enumerate() {
        let [few, many] = RUNS;
        let more = parsed_to_emitted(kind, many)?.saturating_sub(parsed_to_emitted(kind, few)?);
        let each = (more + (many - few) / 2) / (many - few);
        println!("    {name:<10} {each:>6}");
        counts.insert(format!("parse to emit, {name}"), each);
    }
    let own = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let directory = tempfile::tempdir().map_err(|error| format!("a temporary directory: {error}"))?;
    println!("\nan lcore's turn      total   ours   DPDK   SPDK   libc");
    for ((bdev, kind, _), shares) in
        turns::LOADS.iter().zip(turns::count(&own.with_file_name("turns"), directory.path())?)
    {
        let turns::Shares { ours, dpdk, spdk, libc } = shares;
        println!("    {kind:<8} {bdev:<7} {:>6} {ours:>6} {dpdk:>6} {spdk:>6} {libc:>6}", shares.total());
        counts.insert(format!("turn with {bdev}, {kind}, ours"), ours);
    }
    Ok(counts)
}

fn check() -> Result<(), String> {
    let compiler = baseline::compiler()?;
    let (lines, good) = Baseline::load(&baseline::path())?.compare(&compiler, &count()?)?;
    println!("\nrustc {compiler}, {}", lines.join("\n"));
    if good {
        return Ok(());
    }
    Err("a request costs more than before; if it must, `scripts/bench instructions --write` renews the baseline".into())
}

fn write() -> Result<(), String> {
    let path = baseline::path();
    let mut baseline = if path.exists() { Baseline::load(&path)? } else { Baseline::default() };
    let compiler = baseline::compiler()?;
    baseline.put(compiler.clone(), count()?);
    baseline.store(&path)?;
    println!("\nthe counts of rustc {compiler} are in {}", path.display());
    Ok(())
}

/// The instructions that this program executes for `requests` requests of a kind.
fn parsed_to_emitted(kind: usize, requests: u64) -> Result<u64, String> {
    let own = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let arguments = ["--loop", &kind.to_string(), &requests.to_string()];
    callgrind::collected(&callgrind::run(&["--callgrind-out-file=/dev/null"], &own, &arguments)?)
}
