//! `aoe_get_exports` and `aoe_get_stats`: the exports that the control plane knows, and the counters of every lcore.

use std::collections::BTreeMap;

use aoe_target::ExportKey;
use control::{LcoreStats, PortStats};
use datapath::Snapshot;
use serde_json::Value;

use super::control_plane::{Target, with};
use super::lcores::Unreached;
use super::operations::Reported;
use crate::answer::Answer;

impl Target {
    /// Carries out `aoe_get_exports`. The lcores are asked only while exports are quarantined.
    pub(super) fn list(&mut self, answer: Answer) {
        if self.registry.quarantined().is_empty() {
            return answer.give(&self.exports(&BTreeMap::new()));
        }
        let operation = self.operations.number();
        self.operations.listings().start(operation, self.lcores.count(), answer);
        self.lcores.run(
            |lcore| lcore.draining(),
            move |core, draining| {
                with(|target| target.listed(operation, core, draining));
            },
        );
    }

    fn listed(&mut self, operation: u64, core: u32, draining: Result<Vec<(ExportKey, u32)>, Unreached>) {
        let draining = draining.unwrap_or_else(|unreached| {
            tracing::error!(lcore = core, "an lcore has no numbers of requests in flight: {unreached}");
            Vec::new()
        });
        let reported = self.operations.listings().report(operation, |in_flight| {
            for (key, requests) in draining {
                *in_flight.entry(key).or_default() += u64::from(requests);
            }
        });
        match reported {
            Reported::Nothing => self.nothing_waits("a list of exports", operation, core),
            Reported::Part => {}
            Reported::Whole(in_flight, answer) => answer.give(&self.exports(&in_flight)),
        }
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
        self.operations.countings().start(operation, self.lcores.count(), answer);
        self.lcores.run(
            |lcore| lcore.snapshot(),
            move |core, snapshot| {
                with(|target| target.counted(operation, core, snapshot));
            },
        );
    }

    /// An lcore that can't be reached has counters of 0.
    fn counted(&mut self, operation: u64, core: u32, snapshot: Result<Snapshot, Unreached>) {
        if let Err(Unreached) = snapshot {
            tracing::error!(lcore = core, "an lcore has no counters: {Unreached}");
        }
        let stats = stats_of(core, snapshot.unwrap_or_default());
        match self.operations.countings().report(operation, |lcores| lcores.push(stats)) {
            Reported::Nothing => self.nothing_waits("counters", operation, core),
            Reported::Part => {}
            Reported::Whole(mut lcores, answer) => {
                lcores.sort_by_key(|stats| stats.core);
                answer.give(&self.registry.stats_report(&lcores));
            }
        }
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
        returned: queue.distribution.returned,
        return_ring_full: queue.distribution.return_ring_full,
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
