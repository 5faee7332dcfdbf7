//! The answer to `aoe_get_stats`.

use aoe_target::{DropCounters, ExportCounters, ExportKey, PortCounters, PortId, ShelfSlot, VlanId};
use serde_json::{Map, Value, json};

use super::{list_of, put};
use crate::port::{PortInfo, PortTable};
use crate::registry::Record;

/// The counters of one lcore at one moment, as its own thread read them.
#[derive(Debug, Clone, Default)]
pub struct LcoreStats {
    /// The lcore.
    pub core: u32,
    /// Turns of its loop since the start.
    pub turns: u64,
    /// Those in which there was work.
    pub busy_turns: u64,
    /// Exports whose ATA commands it carries out.
    pub owned: u32,
    /// Requests in flight: submitted to bdevs and not completed.
    pub in_flight: u32,
    /// How often a request was postponed to the next turn because SPDK had no memory for it.
    pub bdev_waits: u64,
    /// Reads and writes that SPDK copied, because their data did not have their bdev's alignment.
    pub bounced: u64,
    /// Writes of a part of a block that failed because their bdev's compare does not work.
    pub compare_faults: u64,
    /// By port; a port may stand here several times.
    pub ports: Vec<PortStats>,
}

/// The counters of one lcore on one port.
#[derive(Debug, Clone, Copy)]
pub struct PortStats {
    /// The port.
    pub port: PortId,
    /// Number of the queue pair among the port's; `None` where this lcore has none of its own.
    pub queue: Option<u16>,
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

/// The counters of one export, summed over lcores.
#[derive(Debug, Clone)]
pub struct ExportStats {
    pub(super) key: ExportKey,
    address: ShelfSlot,
    vlan: Option<VlanId>,
    bdev_name: String,
    state: &'static str,
    pub(super) counters: ExportCounters,
}

impl ExportStats {
    /// An export that has counted this.
    #[must_use]
    pub fn of(record: &Record, counters: ExportCounters) -> Self {
        Self {
            key: record.key(),
            address: record.address(),
            vlan: record.options().vlan,
            bdev_name: record.bdev_name().to_owned(),
            state: record.life().name(),
            counters,
        }
    }
}

/// All counters. They were read over several turns, so they are not of one moment.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// The ports of the target.
    pub ports: PortTable,
    /// The exports, in any order, in pieces as they were read.
    pub exports: Vec<Vec<ExportStats>>,
    /// The lcores, in any order.
    pub lcores: Vec<LcoreStats>,
}

impl Stats {
    /// The text of the answer: sums over the lcores for each export and port, and each lcore's own load.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut exports: Vec<&ExportStats> = self.exports.iter().flatten().collect();
        exports.sort_by_key(|export| (export.address, export.vlan, export.key));
        let mut lcores: Vec<&LcoreStats> = self.lcores.iter().collect();
        lcores.sort_by_key(|lcore| lcore.core);
        let ports: Value = self.ports_report().into();
        let lcores: Value = lcores.into_iter().map(lcore_report).collect();
        let exports = list_of(exports.into_iter().map(export_report));
        format!("{{\"exports\":{exports},\"ports\":{ports},\"lcores\":{lcores}}}")
    }

    fn ports_report(&self) -> Vec<Value> {
        self.ports.all().iter().map(|port| Value::Object(self.port_report(port))).collect()
    }

    /// A port and its counters, summed over the lcores.
    pub(super) fn port_report(&self, port: &PortInfo) -> Map<String, Value> {
        let (mut counters, mut drops, mut tx_waiting) = (PortCounters::default(), DropCounters::default(), 0);
        let of_port = |stats: &&PortStats| stats.port == PortId(port.number);
        for stats in self.lcores.iter().flat_map(|lcore| &lcore.ports).filter(of_port) {
            counters.merge(&stats.counters);
            drops.merge(&stats.drops);
            tx_waiting += stats.tx_waiting;
        }
        let mut object = Map::new();
        object.insert("number".into(), port.number.into());
        object.insert("name".into(), port.name.clone().into());
        object.insert("netif".into(), port.netif.clone().into());
        object.insert("mac".into(), mac(port.mac).into());
        object.insert("mtu".into(), port.mtu.into());
        put(&mut object, counters.fields());
        object.insert("tx_waiting".into(), tx_waiting.into());
        let mut by_reason = Map::new();
        put(&mut by_reason, drops.iter().map(|(reason, count)| (reason.name(), count)));
        object.insert("drops".into(), Value::Object(by_reason));
        let mut changes = Map::new();
        put(&mut changes, self.ports.changes(port.number).fields());
        object.insert("changes".into(), Value::Object(changes));
        object
    }
}

fn export_report(export: &ExportStats) -> Value {
    let mut object = Map::new();
    object.insert("shelf".into(), export.address.shelf.0.into());
    object.insert("slot".into(), export.address.slot.0.into());
    object.insert("vlan".into(), export.vlan.map(VlanId::get).into());
    object.insert("bdev_name".into(), export.bdev_name.clone().into());
    object.insert("state".into(), export.state.into());
    put(&mut object, export.counters.fields());
    Value::Object(object)
}

fn lcore_report(lcore: &LcoreStats) -> Value {
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
        "compare_faults": lcore.compare_faults,
        "rx_frames": sum(&|port| port.counters.rx_frames),
        "tx_frames": sum(&|port| port.counters.tx_frames),
        "handed_over": sum(&|port| port.handed_over),
        "taken_over": sum(&|port| port.taken_over),
        "returned": sum(&|port| port.returned),
        "return_ring_full": sum(&|port| port.return_ring_full),
    })
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
