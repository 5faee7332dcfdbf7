//! `aoe_get_exports` and `aoe_get_stats`: the exports that the control plane knows, and the counters of every lcore, copied
//! by a [scan](super::scan) in slices. The text of the answer is made elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aoe_target::ExportKey;
use control::{
    Baseline, ErrorCode, ExportList, ExportStats, LcoreList, LcoreStats, ListedExport, PortList, PortRef,
    PortStats, Record, RpcError, Stats,
};
use datapath::{ExportSlice, SeenInitiator, Snapshot};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;
use spdk::AppThread;

use super::control_plane::{Target, with};
use super::gathered::{Caller, Gathered, Wanted};
use super::lcores::Unreached;
use super::qos::add_seen;
use super::resources::{CALL_PATIENCE, Resources};
use super::scan::{IDS, Step};
use crate::answer::Answer;

/// An lcore's counters but for those of exports, the requests in flight of exports that drain there, and initiators that it has seen.
type Rest = (Snapshot, Vec<(ExportKey, u32)>, Vec<SeenInitiator>);

impl Target {
    /// Carries out `aoe_get_exports` or `aoe_get_stats`.
    pub(super) fn scan_for(&mut self, wanted: Wanted, answer: Answer) {
        if let Some(number) = self.scans.add(Caller { wanted, answer }) {
            self.scan(number);
        }
    }

    /// Carries out `aoe_get_ports` or `aoe_get_lcores`, of this port or of all.
    pub(super) fn scan_for_port(&mut self, port: Option<&PortRef>, wanted: Wanted, answer: Answer) {
        match port.map(|port| self.registry.ports().resolve(port)) {
            Some(Err(error)) => answer.refuse(&error),
            Some(Ok(_)) | None => self.scan_for(wanted, answer),
        }
    }

    /// Takes the next step of a scan.
    fn scan(&mut self, number: u64) {
        let Some(step) = self.scans.step(number, self.registry.end_of_ids(), self.lcores.count()) else {
            return tracing::debug!(number, "a scan has ended before its next step");
        };
        match step {
            Step::Slice(first) if self.wants(number, Wanted::needs_counters) => {
                let slice = ExportSlice::starting_at(first);
                self.lcores.run(
                    move |lcore| {
                        let (mut slice, begun) = (slice, Instant::now());
                        lcore.count_exports(&mut slice);
                        (slice, begun.elapsed())
                    },
                    move |core, counted| {
                        with(|target| target.slice_counted(number, first, core, counted));
                    },
                );
            }
            // A list needs no counters.
            Step::Slice(first) => {
                self.copy_slice(number, first);
                self.lcores.app().send(move || {
                    with(|target| target.scan(number));
                });
            }
            Step::Rest => {
                let for_health = self.wants(number, |wanted| *wanted == Wanted::Health);
                self.lcores.run(
                    move |lcore| {
                        let initiators = if for_health { lcore.initiators() } else { Vec::new() };
                        (lcore.counters(), lcore.draining(), initiators)
                    },
                    move |core, rest| {
                        with(|target| target.rest_counted(number, core, rest));
                    },
                );
            }
        }
    }

    /// Whether a caller of that scan wants this.
    fn wants(&mut self, number: u64, what: impl Fn(&Wanted) -> bool) -> bool {
        let callers = self.scans.gathered(number).map(|(callers, _)| callers);
        callers.is_some_and(|callers| callers.iter().any(|caller| what(&caller.wanted)))
    }

    /// An lcore has counted a slice. One that can't be reached has counters of 0.
    fn slice_counted(
        &mut self,
        number: u64,
        first: u32,
        core: u32,
        counted: Result<(ExportSlice, Duration), Unreached>,
    ) {
        match (counted, self.scans.gathered(number)) {
            (Ok((slice, time)), Some((_, gathered))) => {
                gathered.longest.0 = gathered.longest.0.max(time);
                for (key, counters) in slice.counted() {
                    gathered.counted.entry(*key).or_default().merge(counters);
                }
            }
            (Ok(_), None) => {}
            // It is named at the end of the scan.
            (Err(unreached), _) => tracing::debug!(lcore = core, "no counters of a slice: {unreached}"),
        }
        if self.scans.reported(number) {
            self.copy_slice(number, first);
            self.scan(number);
        }
    }

    /// Copies the exports of a slice.
    fn copy_slice(&mut self, number: u64, first: u32) {
        let begun = cpu_time();
        // Names that can't be followed are reported as they were.
        AppThread::with(|app| self.follow_names(app, first)).unwrap_or_default();
        let records = || self.registry.among_ids(first, IDS);
        let Some((callers, gathered)) = self.scans.gathered(number) else { return };
        let matches = |record: &&Record| callers.iter().any(|caller: &Caller| caller.wanted.lists(record));
        if callers.iter().any(|caller| matches!(caller.wanted, Wanted::List(_) | Wanted::Health)) {
            let listed = |record: &Record| ListedExport {
                record: record.clone(),
                state: self.state_manager.state_of(record.key()),
                timed: self.timed.contains(&record.key()),
            };
            gathered.list.push(records().filter(matches).map(listed).collect());
        }
        if callers.iter().any(|caller| matches!(caller.wanted, Wanted::Ports(_))) {
            let served = records().filter(|record| record.life().holds_address());
            for port in served.flat_map(|record| self.registry.ports().of(record.ports())) {
                *gathered.exports_of_ports.entry(port.number).or_default() += 1;
            }
        }
        let counted = std::mem::take(&mut gathered.counted);
        if callers.iter().any(|caller| caller.wanted.needs_counters()) {
            let served = records().filter(|record| record.life().holds_address());
            let of = |record: &Record| {
                ExportStats::of(record, counted.get(&record.key()).copied().unwrap_or_default())
            };
            gathered.stats.push(served.map(of).collect());
        }
        gathered.longest.1 = gathered.longest.1.max(cpu_time().saturating_sub(begun));
        self.scans.advance(number);
    }

