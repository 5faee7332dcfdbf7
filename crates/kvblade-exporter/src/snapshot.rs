//! What a target answered at one moment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use crate::answers::{Counts, ExportInfo, Health, Initiators, Limits, Stats, counts};
use crate::latency::Latency;
use crate::process::Process;

/// One answer of the target to all calls of a scrape.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// When it was complete.
    pub(crate) taken: SystemTime,
    /// The same, for rates.
    pub(crate) instant: Instant,
    /// How long the calls took.
    pub(crate) answered_in: Duration,
    pub(crate) exports: BTreeMap<ExportId, Export>,
    pub(crate) ports: Vec<Port>,
    pub(crate) lcores: BTreeMap<u32, Counts>,
    /// If they were asked for.
    pub(crate) initiators: Option<InitiatorCounts>,
    /// The target's process, if it is in sight.
    pub(crate) process: Option<Process>,
    /// If it was asked for, and the target has the method.
    pub(crate) health: Option<Health>,
    /// Exports that are timed and whose times were not asked for, because there are too many.
    pub(crate) times_left_out: usize,
}

/// What distinguishes the series of exports. Exports that agree in it (the same bdev at the same address on other ports, or in
/// quarantine) are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ExportId {
    pub(crate) shelf: u16,
    pub(crate) slot: u8,
    pub(crate) vlan: Option<u16>,
    pub(crate) bdev: String,
}

impl ExportId {
    /// That of an export in the list.
    pub(crate) fn of(info: &ExportInfo) -> Self {
        Self { shelf: info.shelf, slot: info.slot, vlan: info.vlan, bdev: info.bdev_name.clone() }
    }

    /// `SHELF.SLOT`.
    pub(crate) fn address(&self) -> String {
        format!("{}.{}", self.shelf, self.slot)
    }
}

/// One export.
#[derive(Debug, Clone, Default)]
pub(crate) struct Export {
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) size_bytes: Option<u64>,
    pub(crate) read_only: bool,
    pub(crate) limits: Limits,
    /// Linux interfaces or DPDK names.
    pub(crate) ports: Vec<String>,
    pub(crate) counts: Counts,
    /// If it is timed.
    pub(crate) latency: Option<Latency>,
}

impl Export {
    /// Whether initiators are served without a reservation.
    pub(crate) fn is_online(&self) -> bool {
        self.state == "online"
    }

    /// A counter; 0 if the target has none of that name.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }
}

/// One port.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub(crate) number: u16,
    pub(crate) name: String,
    pub(crate) netif: Option<String>,
    pub(crate) mac: String,
    pub(crate) mtu: u64,
    pub(crate) counts: Counts,
    pub(crate) drops: Counts,
    pub(crate) changes: Counts,
}

/// The drops of initiators.
#[derive(Debug, Clone, Default)]
pub(crate) struct InitiatorCounts {
    pub(crate) each: BTreeMap<InitiatorId, Counts>,
    /// Of those that the target does not tell apart.
    pub(crate) others: Counts,
}

/// An initiator of an export.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InitiatorId {
    pub(crate) shelf: u16,
    pub(crate) slot: u8,
    pub(crate) vlan: Option<u16>,
    pub(crate) mac: String,
}

impl Snapshot {
    /// Puts the answers together. `asked` is when the first call was made.
    pub(crate) fn of(
        asked: Instant,
        stats: Stats,
        infos: Vec<ExportInfo>,
        initiators: Option<Initiators>,
        process: Option<Process>,
    ) -> Self {
        let port = |port: crate::answers::PortStats| Port {
            number: port.number,
            name: port.name,
            netif: port.netif,
            mac: port.mac,
            mtu: port.mtu,
            counts: counts(port.rest),
            drops: port.drops,
            changes: port.changes,
        };
        let ports = stats.ports.into_iter().map(port).collect();
        let lcores = stats.lcores.into_iter().map(|lcore| (lcore.lcore, counts(lcore.rest))).collect();
        let exports = exports(stats.exports, infos);
        let instant = Instant::now();
        Self {
            taken: SystemTime::now(),
            instant,
            answered_in: instant - asked,
            exports,
            ports,
            lcores,
            initiators: initiators.map(initiator_counts),
            process,
            health: None,
            times_left_out: 0,
        }
    }

    /// Adds the times of exports.
    pub(crate) fn add_latencies(&mut self, latencies: Vec<(ExportId, Latency)>) {
        for (id, latency) in latencies {
            if let Some(export) = self.exports.get_mut(&id) {
                export.latency.get_or_insert_default().add(&latency);
            }
        }
    }
}

fn exports(stats: Vec<crate::answers::ExportStats>, infos: Vec<ExportInfo>) -> BTreeMap<ExportId, Export> {
    let mut exports: BTreeMap<ExportId, Export> = BTreeMap::new();
    for info in infos {
        let id = ExportId::of(&info);
        // The list has those that hold their address first, and the ones in quarantine behind them.
        let export = exports.entry(id).or_insert_with(|| Export {
            state: info.state,
            reason: info.reason,
            size_bytes: Some(info.size_bytes),
            read_only: info.read_only,
            limits: info.limits,
            ..Export::default()
        });
        for port in info.ports {
            let name = port.netif.unwrap_or(port.name);
            if !export.ports.contains(&name) {
                export.ports.push(name);
            }
        }
    }
    for stats in stats {
        let id = ExportId { shelf: stats.shelf, slot: stats.slot, vlan: stats.vlan, bdev: stats.bdev_name };
        // An export may be created between the two calls.
        let export = exports.entry(id).or_insert_with(|| Export { state: stats.state, ..Export::default() });
        add(&mut export.counts, counts(stats.rest));
    }
    exports
}

