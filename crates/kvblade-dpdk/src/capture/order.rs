//! What a capture is to do, and why it has ended.

use std::fmt;
use std::time::Duration;

use datapath::CaptureFilter;

/// A port in a capture.
#[derive(Debug, Clone)]
pub(crate) struct CapturedPort {
    pub(crate) name: String,
    pub(crate) mac: [u8; 6],
}

/// What a capture is to do.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Its number, by which lcores know it.
    pub(crate) number: u64,
    /// The name of its file.
    pub(crate) file: String,
    pub(crate) filter: CaptureFilter,
    pub(crate) ports: Vec<CapturedPort>,
    /// Its rings, each by the index of its port.
    pub(crate) rings: Vec<usize>,
    pub(crate) max_bytes: u64,
    pub(crate) time: Duration,
    pub(crate) snap_length: u32,
}

/// Why a capture has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    Stopped,
    Bytes,
    Seconds,
    Failed(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Bytes => "max_bytes",
            Self::Seconds => "max_seconds",
            Self::Failed(sentence) => sentence,
        })
    }
}
