//! Series by initiator, of which there is a bounded number.

use std::collections::BTreeSet;

use crate::answers::Counts;
use crate::exposition::{Exposition, Kind};
use crate::metrics::tables::CounterFamily;
use crate::snapshot::{InitiatorCounts, InitiatorId, add};

/// The label of all initiators without series of their own.
const OTHERS: &str = "others";

/// The target counts `requests` where the export is timed.
const FAMILIES: &[CounterFamily] = &[
    CounterFamily {
        name: "kvblade_initiator_drops",
        kind: Kind::Counter,
        help: "Requests of an initiator that were dropped although they broke no rule, by reason.",
        label: "reason",
        fields: &[("export_full", "export_full"), ("rate_limited", "rate_limited")],
    },
    CounterFamily {
        name: "kvblade_initiator_requests",
        kind: Kind::Counter,
        help: "Requests of an initiator to the bdev, of exports that are timed.",
        label: "",
        fields: &[("requests", "")],
    },
    CounterFamily {
        name: "kvblade_initiator_retransmissions",
        kind: Kind::Counter,
        help: "Copies of requests in flight, sent again by an initiator.",
        label: "",
        fields: &[("retransmissions", "")],
    },
    CounterFamily {
        name: "kvblade_initiator_in_flight_requests",
        kind: Kind::Gauge,
        help: "Requests of an initiator that the bdev has now.",
        label: "",
        fields: &[("outstanding", "")],
    },
];

/// Which initiators have series of their own: the first that were seen, and they keep them, so that a new one does not move
/// counts of others.
#[derive(Debug)]
pub(crate) struct InitiatorSeries {
    most: usize,
    kept: BTreeSet<InitiatorId>,
}

impl InitiatorSeries {
    /// At most this many.
    pub(crate) const fn new(most: usize) -> Self {
        Self { most, kept: BTreeSet::new() }
    }

    /// How many at most.
    pub(crate) const fn most(&self) -> usize {
        self.most
    }

    /// Writes the families. Returns how many initiators are counted with the others.
    pub(crate) fn write(&mut self, out: &mut Exposition, counts: &InitiatorCounts) -> usize {
        // The target forgets initiators of exports that are gone.
        self.kept.retain(|id| counts.each.contains_key(id));
        let mut others = counts.others.clone();
        let mut rows: Vec<(Vec<(&str, String)>, &Counts)> = Vec::new();
        let mut left_out = 0;
        for (id, counts) in &counts.each {
            if self.kept.contains(id) || self.kept.len() < self.most {
                self.kept.insert(id.clone());
                let address = format!("{}.{}", id.shelf, id.slot);
                let vlan = id.vlan.map_or_else(String::new, |vlan| vlan.to_string());
                rows.push((vec![("export", address), ("vlan", vlan), ("initiator", id.mac.clone())], counts));
            } else {
                add(&mut others, counts.clone());
                left_out += 1;
            }
        }
        rows.push((vec![("initiator", OTHERS.to_owned())], &others));
        for family in FAMILIES {
            let mut series = out.family(family.name, family.kind, family.help);
            for (labels, counts) in &rows {
                let labels: Vec<(&str, &str)> =
                    labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
                for (field, value) in family.fields {
                    if let Some(count) = counts.get(*field) {
                        series.sample(&[labels.as_slice(), &[(family.label, *value)]].concat(), *count);
                    }
                }
            }
        }
        left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::Format;
    use crate::snapshot::tests::example;

    fn lines(series: &mut InitiatorSeries, counts: &InitiatorCounts) -> Vec<String> {
        let mut out = Exposition::new(Format::Text);
        series.write(&mut out, counts);
        let text = out.end();
        let own = text.lines().filter(|line| line.contains("export_full"));
        own.map(|line| line.replace("kvblade_initiator_drops_total", "")).collect()
    }

    #[test]
    fn what_is_beyond_the_number_is_counted_with_the_others_and_keeps_its_place() {
        let all = example(7).initiators.unwrap();
        let mut last = all.clone();
        last.each.retain(|id, _| id.mac.ends_with("03"));
        let mut series = InitiatorSeries::new(1);
        let third = r#"{export="1.1",vlan="7",initiator="02:00:00:00:00:03",reason="export_full"} 30"#;
        assert_eq!(lines(&mut series, &last), [third, r#"{initiator="others",reason="export_full"} 100"#]);
        // Earlier in the order, and later to come.
        assert_eq!(lines(&mut series, &all), [third, r#"{initiator="others",reason="export_full"} 130"#]);
        let first = r#"{export="1.1",vlan="7",initiator="02:00:00:00:00:01",reason="export_full"} 10"#;
        let mut without = all.clone();
        without.each.retain(|id, _| !id.mac.ends_with("03"));
        let mut out = Exposition::new(Format::Text);
        assert_eq!(series.write(&mut out, &all), 2, "two of three have no series of their own");
        let text = out.end();
        let busy =
            r#"kvblade_initiator_requests_total{export="1.1",vlan="7",initiator="02:00:00:00:00:03"} 3000"#;
        assert!(text.lines().any(|line| line == busy), "{text}");
        assert!(text.contains("\nkvblade_initiator_in_flight_requests{initiator=\"others\"} 4\n"), "{text}");
        assert_eq!(lines(&mut series, &without), [first, r#"{initiator="others",reason="export_full"} 120"#]);
    }
}