fn initiator_counts(answer: Initiators) -> InitiatorCounts {
    let mut each: BTreeMap<InitiatorId, Counts> = BTreeMap::new();
    for initiator in answer.initiators {
        let id = InitiatorId {
            shelf: initiator.shelf,
            slot: initiator.slot,
            vlan: initiator.vlan,
            mac: initiator.mac,
        };
        add(each.entry(id).or_default(), counts(initiator.rest));
    }
    InitiatorCounts { each, others: counts(answer.others) }
}

/// Adds counters of the same names.
pub(crate) fn add(sum: &mut Counts, more: Counts) {
    for (name, count) in more {
        *sum.entry(name).or_default() += count;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// Two exports, one of them with a successor under the same address and bdev; a port; two lcores; initiators.
    pub(crate) fn example(reads: u64) -> Snapshot {
        let export = |slot: u8, bdev: &str, state: &str, reads: u64| {
            json!({"shelf": 1, "slot": slot, "vlan": null, "bdev_name": bdev, "state": state,
                   "reads": reads, "writes": 2, "read_bytes": reads * 4096, "written_bytes": 8192,
                   "timeouts": 0, "ata_errors": 1, "aoe_errors": 0, "rate_waits": 3, "order_waits": 4})
        };
        let stats = json!({
            "exports": [export(1, "disk", "online", reads), export(1, "disk", "quarantined", 1), export(2, "a\"b\\c", "waiting", 0)],
            "ports": [{"number": 0, "name": "net_af_packet0", "netif": "eth1", "mac": "02:00:00:00:00:01", "mtu": 9000,
                       "rx_frames": reads, "tx_frames": reads, "rx_bytes": 60, "tx_bytes": 70, "advertisements": 1,
                       "tx_waiting": 0, "drops": {"not_aoe": 5, "no_mbuf": 0}, "changes": {"link_down": 1}}],
            "lcores": [{"lcore": 3, "turns": 1000 + reads, "busy_turns": reads, "in_flight": 2, "under_way": 2}],
        });
        let info = |slot: u8, bdev: &str, state: &str| {
            json!({"shelf": 1, "slot": slot, "bdev_name": bdev, "size_bytes": 1 << 20, "state": state,
                   "reason": if state == "waiting" { Some("its bdev is missing") } else { None },
                   "ports": [{"number": 0, "name": "net_af_packet0", "netif": "eth1"}]})
        };
        let infos =
            json!([info(1, "disk", "online"), info(2, "a\"b\\c", "waiting"), info(1, "disk", "quarantined")]);
        let initiator = |last: u8, drops: u64| {
            json!({"shelf": 1, "slot": 1, "vlan": 7, "mac": format!("02:00:00:00:00:{last:02x}"),
                   "requests": drops * 100, "retransmissions": 4, "outstanding": 2, "export_full": drops, "rate_limited": 0})
        };
        let initiators = json!({
            "initiators": [initiator(1, 10), initiator(2, 20), initiator(3, 30)],
            "others": {"export_full": 100, "rate_limited": 200},
        });
        let mut snapshot = Snapshot::of(
            Instant::now(),
            serde_json::from_value(stats).unwrap(),
            serde_json::from_value(infos).unwrap(),
            Some(serde_json::from_value(initiators).unwrap()),
            None,
        );
        // All reads take 100 microseconds.
        let times =
            json!({"reads": {"count": reads, "sum_ns": reads * 100_000, "buckets": [[100_000, reads]]}});
        let id = ExportId { shelf: 1, slot: 1, vlan: None, bdev: "disk".into() };
        snapshot.add_latencies(vec![(id, serde_json::from_value(times).unwrap())]);
        snapshot
    }

    #[test]
    fn exports_that_agree_in_their_labels_are_counted_together_and_the_first_in_the_list_gives_the_state() {
        let snapshot = example(7);
        assert_eq!(snapshot.exports.len(), 2);
        let (id, export) = snapshot.exports.first_key_value().unwrap();
        assert_eq!((id.address().as_str(), id.bdev.as_str()), ("1.1", "disk"));
        assert!(export.is_online());
        assert_eq!((export.count("reads"), export.count("writes")), (8, 4));
        assert_eq!(export.ports, ["eth1"]);
    }

    #[test]
    fn a_target_without_some_counters_has_answered_all_the_same() {
        let stats = json!({"exports": [{"shelf": 1, "slot": 1, "bdev_name": "b", "state": "online", "new": {"x": 1}}],
                           "ports": [{"number": 0, "name": "p"}], "lcores": [{"lcore": 0, "name": "text"}]});
        let snapshot =
            Snapshot::of(Instant::now(), serde_json::from_value(stats).unwrap(), Vec::new(), None, None);
        let export = snapshot.exports.values().next().unwrap();
        assert_eq!((export.size_bytes, export.count("reads")), (None, 0));
        assert!(export.counts.is_empty());
    }
}
