//! What is shown: rates between two samples, and numbers of the last one. Its members are those of `kv top --json`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use super::histogram::Latency;
use super::sample::{Counts, Export, ExportId, InitiatorId, Port, Sample};
use crate::table::real;

/// All that is shown. Rates are `None` where there is no sample before.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct View {
    /// Seconds between the two samples.
    pub(super) seconds: Option<f64>,
    pub(super) verdict: Option<String>,
    pub(super) reasons: Vec<String>,
    pub(super) total: Rates,
    /// The busiest first.
    pub(super) exports: Vec<ExportView>,
    pub(super) initiators: Vec<InitiatorView>,
    pub(super) ports: Vec<PortView>,
    pub(super) lcores: Vec<LcoreView>,
}

/// Reads and writes a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Rates {
    pub(super) reads: Option<f64>,
    pub(super) writes: Option<f64>,
    pub(super) read_bytes: Option<f64>,
    pub(super) written_bytes: Option<f64>,
}

/// A count since the start, and by how much it has grown between the samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Total {
    pub(super) total: u64,
    pub(super) grown: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ExportView {
    pub(super) export: String,
    pub(super) vlan: Option<u64>,
    pub(super) bdev: String,
    pub(super) state: String,
    #[serde(flatten)]
    pub(super) rates: Rates,
    /// Of the reads and writes between the samples, if it is timed.
    pub(super) latency: Option<Latency>,
    /// Requests at the bdev, of all initiators that are told apart.
    pub(super) queue: u64,
    pub(super) errors: Total,
    pub(super) drops: Total,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct InitiatorView {
    pub(super) initiator: String,
    pub(super) export: String,
    pub(super) vlan: Option<u64>,
    /// Requests a second, if the export is timed.
    pub(super) requests: Option<f64>,
    pub(super) queue: u64,
    pub(super) last_seen_seconds: Option<u64>,
    pub(super) largest_frame: Option<u64>,
    pub(super) retransmissions: Total,
    pub(super) drops: Total,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct PortView {
    pub(super) port: String,
    pub(super) interface: Option<String>,
    pub(super) received_frames: Option<f64>,
    pub(super) sent_frames: Option<f64>,
    pub(super) received_bytes: Option<f64>,
    pub(super) sent_bytes: Option<f64>,
    /// By reason, without those that there were none of; those that grow most come first.
    pub(super) drops: Vec<(String, Total)>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct LcoreView {
    pub(super) lcore: u64,
    /// Share of its turns in which it had work, 0 to 1.
    pub(super) busy: Option<f64>,
    pub(super) turns: Option<f64>,
    pub(super) in_flight: u64,
    pub(super) received_frames: Option<f64>,
    pub(super) sent_frames: Option<f64>,
    /// Frames handed to other lcores.
    pub(super) handed_over: Option<f64>,
}

/// Numbers that are so now, rather than counted: they may fall.
const GAUGES: [&str; 11] = [
    "in_flight",
    "under_way",
    "tx_waiting",
    "outstanding",
    "largest_frame",
    "first_seen_seconds",
    "last_seen_seconds",
    "mtu",
    "number",
    "vlan",
    "lcore",
];

/// Counters at two moments. One that is lower than before says that all of them have begun anew, by a reset or a restart.
struct Growth<'a> {
    before: Option<&'a Counts>,
    now: &'a Counts,
    seconds: f64,
}

static NONE: Counts = Counts::new();

impl<'a> Growth<'a> {
    fn new(before: Option<&'a Counts>, now: &'a Counts, seconds: f64) -> Self {
        let fell = |(name, before): (&String, &u64)| {
            !GAUGES.contains(&name.as_str()) && now.get(name).is_some_and(|now| now < before)
        };
        let anew = before.is_some_and(|before| before.iter().any(fell));
        Self { before: if anew { Some(&NONE) } else { before }, now, seconds }
    }

    fn count(&self, name: &str) -> u64 {
        self.now.get(name).copied().unwrap_or_default()
    }

    fn grown(&self, name: &str) -> Option<u64> {
        let before = self.before?.get(name).copied().unwrap_or_default();
        Some(self.count(name).saturating_sub(before))
    }

    fn rate(&self, name: &str) -> Option<f64> {
        self.grown(name).map(|grown| rounded(real(grown) / self.seconds))
    }

    fn total(&self, names: &[&str]) -> Total {
        let sum = |of: &dyn Fn(&str) -> u64| names.iter().map(|name| of(name)).fold(0, u64::saturating_add);
        Total {
            total: sum(&|name| self.count(name)),
            grown: sum(&|name| self.grown(name).unwrap_or_default()),
        }
    }
}

/// To tenths, for rates.
fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

impl Rates {
    fn of(growth: &Growth<'_>) -> Self {
        Self {
            reads: growth.rate("reads"),
            writes: growth.rate("writes"),
            read_bytes: growth.rate("read_bytes"),
            written_bytes: growth.rate("written_bytes"),
        }
    }

    fn add(&mut self, more: &Self) {
        let sum = |one: Option<f64>, more: Option<f64>| match (one, more) {
            (Some(one), Some(more)) => Some(one + more),
            (one, more) => one.or(more),
        };
        self.reads = sum(self.reads, more.reads);
        self.writes = sum(self.writes, more.writes);
        self.read_bytes = sum(self.read_bytes, more.read_bytes);
        self.written_bytes = sum(self.written_bytes, more.written_bytes);
    }

    /// Reads and writes together.
    pub(super) fn iops(&self) -> Option<f64> {
        Some(self.reads? + self.writes?)
    }
}

impl View {
    /// Of a sample and the one before it, unless the connection was lost between them: then the target may have started anew.
    pub(super) fn between(before: Option<&Sample>, now: &Sample) -> Self {
        let before = before.filter(|_| now.goes_on);
        let seconds =
            before.map(|before| now.at.saturating_duration_since(before.at).as_secs_f64().max(0.001));
        let pair = Pair { before, seconds: seconds.unwrap_or(1.0), queues: queues(now) };
        let mut exports: Vec<ExportView> =
            now.exports.iter().map(|(id, export)| pair.export(id, export)).collect();
        let iops = |export: &ExportView| export.rates.iops().unwrap_or_default();
        exports.sort_by(|one, other| iops(other).total_cmp(&iops(one)));
        let mut total = Rates::default();
        exports.iter().for_each(|export| total.add(&export.rates));
        Self {
            seconds: seconds.map(|seconds| (seconds * 1e3).round() / 1e3),
            verdict: now.health.verdict.clone(),
            reasons: now.health.reasons.clone(),
            total,
            exports,
            initiators: now.initiators.iter().map(|(id, counts)| pair.initiator(id, counts)).collect(),
            ports: now.ports.iter().map(|(name, port)| pair.port(name, port)).collect(),
            lcores: now.lcores.iter().map(|(lcore, counts)| pair.lcore(*lcore, counts)).collect(),
        }
    }
}

/// Requests at the bdev by export, which has no bdev's name here.
fn queues(now: &Sample) -> BTreeMap<ExportId, u64> {
    let mut queues = BTreeMap::new();
    for ((export, _), counts) in &now.initiators {
        *queues.entry(export.clone()).or_default() += counts.get("outstanding").copied().unwrap_or_default();
    }
    queues
}

/// Two samples.
struct Pair<'a> {
    before: Option<&'a Sample>,
    seconds: f64,
    queues: BTreeMap<ExportId, u64>,
}

impl<'a> Pair<'a> {
    /// What was not there before has counted from 0.
    fn growth(&self, now: &'a Counts, find: impl Fn(&'a Sample) -> Option<&'a Counts>) -> Growth<'a> {
        let before = self.before.map(|before| find(before).unwrap_or(&NONE));
        Growth::new(before, now, self.seconds)
    }

    fn export(&self, id: &ExportId, export: &'a Export) -> ExportView {
        let before = self.before.and_then(|before| before.exports.get(id));
        let growth =
            self.growth(&export.counts, |sample| sample.exports.get(id).map(|export| &export.counts));
        let latency = export.latency.as_ref().and_then(|now| {
            let before = before?.latency.as_ref();
            before.map_or_else(|| now.clone(), |before| now.since(before)).latency()
        });
        let address = ExportId { bdev: String::new(), ..id.clone() };
        ExportView {
            export: id.address(),
            vlan: id.vlan,
            bdev: id.bdev.clone(),
            state: export.state.clone(),
            rates: Rates::of(&growth),
            latency,
            queue: self.queues.get(&address).copied().unwrap_or_default(),
            errors: growth.total(&["ata_errors", "aoe_errors"]),
            drops: growth.total(&["export_full", "rate_limited"]),
        }
    }

    fn initiator(&self, id: &InitiatorId, counts: &'a Counts) -> InitiatorView {
        let growth = self.growth(counts, |sample| sample.initiators.get(id));
        let (export, mac) = id;
        InitiatorView {
            initiator: mac.clone(),
            export: export.address(),
            vlan: export.vlan,
            requests: counts.get("requests").and_then(|_| growth.rate("requests")),
            queue: growth.count("outstanding"),
            last_seen_seconds: counts.get("last_seen_seconds").copied(),
            largest_frame: counts.get("largest_frame").copied(),
            retransmissions: growth.total(&["retransmissions"]),
            drops: growth.total(&["export_full", "rate_limited"]),
        }
    }

    fn port(&self, name: &str, port: &'a Port) -> PortView {
        let growth = self.growth(&port.counts, |sample| sample.ports.get(name).map(|port| &port.counts));
        let drops = self.growth(&port.drops, |sample| sample.ports.get(name).map(|port| &port.drops));
        let of = |reason: &String| (reason.clone(), drops.total(&[reason.as_str()]));
        let mut by_reason: Vec<_> = port.drops.keys().map(of).filter(|(_, count)| count.total > 0).collect();
        by_reason.sort_by_key(|(_, count)| Reverse((count.grown, count.total)));
        PortView {
            port: name.to_owned(),
            interface: port.netif.clone(),
            received_frames: growth.rate("rx_frames"),
            sent_frames: growth.rate("tx_frames"),
            received_bytes: growth.rate("rx_bytes"),
            sent_bytes: growth.rate("tx_bytes"),
            drops: by_reason,
        }
    }

    fn lcore(&self, lcore: u64, counts: &'a Counts) -> LcoreView {
        let growth = self.growth(counts, |sample| sample.lcores.get(&lcore));
        let busy = growth.grown("turns").zip(growth.grown("busy_turns")).and_then(|(turns, busy)| {
            (turns > 0).then(|| ((real(busy) / real(turns)).min(1.0) * 1e4).round() / 1e4)
        });
        LcoreView {
            lcore,
            busy,
            turns: growth.rate("turns"),
            in_flight: growth.count("in_flight"),
            received_frames: growth.rate("rx_frames"),
            sent_frames: growth.rate("tx_frames"),
            handed_over: growth.rate("handed_over"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::histogram::Histogram;
    use super::super::sample::tests::{example, later};
    use super::*;

    #[test]
    fn rates_are_those_between_two_samples() {
        let first = example(100);
        let view = View::between(Some(&first), &later(600, &first, 5));
        let export = &view.exports[0];
        assert_eq!((export.export.as_str(), export.bdev.as_str()), ("1.1", "disk"));
        assert_eq!((export.rates.reads, export.rates.writes), (Some(100.0), Some(200.0)));
        assert_eq!(export.rates.read_bytes, Some(409_600.0));
        assert_eq!((export.queue, export.errors), (16, Total { total: 6, grown: 5 }));
        assert_eq!(view.exports[1].rates.iops(), Some(0.0));
        assert_eq!((view.total.iops(), view.seconds), (Some(300.0), Some(5.0)));
        assert_eq!((view.lcores[0].busy, view.lcores[1].busy), (Some(0.25), Some(0.0)));
        assert_eq!(view.initiators[0].requests, Some(300.0));
        let drops: Vec<(&str, u64)> =
            view.ports[0].drops.iter().map(|(name, drops)| (name.as_str(), drops.grown)).collect();
        assert_eq!(drops, [("not_aoe", 250), ("ring_full", 0)]);
    }

    #[test]
    fn a_first_sample_and_one_after_a_break_have_no_rates() {
        let first = example(100);
        let mut second = later(600, &first, 5);
        second.goes_on = false;
        for view in [View::between(None, &first), View::between(Some(&first), &second)] {
            assert_eq!((view.seconds, view.exports[0].rates.reads, view.lcores[0].busy), (None, None, None));
            assert_eq!((view.total.iops(), view.exports[0].queue), (None, 16));
        }
    }

    #[test]
    fn counters_that_began_anew_give_no_negative_and_no_absurd_rates() {
        let first = example(1000);
        let view = View::between(Some(&first), &later(50, &first, 5));
        assert_eq!((view.exports[0].rates.reads, view.exports[0].rates.writes), (Some(10.0), Some(20.0)));
        assert_eq!(view.exports[0].errors, Total { total: 0, grown: 0 });
        assert_eq!(view.lcores[0].busy, Some(0.25));
        // One counter that fell says so of all: this one has passed its former value already.
        let counts = |reads: u64, writes: u64| {
            Counts::from([("reads".to_owned(), reads), ("writes".to_owned(), writes)])
        };
        let (before, now) = (counts(10, 100), counts(40, 5));
        let growth = Growth::new(Some(&before), &now, 1.0);
        assert_eq!((growth.grown("reads"), growth.grown("writes")), (Some(40), Some(5)));
        // A number in flight may fall.
        let count =
            |number: u64| Counts::from([("in_flight".to_owned(), number), ("turns".to_owned(), 7 + number)]);
        let (before, mut now) = (count(9), count(1));
        now.insert("turns".into(), 20);
        assert_eq!(Growth::new(Some(&before), &now, 1.0).grown("turns"), Some(4));
    }

    #[test]
    fn latency_is_that_of_an_export_that_is_timed_in_both_samples() {
        let histogram = |count: u64| {
            Some(Histogram::of(
                &json!({ "reads": { "buckets": [[1000, 5], [5000, count]], "max_ns": 4000 } }),
            ))
        };
        let mut first = example(100);
        let mut second = later(600, &first, 5);
        let id = first.exports.keys().next().unwrap().clone();
        second.exports.get_mut(&id).unwrap().latency = histogram(9);
        let latency = |first: &Sample, second: &Sample| View::between(Some(first), second).exports[0].latency;
        assert_eq!(latency(&first, &second).unwrap().requests, 14, "it was enabled in between");
        first.exports.get_mut(&id).unwrap().latency = histogram(1);
        let expected = Latency { requests: 8, p50_ns: 4000, p99_ns: 4000, max_ns: 4000 };
        assert_eq!(latency(&first, &second), Some(expected));
        second.exports.get_mut(&id).unwrap().latency = None;
        assert_eq!(latency(&first, &second), None);
    }
}
