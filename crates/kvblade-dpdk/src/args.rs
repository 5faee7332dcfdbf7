//! Command line: from the words of `argv` to what the program is to do.

mod help;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser};
use thiserror::Error;
use tracing::level_filters::LevelFilter;

use crate::eal_options::{EalOptions, looks_like_eal_option};
use crate::export_spec::{self, ExportSpec};
use crate::idle::IdleOption;
use crate::needs::{ALIGNMENTS, PayloadAlignment};
use crate::spread::SpreadOption;

/// SPDK's own default, so that its tools find the program without an option.
pub(crate) const DEFAULT_RPC_SOCKET: &str = "/var/tmp/spdk.sock";

/// Where the state of the target that a machine commonly has one of lives.
pub(crate) const DEFAULT_STATE_DIR: &str = "/var/lib/kvblade-dpdk";

/// Smallest `--mtu`, in bytes of Ethernet payload: AoE and ATA headers and one sector, 36 + 512.
pub(crate) const MTU_MIN: u16 = 548;

/// `--mbufs` when it is not given: two rings of 1024, and 2048 requests under way; one less than a power of two
/// is what a mempool holds without waste (`rte_mempool_create`, `rte_mempool.h`).
pub(crate) const MBUFS_DEFAULT: u32 = 4095;

/// Smallest `--mbufs`: two rings of 1024 filled, and some more to work with.
const MBUFS_MIN: u32 = 2559;

/// Largest `--mbufs`: what a mempool of 16 KiB rooms could need 16 GiB for.
const MBUFS_MAX: u32 = 1 << 20;

/// Why the program does not start: one sentence, printed after `kvblade-dpdk: `.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum LaunchError {
    /// The command line cannot be right anywhere: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// This machine, a file or a configuration is not as it must be: exit code 1.
    #[error("{0}")]
    Environment(String),
}

impl LaunchError {
    /// A mistake in the command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// Something outside the command line that stands in the way.
    pub(crate) fn environment(message: impl Into<String>) -> Self {
        Self::Environment(message.into())
    }

    /// What the process exits with.
    #[must_use]
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Environment(_) => 1,
        }
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// Serve.
    Serve(Box<CommandLine>),
    /// Print this text on stdout and exit with 0 (`--help`, `--version`).
    Print(String),
}

/// A command line that is right in itself; files and ports have not been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandLine {
    /// What stands before `--`.
    pub(crate) eal: EalOptions,
    /// Every `--export`, in order; no two serve one address on a port of the same name.
    pub(crate) exports: Vec<ExportSpec>,
    /// `--config`.
    pub(crate) config: Option<PathBuf>,
    /// `--rpc-socket`, absolute: SPDK 20.07 ignores a relative one while it loads its configuration.
    pub(crate) rpc_socket: PathBuf,
    /// `--state-dir`.
    pub(crate) state_dir: PathBuf,
    /// `--mtu`, in bytes of Ethernet payload, for ports without a Linux interface behind them.
    pub(crate) mtu: Option<u16>,
    /// `--mbufs`: mbufs in the mempool of each port's queue pair.
    pub(crate) mbufs: u32,
    /// `--spread`.
    pub(crate) spread: SpreadOption,
    /// `--idle`.
    pub(crate) idle: IdleOption,
    /// `--payload-alignment`.
    pub(crate) payload_alignment: PayloadAlignment,
    /// `--log-level`; `None` leaves it to `RUST_LOG`.
    pub(crate) log_level: Option<LevelFilter>,
}

#[derive(Debug, Parser)]
#[command(
    name = "kvblade-dpdk",
    about = help::ABOUT,
    override_usage = help::USAGE,
    long_about = help::LONG_ABOUT,
    after_long_help = help::EXAMPLES,
    args_override_self = false,
    disable_help_subcommand = true
)]
struct Options {
    /// Serve BDEV as AoE device eSHELF.SLOT; may be given several times
    #[arg(long = "export", short = 'e', value_name = help::EXPORT_FORM, long_help = help::EXPORT)]
    exports: Vec<OsString>,

    /// Load SPDK's configuration from a JSON file before the exports are made
    #[arg(long, short, value_name = "FILE", long_help = help::CONFIG)]
    config: Option<PathBuf>,

    /// Unix socket for management by kvadd, kvdel, kvstat, kvannounce and SPDK's rpc.py
    #[arg(long, short, value_name = "PATH", default_value = DEFAULT_RPC_SOCKET)]
    rpc_socket: PathBuf,

    /// Directory for what initiators keep here: config strings, MAC masks, reservations
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE_DIR, long_help = help::STATE_DIR)]
    state_dir: PathBuf,

    /// MTU of ports that have no Linux interface behind them [default: what the port says]
    #[arg(long, value_name = "BYTES", long_help = help::MTU, value_parser = parse_mtu)]
    mtu: Option<u16>,

    /// Mbufs of each port on each lcore: the rings' and the requests under way
    #[arg(long, value_name = "NUMBER", default_value_t = MBUFS_DEFAULT, long_help = help::MBUFS, value_parser = parse_mbufs)]
    mbufs: u32,

    /// How a port's frames are spread over lcores: auto, off, rss, macs or software
    #[arg(long, value_name = "WAY[:LCORES]", default_value = "auto", long_help = help::SPREAD, value_parser = SpreadOption::parse)]
    spread: SpreadOption,

    /// What lcores do while there is nothing to do: poll, pause, sleep=MICROSECONDS or interrupt
    #[arg(long, value_name = "WAY", default_value = "poll", long_help = help::IDLE, value_parser = IdleOption::parse)]
    idle: IdleOption,
    /// What the addresses of frames' data are a multiple of: auto, 4, 512 or 4096 bytes
    #[arg(long, value_name = "BYTES", default_value = "auto", long_help = help::ALIGNMENT, value_parser = parse_alignment)]
    payload_alignment: PayloadAlignment,

    /// How much to log on stderr: off, error, warn, info, debug or trace [default: info, or RUST_LOG]
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    log_level: Option<LevelFilter>,
}

