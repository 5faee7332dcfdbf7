//! Shows where the time of kvblade-dpdk's lcore goes while it serves: a flame graph, and the share of each step.
#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use kvblade_benches::cell::{Cell, Operation, Size};
use kvblade_benches::contender::Contender;
use kvblade_benches::interrupt;
use kvblade_benches::lab::{Lab, Settings};
use kvblade_benches::profile::{self, flame};
use kvblade_benches::record::{Machine, portable};
use kvblade_benches::verdict::thousands;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// Sample the lcore of kvblade-dpdk, and by turns that of the bare responder, with Linux's perf, while aoeperf drives them
/// from another core: random addresses, data in memory. Needs root.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  profile
  profile --size 512 --operation write --seconds 20
  profile --link veth --size 512 --depth 32
  profile --seconds 2 --store-mib 64 --results /tmp/short    to see that it works"
)]
struct Args {
    /// What lies between the two cores; over veth the responder makes the same copy as the target, over memif none
    #[arg(long, value_enum, default_value = "memif")]
    link: Via,
    /// Bytes a request moves
    #[arg(long, default_value = "4096", value_parser = size)]
    size: Size,
    /// Operation; mixed is 70 % reads, 30 % writes
    #[arg(long, default_value = "read")]
    operation: Operation,
    /// Requests outstanding
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=256))]
    depth: u16,
    /// Seconds of load in each round, 2000 samples each
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// Times that each is sampled; the one with the highest rate counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// MTU of the link
    #[arg(long, default_value_t = 9000, value_parser = clap::value_parser!(u16).range(576..=9000))]
    mtu: u16,
    /// MiB served from memory
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
    /// Directory for profile-LINK.svg, .folded and .json
    #[arg(long, default_value = "benches/results")]
    results: PathBuf,
}

/// A link that has a bare responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Via {
    /// Shared memory
    Memif,
    /// Linux: a veth pair, with DPDK's af_packet port on both ends
    Veth,
}

impl Via {
    const fn contenders(self) -> [Contender; 2] {
        match self {
            Self::Memif => [Contender::MemifLink, Contender::Memif],
            Self::Veth => [Contender::VethLink, Contender::Veth],
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Memif => "memif",
            Self::Veth => "veth",
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.5..=600.0).contains(&value) { Ok(value) } else { Err("must be 0.5 to 600 seconds".to_owned()) }
}

fn size(text: &str) -> Result<Size, String> {
    Size::new(text.parse().map_err(|_| "not a number of bytes".to_owned())?)
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("profile: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let stop = interrupt::flag()?;
    let machine = Machine::this()?;
    fs::create_dir_all(&args.results).with_context(|| format!("making {}", args.results.display()))?;
    let contenders = args.link.contenders();
    let lab = Lab::new(&contenders, settings(args)?, 0)?;
    let cell = Cell::new(args.size, args.operation, args.depth);
    let profiles = profile::measure(&lab, contenders, cell, args.rounds, &stop)?;

    let Machine { cpu, cpus, kernel, loadavg, revision, date, .. } = &machine;
    println!("{cpu}, {cpus} CPUs, Linux {kernel}; revision {revision}, {date}; load before: {loadavg}");
    let link = args.link.name();
    println!("{cell} over {link}, {} MiB in memory; the best of {} rounds", args.store_mib, args.rounds);
    for profile in &profiles {
        let (rate, samples) = (thousands(profile.sample.iops), profile.samples());
        println!("{:<12}{rate} IOPS while it was sampled, {samples} samples", profile.contender.name());
    }
    println!();
    print!("{}", profile::table(&profiles));

    let [_, target] = &profiles;
    let path = args.results.join(format!("profile-{link}.svg"));
    let title = format!("One lcore of kvblade-dpdk: {cell} over {link}, malloc bdev");
    let subtitle = format!("{cpu}; revision {revision}, {date}; {} samples", target.samples());
    flame::write(&path, &target.stacks, &title, &subtitle)?;
    eprintln!("wrote {}", path.display());
    let path = args.results.join(format!("profile-{link}.folded"));
    let folded: Vec<String> =
        target.stacks.iter().map(|(stack, samples)| format!("{stack} {samples}\n")).collect();
    fs::write(&path, folded.concat()).with_context(|| format!("writing {}", path.display()))?;
    eprintln!("wrote {}", path.display());
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let path = args.results.join(format!("profile-{link}.json"));
    profile::write(&path, &machine, &portable(&command), args.store_mib, cell, &profiles)?;
    eprintln!("wrote {}", path.display());
    Ok(())
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
        warmup: 0.1,
        programs,
    })
}
