//! Loads an AoE export and prints a report.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use aoe_initiator::cpu::pin_to_cpu;
use aoe_initiator::load::{self, LoadReport, LoadSpec, Waiting, Workload};
use aoe_initiator::output;
use aoe_initiator::{Initiator, Link, Retransmit, ShelfSlot};
use clap::{Parser, ValueEnum};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Load an ATA-over-Ethernet export: rate, latency, retransmits.
///
/// Writes destroy what is on the export. Needs root or CAP_NET_RAW.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  aoe-load --interface veth1 --target 1.1 -w randread -o 4096 -q 32 -t 10 --cpu 1
  aoe-load --interface veth1 --target 1.1 -w rw -o 8192 -q 16 -t 60 --verify"
)]
struct Args {
    /// Interface to send on
    #[arg(short, long)]
    interface: String,
    /// Export, SHELF.SLOT
    #[arg(long)]
    target: ShelfSlot,
    /// Bytes a request moves: a multiple of 512, no more than the export takes in one message
    #[arg(short = 'o', long = "io-size", default_value_t = 4096)]
    io_size: u32,
    /// Which requests
    #[arg(short, long, default_value = "randread")]
    workload: WorkloadName,
    /// Percent of the requests of `-w rw` that are reads
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    read_percent: u8,
    /// Requests outstanding
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    queue_depth: u16,
    /// Seconds to measure
    #[arg(short, long, default_value_t = 5.0, value_parser = seconds)]
    time: f64,
    /// Seconds to run before measuring
    #[arg(long, default_value_t = 0.0, value_parser = seconds)]
    warmup: f64,
    /// First sector to use
    #[arg(long, default_value_t = 0)]
    first_lba: u64,
    /// Sectors to use, instead of all from the first on
    #[arg(long)]
    sectors: Option<u64>,
    /// Where random addresses and data come from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep to this core
    #[arg(long)]
    cpu: Option<usize>,
    /// Sleep until replies arrive instead of spinning
    #[arg(long)]
    sleep: bool,
    /// Milliseconds before a request is sent again; doubles up to a second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    rto: u64,
    /// Seconds after which a request is given up
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    give_up: f64,
    /// Stamp every sector written, compare every sector read, and read back all that was written at the end
    #[arg(long)]
    verify: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum WorkloadName {
    Read,
    Write,
    Randread,
    Randwrite,
    Rw,
}

fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.0..=86_400.0).contains(&value) { Ok(value) } else { Err("must be 0 to 86400 seconds".to_owned()) }
}

impl Args {
    fn spec(&self) -> Result<LoadSpec> {
        let sectors = self.io_size / 512;
        if !self.io_size.is_multiple_of(512) || sectors == 0 || sectors > 255 {
            bail!("an I/O size of {} bytes, must be a multiple of 512 from 512 to 130560", self.io_size);
        }
        let first = Duration::from_millis(self.rto);
        Ok(LoadSpec {
            workload: match self.workload {
                WorkloadName::Read => Workload::Read,
                WorkloadName::Write => Workload::Write,
                WorkloadName::Randread => Workload::RandomRead,
                WorkloadName::Randwrite => Workload::RandomWrite,
                WorkloadName::Rw => Workload::RandomMixed(self.read_percent),
            },
            sectors_per_io: u8::try_from(sectors)?,
            depth: usize::from(self.queue_depth),
            duration: Duration::from_secs_f64(self.time),
            warmup: Duration::from_secs_f64(self.warmup),
            first_lba: self.first_lba,
            sectors: self.sectors,
            seed: self.seed,
            timing: Retransmit {
                first,
                longest: first.max(Duration::from_secs(1)),
                give_up: Duration::from_secs_f64(self.give_up),
            },
            waiting: if self.sleep { Waiting::Sleep } else { Waiting::Spin },
        })
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failures) => {
            output::note(&format!("aoe-load: {failures} requests failed\n"));
            ExitCode::FAILURE
        }
        Err(error) => {
            output::note(&format!("aoe-load: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Returns the number of requests that failed.
fn run(args: &Args) -> Result<u64> {
    let spec = args.spec()?;
    if let Some(cpu) = args.cpu {
        pin_to_cpu(cpu)?;
    }
    let mut initiator = Initiator::new(Link::open(&args.interface)?, spec.timing);
    let export = initiator.find(args.target)?;
    let capacity = initiator.identify(&export)?.sectors;
    if spec.depth > usize::from(export.buffer_count) {
        output::note(&format!(
            "aoe-load: {} advertises a buffer count of {}; of {} outstanding requests some may be dropped\n",
            export.address, export.buffer_count, spec.depth
        ));
    }
    let link = initiator.into_link();
    let stop = AtomicBool::new(false);
    let report = if args.verify {
        let mut ledger = load::ledger_for(&spec, capacity)?;
        let mut report = load::run_verified(link, &export, capacity, &spec, &stop, &mut ledger)?;
        let swept = load::sweep(Link::open(&args.interface)?, &export, &ledger, &spec)
            .context("reading back all that was written")?;
        if let Some(verified) = &mut report.verified {
            verified.sectors_checked += swept;
            if verified.sectors_checked == 0 {
                bail!("nothing was verified: no write was acknowledged (-w rw or -w randwrite makes some)");
            }
        }
        report
    } else {
        load::run(link, &export, capacity, &spec, &stop)?
    };
    let text = if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { table(&report) };
    output::print(&text).context("the report can't be printed")?;
    Ok(report.failures())
}

fn table(report: &LoadReport) -> String {
    let LoadReport { workload, bytes, depth, seconds, iops, mb_per_second, latency_us: latency, .. } = report;
    let busy = report.initiator_busy_percent;
    let mut text = format!(
        "{workload} {bytes} B, queue depth {depth}, {seconds:.2} s\n\
         \x20 {iops:.0} IOPS, {mb_per_second:.1} MB/s, this side {busy:.0} % busy\n\
         \x20 latency us: p50 {:.1}, p99 {:.1}, p99.9 {:.1}, min {:.1}, mean {:.1}, max {:.1}\n\
         \x20 retransmits {}, duplicate replies {}, unexpected replies {}, sends put off {}\n",
        latency.p50,
        latency.p99,
        latency.p999,
        latency.min,
        latency.mean,
        latency.max,
        report.retransmits,
        report.duplicate_replies,
        report.unexpected_replies,
        report.send_refused
    );
    if report.failures() > 0 {
        text += &format!(
            "  failed: {} unanswered, {} ATA failures, {} AoE errors, {} short replies\n",
            report.unanswered, report.ata_failures, report.aoe_errors, report.short_replies
        );
    }
    if let Some(verified) = &report.verified {
        text += &format!(
            "  verified: {} sectors right, {} writes acknowledged, {} of unknown fate\n",
            verified.sectors_checked, verified.writes_acknowledged, verified.writes_of_unknown_fate
        );
    }
    text
}
