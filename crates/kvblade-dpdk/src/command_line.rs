//! The command line as the program works with it.

use std::path::PathBuf;

use tracing::level_filters::LevelFilter;

use crate::distribution::DistributionOption;
use crate::eal_options::EalOptions;
use crate::export_spec::ExportSpec;
use crate::hugepages::Hugepages;
use crate::idle::IdleOption;
use crate::logging::{LogFormat, LogTarget};
use crate::management::access::SocketAccess;
use crate::payload_alignment::PayloadAlignment;

/// A command line, completed from the settings file and consistent in itself. Files and ports have not been checked.
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
    /// `--strict`: any refusal ends the start.
    pub(crate) strict: bool,
    /// `--take-over`: another program serves, and ends when this one can begin.
    pub(crate) take_over: bool,
    /// `--rpc-socket`, absolute: the working directory may change.
    pub(crate) rpc_socket: PathBuf,
    /// `--rpc-connections`.
    pub(crate) rpc_connections: usize,
    /// `--rpc-mode` and `--rpc-group`.
    pub(crate) rpc_access: SocketAccess,
    /// `--audit-log`, absolute.
    pub(crate) audit_log: Option<PathBuf>,
    /// `--state-dir`.
    pub(crate) state_dir: PathBuf,
    /// `--mtu`, in bytes of Ethernet payload, for ports without a Linux interface behind them.
    pub(crate) mtu: Option<u16>,
    /// `--mbufs`: mbufs in the mempool of each port's queue pair.
    pub(crate) mbufs: u32,
    /// `--io-timeout`, in seconds.
    pub(crate) io_timeout: Option<u8>,
    /// `--spread`.
    pub(crate) spread: DistributionOption,
    /// `--idle`.
    pub(crate) idle: IdleOption,
    /// `--payload-alignment`.
    pub(crate) payload_alignment: PayloadAlignment,
    /// `--log-level`; `None` leaves it to `RUST_LOG`.
    pub(crate) log_level: Option<LevelFilter>,
    /// `--log-format`.
    pub(crate) log_format: LogFormat,
    /// `--log-target`, which takes the format.
    pub(crate) log_target: LogTarget,
}
