//! The limits on the rates of an export: options of it, and what `aoe_set_qos` changes.

use aoe_target::qos::{LARGEST_REQUEST, Limit, Limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Fewest requests a second that an export or an initiator may be limited to.
pub const IOPS_MIN: u64 = 1;

/// Most requests a second that a limit may allow. No lcore serves as many.
pub const IOPS_MAX: u64 = 100_000_000;

/// Fewest bytes a second that an export or an initiator may be limited to: the largest request.
pub const BANDWIDTH_MIN: u64 = LARGEST_REQUEST;

/// Most bytes a second that a limit may allow. No port carries as many.
pub const BANDWIDTH_MAX: u64 = 1 << 40;

fn iops() -> String {
    format!("a number of requests a second from {IOPS_MIN} to {IOPS_MAX}")
}

fn bandwidth() -> String {
    format!(
        "a number of bytes a second from {BANDWIDTH_MIN} to {BANDWIDTH_MAX}, in text also with K, M, G or T for powers of 1024"
    )
}

/// The limits of an export. What is not given is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RateLimits {
    /// Requests a second of all initiators together.
    ///
    /// Requests beyond a limit wait ([Limits on rates](../reliability.md#limits-on-rates)). They are those that the bdev carries
    /// out.
    #[schemars(range(min = IOPS_MIN, max = IOPS_MAX), extend("x-form" = "N", "x-default" = "no limit", "x-allowed" = iops()))]
    pub iops: Option<u64>,

    /// Bytes of data a second of all initiators together.
    #[schemars(range(min = BANDWIDTH_MIN, max = BANDWIDTH_MAX), extend("x-form" = "BYTES", "x-size" = true,
        "x-default" = "no limit", "x-allowed" = bandwidth()))]
    pub bandwidth: Option<u64>,

    /// Requests a second of each initiator.
    #[schemars(range(min = IOPS_MIN, max = IOPS_MAX), extend("x-form" = "N", "x-default" = "no limit", "x-allowed" = iops()))]
    pub initiator_iops: Option<u64>,

    /// Bytes of data a second of each initiator.
    #[schemars(range(min = BANDWIDTH_MIN, max = BANDWIDTH_MAX), extend("x-form" = "BYTES", "x-size" = true,
        "x-default" = "no limit", "x-allowed" = bandwidth()))]
    pub initiator_bandwidth: Option<u64>,
}

schema::impl_fields!(RateLimits);

impl RateLimits {
    /// The limits as lcores keep them.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        Limits {
            export: Limit { iops: self.iops, bandwidth: self.bandwidth },
            initiator: Limit { iops: self.initiator_iops, bandwidth: self.initiator_bandwidth },
        }
    }
}
