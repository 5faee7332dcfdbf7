//! Compares AoE targets: the same initiator, the same veth pair, one core each, in one run.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use aoe_initiator::ShelfSlot;
use aoe_initiator::lab::{Namespace, Veth};
use clap::Parser;
use kvblade_benches::contender::{self, Contender, Place};
use kvblade_benches::hugepages::Hugepages;
use kvblade_benches::interrupt;
use kvblade_benches::matrix::{self, Cell, Effort, Figures, Operation};
use kvblade_benches::table::{self, Row};
use serde::Serialize;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

const NEAR: &str = "initiator0";
const FAR: &str = "target0";
const ADDRESS: ShelfSlot = ShelfSlot::new(1, 1);

/// Compare kvblade-dpdk with other AoE targets on a veth pair of its own.
///
/// One run makes a network namespace with a veth pair, starts each target in it on one core, and measures each
/// with the same spinning AF_PACKET initiator on another core, random addresses, data in memory. Needs root.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  peers --json peers.json
  peers --contenders vblade --sizes 4096 --operations read --depths 32 --seconds 1
  chrt -f 10 peers        on a machine that does other things too: both sides get real-time priority"
)]
struct Args {
    /// Targets, in order; the first is what the others are compared with
    #[arg(long, value_delimiter = ',', default_value = "vblade,kvblade-dpdk,responder")]
    contenders: Vec<String>,
    /// Bytes a request moves
    #[arg(long, value_delimiter = ',', default_value = "512,4096,8192", value_parser = io_size)]
    sizes: Vec<u32>,
    /// Operations
    #[arg(long, value_delimiter = ',', default_value = "read,write")]
    operations: Vec<Operation>,
    /// Requests outstanding
    #[arg(long, value_delimiter = ',', default_value = "1,32", value_parser = clap::value_parser!(u16).range(1..=256))]
    depths: Vec<u16>,
    /// Times each target is started and measured, in turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds measured for each row and round
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Seconds before, not measured
    #[arg(long, default_value_t = 0.25, value_parser = seconds)]
    warmup: f64,
    /// MTU of the veth pair
    #[arg(long, default_value_t = 9000, value_parser = clap::value_parser!(u16).range(576..=9000))]
    mtu: u16,
    /// MiB each target serves from memory
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    store_mib: u32,
    /// The target's core
    #[arg(long, default_value_t = 0)]
    target_cpu: usize,
    /// The initiator's core
    #[arg(long, default_value_t = 1)]
    initiator_cpu: usize,
    /// The kvblade-dpdk program [default: the one beside this program]
    #[arg(long)]
    kvblade: Option<PathBuf>,
    /// Write all figures, those of every round too, to this file as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.01..=3600.0).contains(&value) { Ok(value) } else { Err("must be 0.01 to 3600 seconds".to_owned()) }
}

fn io_size(text: &str) -> Result<u32, String> {
    let bytes: u32 = text.parse().map_err(|_| "not a number of bytes".to_owned())?;
    if bytes.is_multiple_of(512) && (512..=8192).contains(&bytes) {
        Ok(bytes)
    } else {
        Err("must be a multiple of 512 from 512 to 8192 bytes, what a target may have in one message"
            .to_owned())
    }
}

/// What `--json` writes.
#[derive(Serialize)]
struct Record<'a> {
    machine: &'a Machine,
    effort: Effort,
    mtu: u16,
    store_mib: u32,
    target_cpu: usize,
    rows: &'a [Row],
    figures: &'a Figures,
}

#[derive(Serialize)]
struct Machine {
    cpu: String,
    cpus: usize,
    kernel: String,
}

impl Machine {
    fn this() -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel =
            fs::read_to_string("/proc/sys/kernel/osrelease").context("reading the kernel's release")?;
        Ok(Self {
            cpu: model.map_or("unknown", |(_, name)| name).to_owned(),
            cpus: std::thread::available_parallelism()?.get(),
            kernel: kernel.trim().to_owned(),
        })
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let stop = interrupt::flag()?;
    let machine = Machine::this()?;
    ensure!(args.target_cpu != args.initiator_cpu, "the target and the initiator need a core each");
    let contenders =
        args.contenders.iter().map(|name| contender::by_name(name)).collect::<Result<Vec<_>>>()?;
    let mut cells = Vec::new();
    for &bytes in &args.sizes {
        for &operation in &args.operations {
            cells.extend(args.depths.iter().map(|&depth| Cell { bytes, operation, depth }));
        }
    }
    let effort = Effort {
        rounds: args.rounds,
        seconds: args.seconds,
        warmup: args.warmup,
        initiator_cpu: args.initiator_cpu,
    };

    let figures = {
        let scratch = tempfile::tempdir_in("/dev/shm").context("a directory on /dev/shm")?;
        let hugepages = hugepages_for(&contenders, args.store_mib)?;
        let namespace = Namespace::create("peers")?;
        Veth::create(&namespace, NEAR, &namespace, FAR, args.mtu)?;
        let kvblade = args.kvblade.clone().map_or_else(contender::default_kvblade, Ok)?;
        let place = Place {
            namespace: &namespace,
            interface: FAR,
            address: ADDRESS,
            store_mib: args.store_mib,
            cpu: args.target_cpu,
            scratch: scratch.path(),
            kvblade: &kvblade,
        };
        matrix::measure(&place, NEAR, &contenders, &cells, &effort, hugepages.as_ref(), &stop)?
    };

    let rows = table::rows(&figures);
    print_table(args, &machine, &contenders, &figures, &rows);
    if let Some(path) = &args.json {
        let record = Record {
            machine: &machine,
            effort,
            mtu: args.mtu,
            store_mib: args.store_mib,
            target_cpu: args.target_cpu,
            rows: &rows,
            figures: &figures,
        };
        let text = serde_json::to_string_pretty(&record)?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Reserves what the hungriest contender needs, if any needs some; they run one at a time.
fn hugepages_for(contenders: &[Contender], store_mib: u32) -> Result<Option<Hugepages>> {
    let most = contenders.iter().filter_map(|contender| contender.hugepages_mib).max();
    most.map(|mib| Hugepages::reserve(mib + store_mib, contender::file_prefix())).transpose()
}

fn print_table(args: &Args, machine: &Machine, contenders: &[Contender], figures: &Figures, rows: &[Row]) {
    let Args { mtu, store_mib, rounds, seconds, target_cpu, initiator_cpu, .. } = args;
    println!("{}, {} CPUs, Linux {}", machine.cpu, machine.cpus, machine.kernel);
    println!(
        "veth, MTU {mtu}; {store_mib} MiB in memory; random addresses; target on core {target_cpu}, initiator on \
         core {initiator_cpu}; median of {rounds} rounds of {seconds} s"
    );
    for (contender, (name, command)) in contenders.iter().zip(&figures.commands) {
        println!("{name}, {}: {command}", contender.store);
    }
    println!();
    print!("{}", table::render(rows));
    println!();
    println!(
        "spread: highest less lowest round. initiator: share of its time the initiator was at work; near"
    );
    println!("100 % at a depth above 1, the initiator sets the rate. ratio: to {}.", args.contenders[0]);
}
