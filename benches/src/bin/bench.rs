//! Measures kvblade-dpdk against its limits and its peers, and holds the figures against the targets.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use kvblade_benches::cell::{LIMIT_CELLS, Operation, Size, combinations};
use kvblade_benches::contender::Contender;
use kvblade_benches::interrupt;
use kvblade_benches::lab::{Lab, Settings};
use kvblade_benches::record::{Effort, Machine, Record};
use kvblade_benches::round::{self, Measured, Rounds};
use kvblade_benches::scaling::{self, ScalingSeries};
use kvblade_benches::verdict::{Verdict, verdicts};
use kvblade_benches::weather::Watch;
use kvblade_benches::{plot, table};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Rounds of what targets 1 to 5 compare, unless said otherwise.
const TARGET_ROUNDS: u32 = 9;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Everything
    All,
    /// The link alone, the bdev alone, and both as kvblade-dpdk over memif
    Limits,
    /// kvblade-dpdk, the bare responder and vblade over veth; SPDK's nvmf_tgt
    Peers,
    /// More exports, initiators, ports
    Scaling,
}

impl Part {
    const fn contenders(self) -> &'static [Contender] {
        use Contender::{Bdev, Memif, MemifLink, Nvmf, Vblade, Veth, VethLink};
        match self {
            Self::All => &Contender::ALL,
            Self::Limits => &[MemifLink, Bdev, Memif],
            Self::Peers => &[Memif, VethLink, Veth, Vblade, Nvmf],
            Self::Scaling => &[],
        }
    }

    const fn scales(self) -> bool {
        matches!(self, Self::All | Self::Scaling)
    }
}

/// Measure kvblade-dpdk beside the link alone, the bdev alone and its peers, in one run on one machine.
///
/// One run makes a network namespace, and in it starts each server on one core and drives it from another: random
/// addresses, data in memory. Needs root.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  bench all
  bench limits --sizes 4096 --depths 64 --target-rounds 20
  bench peers --contenders veth,vblade --operations read
  bench all --seconds 0.5 --rounds 1 --target-rounds 1 --patience 0 --store-mib 64 --exports 640 \\
      --results /tmp/short                                        to see that it works"
)]
struct Args {
    /// What to measure
    #[arg(value_enum, default_value = "all")]
    part: Part,
    /// Only these of the part's contenders
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<Contender>,
    /// Bytes a request moves
    #[arg(long, value_delimiter = ',', default_value = "512,4096,8192", value_parser = size)]
    sizes: Vec<Size>,
    /// Operations; mixed is 70 % reads, 30 % writes
    #[arg(long, value_delimiter = ',', default_value = "read,write,mixed")]
    operations: Vec<Operation>,
    /// Requests outstanding; 64, the depth of the serial limit, is measured only where a target compares it
    #[arg(long, value_delimiter = ',', default_value = "1,8,32,64,128", value_parser = clap::value_parser!(u16).range(1..=256))]
    depths: Vec<u16>,
    /// Times each row is measured, with servers started afresh
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Times each row is measured that targets 1 to 5 compare, those of --rounds among them: no fewer
    /// [default: 9, or --rounds if that is more]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    target_rounds: Option<u32>,
    /// Rounds of scaling, which compares rates that are closer [default: three times --rounds]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=300))]
    scaling_rounds: Option<u32>,
    /// Exports of scaling, on 40 shelves
    #[arg(long, default_value_t = scaling::EXPORTS_MAX, value_parser = clap::value_parser!(u32).range(i64::from(scaling::EXPORTS_MIN)..=i64::from(scaling::EXPORTS_MAX)))]
    exports: u32,
    /// Seconds measured for each row and round; SPDK's programs take whole ones, rounded up
    #[arg(long, default_value_t = 0.75, value_parser = seconds)]
    seconds: f64,
    /// Seconds before, not measured
    #[arg(long, default_value_t = 0.1, value_parser = seconds)]
    warmup: f64,
    /// Seconds that a sample waits, at most, for the two cores to be near each other and undisturbed; 0 does not wait,
    /// but tells what they were like all the same
    #[arg(long, default_value_t = 1.5, value_name = "SECONDS", value_parser = patience)]
    patience: f64,
    /// MTU of the links
    #[arg(long, default_value_t = 9000, value_parser = clap::value_parser!(u16).range(576..=9000))]
    mtu: u16,
    /// MiB each target serves from memory; the figures mean little unless it is larger than the last cache
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    store_mib: u32,
    /// The target's core
    #[arg(long, default_value_t = 0)]
    target_cpu: usize,
    /// The initiator's core
    #[arg(long, default_value_t = 1)]
    initiator_cpu: usize,
    /// Directory of kvblade-dpdk, aoeperf and responder [default: this program's]
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Directory for PART.json and the plots
    #[arg(long, default_value = "benches/results")]
    results: PathBuf,
    /// Exit with 1 if a target is missed
    #[arg(long)]
    require: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.01..=3600.0).contains(&value) { Ok(value) } else { Err("must be 0.01 to 3600 seconds".to_owned()) }
}

