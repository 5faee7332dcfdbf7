//! `aoe_reset_stats`: counters go on, and answers have what was counted since.

use std::collections::BTreeMap;

use aoe_target::{ExportCounters, ExportKey, PortId};

use super::{ExportStats, LcoreStats, PortStats, Stats};

/// The counters at the last reset.
#[derive(Debug, Clone, Default)]
pub struct Baseline {
    exports: BTreeMap<ExportKey, ExportCounters>,
    lcores: BTreeMap<u32, LcoreStats>,
}

impl Baseline {
    /// The counters at this moment, since the start.
    #[must_use]
    pub fn of(exports: &[Vec<ExportStats>], lcores: &[LcoreStats]) -> Self {
        let exports = exports.iter().flatten().map(|export| (export.key, export.counters)).collect();
        Self { exports, lcores: lcores.iter().map(|lcore| (lcore.core, lcore.clone())).collect() }
    }
}

impl Stats {
    /// What was counted since `baseline`. Exports that were created later have all.
    #[must_use]
    pub fn since(mut self, baseline: &Baseline) -> Self {
        for export in self.exports.iter_mut().flatten() {
            if let Some(before) = baseline.exports.get(&export.key) {
                export.counters = export.counters.since(before);
            }
        }
        for lcore in &mut self.lcores {
            if let Some(before) = baseline.lcores.get(&lcore.core) {
                lcore.subtract(before);
            }
        }
        self
    }
}

impl LcoreStats {
    fn subtract(&mut self, before: &Self) {
        for (now, before) in [
            (&mut self.turns, before.turns),
            (&mut self.busy_turns, before.busy_turns),
            (&mut self.bdev_waits, before.bdev_waits),
            (&mut self.bounced, before.bounced),
            (&mut self.compare_faults, before.compare_faults),
        ] {
            *now = now.saturating_sub(before);
        }
        let mut earlier: BTreeMap<PortId, Vec<&PortStats>> = BTreeMap::new();
        for port in &before.ports {
            earlier.entry(port.port).or_default().push(port);
        }
        // A port may stand there several times, in the same order each time.
        for port in &mut self.ports {
            let Some(before) = earlier.get_mut(&port.port).filter(|before| !before.is_empty()) else {
                continue;
            };
            port.subtract(before.remove(0));
        }
    }
}

impl PortStats {
    fn subtract(&mut self, before: &Self) {
        self.counters = self.counters.since(&before.counters);
        self.drops = self.drops.since(&before.drops);
        for (now, before) in [
            (&mut self.handed_over, before.handed_over),
            (&mut self.taken_over, before.taken_over),
            (&mut self.returned, before.returned),
            (&mut self.return_ring_full, before.return_ring_full),
        ] {
            *now = now.saturating_sub(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use aoe_target::{DropCounters, DropReason, PortCounters};

    use super::*;
    use crate::registry::tests::with_one_export;

    fn lcore(turns: u64, frames: u64) -> LcoreStats {
        let mut drops = DropCounters::default();
        drops.add(DropReason::Runt, frames);
        let port = |frames| PortStats {
            port: PortId(0),
            queue: Some(0),
            counters: PortCounters { rx_frames: frames, ..PortCounters::default() },
            drops,
            tx_waiting: 3,
            handed_over: frames,
            taken_over: 0,
            returned: 0,
            return_ring_full: 0,
        };
        LcoreStats {
            core: 2,
            turns,
            in_flight: 7,
            ports: vec![port(frames), port(10 * frames)],
            ..LcoreStats::default()
        }
    }

    #[test]
    fn counters_begin_anew_and_what_is_now_stays() {
        let (registry, key) = with_one_export();
        let export = |reads| {
            let counters = ExportCounters { reads, ..ExportCounters::default() };
            vec![vec![ExportStats::of(registry.get(key).unwrap(), counters)]]
        };
        let baseline = Baseline::of(&export(5), &[lcore(100, 4)]);
        let now = Stats { exports: export(8), lcores: vec![lcore(130, 6)], ..Stats::default() };
        let since = now.since(&baseline);
        assert_eq!(since.exports[0][0].counters.reads, 3);
        let lcore = &since.lcores[0];
        assert_eq!((lcore.turns, lcore.in_flight), (30, 7));
        let frames: Vec<u64> = lcore.ports.iter().map(|port| port.counters.rx_frames).collect();
        assert_eq!(frames, [2, 20]);
        assert_eq!((lcore.ports[0].drops.get(DropReason::Runt), lcore.ports[0].tx_waiting), (2, 3));
        assert_eq!(lcore.ports[1].handed_over, 20);
    }
}
