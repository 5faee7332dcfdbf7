//! Benchmarks of kvblade-dpdk beside its own parts and its peers, in one run on one machine.
//!
//! A [`case`] says which requests, a [`contender`] which target over which link. [`sampler`] takes one sample: a fresh server
//! on one core, a fresh initiator on another. [`rounds`] interleaves samples, [`stats`] reduces them, [`parts`] compares
//! a whole with its parts and [`checks`] all with the goals, [`report`] prints and records them. [`scaling`] asks whether a request costs
//! more where there are more exports, initiators or ports; [`own_cost`] measures the target without a link, [`distance`] how
//! near the two cores are to each other.
#![forbid(unsafe_code)]

mod case;
mod checks;
mod contender;
mod distance;
mod loads;
mod own_cost;
mod parts;
mod report;
mod rounds;
mod sampler;
mod scaling;
mod spdk_programs;
mod stats;

use anyhow::{Context, Result, ensure};
use case::Case;
use clap::{Args, Parser, Subcommand, ValueEnum};
use contender::Contender;
use distance::NEAR_NS;
use report::Machine;
use rounds::Commands;
use sampler::{Build, Sampler, Settings};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use stats::Sample;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Measure kvblade-dpdk beside its own parts and its peers: every sample is a fresh server on one core and a fresh initiator
/// on another, in a network namespace of the run. Tables are printed in Markdown. Needs root.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// All contenders, the target without a link, and the goals
    Run(Run),
    /// Another checkout's build, the base, and this one's in turns, each with the SPDK of its checkout
    Ab(Ab),
    /// 10,000 exports, 1,000 initiators, 16 ports
    Scaling(Scaling),
}

/// What all of them have.
#[derive(Args)]
struct Common {
    /// Samples of each row
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds measured for each sample; SPDK's programs take whole ones, rounded up
    #[arg(long, default_value_t = 0.3, value_parser = seconds)]
    seconds: f64,
    /// The target's core
    #[arg(long, default_value_t = 0)]
    target_cpu: usize,
    /// The initiator's core
    #[arg(long, default_value_t = 1)]
    initiator_cpu: usize,
    /// Directory of kvblade-dpdk, aoeperf and the benches' programs [default: this program's]
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Directory for run.json, ab.json or scaling.json
    #[arg(long, default_value = "benches/results")]
    results: PathBuf,
}

/// The rows of `run` and `ab`.
#[derive(Args)]
struct Rows {
    /// Who is measured [default: all; of ab memif, zero-copy, veth, nvmf-posix]
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<Contender>,
    /// DISK/BYTES/OPERATION/DEPTH; a disk is null, memory:MIB or file:MIB. A contender that cannot have a disk is left out of
    /// its rows
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "null/512/read/128,null/4096/read/32,null/4096/read/128,null/4096/write/32,\
                         memory:256/512/read/128,memory:256/4096/read/1,memory:256/4096/read/32,\
                         memory:256/4096/read/128,memory:256/4096/write/32,memory:1024/4096/read/32,memory:1024/4096/write/32"
    )]
    cases: Vec<Case>,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    rows: Rows,
    /// Leave out the target without a link: nanoseconds and instructions from rx to tx
    #[arg(long)]
    no_own_cost: bool,
}

#[derive(Args)]
struct Ab {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    rows: Rows,
    /// The other checkout, with target/release/kvblade-dpdk
    #[arg(long, value_name = "DIRECTORY")]
    base: PathBuf,
    /// Exit with 1 if a row is slower than the base in every round
    #[arg(long)]
    require: bool,
}

#[derive(Args)]
struct Scaling {
    #[command(flatten)]
    common: Common,
    /// Number of many exports, on 40 shelves
    #[arg(long, default_value_t = scaling::EXPORTS_MAX, value_parser = clap::value_parser!(u32).range(i64::from(scaling::EXPORTS_MIN)..=i64::from(scaling::EXPORTS_MAX)))]
    exports: u32,
}

