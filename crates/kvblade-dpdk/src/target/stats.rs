//! `aoe_get_exports` and `aoe_get_stats`: what the control plane knows, and what every lcore counted.

use control::{LcoreStats, PortStats};
use datapath::Snapshot;
use serde_json::Value;

use super::{Target, with};
use crate::rpc::Answer;

/// Counters on their way from the lcores.
pub(super) struct Counting {
    lcores: Vec<LcoreStats>,
    waiting: usize,
    answer: Answer,
}

impl Target {
    /// The answer to `aoe_get_exports`.
    pub(super) fn exports(&self) -> Value {
        self.registry.exports().into_iter().map(|record| self.shown(record)).collect()
    }

    /// Carries out `aoe_get_stats`: each lcore copies its own counters, nothing is shared with it.
    pub(super) fn count(&mut self, answer: Answer) {
        let operation = self.operations.number();
        let counting = Counting { lcores: Vec::new(), waiting: self.lcores.len(), answer };
        self.operations.counting.insert(operation, counting);
        for lcore in &self.lcores {
            let (core, app) = (lcore.core(), self.app.clone());
            let sent = lcore.send(move |lcore| {
                let snapshot = lcore.snapshot();
                let _ = app.send(move || counted(operation, core, snapshot));
            });
            if sent.is_err() {
                let _ = self.app.send(move || counted(operation, core, Snapshot::default()));
            }
        }
    }

    fn counted(&mut self, operation: u64, core: u32, snapshot: Snapshot) {
        let Some(counting) = self.operations.counting.get_mut(&operation) else { return };
        counting.lcores.push(stats_of(core, snapshot));
        counting.waiting -= 1;
        if counting.waiting > 0 {
            return;
        }
        let Some(Counting { mut lcores, answer, .. }) = self.operations.counting.remove(&operation) else {
            return;
        };
        lcores.sort_by_key(|stats| stats.core);
        answer.give(&self.registry.stats_report(&lcores));
    }
}

fn counted(operation: u64, core: u32, snapshot: Snapshot) {
    with(|target| target.counted(operation, core, snapshot));
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
        under_way: snapshot.in_flight,
        bdev_waits: snapshot.bdev_waits,
        bounced: snapshot.bounced,
        exports: snapshot.exports,
        ports: ports.collect(),
    }
}
