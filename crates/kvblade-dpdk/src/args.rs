//! Command line: from the words of `argv` to what the program is to do.

mod help;
mod reference;
mod vblade;
mod words;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser};
use thiserror::Error;
use tracing::level_filters::LevelFilter;

use crate::eal_options::{EalOptions, looks_like_eal_option};
use crate::export_spec::{self, ExportSpec};
use crate::idle::IdleOption;
use crate::interfaces;
use crate::needs::{ALIGNMENTS, PayloadAlignment};
use crate::preflight::reserve::Hugepages;
use crate::settings::Settings;
use crate::spread::SpreadOption;
use words::Words;

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
    /// Say whether it could be served, and exit (`--check`).
    Check(Box<CommandLine>),
    /// Reserve hugepages for it, and exit (`--reserve-hugepages`).
    ReserveHugepages(Box<CommandLine>),
    /// Print this text on stdout and exit with 0 (`--help`, `--version`).
    Print(String),
}

/// A command line, with the settings file beneath it, that is right in itself; files and ports have not been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandLine {
    /// EAL's options.
    pub(crate) eal: EalOptions,
    /// `--settings`.
    pub(crate) settings: Option<PathBuf>,
    /// Every `--interface`: distinct, and none of them in a `--vdev`.
    pub(crate) interfaces: Vec<String>,
    /// `--hugepages`.
    pub(crate) hugepages: Hugepages,
    /// Every `--export`, in order; no two serve one address on a port of the same name.
    pub(crate) exports: Vec<ExportSpec>,
    /// `--config`.
    pub(crate) config: Option<PathBuf>,
    /// `--strict`: whatever is refused ends the start.
    pub(crate) strict: bool,
    /// `--rpc-socket`, absolute: the working directory may change.
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
    /// Serve on this Linux interface, as it is; may be given several times
    #[arg(long = "interface", short = 'i', value_name = "NAME", long_help = help::INTERFACE)]
    interfaces: Vec<String>,

    /// Serve a file, block device or BDEV as AoE device eSHELF.SLOT; may be given several times
    #[arg(long = "export", short = 'e', value_name = help::EXPORT_FORM, long_help = help::export())]
    exports: Vec<OsString>,

    /// Read options from a TOML file, such as /etc/kvblade/kvblade.toml; what is given here wins over it
    #[arg(long, value_name = "FILE", long_help = help::SETTINGS)]
    settings: Option<PathBuf>,

    /// Say whether all of this can be served, and exit with 0 if it can
    #[arg(long, long_help = help::CHECK)]
    check: bool,

    /// What to do about hugepages that are missing: none, auto or a SIZE that is to be free [default: none]
    #[arg(long, value_name = "none|auto|SIZE", long_help = help::HUGEPAGES, value_parser = Hugepages::parse)]
    hugepages: Option<Hugepages>,

    /// Reserve hugepages as --hugepages says, and exit
    #[arg(long, conflicts_with = "check", long_help = help::RESERVE_HUGEPAGES)]
    reserve_hugepages: bool,

    /// Load SPDK's configuration from a JSON file before the exports are made
    #[arg(long, short, value_name = "FILE", long_help = help::CONFIG)]
    config: Option<PathBuf>,

    /// End the start when a disk is missing or an entry of --config is refused, rather than serve the rest
    #[arg(long, long_help = help::STRICT)]
    strict: bool,

    /// Unix socket for management by kvadd, kvdel, kvstat, kvannounce and rpc.py [default: /var/tmp/spdk.sock]
    #[arg(long, short, value_name = "PATH")]
    rpc_socket: Option<PathBuf>,

    /// Directory for what initiators keep here: config strings, MAC masks, reservations [default: /var/lib/kvblade-dpdk]
    #[arg(long, value_name = "DIR", long_help = help::STATE_DIR)]
    state_dir: Option<PathBuf>,

    /// MTU of ports that have no Linux interface behind them [default: what the port says]
    #[arg(long, value_name = "BYTES", long_help = help::MTU, value_parser = parse_mtu)]
    mtu: Option<u16>,

    /// Mbufs of each port on each lcore: the rings' and the requests under way [default: 4095]
    #[arg(long, value_name = "NUMBER", long_help = help::MBUFS, value_parser = parse_mbufs)]
    mbufs: Option<u32>,

    /// How a port's frames are spread over lcores: auto, off, rss, macs or software [default: auto]
    #[arg(long, value_name = "WAY[:LCORES]", long_help = help::SPREAD, value_parser = SpreadOption::parse)]
    spread: Option<SpreadOption>,

    /// What lcores do without work: poll, pause, sleep=MICROSECONDS or interrupt [default: poll]
    #[arg(long, value_name = "WAY", long_help = help::IDLE, value_parser = IdleOption::parse)]
    idle: Option<IdleOption>,

    /// What the addresses of frames' data are a multiple of: auto, 4, 512 or 4096 bytes [default: auto]
    #[arg(long, value_name = "BYTES", long_help = help::ALIGNMENT, value_parser = parse_alignment)]
    payload_alignment: Option<PayloadAlignment>,

    /// How much to log on stderr: off, error, warn, info, debug or trace [default: info, or RUST_LOG]
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    log_level: Option<LevelFilter>,

    /// vblade's command line: SHELF SLOT INTERFACE PATH
    #[arg(hide = true)]
    vblade: Vec<OsString>,
}

