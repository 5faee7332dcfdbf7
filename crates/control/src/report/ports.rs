//! The answers to `aoe_get_ports` and `aoe_get_lcores`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::stats::{LcoreStats, Stats};
use crate::port::PortInfo;
use crate::request::{GetLcores, GetPorts, LinkState};

/// What is known of a port beside its names and its counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFacts {
    /// DPDK's driver.
    pub driver: String,
    /// The NUMA node of its device, where it has one.
    pub numa_node: Option<u32>,
    /// The way in which its frames are spread over lcores.
    pub spread: String,
    /// Sectors of one frame at most.
    pub max_sectors: u8,
    /// Whether frames can be sent.
    pub link_up: bool,
}

/// What is known of an lcore beside its counters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LcoreFacts {
    /// The CPUs that its thread may run on: one, unless EAL's `--lcores` gave it several.
    pub cpus: Vec<u32>,
    /// Their NUMA node, where it is known.
    pub numa_node: Option<u32>,
    /// The part of its time in which it had work, and the period that this is of.
    pub busy: Option<(f64, Duration)>,
}

/// The ports, copied so that their JSON can be made on another thread.
#[derive(Debug, Clone, Default)]
pub struct PortList {
    /// The counters, and the ports with their names.
    pub stats: Arc<Stats>,
    /// By port number.
    pub facts: BTreeMap<u16, PortFacts>,
    /// By port number: the exports that the port serves.
    pub exports: BTreeMap<u16, u64>,
}

impl PortList {
    /// The text of the list of the ports that are wanted, by number.
    #[must_use]
    pub fn to_json(&self, wanted: &GetPorts) -> String {
        let number = wanted.port.as_ref().map(|port| self.stats.ports.resolve(port).map(|port| port.number));
        let is_wanted = |port: &&PortInfo| {
            let facts = self.facts.get(&port.number);
            let has = |matches: &dyn Fn(&PortFacts) -> bool| facts.is_some_and(matches);
            number.as_ref().is_none_or(|number| number.as_ref().is_ok_and(|number| *number == port.number))
                && wanted.driver.as_ref().is_none_or(|driver| has(&|facts| facts.driver == *driver))
                && wanted.link.is_none_or(|link| has(&|facts| LinkState::of(facts.link_up) == link))
                && wanted.numa_node.is_none_or(|node| has(&|facts| facts.numa_node == Some(node)))
                && wanted
                    .lcore
                    .is_none_or(|lcore| self.queues(port.number).iter().any(|(_, core)| *core == lcore))
        };
        let ports: Value =
            self.stats.ports.all().iter().filter(is_wanted).map(|port| self.shown(port)).collect();
        ports.to_string()
    }

    /// The queue pairs of a port, each with the lcore that polls it, in their order.
    fn queues(&self, number: u16) -> Vec<(u16, u32)> {
        let of_lcore = |lcore: &LcoreStats| {
            let core = lcore.core;
            let queues = lcore.ports.iter().filter(move |stats| stats.port.0 == number);
            queues.filter_map(move |stats| Some((stats.queue?, core))).collect::<Vec<_>>()
        };
        let mut queues: Vec<(u16, u32)> = self.stats.lcores.iter().flat_map(of_lcore).collect();
        queues.sort_unstable();
        queues
    }

    fn shown(&self, port: &PortInfo) -> Value {
        let mut object = self.stats.port_report(port);
        let facts = self.facts.get(&port.number);
        let mut put = |name: &str, value: Value| object.insert(name.into(), value);
        put("driver", facts.map(|facts| facts.driver.clone()).into());
        put("max_sectors", facts.map(|facts| facts.max_sectors).into());
        put("link", facts.map(|facts| LinkState::of(facts.link_up).name()).into());
        put("numa_node", facts.and_then(|facts| facts.numa_node).into());
        put("spread", facts.map(|facts| facts.spread.clone()).into());
        let queues = self.queues(port.number).into_iter();
        put("queues", queues.map(|(queue, lcore)| json!({ "queue": queue, "lcore": lcore })).collect());
        put("exports", self.exports.get(&port.number).copied().unwrap_or_default().into());
        Value::Object(object)
    }
}

