//! Values of the program's options, on the command line and in the settings file: defaults, limits and parsers.

use control::options::{IO_TIMEOUT_MAX, IO_TIMEOUT_MIN};
use tracing::level_filters::LevelFilter;

use crate::payload_alignment::{ALIGNMENTS, PayloadAlignment};

/// SPDK's own default, so that its tools find the program without an option.
pub(crate) const DEFAULT_RPC_SOCKET: &str = "/var/tmp/spdk.sock";

/// Default of `--state-dir`: a machine commonly has one target.
pub(crate) const DEFAULT_STATE_DIR: &str = "/var/lib/kvblade-dpdk";

/// `--rpc-connections` when it is not given.
pub(crate) const RPC_CONNECTIONS_DEFAULT: usize = 256;

/// Each connection has a thread.
const RPC_CONNECTIONS: std::ops::RangeInclusive<usize> = 8..=1024;

/// Smallest `--mtu`, in bytes of Ethernet payload: AoE and ATA headers and one sector, 36 + 512.
pub(crate) const MTU_MIN: u16 = 548;

/// `--mbufs` when it is not given: two rings of 1024, and 2048 requests in flight; one less than a power of two
/// is what a mempool holds without waste (`rte_mempool_create`, `rte_mempool.h`).
pub(crate) const MBUFS_DEFAULT: u32 = 4095;

/// Smallest `--mbufs`: two filled rings of 1024, and 511 mbufs for requests in flight.
const MBUFS_MIN: u32 = 2559;

/// Largest `--mbufs`: with a data room of 16 KiB such a mempool takes 16 GiB.
const MBUFS_MAX: u32 = 1 << 20;

/// An MTU.
///
/// # Errors
/// What is allowed.
pub(crate) fn parse_mtu(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|mtu| *mtu >= MTU_MIN)
        .ok_or_else(|| format!("an MTU is a number of bytes from {MTU_MIN} to {}", u16::MAX))
}

/// A number of connections.
///
/// # Errors
/// What is allowed.
pub(crate) fn parse_rpc_connections(text: &str) -> Result<usize, String> {
    let (min, max) = (RPC_CONNECTIONS.start(), RPC_CONNECTIONS.end());
    text.parse()
        .ok()
        .filter(|connections| RPC_CONNECTIONS.contains(connections))
        .ok_or_else(|| format!("the management socket takes {min} to {max} connections"))
}

/// The number of mbufs of a mempool.
///
/// # Errors
/// What is allowed.
pub(crate) fn parse_mbufs(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|mbufs| (MBUFS_MIN..=MBUFS_MAX).contains(mbufs))
        .ok_or_else(|| format!("a port's mempool has {MBUFS_MIN} to {MBUFS_MAX} mbufs"))
}

/// The time that a disk has for a request, in seconds.
///
/// # Errors
/// What is allowed.
pub(crate) fn parse_io_timeout(text: &str) -> Result<u8, String> {
    text.parse()
        .ok()
        .filter(|seconds| (IO_TIMEOUT_MIN..=IO_TIMEOUT_MAX).contains(seconds))
        .ok_or_else(|| format!("a disk has {IO_TIMEOUT_MIN} to {IO_TIMEOUT_MAX} seconds for a request"))
}

/// An alignment of data.
///
/// # Errors
/// What is allowed.
pub(crate) fn parse_alignment(text: &str) -> Result<PayloadAlignment, String> {
    if text == "auto" {
        return Ok(PayloadAlignment::Auto);
    }
    let allowed = text.parse().ok().filter(|bytes| ALIGNMENTS.contains(bytes));
    allowed
        .map(PayloadAlignment::Fixed)
        .ok_or_else(|| "data can be aligned to auto, 4, 512 or 4096 bytes".into())
}

/// A log level.
///
/// # Errors
/// What is allowed.
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
