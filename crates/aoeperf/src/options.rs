//! Command line: from the words of `argv` to what the program is to do.

mod addresses;

use std::ffi::OsString;

use aoe_initiator::wire::SECTOR;
use clap::{CommandFactory, Parser};

pub use addresses::Addresses;

/// Largest `-q`, by target.
pub const MAX_DEPTH: u16 = 512;

/// Largest `-o`, in bytes: 16 sectors, the most that Linux sends and targets advertise.
pub const MAX_IO: u32 = 8192;

/// What is asked for, request by request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lower")]
pub enum Workload {
    /// Reads, block after block.
    Read,
    /// Writes, block after block.
    Write,
    /// Reads of random blocks.
    RandRead,
    /// Writes of random blocks.
    RandWrite,
    /// Reads and writes, block after block.
    Rw,
    /// Reads and writes of random blocks.
    RandRw,
}

impl Workload {
    /// As the command line calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::RandRead => "randread",
            Self::RandWrite => "randwrite",
            Self::Rw => "rw",
            Self::RandRw => "randrw",
        }
    }

    /// Whether blocks are taken at random.
    pub const fn is_random(self) -> bool {
        matches!(self, Self::RandRead | Self::RandWrite | Self::RandRw)
    }

    /// Whether it is a mixture of reads and writes.
    pub const fn is_mixed(self) -> bool {
        matches!(self, Self::Rw | Self::RandRw)
    }
}

/// Measures ATA-over-Ethernet targets through any DPDK port: rate, latency, retransmits.
///
/// One lcore polls every port that EAL has and keeps DEPTH requests outstanding with each target. Latency is from the
/// moment a request is built to the moment a poll brings its reply. Writes destroy what is on the targets; without
/// --verify they carry whatever bytes the buffers hold.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "aoeperf",
    version,
    override_usage = "aoeperf [EAL options] -- [options]",
    after_help = "Examples:
  # an interface of Linux, through af_packet
  aoeperf -l 1 --no-pci \\
      --vdev=net_af_packet0,iface=eth1,framesz=16384,blocksz=65536,framecnt=512,qdisc_bypass=1 -- \\
      -q 32 -o 4096 -w randread -t 10
  # memory shared with a target that has role=server
  aoeperf -l 1 --no-pci --single-file-segments --file-prefix=perf \\
      --vdev=net_memif0,role=client,socket=/run/memif.sock,socket-abstract=no,bsize=16384,rsize=10 -- \\
      --mtu 9000 -q 64 -o 4096 -w randrw -M 70 -t 10 --json -"
)]
pub struct Options {
    /// Requests outstanding with each target: 1 to 512
    #[arg(short = 'q', long, value_name = "DEPTH", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_DEPTH)))]
    pub queue_depth: u16,

    /// Bytes a request moves: a multiple of 512, up to 8192 and to what the target takes in one message
    #[arg(short = 'o', long, value_name = "BYTES", default_value_t = 4096, value_parser = io_size)]
    pub io_size: u32,

    /// What to ask for
    #[arg(short, long, value_enum, default_value = "randread")]
    pub workload: Workload,

    /// Percent of the requests of rw and randrw that are reads [default: 50]
    #[arg(short = 'M', long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub read_percent: Option<u8>,

    /// Seconds to measure
    #[arg(short, long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    pub time: f64,

    /// Seconds to run before measuring
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    pub warmup: f64,

    /// Export to ask, SHELF.SLOT, or ranges such as 0-39.0-249; may be given several times [default: all that answer]
    #[arg(long = "target", value_name = "SHELF.SLOT")]
    pub targets: Vec<Addresses>,

    /// Use only that many sectors of each target, from the first on [default: all]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub sectors: Option<u64>,

    /// MTU of ports that have no Linux interface behind them [default: what the port says]
    #[arg(long, value_name = "BYTES", value_parser = mtu)]
    pub mtu: Option<u16>,

    /// Send from that many MAC addresses in turn, locally administered ones; 1 is the port's own
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub initiators: u16,

    /// Keep within the window that Linux's aoe driver would open: half the target's buffer count at first, 1 after a
    /// timeout, 64 at most on each path
    #[arg(long)]
    pub linux_window: bool,

    /// Milliseconds before the first retransmit while nothing is known of the round trip; Linux's driver waits 16500
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u32).range(100..=60_000))]
    pub first_rto: u32,

    /// Seconds after which a request without an answer has failed
    #[arg(long, value_name = "SECONDS", default_value_t = 180.0, value_parser = seconds)]
    pub deadsecs: f64,

    /// Stamp every sector written, compare every sector read, and read back all that was written at the end
    #[arg(long)]
    pub verify: bool,

    /// Where random addresses and stamps come from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// Write the results to FILE as JSON; - is standard output, instead of the table. It has more than the table: the
    /// rate by windows of 10 ms, and, as slowest_us, the latency that 10, 100 and 1000 requests of each second exceed
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,

    /// No line each second
    #[arg(long)]
    pub no_progress: bool,

    /// Seconds for the targets to answer discovery; the link of a port has ten at least
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0, value_parser = seconds)]
    pub wait: f64,

    /// After the report, keep the ports open without polling them until SIGTERM or SIGINT: the other end of a memif link is
    /// to end first, since DPDK's PMD unmaps the rings that a remaining end polls
    #[arg(long)]
    pub hold: bool,

    /// Show the exports that answer, and end
    #[arg(long)]
    pub list: bool,

    /// Show what went over each path: a port, and a MAC address that answers there for a target
    #[arg(long)]
    pub paths: bool,
}

