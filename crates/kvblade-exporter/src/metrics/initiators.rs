//! Series by initiator, of which there is a bounded number.

use std::collections::BTreeSet;

use crate::answers::Counts;
use crate::exposition::{Exposition, Kind};
use crate::snapshot::{InitiatorCounts, InitiatorId, add};

/// The label of all initiators without series of their own.
const OTHERS: &str = "others";

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

    /// Writes the family.
    pub(crate) fn write(&mut self, out: &mut Exposition, counts: &InitiatorCounts) {
        // The target forgets initiators of exports that are gone.
        self.kept.retain(|id| counts.each.contains_key(id));
        let mut others = counts.others.clone();
        let mut drops = out.family(
            "kvblade_initiator_drops",
            Kind::Counter,
            "Requests of an initiator that were dropped although they broke no rule, by reason.",
        );
        let mut write = |labels: &[(&str, &str)], counts: &Counts| {
            for reason in ["export_full", "rate_limited"] {
                if let Some(count) = counts.get(reason) {
                    drops.sample(&[labels, &[("reason", reason)]].concat(), *count);
                }
            }
        };
        for (id, counts) in &counts.each {
            if self.kept.contains(id) || self.kept.len() < self.most {
                self.kept.insert(id.clone());
                let address = format!("{}.{}", id.shelf, id.slot);
                let vlan = id.vlan.map_or_else(String::new, |vlan| vlan.to_string());
                write(&[("export", &address), ("vlan", &vlan), ("initiator", &id.mac)], counts);
            } else {
                add(&mut others, counts.clone());
            }
        }
        write(&[("initiator", OTHERS)], &others);
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
        assert_eq!(lines(&mut series, &without), [first, r#"{initiator="others",reason="export_full"} 120"#]);
    }
}
