//! Answers of the RPC server: the exports, the counters, and the calls that would restore the present state.

mod baseline;
mod list;
mod ports;
mod stats;

use aoe_target::Ports;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::options::ExportOptions;
use crate::port::{PortInfo, PortTable};
use crate::registry::{Record, Registry};
use crate::request::{CreateExport, Method};
pub use baseline::Baseline;
pub use list::{ExportList, ListedExport};
pub use ports::{LcoreFacts, LcoreList, PortFacts, PortList};
pub use stats::{ExportStats, LcoreStats, PortStats, Stats};

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

impl ExportInfo {
    /// An export of these ports, as answers show it.
    #[must_use]
    pub fn of(record: &Record, ports: &PortTable) -> Self {
        let port = |port: &PortInfo| ExportPort {
            number: port.number,
            name: port.name.clone(),
            netif: port.netif.clone(),
        };
        Self {
            shelf: record.address().shelf.0,
            slot: record.address().slot.0,
            bdev_name: record.bdev_name().to_owned(),
            bdev: BdevNames { name: record.bdev().name.clone(), uuid: record.bdev().uuid.clone() },
            size_bytes: record.sectors().saturating_mul(512),
            options: record.options().in_effect(record.address(), env!("CARGO_PKG_VERSION")),
            state: record.life().name().into(),
            reason: record.reason().map(str::to_owned),
            all_ports: record.ports() == Ports::All,
            ports: ports.of(record.ports()).map(port).collect(),
        }
    }
}

impl Registry {
    /// The calls that would make the present exports, for `save_config`: a list of `{"method", "params"}`. Ports
    /// are named by DPDK name, which outlives a change of numbers. Exports whose bdev is gone or waited for are in it,
    /// those being created or deleted are not.
    #[must_use]
    pub fn config(&self) -> Value {
        let kept = |record: &&Record| record.life().is_kept();
        let call = |record: &Record| json!({ "method": CreateExport::NAME, "params": self.request_of(record).to_params() });
        self.exports().into_iter().filter(kept).map(call).collect()
    }
}

/// The text of a JSON list. One element after the other becomes text, so that no more than one is held as values.
fn list_of(elements: impl Iterator<Item = Value>) -> String {
    let mut text = String::from("[");
    for (number, element) in elements.enumerate() {
        if number > 0 {
            text.push(',');
        }
        text.push_str(&element.to_string());
    }
    text.push(']');
    text
}

fn put(object: &mut Map<String, Value>, counters: impl IntoIterator<Item = (&'static str, u64)>) {
    object.extend(counters.into_iter().map(|(name, count)| (name.to_owned(), count.into())));
}

#[cfg(test)]
mod tests;