fn patience(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.0..=3600.0).contains(&value) { Ok(value) } else { Err("must be 0 to 3600 seconds".to_owned()) }
}

fn size(text: &str) -> Result<Size, String> {
    Size::new(text.parse().map_err(|_| "not a number of bytes".to_owned())?)
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(missed) if args.require && missed > 0 => {
            eprintln!("bench: {missed} targets are missed");
            ExitCode::FAILURE
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how many targets are missed.
fn run(args: &Args) -> Result<usize> {
    let begun = Instant::now();
    let stop = interrupt::flag()?;
    let machine = Machine::this()?;
    let contenders = contenders(args)?;
    let rounds = rounds(args)?;
    fs::create_dir_all(&args.results).with_context(|| format!("making {}", args.results.display()))?;

    let mut watch = Watch::new(args.target_cpu, args.initiator_cpu, Duration::from_secs_f64(args.patience));
    let mut measured = measure(args, &contenders, rounds, &mut watch, &stop)?;
    let mut scaling = scale(args, &mut watch, &stop)?;
    watch.judge(measured.figures.samples_mut());
    watch.judge(scaling.iter_mut().flat_map(|series| &mut series.rounds));

    let targets = verdicts(&measured.figures, &scaling);
    print_head(args, rounds, &machine, &watch);
    print_figures(args, &contenders, &measured, &targets);
    print_weather(&measured, &scaling);
    let effort = Effort {
        rounds: rounds.all,
        target_rounds: rounds.compared,
        patience: args.patience,
        seconds: args.seconds,
        warmup: args.warmup,
        mtu: args.mtu,
        store_mib: args.store_mib,
        target_cpu: args.target_cpu,
        initiator_cpu: args.initiator_cpu,
        scaling_exports: args.exports,
    };
    let part = args.part.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let path = args.results.join(format!("{part}.json"));
    Record {
        part,
        machine: &machine,
        loadavg_after: fs::read_to_string("/proc/loadavg")?.trim().to_owned(),
        seconds: begun.elapsed().as_secs_f64(),
        effort: &effort,
        interruptions: watch.interruptions(),
        best_weather: watch.best(),
        commands: &measured.commands,
        figures: measured.figures.series(),
        scaling: &scaling,
        targets: &targets,
    }
    .write(&path)?;
    eprintln!("wrote {}", path.display());
    for path in plot::write_all(&args.results, &measured.figures)? {
        eprintln!("wrote {}", path.display());
    }
    Ok(targets.iter().filter(|verdict| verdict.pass == Some(false)).count())
}

/// Those of the part, or those of them that were named.
fn contenders(args: &Args) -> Result<Vec<Contender>> {
    let all = args.part.contenders();
    if let Some(other) = args.contenders.iter().find(|who| !all.contains(who)) {
        let names: Vec<&str> = all.iter().map(|who| who.name()).collect();
        bail!("--contenders {other}: this part has [{}]", names.join(", "));
    }
    let named = |who: &&Contender| args.contenders.is_empty() || args.contenders.contains(who);
    Ok(all.iter().filter(named).copied().collect())
}

fn settings(args: &Args) -> Result<Settings> {
    let programs = match &args.programs {
        Some(directory) => directory.clone(),
        None => std::env::current_exe().context("the path of this program")?.with_file_name(""),
    };
    Ok(Settings {
        mtu: args.mtu,
        store_mib: args.store_mib,
        target_cpu: args.target_cpu,
        initiator_cpu: args.initiator_cpu,
        seconds: args.seconds,
        warmup: args.warmup,
        programs,
    })
}

fn rounds(args: &Args) -> Result<Rounds> {
    let all = args.rounds;
    let compared = args.target_rounds.unwrap_or(TARGET_ROUNDS.max(all));
    ensure!(compared >= all, "--target-rounds {compared}: --rounds are {all}, and are among them");
    Ok(Rounds { all, compared })
}

fn measure(
    args: &Args,
    contenders: &[Contender],
    rounds: Rounds,
    watch: &mut Watch,
    stop: &AtomicBool,
) -> Result<Measured> {
    if contenders.is_empty() {
        return Ok(Measured::default());
    }
    let lab = Lab::new(contenders, settings(args)?, 0)?;
    let mut cells = combinations(&args.sizes, &args.operations, &args.depths);
    cells.retain(|&cell| contenders.iter().any(|&who| round::wanted(who, cell)));
    round::measure(&lab, contenders, &cells, rounds, watch, stop)
}

fn scale(args: &Args, watch: &mut Watch, stop: &AtomicBool) -> Result<Vec<ScalingSeries>> {
    if !args.part.scales() {
        return Ok(Vec::new());
    }
    let lab = Lab::new(&[], settings(args)?, scaling::HUGEPAGES_MIB)?;
    scaling::measure(&lab, args.exports, args.scaling_rounds.unwrap_or(3 * args.rounds), watch, stop)
}

fn print_head(args: &Args, rounds: Rounds, machine: &Machine, watch: &Watch) {
    let Args { mtu, store_mib, seconds, target_cpu, initiator_cpu, .. } = args;
    let Rounds { all, compared } = rounds;
    let Machine { cpu, cpus, kernel, loadavg, revision, date, .. } = machine;
    println!("{cpu}, {cpus} CPUs, Linux {kernel}; revision {revision}, {date}; load before: {loadavg}");
    println!(
        "MTU {mtu}; {store_mib} MiB in memory; random addresses; target on core {target_cpu}, initiator on core \
         {initiator_cpu}; medians of {all} rounds of {seconds} s, of {compared} where targets 1 to 5 compare"
    );
    println!("{}", table::interruptions(watch.interruptions()));
    println!();
}

fn print_figures(args: &Args, contenders: &[Contender], measured: &Measured, targets: &[Verdict]) {
    if !contenders.is_empty() {
        for contender in contenders {
            println!("{:<12}{}", contender.name(), contender.title());
        }
        println!();
        print!("{}", table::render(measured.figures.series()));
        println!();
        println!("resent: requests that were sent again, all rounds together; there should be none.");
        println!(
            "initiator: share of its time that the initiator was at work; near 100 % at a depth above 1, it"
        );
        println!("and not the target sets the rate.");
        println!();
    }
    print!("{}", table::render_verdicts(targets));
    let missing = LIMIT_CELLS.iter().any(|&cell| measured.figures.rounds(Contender::Memif, cell).is_empty());
    if missing && args.part == Part::All {
        println!("Some targets were left out: their rows were not measured.");
    }
}

fn print_weather(measured: &Measured, scaling: &[ScalingSeries]) {
    let rounds = measured.figures.series().iter().map(|series| &series.rounds);
    let samples = rounds.chain(scaling.iter().map(|series| &series.rounds)).flatten();
    let (fair, all) = samples.fold((0, 0), |(fair, all), sample| (fair + usize::from(sample.fair), all + 1));
    println!();
    println!(
        "{fair} of {all} samples were taken in fair weather: both cores as fast and as near as they can be."
    );
}
