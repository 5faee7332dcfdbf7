//! The options of the program, as clap reads them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use tracing::level_filters::LevelFilter;

use super::{help, values};
use crate::distribution::DistributionOption;
use crate::hugepages::Hugepages;
use crate::idle::IdleOption;
use crate::logging::{LogFormat, LogTarget};
use crate::management::access;
use crate::payload_alignment::PayloadAlignment;

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
pub(super) struct Options {
    /// Serve on this Linux interface, as it is; may be given several times
    #[arg(long = "interface", short = 'i', value_name = "NAME", long_help = help::INTERFACE)]
    pub(super) interfaces: Vec<String>,

    /// Serve a file, block device or BDEV as AoE device eSHELF.SLOT; may be given several times
    #[arg(long = "export", short = 'e', value_name = help::EXPORT_FORM, long_help = help::export())]
    pub(super) exports: Vec<OsString>,

    /// Read options from a TOML file, such as /etc/kvblade/kvblade.toml; the command line takes precedence
    #[arg(long, value_name = "FILE", long_help = help::SETTINGS)]
    pub(super) settings: Option<PathBuf>,

    /// Report whether all of this can be served, and exit with 0 if it can
    #[arg(long, long_help = help::CHECK)]
    pub(super) check: bool,

    /// Treatment of missing hugepages: none, auto or a SIZE that must be free [default: none]
    #[arg(long, value_name = "none|auto|SIZE", long_help = help::HUGEPAGES, value_parser = Hugepages::parse)]
    pub(super) hugepages: Option<Hugepages>,

    /// Reserve hugepages by --hugepages, and exit
    #[arg(long, conflicts_with = "check", long_help = help::RESERVE_HUGEPAGES)]
    pub(super) reserve_hugepages: bool,

    /// Load SPDK's configuration from a JSON file before the exports are created
    #[arg(long, short, value_name = "FILE", long_help = help::CONFIG)]
    pub(super) config: Option<PathBuf>,

    /// End the start when a disk is missing or an entry of --config is refused, rather than serve the rest
    #[arg(long, long_help = help::STRICT)]
    pub(super) strict: bool,

    /// Take the place of the program that listens at --rpc-socket, which serves until this one can begin
    #[arg(long, conflicts_with_all = ["check", "reserve_hugepages"], long_help = help::TAKE_OVER)]
    pub(super) take_over: bool,

    /// Unix socket for management by kvadd, kvdel, kvstat, kvannounce and rpc.py [default: /var/tmp/spdk.sock]
    #[arg(long, short, value_name = "PATH")]
    pub(super) rpc_socket: Option<PathBuf>,

    /// Connections to the management socket at a time, from 8 to 1024; the one that is idle longest makes room [default: 256]
    #[arg(long, value_name = "NUMBER", value_parser = values::parse_rpc_connections)]
    pub(super) rpc_connections: Option<usize>,

    /// Permissions of the management socket, three octal digits such as 660 [default: by the umask; 660 with --rpc-group]
    #[arg(long, value_name = "OCTAL", value_parser = access::parse_mode)]
    pub(super) rpc_mode: Option<u32>,

    /// Group of the management socket, by name or number: its members may do all that root may by it [default: the process's]
    #[arg(long, value_name = "GROUP", value_parser = access::parse_group)]
    pub(super) rpc_group: Option<u32>,

    /// Append a JSON line to this file for each call at the management socket that changes something
    #[arg(long, value_name = "FILE", long_help = help::AUDIT_LOG)]
    pub(super) audit_log: Option<PathBuf>,

    /// Directory for initiator state: config strings, MAC masks, reservations [default: /var/lib/kvblade-dpdk]
    #[arg(long, value_name = "DIR", long_help = help::STATE_DIR)]
    pub(super) state_dir: Option<PathBuf>,

    /// MTU of ports that have no Linux interface behind them [default: that of the port]
    #[arg(long, value_name = "BYTES", long_help = help::MTU, value_parser = values::parse_mtu)]
    pub(super) mtu: Option<u16>,

    /// Mbufs of each port on each lcore, for its rings and requests in flight [default: 4095]
    #[arg(long, value_name = "NUMBER", long_help = help::MBUFS, value_parser = values::parse_mbufs)]
    pub(super) mbufs: Option<u32>,

    /// Seconds that a disk has for a request, of exports without io_timeout: 1 to 120 [default: 60]
    #[arg(long, value_name = "SECONDS", long_help = help::IO_TIMEOUT, value_parser = values::parse_io_timeout)]
    pub(super) io_timeout: Option<u8>,

    /// How the frames of a port are distributed over lcores: auto, off, rss, macs or software [default: auto]
    #[arg(long, value_name = "WAY[:LCORES]", long_help = help::SPREAD, value_parser = DistributionOption::parse)]
    pub(super) spread: Option<DistributionOption>,

    /// What lcores do without work: poll, pause, sleep=MICROSECONDS or interrupt [default: poll]
    #[arg(long, value_name = "WAY", long_help = help::IDLE, value_parser = IdleOption::parse)]
    pub(super) idle: Option<IdleOption>,

    /// Alignment of the data in frames: auto, 4, 512 or 4096 bytes [default: auto]
    #[arg(long, value_name = "BYTES", long_help = help::ALIGNMENT, value_parser = values::parse_alignment)]
    pub(super) payload_alignment: Option<PayloadAlignment>,

    /// How much to log: off, error, warn, info, debug or trace [default: info, or RUST_LOG]
    #[arg(long, value_name = "LEVEL", value_parser = values::parse_level)]
    pub(super) log_level: Option<LevelFilter>,

    /// How log lines are written: text or json [default: text]
    #[arg(long, value_name = "text|json", value_parser = LogFormat::parse)]
    pub(super) log_format: Option<LogFormat>,

    /// Where the log goes: auto, stderr, file:PATH or journald [default: auto]
    #[arg(long, value_name = "TARGET", long_help = help::LOG_TARGET, value_parser = LogTarget::parse)]
    pub(super) log_target: Option<LogTarget>,

    /// vblade's command line: SHELF SLOT INTERFACE PATH
    #[arg(hide = true)]
    pub(super) vblade: Vec<OsString>,
}

/// Whether the program has a long option of that name, given without its dashes.
pub(crate) fn is_own_option(name: &str) -> bool {
    Options::command().get_arguments().any(|argument| argument.get_long() == Some(name))
}