/// Reads `argv`, its first word being the program's name. `version` is what `--version` prints.
///
/// The words before a `--` are EAL's, those after it are ours. Without a `--` all are ours, so that
/// `kvblade-dpdk --help` and `kvblade-dpdk --export ...` work alone.
///
/// # Errors
/// A [`LaunchError::Usage`] of one sentence.
pub(crate) fn parse(
    argv: impl IntoIterator<Item = OsString>,
    version: &str,
) -> Result<Invocation, LaunchError> {
    let words: Vec<OsString> = argv.into_iter().skip(1).collect();
    if let Some(answer) = manual::answer(&words, || Options::command().version(env!("CARGO_PKG_VERSION"))) {
        return answer.map(Invocation::Print).map_err(LaunchError::usage);
    }
    let (eal, ours) = match words.iter().position(|word| word == "--") {
        Some(at) => (words.get(..at).unwrap_or_default(), words.get(at + 1..).unwrap_or_default()),
        None => (&[][..], words.as_slice()),
    };
    let asks = |word: &&OsString| matches!(word.to_str(), Some("-h" | "--help" | "-V" | "--version"));
    // A question is answered on whichever side of the `--` it stands.
    let question: Vec<OsString> = eal.iter().filter(asks).take(1).cloned().collect();
    let ours = if question.is_empty() { ours } else { question.as_slice() };

    let command = Options::command().version(env!("CARGO_PKG_VERSION"));
    let matches = match command.try_get_matches_from(
        std::iter::once(OsStr::new("kvblade-dpdk")).chain(ours.iter().map(OsString::as_os_str)),
    ) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return Ok(Invocation::Print(error.render().to_string()));
        }
        Err(error) if error.kind() == ErrorKind::DisplayVersion => {
            return Ok(Invocation::Print(format!("kvblade-dpdk {version}\n")));
        }
        Err(error) => return Err(refused(&error)),
    };
    let options = Options::from_arg_matches(&matches).map_err(|error| refused(&error))?;

    let eal = EalOptions::parse(eal)?;
    let exports =
        options.exports.iter().map(|value| ExportSpec::parse(value)).collect::<Result<Vec<_>, _>>()?;
    export_spec::check_distinct(&exports)?;
    let rpc_socket = std::path::absolute(&options.rpc_socket).map_err(|error| {
        LaunchError::usage(format!("--rpc-socket '{}': {error}: give a path", options.rpc_socket.display()))
    })?;
    Ok(Invocation::Serve(Box::new(CommandLine {
        eal,
        exports,
        config: options.config,
        rpc_socket,
        state_dir: options.state_dir,
        mtu: options.mtu,
        mbufs: options.mbufs,
        spread: options.spread,
        idle: options.idle,
        payload_alignment: options.payload_alignment,
        log_level: options.log_level,
    })))
}

/// Whether a long option, without its dashes, is one of ours.
pub(crate) fn is_own_option(name: &str) -> bool {
    Options::command().get_arguments().any(|argument| argument.get_long() == Some(name))
}

/// Makes one sentence of clap's report, which spreads over several lines and repeats the usage.
fn refused(error: &clap::Error) -> LaunchError {
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
        && error.kind() == ErrorKind::UnknownArgument
        && looks_like_eal_option(word)
    {
        return LaunchError::usage(format!(
            "'{word}' is an EAL option: EAL's options stand before '--' and those of kvblade-dpdk after it, \
                 as in kvblade-dpdk -l 0-1 -- --export 1.1=malloc:64M"
        ));
    }
    let report = error.render().to_string();
    let sentence = report
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    let sentence = sentence.strip_prefix("error: ").unwrap_or(&sentence);
    LaunchError::usage(format!("{sentence} (see kvblade-dpdk --help)"))
}

fn parse_mtu(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|mtu| *mtu >= MTU_MIN)
        .ok_or_else(|| format!("an MTU is a number of bytes from {MTU_MIN} to {}", u16::MAX))
}

fn parse_mbufs(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|mbufs| (MBUFS_MIN..=MBUFS_MAX).contains(mbufs))
        .ok_or_else(|| format!("a port's mempool has {MBUFS_MIN} to {MBUFS_MAX} mbufs"))
}

fn parse_alignment(text: &str) -> Result<PayloadAlignment, String> {
    if text == "auto" {
        return Ok(PayloadAlignment::Auto);
    }
    let allowed = text.parse().ok().filter(|bytes| ALIGNMENTS.contains(bytes));
    allowed
        .map(PayloadAlignment::Fixed)
        .ok_or_else(|| "data can be aligned to auto, 4, 512 or 4096 bytes".into())
}

fn parse_level(text: &str) -> Result<LevelFilter, String> {
    match text.to_ascii_lowercase().as_str() {
        "off" => Ok(LevelFilter::OFF),
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err("the levels are off, error, warn, info, debug and trace".into()),
    }
}

#[cfg(test)]
mod tests;