/// The lcores, copied so that their JSON can be made on another thread.
#[derive(Debug, Clone, Default)]
pub struct LcoreList {
    /// The counters, and the ports with their names.
    pub stats: Arc<Stats>,
    /// By lcore.
    pub facts: BTreeMap<u32, LcoreFacts>,
}

impl LcoreList {
    /// The text of the list of the lcores that are wanted, by number.
    #[must_use]
    pub fn to_json(&self, wanted: &GetLcores) -> String {
        let number = wanted.port.as_ref().map(|port| self.stats.ports.resolve(port).map(|port| port.number));
        let is_wanted = |lcore: &&LcoreStats| {
            let polls =
                |number: u16| lcore.ports.iter().any(|stats| stats.port.0 == number && stats.queue.is_some());
            wanted.lcore.is_none_or(|core| core == lcore.core)
                && number.as_ref().is_none_or(|number| number.as_ref().is_ok_and(|number| polls(*number)))
        };
        let mut lcores: Vec<&LcoreStats> = self.stats.lcores.iter().filter(is_wanted).collect();
        lcores.sort_by_key(|lcore| lcore.core);
        let lcores: Value = lcores.into_iter().map(|lcore| self.shown(lcore)).collect();
        lcores.to_string()
    }

    fn shown(&self, lcore: &LcoreStats) -> Value {
        let facts = self.facts.get(&lcore.core).cloned().unwrap_or_default();
        let queue = |stats: &super::PortStats| {
            let port = self.stats.ports.get(stats.port.0);
            json!({
                "port": stats.port.0,
                "name": port.map(|port| port.name.as_str()),
                "netif": port.and_then(|port| port.netif.as_deref()),
                "queue": stats.queue,
            })
        };
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.into(), value);
        put("lcore", lcore.core.into());
        put("cpus", facts.cpus.into());
        put("numa_node", facts.numa_node.into());
        put("queues", lcore.ports.iter().map(queue).collect());
        put("exports_owned", lcore.owned.into());
        put("busy_share", facts.busy.map(|(share, _)| rounded(share)).into());
        put("busy_seconds", facts.busy.map(|(_, period)| rounded(period.as_secs_f64())).into());
        put("turns", lcore.turns.into());
        put("busy_turns", lcore.busy_turns.into());
        put("in_flight", lcore.in_flight.into());
        Value::Object(object)
    }
}