    /// Takes over new names of bdevs of a slice. SPDK has no event for a volume that is renamed.
    fn follow_names(&mut self, app: AppThread<'_>, first: u32) {
        let renamed = |record: &&Record| {
            let bdev = self.resources.get(&record.key()).and_then(Resources::bdev);
            bdev.is_some_and(|bdev| !bdev.is_called(app, record.bdev_name()))
        };
        let renamed = self.registry.among_ids(first, IDS).filter(renamed);
        for key in renamed.map(Record::key).collect::<Vec<_>>() {
            self.registry.bdev_renamed(key);
        }
    }

    /// Takes over new names of all bdevs: a saved configuration must find its bdevs again.
    pub(super) fn follow_all_names(&mut self, app: AppThread<'_>) {
        for first in (0..self.registry.end_of_ids()).step_by(IDS as usize) {
            self.follow_names(app, first);
        }
    }

    /// An lcore has reported the rest of its counters. One that can't be reached has counters of 0.
    fn rest_counted(&mut self, number: u64, core: u32, rest: Result<Rest, Unreached>) {
        if let Err(unreached) = &rest {
            tracing::error!(lcore = core, "an lcore has no counters: {unreached}");
        }
        if let Some((_, gathered)) = self.scans.gathered(number) {
            let (counters, draining, initiators) = rest.unwrap_or_default();
            add_seen(&mut gathered.initiators, &initiators);
            gathered.lcores.push(stats_of(core, counters));
            for (key, requests) in draining {
                *gathered.in_flight.entry(key).or_default() += u64::from(requests);
            }
        }
        if self.scans.reported(number)
            && let Some((callers, gathered, next)) = self.scans.finish(number)
        {
            self.answer_all(callers, gathered);
            if let Some(next) = next {
                self.scan(next);
            }
        }
    }

    fn answer_all(&mut self, callers: Vec<Caller>, gathered: Gathered) {
        let Gathered { list, stats, in_flight, lcores, initiators, exports_of_ports, counted: _, longest } =
            gathered;
        tracing::debug!(
            slices = list.len().max(stats.len()),
            lcore_microseconds = longest.0.as_micros(),
            app_microseconds = longest.1.as_micros(),
            "a scan of exports, and its longest slices"
        );
        let ports = self.registry.ports();
        let list = Arc::new(ExportList { ports: ports.clone(), exports: list, in_flight });
        let all = Stats { ports: ports.clone(), exports: stats, lcores };
        let counted = callers.iter().any(|caller| caller.wanted.needs_counters());
        let baseline = counted.then(|| Baseline::of(&all.exports, &all.lcores));
        let since = Arc::new(all.clone().since(&self.baseline));
        let all = Arc::new(all);
        // Those who asked for the counters together with the reset get what was counted before it.
        if callers.iter().any(|caller| caller.wanted == Wanted::Reset)
            && let Some(baseline) = baseline
        {
            self.baseline = baseline;
        }
        for Caller { wanted, answer } in callers {
            let (list, stats) = (Arc::clone(&list), Arc::clone(&since));
            match wanted {
                Wanted::List(wanted) => answer.give_text(move || list.to_json(&wanted)),
                Wanted::Stats => answer.give_text(move || stats.to_json()),
                Wanted::Reset => answer.give(&Value::Bool(true)),
                Wanted::Ports(wanted) => {
                    let facts = self.ports.iter().map(|port| (port.number(), port.facts())).collect();
                    let ports = PortList { stats, facts, exports: exports_of_ports.clone() };
                    answer.give_text(move || ports.to_json(&wanted));
                }
                Wanted::Lcores(wanted) => {
                    let lcores = LcoreList { stats, facts: self.lcore_facts(wanted.period()) };
                    answer.give_text(move || lcores.to_json(&wanted));
                }
                Wanted::Health => self.report_health(list, Arc::clone(&all), initiators.clone(), answer),
            }
        }
    }

    /// Refuses calls that an lcore without turns keeps waiting.
    pub(super) fn look_for_late_scans(&mut self) {
        let Some((callers, next)) = self.scans.give_up_late(CALL_PATIENCE) else { return };
        let error = RpcError::new(
            ErrorCode::Busy,
            format!(
                "an lcore has not reported its counters for {} s: the log names it",
                CALL_PATIENCE.as_secs()
            ),
        );
        callers.into_iter().for_each(|caller| caller.answer.refuse(&error));
        if let Some(next) = next {
            self.scan(next);
        }
    }

    /// An export as answers show it, with its initiator state.
    pub(super) fn shown(&self, record: &Record) -> Value {
        let state = self.state_manager.state_of(record.key());
        let timed = self.timed.contains(&record.key());
        ListedExport { record: record.clone(), state, timed }.to_value(self.registry.ports())
    }
}

/// The CPU time of this thread so far; zero if the system has none to give. Other programs on the CPU do not count.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

fn stats_of(core: u32, snapshot: Snapshot) -> LcoreStats {
    let ports = snapshot.queues.into_iter().map(|queue| PortStats {
        port: queue.port,
        queue: queue.queue,
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
        owned: snapshot.owned,
        in_flight: snapshot.in_flight,
        bdev_waits: snapshot.bdev_waits,
        bounced: snapshot.bounced,
        compare_faults: snapshot.compare_faults,
        ports: ports.collect(),
    }
}
