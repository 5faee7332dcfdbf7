//! Answers of the RPC server: the exports, the counters, and the calls that would restore the present state.

use std::collections::BTreeMap;

use aoe_target::{DropCounters, ExportCounters, ExportId, PortCounters, PortId, Ports, VlanId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::options::ExportOptions;
use crate::port::PortInfo;
use crate::registry::{Record, Registry};
use crate::request::{CreateExport, Method};

/// One export in the answers of `aoe_get_exports` and `aoe_create_export`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportInfo {
    /// Shelf, 0 to 65534.
    pub shelf: u16,
    /// Slot, 0 to 254.
    pub slot: u8,
    /// The bdev's name as it was given, which may be an alias. It stays when the bdev is gone.
    pub bdev_name: String,
    /// The bdev's own names.
    #[serde(default)]
    pub bdev: BdevNames,
    /// Size in bytes, a multiple of 512.
    pub size_bytes: u64,
    /// The options in effect, those that were not given included.
    #[serde(flatten)]
    pub options: ExportOptions,
    /// `waiting` (the bdev can't be served yet), `creating`, `online`, `degraded` (the bdev leaves requests without an answer),
    /// `offline` (the bdev is gone), `rebinding` (it has come back), `deleting`, `quarantined` (deleted by force, with requests
    /// in flight) or `rolling-back` (the creation has failed).
    pub state: String,
    /// The reason why it waits, is degraded, or stays offline although a bdev has the name; `null` otherwise.
    #[serde(default)]
    pub reason: Option<String>,
    /// Served on all ports, rather than on listed ones.
    pub all_ports: bool,
    /// The ports that serve it.
    pub ports: Vec<ExportPort>,
}

impl ExportInfo {
    /// The name of its bdev that is no alias.
    #[must_use]
    pub fn own_bdev_name(&self) -> &str {
        if self.bdev.name.is_empty() { &self.bdev_name } else { &self.bdev.name }
    }
}

/// The names of the bdev of an export in SPDK.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BdevNames {
    /// Its own name, which is no alias.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
}

/// A port in an [`ExportInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportPort {
    /// DPDK's port number.
    pub number: u16,
    /// DPDK's device name.
    pub name: String,
    /// The Linux interface behind it, if there is one.
    pub netif: Option<String>,
}

/// The counters of one lcore at one moment, as its own thread read them.
#[derive(Debug, Clone, Default)]
pub struct LcoreStats {
    /// The lcore.
    pub core: u32,
    /// Turns of its loop since the start.
    pub turns: u64,
    /// Those in which there was work.
    pub busy_turns: u64,
    /// Requests in flight: submitted to bdevs and not completed.
    pub in_flight: u32,
    /// How often a request was postponed to the next turn because SPDK had no memory for it.
    pub bdev_waits: u64,
    /// Reads and writes that SPDK copied, because their data did not have their bdev's alignment.
    pub bounced: u64,
    /// By export.
    pub exports: Vec<(ExportId, ExportCounters)>,
    /// By port; a port may stand here several times.
    pub ports: Vec<PortStats>,
}

/// The counters of one lcore on one port.
#[derive(Debug, Clone, Copy)]
pub struct PortStats {
    /// The port.
    pub port: PortId,
    /// Frames and bytes.
    pub counters: PortCounters,
    /// Frames without an answer, by reason.
    pub drops: DropCounters,
    /// Replies that wait for room in the NIC's ring.
    pub tx_waiting: usize,
    /// Frames that this lcore received and handed to another, which serves them.
    pub handed_over: u64,
    /// Frames that it was handed by others.
    pub taken_over: u64,
    /// Replies of other lcores that it sent.
    pub returned: u64,
    /// Turns at whose end replies waited for room in the ring to the lcore that sends them.
    pub return_ring_full: u64,
}

impl Registry {
    /// One export, as answers show it.
    #[must_use]
    pub fn info(&self, record: &Record) -> ExportInfo {
        let port = |port: &PortInfo| ExportPort {
            number: port.number,
            name: port.name.clone(),
            netif: port.netif.clone(),
        };
        ExportInfo {
            shelf: record.address().shelf.0,
            slot: record.address().slot.0,
            bdev_name: record.bdev_name().to_owned(),
            bdev: BdevNames { name: record.bdev().name.clone(), uuid: record.bdev().uuid.clone() },
            size_bytes: record.sectors().saturating_mul(512),
            options: record.options().in_effect(record.address(), env!("CARGO_PKG_VERSION")),
            state: record.life().name().into(),
            reason: record.reason().map(str::to_owned),
            all_ports: record.ports() == Ports::All,
            ports: self.ports_of(record).into_iter().map(port).collect(),
        }
    }

