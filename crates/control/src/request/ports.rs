//! `aoe_get_ports` and `aoe_get_lcores`: which ports and lcores are wanted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::port::PortRef;
use crate::value;

/// Longest period of a busy share, in seconds. The control plane has no older samples.
pub const BUSY_SECONDS_MAX: u64 = 60;

/// Lists ports: all of them, or those that have all of the given properties.
///
/// Each has its `driver`, Linux interface (`netif`), `mac`, `mtu`, `max_sectors` of one frame, `link`, `numa_node`, the way in
/// which its frames are spread over lcores (`spread`), its `queues`, each with the lcore that polls it, the number of `exports` that
/// it serves, and its counters as `aoe_get_stats` has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GetPorts {
    /// Only this port, by number, name, PCI address or Linux interface.
    #[serde(deserialize_with = "value::read_port")]
    #[schemars(with = "Value", extend("x-allowed" = value::PORT))]
    pub port: Option<PortRef>,
    /// Only ports of this driver, such as `net_af_packet`.
    pub driver: Option<String>,
    /// Only ports whose link is in this state.
    pub link: Option<LinkState>,
    /// Only ports of which this lcore polls a queue.
    pub lcore: Option<u32>,
    /// Only ports on this NUMA node.
    pub numa_node: Option<u32>,
}

/// The state of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum LinkState {
    /// Frames can be sent.
    Up,
    /// Replies wait, or are lost.
    Down,
}

impl LinkState {
    /// The state of a link that is up, or not.
    #[must_use]
    pub const fn of(is_up: bool) -> Self {
        if is_up { Self::Up } else { Self::Down }
    }

    /// Its word in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Lists lcores: all of them, or those that have all of the given properties.
///
/// Each has its CPUs, its `numa_node`, its `queues` (`queue` is `null` where another lcore receives the frames of the port for it),
/// `exports_owned` (those whose ATA commands it carries out), `busy_share` (the part of its time in which it had work, 0 to 1, over
/// the last `busy_seconds`; `null` before there are two samples, which are taken once a second), `turns`, `busy_turns` and its
/// requests in flight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GetLcores {
    /// Only this lcore.
    pub lcore: Option<u32>,
    /// Only lcores that poll a queue of this port, by number, name, PCI address or Linux interface.
    #[serde(deserialize_with = "value::read_port")]
    #[schemars(with = "Value", extend("x-allowed" = value::PORT))]
    pub port: Option<PortRef>,
    /// Period of the busy share, in seconds.
    #[schemars(range(min = 1, max = BUSY_SECONDS_MAX), extend("x-default" = "10"))]
    pub seconds: Option<u64>,
}

impl GetLcores {
    /// The period of the busy share that is wanted, in seconds.
    #[must_use]
    pub fn period(&self) -> u64 {
        self.seconds.unwrap_or(10)
    }
}