/// Reads `argv`, its first word being the program's name, and the settings file that it names. `version` is what
/// `--version` prints.
///
/// # Errors
/// One sentence: a [`LaunchError::Usage`], unless the settings file can't be read.
pub(crate) fn parse(
    argv: impl IntoIterator<Item = OsString>,
    version: &str,
) -> Result<Invocation, LaunchError> {
    let words: Vec<OsString> = argv.into_iter().skip(1).collect();
    let command = || Options::command().version(env!("CARGO_PKG_VERSION"));
    if let Some(answer) = manual::answer_with(&words, command, &reference::DOCUMENTS) {
        return answer.map(Invocation::Print).map_err(LaunchError::usage);
    }
    let Words { eal, mut ours } = Words::divide(&words);
    // A question is answered on whichever side of the `--` it stands; EAL has --help too, and is not asked.
    let asks = |word: &&OsString| matches!(word.to_str(), Some("-h" | "--help" | "-V" | "--version"));
    if let Some(question) = eal.iter().find(asks) {
        ours = vec![question.clone()];
    }

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
    let eal = EalOptions::parse(&eal, dpdk::eal::release())?;
    let (check, reserve_hugepages) = (options.check, options.reserve_hugepages);
    let command = Box::new(options.complete(eal)?);
    Ok(match (check, reserve_hugepages) {
        (true, _) => Invocation::Check(command),
        (_, true) => Invocation::ReserveHugepages(command),
        _ => Invocation::Serve(command),
    })
}

impl Options {
    /// Puts the settings file beneath, and the defaults beneath that.
    fn complete(self, eal: EalOptions) -> Result<CommandLine, LaunchError> {
        let file = match &self.settings {
            Some(path) => Settings::read(path)?,
            None => Settings::default(),
        };
        let mut exports =
            self.exports.iter().map(|value| ExportSpec::parse(value)).collect::<Result<Vec<_>, _>>()?;
        let mut interfaces = self.interfaces;
        if let Some((interface, export)) = vblade::read(&self.vblade)? {
            if !interfaces.contains(&interface) {
                interfaces.push(interface);
            }
            exports.push(export);
        }
        if exports.is_empty() {
            exports = file.exports.unwrap_or_default();
        }
        if interfaces.is_empty() {
            interfaces = file.interfaces.unwrap_or_default();
        }
        export_spec::check_distinct(&exports)?;
        let eal = eal.over(file.eal);
        eal.check()?;
        interfaces::check(&interfaces, &eal)?;
        let rpc_socket = self.rpc_socket.or(file.rpc_socket).unwrap_or_else(|| DEFAULT_RPC_SOCKET.into());
        let rpc_socket = std::path::absolute(&rpc_socket).map_err(|error| {
            LaunchError::usage(format!("--rpc-socket '{}': {error}: give a path", rpc_socket.display()))
        })?;
        Ok(CommandLine {
            eal,
            settings: self.settings,
            interfaces,
            hugepages: self.hugepages.or(file.hugepages).unwrap_or_default(),
            exports,
            config: self.config.or(file.config),
            strict: self.strict || file.strict.unwrap_or(false),
            rpc_socket,
            state_dir: self.state_dir.or(file.state_dir).unwrap_or_else(|| DEFAULT_STATE_DIR.into()),
            mtu: self.mtu.or(file.mtu),
            mbufs: self.mbufs.or(file.mbufs).unwrap_or(MBUFS_DEFAULT),
            spread: self.spread.or(file.spread).unwrap_or_default(),
            idle: self.idle.or(file.idle).unwrap_or_default(),
            payload_alignment: self
                .payload_alignment
                .or(file.payload_alignment)
                .unwrap_or(PayloadAlignment::Auto),
            log_level: self.log_level.or(file.log_level),
        })
    }
}

/// Whether a long option, without its dashes, is one of ours.
pub(crate) fn is_own_option(name: &str) -> bool {
    Options::command().get_arguments().any(|argument| argument.get_long() == Some(name))
}

/// What clap found, in one sentence.
fn refused(error: &clap::Error) -> LaunchError {
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
        && error.kind() == ErrorKind::UnknownArgument
        && looks_like_eal_option(word)
    {
        return LaunchError::usage(format!(
            "'{word}' is an EAL option: EAL's options stand before '--', or anywhere if there is none, as in \
                 kvblade-dpdk -l 0-1 --interface eth1 --export 1.1=malloc:64M"
        ));
    }
    LaunchError::usage(format!("{} (see kvblade-dpdk --help)", kvtools::command::sentence(error)))
}

pub(crate) fn parse_mtu(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|mtu| *mtu >= MTU_MIN)
        .ok_or_else(|| format!("an MTU is a number of bytes from {MTU_MIN} to {}", u16::MAX))
}

pub(crate) fn parse_mbufs(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|mbufs| (MBUFS_MIN..=MBUFS_MAX).contains(mbufs))
        .ok_or_else(|| format!("a port's mempool has {MBUFS_MIN} to {MBUFS_MAX} mbufs"))
}

pub(crate) fn parse_alignment(text: &str) -> Result<PayloadAlignment, String> {
    if text == "auto" {
        return Ok(PayloadAlignment::Auto);
    }
    let allowed = text.parse().ok().filter(|bytes| ALIGNMENTS.contains(bytes));
    allowed
        .map(PayloadAlignment::Fixed)
        .ok_or_else(|| "data can be aligned to auto, 4, 512 or 4096 bytes".into())
}

pub(crate) fn parse_level(text: &str) -> Result<LevelFilter, String> {
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