    /// The answer to `aoe_get_exports`: a list of [`ExportInfo`], by address.
    #[must_use]
    pub fn exports_report(&self) -> Value {
        self.exports().into_iter().map(|record| json!(self.info(record))).collect()
    }

    /// The calls that would make the present exports, for `save_config`: a list of `{"method", "params"}`. Ports
    /// are named by DPDK name, which outlives a change of numbers. Exports whose bdev is gone or waited for are in it,
    /// those being created or deleted are not.
    #[must_use]
    pub fn config(&self) -> Value {
        let kept = |record: &&Record| record.life().is_kept();
        let call = |record: &Record| json!({ "method": CreateExport::NAME, "params": self.request_of(record).to_params() });
        self.exports().into_iter().filter(kept).map(call).collect()
    }

    /// The answer to `aoe_get_stats`: sums over the lcores per export and per port, and each lcore's own load.
    #[must_use]
    pub fn stats_report(&self, lcores: &[LcoreStats]) -> Value {
        let mut by_export: BTreeMap<ExportId, ExportCounters> = BTreeMap::new();
        let mut by_port: BTreeMap<PortId, PortStats> = BTreeMap::new();
        for lcore in lcores {
            for (id, counters) in &lcore.exports {
                by_export.entry(*id).or_default().merge(counters);
            }
            for stats in &lcore.ports {
                by_port
                    .entry(stats.port)
                    .and_modify(|sum| {
                        sum.counters.merge(&stats.counters);
                        sum.drops.merge(&stats.drops);
                        sum.tx_waiting += stats.tx_waiting;
                    })
                    .or_insert(*stats);
            }
        }
        let exports = self.exports().into_iter().map(|record| {
            let mut object = Map::new();
            object.insert("shelf".into(), record.address().shelf.0.into());
            object.insert("slot".into(), record.address().slot.0.into());
            object.insert("vlan".into(), record.options().vlan.map(VlanId::get).into());
            object.insert("bdev_name".into(), record.bdev_name().to_owned().into());
            object.insert("state".into(), record.life().name().into());
            put(&mut object, by_export.get(&record.key().id).copied().unwrap_or_default().fields());
            Value::Object(object)
        });
        let ports = self.ports().all().iter().map(|port| {
            let stats = by_port.get(&PortId(port.number));
            let mut object = Map::new();
            object.insert("number".into(), port.number.into());
            object.insert("name".into(), port.name.clone().into());
            object.insert("netif".into(), port.netif.clone().into());
            object.insert("mac".into(), mac(port.mac).into());
            object.insert("mtu".into(), port.mtu.into());
            put(&mut object, stats.map(|stats| stats.counters).unwrap_or_default().fields());
            object.insert("tx_waiting".into(), stats.map_or(0, |stats| stats.tx_waiting).into());
            let drops = stats.map(|stats| stats.drops).unwrap_or_default();
            let mut by_reason = Map::new();
            put(&mut by_reason, drops.iter().map(|(reason, count)| (reason.name(), count)));
            object.insert("drops".into(), Value::Object(by_reason));
            Value::Object(object)
        });
        let lcores = lcores.iter().map(|lcore| {
            let sum = |of: &dyn Fn(&PortStats) -> u64| lcore.ports.iter().map(of).sum::<u64>();
            json!({
                "lcore": lcore.core,
                "turns": lcore.turns,
                "busy_turns": lcore.busy_turns,
                "in_flight": lcore.in_flight,
                // The name of the release before, for programs that still read it.
                "under_way": lcore.in_flight,
                "bdev_waits": lcore.bdev_waits,
                "bounced": lcore.bounced,
                "rx_frames": sum(&|port| port.counters.rx_frames),
                "tx_frames": sum(&|port| port.counters.tx_frames),
                "handed_over": sum(&|port| port.handed_over),
                "taken_over": sum(&|port| port.taken_over),
                "returned": sum(&|port| port.returned),
                "return_ring_full": sum(&|port| port.return_ring_full),
            })
        });
        json!({
            "exports": exports.collect::<Value>(),
            "ports": ports.collect::<Value>(),
            "lcores": lcores.collect::<Value>(),
        })
    }
}

fn put(object: &mut Map<String, Value>, counters: impl IntoIterator<Item = (&'static str, u64)>) {
    object.extend(counters.into_iter().map(|(name, count)| (name.to_owned(), count.into())));
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests;
