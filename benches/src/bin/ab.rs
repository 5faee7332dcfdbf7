//! Measures two builds of the target in turns: another checkout's and this one's.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use clap::Parser;
use kvblade_benches::ab::{self, Bdev, Build, CONTENDERS};
use kvblade_benches::cell::{Operation, Size, combinations};
use kvblade_benches::contender::Contender;
use kvblade_benches::interrupt;
use kvblade_benches::lab::{Lab, Settings};
use kvblade_benches::record::Machine;
use kvblade_benches::spdk_programs::Programs;
use kvblade_benches::table;
use kvblade_benches::weather::Watch;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Measure kvblade-dpdk and nvmf_tgt of another checkout, the base, and of this one in turns, each with the SPDK of its
/// checkout. Needs root, and target/release/kvblade-dpdk in both.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The other checkout
    #[arg(long, value_name = "DIRECTORY")]
    base: PathBuf,
    /// Only these of memif, veth, nvmf
    #[arg(long, value_delimiter = ',', default_value = "memif,veth,nvmf")]
    contenders: Vec<Contender>,
    /// Bdevs behind kvblade-dpdk
    #[arg(long, value_delimiter = ',', default_value = "malloc,null,aio")]
    bdevs: Vec<Bdev>,
    /// Bytes a request moves
    #[arg(long, value_delimiter = ',', default_value = "512,4096", value_parser = size)]
    sizes: Vec<Size>,
    /// Operations; mixed is 70 % reads, 30 % writes
    #[arg(long, value_delimiter = ',', default_value = "read,write")]
    operations: Vec<Operation>,
    /// Requests outstanding
    #[arg(long, value_delimiter = ',', default_value = "1,32,128", value_parser = clap::value_parser!(u16).range(1..=256))]
    depths: Vec<u16>,
    /// Times each row is measured, with servers started afresh
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds measured for each row and round; SPDK's programs take whole ones, rounded up
    #[arg(long, default_value_t = 0.3, value_parser = seconds)]
    seconds: f64,
    /// Seconds before, not measured
    #[arg(long, default_value_t = 0.05, value_parser = seconds)]
    warmup: f64,
    /// Seconds that a sample waits, at most, for the two cores to be near each other and undisturbed
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS", value_parser = patience)]
    patience: f64,
    /// MiB that each bdev has
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    store_mib: u32,
    /// The target's core
    #[arg(long, default_value_t = 0)]
    target_cpu: usize,
    /// The initiator's core
    #[arg(long, default_value_t = 1)]
    initiator_cpu: usize,
    /// Directory for ab.json and ab.md
    #[arg(long, default_value = "benches/results")]
    results: PathBuf,
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
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let stop = interrupt::flag()?;
    let machine = Machine::this()?;
    let contenders = &args.contenders;
    for who in contenders {
        ensure!(CONTENDERS.contains(who), "--contenders {who}: there are two builds of memif, veth and nvmf");
    }
    fs::create_dir_all(&args.results).with_context(|| format!("making {}", args.results.display()))?;
    let programs = std::env::current_exe().context("the path of this program")?.with_file_name("");
    let builds = builds(args, &programs)?;
    let base_revision = Machine::revision_of(&args.base);

    let more = ab::hugepages_mib(contenders, args.store_mib);
    let mut lab = Lab::new(&[], settings(args, programs), more)?;
    if let Some(spdk) = &builds[1].spdk {
        lab.use_spdk(spdk.clone());
    }
    let cells = combinations(&args.sizes, &args.operations, &args.depths);
    let mut watch = Watch::new(args.target_cpu, args.initiator_cpu, Duration::from_secs_f64(args.patience));
    let mut measured =
        ab::measure(&lab, &builds, contenders, &args.bdevs, &cells, args.rounds, &mut watch, &stop)?;
    watch.judge(measured.rows.iter_mut().flat_map(|row| row.rounds.iter_mut().flatten()));

    let samples = || measured.rows.iter().flat_map(|row| row.rounds.iter().flatten());
    let (fair, all) = (samples().filter(|sample| sample.fair).count(), samples().count());
    let resent: u64 = samples().map(|sample| sample.retransmits).sum();
    let after = fs::read_to_string("/proc/loadavg")?;
    let Machine { cpu, cpus, kernel, loadavg, revision, date, .. } = &machine;
    let text = format!(
        "{cpu}, {cpus} CPUs, Linux {kernel}; base {base_revision}, this {revision}, {date}; load before: {loadavg}, \
         after: {}; {} rounds of {} s; {fair} of {all} samples in fair weather; {resent} requests sent again\n{}\n\n{}",
        after.trim(),
        args.rounds,
        args.seconds,
        table::interruptions(watch.interruptions()),
        ab::render(&measured.rows, ["base", "this"]),
    );
    print!("{text}");
    let write = |name: &str, text: &str| {
        let path = args.results.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        eprintln!("wrote {}", path.display());
        Ok::<_, anyhow::Error>(())
    };
    let record = json!({
        "machine": machine, "base_revision": base_revision, "loadavg_after": after.trim(), "rounds": args.rounds,
        "seconds": args.seconds, "warmup": args.warmup, "store_mib": args.store_mib,
        "interruptions": watch.interruptions(), "measured": measured,
    });
    write("ab.json", &(serde_json::to_string_pretty(&record)? + "\n"))?;
    write("ab.md", &text)
}

fn builds(args: &Args, programs: &Path) -> Result<[Build; 2]> {
    let base = args.base.join("target/release");
    for programs in [&*base, programs] {
        let program = programs.join("kvblade-dpdk");
        ensure!(
            program.exists(),
            "{} does not exist: cargo build --release -p kvblade-dpdk",
            program.display()
        );
    }
    let nvmf = args.contenders.contains(&Contender::Nvmf);
    let of_base = nvmf.then(|| Programs::of_checkout(&args.base)).transpose()?;
    let of_this = nvmf.then(Programs::find).transpose()?;
    Ok([
        Build { name: "base", programs: base, spdk: of_base },
        Build { name: "this", programs: programs.to_owned(), spdk: of_this },
    ])
}

fn settings(args: &Args, programs: PathBuf) -> Settings {
    Settings {
        mtu: 9000,
        store_mib: args.store_mib,
        target_cpu: args.target_cpu,
        initiator_cpu: args.initiator_cpu,
        seconds: args.seconds,
        warmup: args.warmup,
        programs,
    }
}
