//! The answer of `aoe_get_initiators`: who was seen at each export, and the drops of each initiator.

use std::collections::BTreeMap;
use std::time::Duration;

use aoe_target::{DropsOfInitiator, ExportKey, InitiatorActivity, InitiatorDropEntry, MacAddr, VlanId};
use serde_json::{Value, json};

use crate::registry::Registry;

/// An initiator of an export, summed over lcores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// How long ago it was first seen.
    pub first: Duration,
    /// How long ago it was last seen.
    pub last: Duration,
    /// Requests other than reads and writes.
    pub messages: u64,
    /// Requests to the bdev while the export was timed.
    pub requests: u64,
    /// Copies of requests in flight.
    pub retransmissions: u64,
    /// Reads and writes that were sampled.
    pub sampled: u64,
    /// Largest frame of those, in bytes.
    pub largest_frame: u32,
    /// Requests in flight at the bdev.
    pub outstanding: u32,
}

impl Seen {
    /// As an lcore has seen it.
    #[must_use]
    pub const fn of(activity: &InitiatorActivity, first: Duration, last: Duration) -> Self {
        Self {
            first,
            last,
            messages: activity.messages,
            requests: activity.requests,
            retransmissions: activity.retransmissions,
            sampled: activity.sampled,
            largest_frame: activity.largest_frame,
            outstanding: activity.outstanding,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.first = self.first.max(other.first);
        self.last = self.last.min(other.last);
        self.messages += other.messages;
        self.requests += other.requests;
        self.retransmissions += other.retransmissions;
        self.sampled += other.sampled;
        self.largest_frame = self.largest_frame.max(other.largest_frame);
        self.outstanding += other.outstanding;
    }
}

/// The initiators of exports, summed over lcores.
#[derive(Debug, Clone, Default)]
pub struct InitiatorStats {
    seen: BTreeMap<(ExportKey, MacAddr), Seen>,
    by_initiator: BTreeMap<(ExportKey, MacAddr), DropsOfInitiator>,
    others: DropsOfInitiator,
}

impl InitiatorStats {
    /// Adds the drops of an lcore: of the initiators that it tells apart, and of the others.
    pub fn add(&mut self, entries: &[InitiatorDropEntry], others: &DropsOfInitiator) {
        for entry in entries {
            self.by_initiator.entry((entry.export, entry.initiator)).or_default().merge(&entry.drops);
        }
        self.others.merge(others);
    }

    /// Adds an initiator that an lcore has seen.
    pub fn add_seen(&mut self, export: ExportKey, initiator: MacAddr, seen: &Seen) {
        self.seen.entry((export, initiator)).and_modify(|sum| sum.merge(seen)).or_insert(*seen);
    }

    /// Those that were seen.
    pub fn seen(&self) -> impl Iterator<Item = (ExportKey, MacAddr, &Seen)> {
        self.seen.iter().map(|((export, initiator), seen)| (*export, *initiator, seen))
    }
}

impl Registry {
    /// The answer to `aoe_get_initiators`, by export and address. Drops of exports that are gone count among the others.
    #[must_use]
    pub fn initiators_report(&self, stats: &InitiatorStats) -> Value {
        let mut others = stats.others;
        let mut all: BTreeMap<(ExportKey, MacAddr), (Option<Seen>, DropsOfInitiator)> = BTreeMap::new();
        for (of, drops) in &stats.by_initiator {
            if self.get(of.0).is_some() {
                all.entry(*of).or_default().1 = *drops;
            } else {
                others.merge(drops);
            }
        }
        for (of, seen) in &stats.seen {
            all.entry(*of).or_default().0 = Some(*seen);
        }
        let mut initiators = Vec::new();
        for ((key, initiator), (seen, drops)) in all {
            let Some(record) = self.get(key) else { continue };
            let of = |get: &dyn Fn(&Seen) -> u64| seen.as_ref().map(get);
            initiators.push(json!({
                "shelf": record.address().shelf.0,
                "slot": record.address().slot.0,
                "vlan": record.options().vlan.map(VlanId::get),
                "mac": initiator.to_string(),
                "first_seen_seconds": of(&|seen| seen.first.as_secs()),
                "last_seen_seconds": of(&|seen| seen.last.as_secs()),
                "messages": of(&|seen| seen.messages),
                "requests": of(&|seen| seen.requests).filter(|requests| *requests > 0),
                "retransmissions": of(&|seen| seen.retransmissions),
                "outstanding": of(&|seen| seen.outstanding.into()),
                "largest_frame": of(&|seen| seen.largest_frame.into()).filter(|bytes| *bytes > 0),
                "export_full": drops.export_full,
                "rate_limited": drops.rate_limited,
            }));
        }
        json!({
            "initiators": initiators,
            "others": { "export_full": others.export_full, "rate_limited": others.rate_limited },
        })
    }
}

#[cfg(test)]
mod tests {
    use aoe_target::ExportId;

    use super::*;
    use crate::registry::tests::three_ports;

    #[test]
    fn drops_are_summed_over_lcores_and_those_of_exports_that_are_gone_stand_with_the_others() {
        let mut registry = Registry::new(three_ports(), 1);
        let request = crate::CreateExport {
            address: "1.2".parse().unwrap(),
            bdev_name: "b".into(),
            ports: None,
            options: crate::ExportOptions { vlan: VlanId::new(7), ..crate::ExportOptions::default() },
        };
        let key = registry.wait(&request, "its bdev is missing").unwrap().key();
        let gone = ExportKey { id: ExportId(9), generation: 1 };
        let mac = |last| MacAddr([2, 0, 0, 0, 0, last]);
        let entry = |export, initiator, export_full, rate_limited| InitiatorDropEntry {
            export,
            initiator,
            drops: DropsOfInitiator { export_full, rate_limited },
        };
        let mut stats = InitiatorStats::default();
        stats.add(
            &[entry(key, mac(2), 1, 2), entry(key, mac(1), 0, 5)],
            &DropsOfInitiator { export_full: 100, rate_limited: 200 },
        );
        stats.add(&[entry(key, mac(2), 10, 20), entry(gone, mac(2), 3, 4)], &DropsOfInitiator::default());
        let seconds = Duration::from_secs;
        let one =
            Seen { first: seconds(9), last: seconds(3), messages: 2, outstanding: 1, ..Seen::default() };
        let other = Seen { first: seconds(7), last: seconds(1), requests: 4, largest_frame: 1060, ..one };
        stats.add_seen(key, mac(2), &one);
        stats.add_seen(key, mac(2), &other);
        stats.add_seen(gone, mac(2), &other);
        let report = registry.initiators_report(&stats);
        assert_eq!(report["others"], json!({ "export_full": 103, "rate_limited": 204 }));
        let unseen = json!({
            "shelf": 1, "slot": 2, "vlan": 7, "mac": "02:00:00:00:00:01", "first_seen_seconds": null,
            "last_seen_seconds": null, "messages": null, "requests": null, "retransmissions": null, "outstanding": null,
            "largest_frame": null, "export_full": 0, "rate_limited": 5,
        });
        let seen = json!({
            "shelf": 1, "slot": 2, "vlan": 7, "mac": "02:00:00:00:00:02", "first_seen_seconds": 9,
            "last_seen_seconds": 1, "messages": 4, "requests": 4, "retransmissions": 0, "outstanding": 2,
            "largest_frame": 1060, "export_full": 11, "rate_limited": 22,
        });
        assert_eq!(report["initiators"], json!([unseen, seen]));
    }
}
