//! What a target answered at one moment. Counters are kept by name: a target of another release may have more or fewer.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use super::histogram::Histogram;

/// Counters by name.
pub(super) type Counts = BTreeMap<String, u64>;

/// What distinguishes exports. Those that agree in it (the same bdev at the same address on other ports) are counted together.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ExportId {
    pub(super) shelf: u64,
    pub(super) slot: u64,
    pub(super) vlan: Option<u64>,
    pub(super) bdev: String,
}

impl ExportId {
    fn of(value: &Value) -> Self {
        Self {
            shelf: number(value, "shelf").unwrap_or_default(),
            slot: number(value, "slot").unwrap_or_default(),
            vlan: number(value, "vlan"),
            bdev: text(value, "bdev_name"),
        }
    }

    /// `SHELF.SLOT`.
    pub(super) fn address(&self) -> String {
        format!("{}.{}", self.shelf, self.slot)
    }
}

/// One export.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Export {
    pub(super) state: String,
    pub(super) counts: Counts,
    /// Of its reads and writes, while it is timed.
    pub(super) latency: Option<Histogram>,
}

/// One port.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Port {
    /// The Linux interface behind it.
    pub(super) netif: Option<String>,
    pub(super) counts: Counts,
    pub(super) drops: Counts,
}

/// An initiator of an export: the export, whose bdev is not named here, and its MAC address.
pub(super) type InitiatorId = (ExportId, String);

/// The target's verdict on itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Health {
    pub(super) verdict: Option<String>,
    /// Each as a sentence, the gravest first, without those that are only worth knowing.
    pub(super) reasons: Vec<String>,
}

/// All answers to the calls of one moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// The connection to the target is the one of the sample before.
    pub(super) goes_on: bool,
    pub(super) exports: BTreeMap<ExportId, Export>,
    pub(super) initiators: BTreeMap<InitiatorId, Counts>,
    pub(super) ports: BTreeMap<String, Port>,
    pub(super) lcores: BTreeMap<u64, Counts>,
    pub(super) health: Health,
}

impl Sample {
    /// Of the answers to `aoe_get_stats` and `aoe_get_initiators`.
    pub(super) fn of(stats: &Value, initiators: &Value) -> Self {
        let mut exports: BTreeMap<ExportId, Export> = BTreeMap::new();
        for value in list(stats, "exports") {
            let export = exports.entry(ExportId::of(value)).or_default();
            if export.state.is_empty() || export.state == "quarantined" {
                export.state = text(value, "state");
            }
            add(&mut export.counts, counts(value));
        }
        let port = |value: &Value| {
            let netif = value.get("netif").and_then(Value::as_str).map(str::to_owned);
            let drops = value.get("drops").map(counts).unwrap_or_default();
            (text(value, "name"), Port { netif, counts: counts(value), drops })
        };
        let lcore = |value: &Value| (number(value, "lcore").unwrap_or_default(), counts(value));
        let initiator = |value: &Value| ((ExportId::of(value), text(value, "mac")), counts(value));
        let mut each: BTreeMap<InitiatorId, Counts> = BTreeMap::new();
        for (id, more) in list(initiators, "initiators").map(initiator) {
            add(each.entry(id).or_default(), more);
        }
        Self {
            at: Instant::now(),
            goes_on: true,
            exports,
            initiators: each,
            ports: list(stats, "ports").map(port).collect(),
            lcores: list(stats, "lcores").map(lcore).collect(),
            health: Health::default(),
        }
    }
}

