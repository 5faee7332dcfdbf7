//! Errors between this initiator and an export.

use crate::wire::{Mac, Malformed, ShelfSlot};
use std::time::Duration;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the initiator, its socket or its peer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The packet socket was refused.
    #[error("opening a packet socket: {0} (needs root or CAP_NET_RAW)")]
    Socket(#[source] std::io::Error),
    /// No such interface in this network namespace.
    #[error("no Ethernet interface {name:?} in this network namespace; there are: {present}")]
    NoInterface {
        /// The name asked for.
        name: String,
        /// The names that exist, comma separated.
        present: String,
    },
    /// A system call on the interface failed.
    #[error("{call} on {interface}: {source}")]
    Interface {
        /// The interface.
        interface: String,
        /// The call.
        call: &'static str,
        /// Its error.
        #[source]
        source: nix::Error,
    },
    /// The frame is longer than the interface takes.
    #[error("a frame of {len} bytes is longer than {interface} can send: raise its MTU or use fewer sectors")]
    FrameTooLong {
        /// The interface.
        interface: String,
        /// Bytes, Ethernet header included.
        len: usize,
    },
    /// No reply in time, all retransmits included.
    #[error("{address} did not answer {what} within {waited:?}")]
    NoAnswer {
        /// Export asked.
        address: ShelfSlot,
        /// The request.
        what: String,
        /// Time spent on all copies.
        waited: Duration,
    },
    /// An AoE error reply (flag E).
    #[error("{address} answered {what} with AoE error {code} ({})", error_name(*code))]
    Aoe {
        /// Export asked.
        address: ShelfSlot,
        /// The request.
        what: String,
        /// The error byte.
        code: u8,
    },
    /// An ATA failure.
    #[error("{address} failed {what}: ATA status {status:#04x}, error {error:#04x}")]
    Ata {
        /// Export asked.
        address: ShelfSlot,
        /// The request.
        what: String,
        /// Status register.
        status: u8,
        /// Error register.
        error: u8,
    },
    /// A reply with less data than asked for.
    #[error("{address} answered {what} with {got} bytes of data instead of {wanted}")]
    ShortData {
        /// Export asked.
        address: ShelfSlot,
        /// The request.
        what: String,
        /// Bytes of data in the reply.
        got: usize,
        /// Bytes asked for.
        wanted: usize,
    },
    /// A reply that cannot be read.
    #[error("unreadable reply from {mac}: {source}")]
    Malformed {
        /// The sender.
        mac: Mac,
        /// The fault.
        #[source]
        source: Malformed,
    },
    /// A load that makes no sense for this export.
    #[error("{0}")]
    Load(String),
    /// Data read back is not what was acknowledged.
    #[error("wrong data: {0}")]
    WrongData(String),
    /// The thread cannot be kept on this core.
    #[error("pinning to CPU {cpu}: {source}")]
    Cpu {
        /// The core's number.
        cpu: usize,
        /// The error of sched_setaffinity(2).
        #[source]
        source: nix::Error,
    },
}

/// The name AoEr11 and its 1.2 successor give an error code.
pub const fn error_name(code: u8) -> &'static str {
    match code {
        1 => "unrecognized command",
        2 => "bad argument",
        3 => "device unavailable",
        4 => "config string present",
        5 => "unsupported version",
        6 => "target is reserved",
        _ => "unassigned",
    }
}