impl Options {
    /// Sectors a request moves, 1 to 16.
    pub fn sectors_per_io(&self) -> u8 {
        u8::try_from(self.io_size as usize / SECTOR).unwrap_or(u8::MAX)
    }

    /// Percent of the requests that are reads.
    pub fn reads(&self) -> u8 {
        match self.workload {
            Workload::Read | Workload::RandRead => 100,
            Workload::Write | Workload::RandWrite => 0,
            Workload::Rw | Workload::RandRw => self.read_percent.unwrap_or(50),
        }
    }

    /// What clap cannot judge option by option.
    fn check(&self) -> Result<(), String> {
        if self.read_percent.is_some() && !self.workload.is_mixed() {
            return Err(format!(
                "-M is the share of reads of rw and randrw, and the workload is {}",
                self.workload.name()
            ));
        }
        if self.verify && self.reads() == 100 {
            return Err(format!(
                "--verify compares what was written, and {}{} writes nothing: use write, randwrite, rw or randrw",
                self.workload.name(),
                if self.workload.is_mixed() { " with -M 100" } else { "" }
            ));
        }
        if self.time == 0.0 && !self.list {
            return Err("-t 0 measures nothing: give seconds, such as -t 0.5".into());
        }
        Ok(())
    }
}

/// EAL's words and ours.
#[derive(Debug, Clone)]
pub struct CommandLine {
    /// What stands before `--`.
    pub eal: Vec<String>,
    /// What stands after it.
    pub options: Options,
}

/// Why the program does not start, or what it prints instead (`--help`, `--version`).
#[derive(Debug)]
pub enum Refusal {
    /// One sentence; exit code 2.
    Usage(String),
    /// For standard output; exit code 0.
    Print(String),
}

/// Reads `argv`, its first word being the program's name. The words before a `--` are EAL's, those after it ours;
/// without a `--` all are ours.
///
/// # Errors
/// [`Refusal`], of one sentence that names what is wrong and what is allowed.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<CommandLine, Refusal> {
    let words: Vec<OsString> = argv.into_iter().skip(1).collect();
    if let Some(answer) = manual::answer(&words, Options::command) {
        return Err(answer.map_or_else(usage, Refusal::Print));
    }
    let (eal, ours) = match words.iter().position(|word| word == "--") {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (&[][..], words.as_slice()),
    };
    let asks = |word: &&OsString| matches!(word.to_str(), Some("-h" | "--help" | "-V" | "--version"));
    let question: Vec<OsString> = eal.iter().filter(asks).take(1).cloned().collect();
    let ours = if question.is_empty() { ours } else { question.as_slice() };
    let program = OsString::from("aoeperf");
    let options =
        Options::try_parse_from(std::iter::once(&program).chain(ours)).map_err(|error| refusal(&error))?;
    options.check().map_err(usage)?;
    let eal = eal
        .iter()
        .map(|word| word.to_str().map(str::to_owned).ok_or_else(|| usage(format!("{word:?} is no UTF-8"))))
        .collect::<Result<_, _>>()?;
    Ok(CommandLine { eal, options })
}

fn usage(sentence: String) -> Refusal {
    Refusal::Usage(format!("{sentence} (see aoeperf --help)"))
}

/// Makes one sentence of clap's report, which spreads over several lines and repeats the usage.
fn refusal(error: &clap::Error) -> Refusal {
    let report = error.render().to_string();
    if !error.use_stderr() {
        return Refusal::Print(report);
    }
    if let Some(clap::error::ContextValue::String(word)) = error.get(clap::error::ContextKind::InvalidArg)
        && error.kind() == clap::error::ErrorKind::UnknownArgument
        && ["-l", "-a", "--vdev", "--no-pci", "--no-huge", "--file-prefix"]
            .iter()
            .any(|eal| word.starts_with(eal))
    {
        return usage(format!("'{word}' is an EAL option: those stand before '--' and aoeperf's after it"));
    }
    let lines: Vec<&str> = report
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let sentence = lines.join(" ");
    usage(sentence.strip_prefix("error: ").unwrap_or(&sentence).to_owned())
}

fn io_size(text: &str) -> Result<u32, String> {
    let allowed = || format!("a request moves a multiple of 512 bytes, 512 to {MAX_IO}");
    let bytes: u32 = text.parse().map_err(|_| allowed())?;
    if bytes.is_multiple_of(512) && (512..=MAX_IO).contains(&bytes) { Ok(bytes) } else { Err(allowed()) }
}

fn seconds(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (0.0..=86_400.0).contains(value));
    value.ok_or_else(|| "seconds are a number from 0 to 86400".to_owned())
}

/// Smallest MTU: AoE and ATA headers and one sector.
const MTU_MIN: u16 = 548;

fn mtu(text: &str) -> Result<u16, String> {
    let value = text.parse().ok().filter(|mtu| (MTU_MIN..=crate::ports::MTU_MAX).contains(mtu));
    value.ok_or_else(|| format!("an MTU is a number of bytes from {MTU_MIN} to {}", crate::ports::MTU_MAX))
}

#[cfg(test)]
mod tests;
