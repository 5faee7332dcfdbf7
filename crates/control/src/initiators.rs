//! The answer of `aoe_get_initiators`: the drops of each initiator.

use std::collections::BTreeMap;

use aoe_target::{DropsOfInitiator, ExportKey, InitiatorDropEntry, MacAddr, VlanId};
use serde_json::{Value, json};

use crate::registry::Registry;

/// The drops of initiators, summed over lcores.
#[derive(Debug, Clone, Default)]
pub struct InitiatorStats {
    by_initiator: BTreeMap<(ExportKey, MacAddr), DropsOfInitiator>,
    others: DropsOfInitiator,
}

impl InitiatorStats {
    /// Adds those of an lcore: of the initiators that it tells apart, and of the others.
    pub fn add(&mut self, entries: &[InitiatorDropEntry], others: &DropsOfInitiator) {
        for entry in entries {
            self.by_initiator.entry((entry.export, entry.initiator)).or_default().merge(&entry.drops);
        }
        self.others.merge(others);
    }
}

impl Registry {
    /// The answer to `aoe_get_initiators`, by export and address. Drops of exports that are gone count among the others.
    #[must_use]
    pub fn initiators_report(&self, stats: &InitiatorStats) -> Value {
        let mut others = stats.others;
        let mut initiators = Vec::new();
        for ((key, initiator), drops) in &stats.by_initiator {
            let Some(record) = self.get(*key) else {
                others.merge(drops);
                continue;
            };
            initiators.push(json!({
                "shelf": record.address().shelf.0,
                "slot": record.address().slot.0,
                "vlan": record.options().vlan.map(VlanId::get),
                "mac": initiator.to_string(),
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
        assert_eq!(
            registry.initiators_report(&stats),
            json!({
                "initiators": [
                    { "shelf": 1, "slot": 2, "vlan": 7, "mac": "02:00:00:00:00:01", "export_full": 0, "rate_limited": 5 },
                    { "shelf": 1, "slot": 2, "vlan": 7, "mac": "02:00:00:00:00:02", "export_full": 11, "rate_limited": 22 },
                ],
                "others": { "export_full": 103, "rate_limited": 204 },
            })
        );
    }
}
