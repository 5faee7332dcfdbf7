//! The answers of the RPC methods, as far as the exporter reads them.
//!
//! Counters are kept by name: a target of another release may have more or fewer. What is missing has no series.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Counters by name.
pub(crate) type Counts = BTreeMap<String, u64>;

/// The numbers among other members of an object.
pub(crate) fn counts(rest: Map<String, Value>) -> Counts {
    rest.into_iter().filter_map(|(name, value)| Some((name, value.as_u64()?))).collect()
}

/// The answer to `aoe_get_stats`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Stats {
    pub(crate) exports: Vec<ExportStats>,
    pub(crate) ports: Vec<PortStats>,
    pub(crate) lcores: Vec<LcoreStats>,
}

/// The counters of one export.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ExportStats {
    pub(crate) shelf: u16,
    pub(crate) slot: u8,
    #[serde(default)]
    pub(crate) vlan: Option<u16>,
    pub(crate) bdev_name: String,
    pub(crate) state: String,
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

/// The counters of one port.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PortStats {
    pub(crate) number: u16,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) netif: Option<String>,
    #[serde(default)]
    pub(crate) mac: String,
    #[serde(default)]
    pub(crate) mtu: u64,
    #[serde(default)]
    pub(crate) drops: Counts,
    #[serde(default)]
    pub(crate) changes: Counts,
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

/// The counters of one lcore.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct LcoreStats {
    pub(crate) lcore: u32,
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

/// One export in the answer to `aoe_get_exports`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ExportInfo {
    pub(crate) shelf: u16,
    pub(crate) slot: u8,
    #[serde(default)]
    pub(crate) vlan: Option<u16>,
    pub(crate) bdev_name: String,
    pub(crate) size_bytes: u64,
    #[serde(default)]
    pub(crate) read_only: bool,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) reason: Option<String>,
    #[serde(default)]
    pub(crate) ports: Vec<ExportPort>,
    /// Whether `aoe_get_histogram` has an answer.
    #[serde(default)]
    pub(crate) timed: bool,
    #[serde(flatten)]
    pub(crate) limits: Limits,
}

/// The limits on the rates of an export, as `aoe_set_qos` takes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Limits {
    iops: Option<u64>,
    bandwidth: Option<u64>,
    initiator_iops: Option<u64>,
    initiator_bandwidth: Option<u64>,
}

/// A port that serves an export.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ExportPort {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) netif: Option<String>,
}

/// The answer to `aoe_get_health`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Health {
    pub(crate) reasons: Vec<HealthReason>,
}

/// One reason of its verdict.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct HealthReason {
    pub(crate) severity: String,
    pub(crate) subject: String,
    pub(crate) text: String,
}

/// The answer to `aoe_get_initiators`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Initiators {
    pub(crate) initiators: Vec<Initiator>,
    #[serde(default)]
    pub(crate) others: Map<String, Value>,
}

/// One initiator of one export.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Initiator {
    pub(crate) shelf: u16,
    pub(crate) slot: u8,
    #[serde(default)]
    pub(crate) vlan: Option<u16>,
    pub(crate) mac: String,
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}