/// With four decimals: no sample is more exact.
fn rounded(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use aoe_target::{DropCounters, DropReason, PortCounters, PortId};

    use super::*;
    use crate::port::{PortRef, PortTable};
    use crate::report::PortStats;

    /// Two ports: the first with a queue on each of two lcores, the second with one on the second lcore.
    fn stats() -> Arc<Stats> {
        let port = |number, name: &str, netif: &str| PortInfo {
            number,
            name: name.into(),
            netif: Some(netif.into()),
            mtu: 9000,
            mac: [2, 0, 0, 0, 0, 7],
        };
        let queue = |port, queue, rx_frames| {
            let mut drops = DropCounters::default();
            drops.add(DropReason::Runt, rx_frames / 10);
            PortStats {
                port: PortId(port),
                queue,
                counters: PortCounters { rx_frames, ..PortCounters::default() },
                drops,
                tx_waiting: 0,
                handed_over: 0,
                taken_over: 0,
                returned: 0,
                return_ring_full: 0,
            }
        };
        let lcore = |core, ports| LcoreStats { core, owned: core, ports, ..LcoreStats::default() };
        Arc::new(Stats {
            ports: PortTable::new(vec![port(0, "net_af_packet0", "t0"), port(1, "net_tap1", "tap1")]),
            exports: Vec::new(),
            lcores: vec![
                lcore(5, vec![queue(0, Some(1), 20), queue(1, Some(0), 40)]),
                lcore(3, vec![queue(0, Some(0), 10), queue(1, None, 0)]),
            ],
        })
    }

    fn ports() -> PortList {
        let facts = |driver: &str, numa_node, link_up| PortFacts {
            driver: driver.into(),
            numa_node,
            spread: "software".into(),
            max_sectors: 16,
            link_up,
        };
        PortList {
            stats: stats(),
            facts: [(0, facts("net_af_packet", None, true)), (1, facts("net_tap", Some(1), false))].into(),
            exports: [(1, 7)].into(),
        }
    }

    fn numbers(text: &str, name: &str) -> Vec<u64> {
        let list: Vec<Value> = serde_json::from_str(text).unwrap();
        list.iter().map(|element| element[name].as_u64().unwrap()).collect()
    }

    #[test]
    fn a_port_is_shown_with_its_queues_exports_and_counters() {
        let list: Value = serde_json::from_str(&ports().to_json(&GetPorts::default())).unwrap();
        let first = &list[0];
        for (name, value) in [
            ("number", json!(0)),
            ("name", json!("net_af_packet0")),
            ("driver", json!("net_af_packet")),
            ("netif", json!("t0")),
            ("mac", json!("02:00:00:00:00:07")),
            ("mtu", json!(9000)),
            ("max_sectors", json!(16)),
            ("link", json!("up")),
            ("numa_node", Value::Null),
            ("spread", json!("software")),
            ("queues", json!([{ "queue": 0, "lcore": 3 }, { "queue": 1, "lcore": 5 }])),
            ("exports", json!(0)),
            ("rx_frames", json!(30)),
        ] {
            assert_eq!(first[name], value, "{name} of {first}");
        }
        assert_eq!(first["drops"]["runt"], 3);
        assert_eq!((&list[1]["exports"], &list[1]["link"]), (&json!(7), &json!("down")));
        assert_eq!(list[1]["queues"], json!([{ "queue": 0, "lcore": 5 }]));
    }

    #[test]
    fn ports_are_listed_by_each_property() {
        let all = GetPorts::default;
        let named = |name: &str| Some(PortRef::parse(name).unwrap());
        for (wanted, expected) in [
            (GetPorts { port: named("tap1"), ..all() }, vec![1]),
            (GetPorts { port: named("0"), ..all() }, vec![0]),
            (GetPorts { port: named("eth9"), ..all() }, vec![]),
            (GetPorts { driver: Some("net_tap".into()), ..all() }, vec![1]),
            (GetPorts { driver: Some("net".into()), ..all() }, vec![]),
            (GetPorts { link: Some(LinkState::Up), ..all() }, vec![0]),
            (GetPorts { link: Some(LinkState::Up), driver: Some("net_tap".into()), ..all() }, vec![]),
            (GetPorts { numa_node: Some(1), ..all() }, vec![1]),
            (GetPorts { lcore: Some(3), ..all() }, vec![0]),
            (GetPorts { lcore: Some(5), ..all() }, vec![0, 1]),
        ] {
            assert_eq!(numbers(&ports().to_json(&wanted), "number"), expected, "{wanted:?}");
        }
    }

    #[test]
    fn an_lcore_is_shown_with_its_queues_and_its_busy_share() {
        let facts = LcoreFacts {
            cpus: vec![3],
            numa_node: Some(0),
            busy: Some((0.123_456_7, Duration::from_millis(9_998))),
        };
        let lcores = LcoreList { stats: stats(), facts: [(3, facts)].into() };
        let list: Value = serde_json::from_str(&lcores.to_json(&GetLcores::default())).unwrap();
        let [first, second] = [&list[0], &list[1]];
        assert_eq!(first["cpus"], json!([3]));
        assert_eq!((&first["busy_share"], &first["busy_seconds"]), (&json!(0.1235), &json!(9.998)));
        assert_eq!(first["exports_owned"], 3);
        assert_eq!(
            first["queues"],
            json!([{ "port": 0, "name": "net_af_packet0", "netif": "t0", "queue": 0 },
                   { "port": 1, "name": "net_tap1", "netif": "tap1", "queue": null }])
        );
        assert_eq!((&second["lcore"], &second["busy_share"]), (&json!(5), &Value::Null));
        let wanted = GetLcores { lcore: Some(5), ..GetLcores::default() };
        assert_eq!(numbers(&lcores.to_json(&wanted), "lcore"), [5]);
        let polling = GetLcores { port: Some(PortRef::Number(1)), ..GetLcores::default() };
        assert_eq!(numbers(&lcores.to_json(&polling), "lcore"), [5], "3 only has a detached port queue");
    }
}