/// Rounds of `run` beyond `--rounds`, one after the other, while the cores' distances leave a row without enough samples that can
/// be compared with those of its part.
const EXTRA_ROUNDS: u32 = 2;

fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.01..=3600.0).contains(&value) { Ok(value) } else { Err("must be 0.01 to 3600 seconds".to_owned()) }
}

fn main() -> ExitCode {
    match dispatch(&Cli::parse().command) {
        Ok(complaints) if complaints.is_empty() => ExitCode::SUCCESS,
        Ok(complaints) => {
            for complaint in complaints {
                eprintln!("bench: {complaint}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns what makes the exit code 1.
fn dispatch(command: &Command) -> Result<Vec<String>> {
    // A flag and not a blocked signal: the programs that are started would inherit a blocked mask.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("installing a signal handler")?;
    }
    match command {
        Command::Run(args) => run(args, &stop),
        Command::Ab(args) => ab(args, &stop),
        Command::Scaling(args) => scale(args, &stop),
    }
}

impl Common {
    fn sampler<'run>(&self, disk_mib: u32, stop: &'run AtomicBool) -> Result<Sampler<'run>> {
        std::fs::create_dir_all(&self.results)
            .with_context(|| format!("making {}", self.results.display()))?;
        let Self { target_cpu, initiator_cpu, seconds, .. } = *self;
        Sampler::new(Settings { target_cpu, initiator_cpu, seconds }, self.build()?, disk_mib, stop)
    }

    /// This checkout's.
    fn build(&self) -> Result<Build> {
        let programs = match &self.programs {
            Some(directory) => directory.clone(),
            None => std::env::current_exe().context("the path of this program")?.with_file_name(""),
        };
        Ok(Build { name: "this", checkout: checkout().to_owned(), programs })
    }

    /// What the line above a table says of all samples.
    fn effort<'all>(&self, rounds: u32, samples: impl IntoIterator<Item = &'all Sample>) -> String {
        let seconds = self.seconds;
        let (mut near, mut all, mut resent) = (0, 0, 0.0);
        for sample in samples {
            near += usize::from(sample.round_trip_ns < NEAR_NS);
            all += 1;
            resent += sample.resent;
        }
        format!(
            "medians (lowest - highest) of {rounds} interleaved rounds of {seconds} s; the two cores were near each other in \
             {near} of {all} samples; {resent} requests sent again"
        )
    }
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

impl Rows {
    fn disk_mib(&self) -> u32 {
        self.cases.iter().map(|case| case.disk.mib()).max().unwrap_or(0)
    }

    fn rows(&self, builds: usize, contenders: &[Contender]) -> Result<Vec<rounds::Row>> {
        let contenders = if self.contenders.is_empty() { contenders } else { &self.contenders };
        let rows = rounds::rows(builds, contenders, &self.cases);
        ensure!(!rows.is_empty(), "none of the contenders can have a disk of --cases: nothing to measure");
        Ok(rows)
    }
}

/// Returns the parts that are beaten by what contains them.
fn run(args: &Run, stop: &AtomicBool) -> Result<Vec<String>> {
    let mut machine = Machine::before(checkout())?;
    let sampler = args.common.sampler(args.rows.disk_mib(), stop)?;
    let builds = [args.common.build()?];
    let mut rows = args.rows.rows(1, Contender::value_variants())?;
    let (mut ring, mut commands) = (Vec::new(), Commands::new());
    let instructions = if args.no_own_cost { Vec::new() } else { own_cost::instructions(&sampler)? };
    let mut comparisons = Vec::new();
    let mut taken = 0;
    for round in 1..=args.common.rounds + EXTRA_ROUNDS {
        if round > args.common.rounds && comparisons.iter().all(parts::Comparison::is_possible) {
            break;
        }
        if !args.no_own_cost {
            ring.extend(own_cost::ring(&sampler)?);
        }
        rounds::measure(&sampler, &builds, round, &mut rows, &mut commands)?;
        comparisons = parts::comparisons(&rows);
        taken = round;
    }
    let goals = checks::goals(&rows, &ring, &instructions);
    let faults: Vec<String> = comparisons.iter().filter_map(parts::Comparison::fault).collect();
    let line = machine.line(&args.common.effort(taken, rows.iter().flat_map(|row| &row.samples)))?;
    println!("{line}\nRequests a second:\n\n{}", report::rates(&rows));
    println!("Latency at QD 1 in us, the median and the p99.9:\n\n{}", report::latencies(&rows, 1));
    if !ring.is_empty() {
        println!("{}", report::ring(&ring));
    }
    println!("{}", checks::render(&goals));
    for line in faults.iter().cloned().chain(comparisons.iter().filter_map(parts::Comparison::note)) {
        println!("- {line}");
    }
    for commands in commands.values_mut().flatten() {
        *commands = report::portable(commands);
    }
    let record = [
        ("machine", json!(machine)),
        ("commands", json!(commands)),
        ("rows", json!(rows)),
        ("ring", json!(ring)),
        ("instructions", json!(instructions)),
        ("goals", json!(goals)),
        ("parts", json!(comparisons)),
    ];
    report::write(&args.common.results.join("run.json"), &record)?;
    Ok(faults.into_iter().map(|reason| format!("these figures are not to be used: {reason}")).collect())
}

/// Returns the rows that are slower, if that is asked for.
fn ab(args: &Ab, stop: &AtomicBool) -> Result<Vec<String>> {
    const CONTENDERS: [Contender; 4] =
        [Contender::Memif, Contender::ZeroCopy, Contender::Veth, Contender::NvmfPosix];
    let mut machine = Machine::before(checkout())?;
    let base =
        Build { name: "base", checkout: args.base.clone(), programs: args.base.join("target/release") };
    let program = base.programs.join("kvblade-dpdk");
    ensure!(
        program.exists(),
        "{} does not exist: cargo build --release -p kvblade-dpdk there",
        program.display()
    );
    let sampler = args.common.sampler(args.rows.disk_mib(), stop)?;
    let builds = [base, args.common.build()?];
    let mut rows = args.rows.rows(2, &CONTENDERS)?;
    let mut commands = Commands::new();
    for round in 1..=args.common.rounds {
        rounds::measure(&sampler, &builds, round, &mut rows, &mut commands)?;
    }
    let base_revision = report::revision(&args.base);
    let effort = args.common.effort(args.common.rounds, rows.iter().flat_map(|row| &row.samples));
    let line = machine.line(&format!("base {base_revision}; {effort}"))?;
    let (table, slower) = report::ratios(&rows);
    println!("{line}\n{table}");
    let record =
        [("machine", json!(machine)), ("base_revision", json!(base_revision)), ("rows", json!(rows))];
    report::write(&args.common.results.join("ab.json"), &record)?;
    let slower = slower.into_iter().filter(|_| args.require);
    Ok(slower.map(|row| format!("{row} is slower than the base in every round")).collect())
}

fn scale(args: &Scaling, stop: &AtomicBool) -> Result<Vec<String>> {
    let mut machine = Machine::before(checkout())?;
    let sampler = args.common.sampler(scaling::DISK_MIB, stop)?;
    let series = scaling::measure(&sampler, args.exports, args.common.rounds)?;
    let effort = args.common.effort(args.common.rounds, series.iter().flat_map(|series| &series.samples));
    let line = machine.line(&format!("{} exports; {effort}", args.exports))?;
    println!("{line}\n{}", scaling::render(&series));
    let record = [("machine", json!(machine)), ("series", json!(series))];
    report::write(&args.common.results.join("scaling.json"), &record)?;
    Ok(Vec::new())
}