impl Health {
    /// Of the answer to `aoe_get_health`.
    pub(super) fn of(health: &Value) -> Self {
        let reasons = list(health, "reasons").filter(|reason| text(reason, "severity") != "note");
        let sentence = |reason: &Value| format!("{}: {}", text(reason, "subject"), text(reason, "text"));
        Self {
            verdict: health.get("verdict").and_then(Value::as_str).map(str::to_owned),
            reasons: reasons.map(sentence).collect(),
        }
    }
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn number(value: &Value, name: &str) -> Option<u64> {
    value.get(name).and_then(Value::as_u64)
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The numbers among the members of an object.
fn counts(value: &Value) -> Counts {
    let members = value.as_object().into_iter().flatten();
    members.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect()
}

fn add(sum: &mut Counts, more: Counts) {
    for (name, count) in more {
        let sum = sum.entry(name).or_default();
        *sum = sum.saturating_add(count);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    /// Two exports, one of them with a successor in its place; a port; two lcores; two initiators. Each counter is `count` or a
    /// multiple of it.
    pub(crate) fn example(count: u64) -> Sample {
        let export = |slot: u8, bdev: &str, state: &str, reads: u64| {
            json!({"shelf": 1, "slot": slot, "vlan": null, "bdev_name": bdev, "state": state, "reads": reads,
                   "writes": 2 * reads, "read_bytes": reads * 4096, "written_bytes": reads * 8192, "ata_errors": reads / 100,
                   "aoe_errors": 0, "export_full": 0, "rate_limited": reads / 10})
        };
        let stats = json!({
            "exports": [export(1, "disk", "quarantined", 0), export(1, "disk", "online", count), export(2, "other", "waiting", 0)],
            "ports": [{"number": 0, "name": "net_af_packet0", "netif": "eth1", "mac": "02:00:00:00:00:01", "mtu": 9000,
                       "rx_frames": 3 * count, "tx_frames": 3 * count, "rx_bytes": count * 9000, "tx_bytes": count * 5000,
                       "tx_waiting": 0, "drops": {"not_aoe": count / 2, "no_mbuf": 0, "ring_full": 7}}],
            "lcores": [{"lcore": 0, "turns": 1000 * count, "busy_turns": 250 * count, "in_flight": 2, "rx_frames": 3 * count},
                       {"lcore": 3, "turns": 1000 * count, "busy_turns": 0, "in_flight": 0, "rx_frames": 0}],
        });
        let initiator = |last: u8| {
            json!({"shelf": 1, "slot": 1, "vlan": null, "mac": format!("02:00:00:00:00:{last:02x}"), "last_seen_seconds": 4,
                   "requests": 3 * count, "retransmissions": 1, "outstanding": 8, "largest_frame": 4132,
                   "export_full": 0, "rate_limited": 5})
        };
        let mut sample = Sample::of(&stats, &json!({ "initiators": [initiator(1), initiator(2)] }));
        sample.health = Health::of(&json!({"verdict": "failure", "reasons": [
            {"severity": "failure", "kind": "export_waiting", "subject": "1.2", "text": "its bdev is missing"},
            {"severity": "note", "kind": "one_path", "subject": "1.1", "text": "one path"}]}));
        sample
    }

    /// The same so many seconds after another.
    pub(crate) fn later(count: u64, earlier: &Sample, seconds: u64) -> Sample {
        Sample { at: earlier.at + Duration::from_secs(seconds), ..example(count) }
    }

    #[test]
    fn exports_that_agree_in_address_and_bdev_are_counted_together() {
        let sample = example(100);
        let (id, export) = sample.exports.first_key_value().unwrap();
        assert_eq!((id.address().as_str(), id.bdev.as_str(), sample.exports.len()), ("1.1", "disk", 2));
        assert_eq!((export.state.as_str(), export.counts["reads"]), ("online", 100));
        assert_eq!(sample.ports["net_af_packet0"].drops["not_aoe"], 50);
        assert_eq!(sample.health.reasons, ["1.2: its bdev is missing"]);
    }

    #[test]
    fn answers_of_another_release_are_taken_as_they_are() {
        let stats =
            json!({ "exports": [{}], "ports": [{"name": "p", "new": {}}], "lcores": [{"lcore": "x"}] });
        let sample = Sample::of(&stats, &Value::Null);
        assert_eq!((sample.exports.len(), sample.ports.len(), sample.initiators.len()), (1, 1, 0));
        assert_eq!(Health::of(&Value::Null), Health::default());
    }
}
