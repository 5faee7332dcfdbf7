//! The methods that time the requests of an export.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OneExport;

/// Times the reads, writes and flushes of an export from now on, or no longer.
///
/// Histograms begin empty with each call that enables them. The time of a request is that from its arrival to its answer, waits
/// for limits and for other requests included. It costs some instructions for each request of the export, and nothing for others.
/// Requests to ports that `--spread macs` distributes are not timed. The answer is `true`, once it holds on every lcore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnableHistogram {
    /// The export.
    #[serde(flatten)]
    pub export: OneExport,
    /// Whether they are timed.
    #[serde(default = "yes")]
    #[schemars(extend("x-default" = "true"))]
    pub enable: bool,
}

const fn yes() -> bool {
    true
}

/// Reports how long the requests of an export have taken since `aoe_enable_histogram`.
///
/// The answer has `reads`, `writes` and `flushes`. Each has its `count`, `sum_ns`, `mean_ns`, `max_ns`, the quantiles `p50_ns`, `p90_ns`,
/// `p99_ns` and `p999_ns`, and `buckets`: for each that is not empty, the time at which it ends, in nanoseconds, and its number of requests. A
/// bucket is at most an eighth wide of its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GetHistogram {
    /// The export.
    #[serde(flatten)]
    pub export: OneExport,
}
