//! `aoe_get_exports` and `aoe_get_stats`: the exports that the control plane knows, and the counters of every lcore.

use std::collections::BTreeMap;

use aoe_target::ExportKey;
use control::{LcoreStats, PortStats};
use datapath::Snapshot;
use serde_json::Value;

use super::control_plane::{Target, with};
use super::lcores::Unreached;
use super::operations::{Counting, Listing};
use crate::answer::Answer;

impl Target {
    /// Carries out `aoe_get_exports`. The lcores are asked only while exports are quarantined.
    pub(super) fn list(&mut self, answer: Answer) {
        if self.registry.quarantined().is_empty() {
            return answer.give(&self.exports(&BTreeMap::new()));
        }
        let operation = self.operations.number();
        let listing = Listing { in_flight: BTreeMap::new(), waiting: self.lcores.count(), answer };
        self.operations.listing.insert(operation, listing);
        self.lcores.run(
            |lcore| lcore.draining(),
            move |core, draining| {
                with(|target| target.listed(operation, core, draining));
            },
        );
    }

    fn listed(&mut self, operation: u64, core: u32, draining: Result<Vec<(ExportKey, u32)>, Unreached>) {
        let Some(mut listing) = self.operations.listing.remove(&operation) else {
            return self.nothing_waits("a list of exports", operation, core);
        };
        match draining {
            Ok(draining) => {
                for (key, in_flight) in draining {
                    *listing.in_flight.entry(key).or_default() += u64::from(in_flight);
                }
            }
            Err(unreached) => {
                tracing::error!(lcore = core, "an lcore has no numbers of requests in flight: {unreached}");
            }
        }
        listing.waiting = listing.waiting.saturating_sub(1);
        if listing.waiting > 0 {
            self.operations.listing.insert(operation, listing);
            return;
        }
        listing.answer.give(&self.exports(&listing.in_flight));
    }

    /// The answer to `aoe_get_exports`.
    fn exports(&self, in_flight: &BTreeMap<ExportKey, u64>) -> Value {
        let served = self.registry.exports().into_iter().map(|record| self.shown(record));
        let quarantined = self.registry.quarantined().into_iter().map(|record| {
            let mut shown = self.shown(record);
            shown["in_flight"] = in_flight.get(&record.key()).copied().unwrap_or_default().into();
            shown
        });
        served.chain(quarantined).collect()
    }

    /// Carries out `aoe_get_stats`: each lcore copies its own counters, so none are shared with it.
    pub(super) fn count(&mut self, answer: Answer) {
        let operation = self.operations.number();
        let counting = Counting { lcores: Vec::new(), waiting: self.lcores.count(), answer };
        self.operations.counting.insert(operation, counting);
        self.lcores.run(
            |lcore| lcore.snapshot(),
            move |core, snapshot| {
                with(|target| target.counted(operation, core, snapshot));
            },
        );
    }

    /// An lcore that can't be reached has counters of 0.
    fn counted(&mut self, operation: u64, core: u32, snapshot: Result<Snapshot, Unreached>) {
        let Some(mut counting) = self.operations.counting.remove(&operation) else {
            return self.nothing_waits("counters", operation, core);
        };
        if let Err(Unreached) = snapshot {
            tracing::error!(lcore = core, "an lcore has no counters: {Unreached}");
        }
        counting.lcores.push(stats_of(core, snapshot.unwrap_or_default()));
        counting.waiting = counting.waiting.saturating_sub(1);
        if counting.waiting > 0 {
            self.operations.counting.insert(operation, counting);
            return;
        }
        counting.lcores.sort_by_key(|stats| stats.core);
        counting.answer.give(&self.registry.stats_report(&counting.lcores));
    }
}

fn stats_of(core: u32, snapshot: Snapshot) -> LcoreStats {
    let ports = snapshot.queues.into_iter().map(|queue| PortStats {
        port: queue.port,
        counters: queue.counters,
        drops: queue.drops,
        tx_waiting: queue.tx_waiting,
        handed_over: queue.distribution.handed_over,
        taken_over: queue.distribution.taken_over,
    });
    LcoreStats {
        core,
        turns: snapshot.turns,
        busy_turns: snapshot.busy_turns,
        in_flight: snapshot.in_flight,
        bdev_waits: snapshot.bdev_waits,
        bounced: snapshot.bounced,
        exports: snapshot.exports,
        ports: ports.collect(),
    }
}
