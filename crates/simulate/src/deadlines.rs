//! The oracle for deadlines: a request that its bdev does not answer gets a fault, not before its time and not long after.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{ExportPlan, Op, Operation, Plan};

/// What a deadline may be late: two seconds, and the time between two looks of an lcore at its clock.
const LATE: u64 = 2_600;
const SECOND: u64 = 1_000;

/// What a request and its copy have in common: initiator, export, first sector, sectors, operation and data.
type Likeness = (usize, usize, u64, u64, Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Read,
    /// Each write has data of its own; a flush has no copies.
    Own(u32),
    /// The gap between its ranges.
    Trim(u64),
}

fn likeness(op: &Op) -> Likeness {
    let kind = match op.operation {
        Operation::Read => Kind::Read,
        Operation::Trim { gap } => Kind::Trim(gap),
        _ => Kind::Own(op.id),
    };
    (op.initiator, op.export, op.lba, op.sectors, kind)
}

/// Since when requests wait, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    /// Since the first copy that arrived after the last reply.
    since: BTreeMap<u32, (u64, Likeness)>,
    /// Those that waited together with another one that looks like a copy of it: the newest of all is answered first, and older
    /// ones may be dropped.
    together: BTreeSet<u32>,
    /// Since the first copy: it may have the bdev's time, and later ones times of their own.
    first: BTreeMap<u32, u64>,
    /// Since when a bdev may have had the first of the requests that look like copies of each other.
    alike: BTreeMap<Likeness, u64>,
    /// The time that the bdev of each export has, where that is exact.
    timeouts: Vec<Option<u64>>,
    /// Exports whose faults can be of a deadline only.
    faultless: Vec<bool>,
}

impl Waits {
    pub(crate) fn new(plan: &Plan) -> Self {
        // With few mbufs requests are dropped, or fail at once; what happens to an export ends them, too.
        let is_ample = plan.mbufs >= 1023 && plan.stall == 0;
        let is_left_alone = |export: usize| plan.events.iter().all(|(_, changed, _)| *changed != export);
        let exports = || (0..).zip(&plan.exports);
        let timeout = |(index, export): (usize, &ExportPlan)| {
            let is_exact = is_ample && is_left_alone(index);
            is_exact.then(|| u64::from(export.io_timeout) * SECOND)
        };
        let is_reserved = |export: usize| {
            let reserves = |op: &Op| matches!(op.operation, Operation::Reserve { .. });
            plan.ops.iter().any(|op| op.export == export && reserves(op))
        };
        let faultless = exports().map(|(index, export)| {
            let disk = &export.disk;
            disk.fail == 0 && disk.fails_on.is_none() && !is_reserved(index)
        });
        Self {
            since: BTreeMap::new(),
            together: BTreeSet::new(),
            first: BTreeMap::new(),
            alike: BTreeMap::new(),
            faultless: faultless.collect(),
            timeouts: exports().map(timeout).collect(),
        }
    }

    /// A whole copy of a request has arrived.
    pub(crate) fn arrived(&mut self, op: &Op, now: u64) {
        if self.timeouts[op.export].is_some() && !op.sets_state() {
            let like = likeness(op);
            let others = self.since.iter().filter(|(id, (_, other))| **id != op.id && *other == like);
            let others: Vec<u32> = others.map(|(id, _)| *id).collect();
            if !others.is_empty() {
                self.together.insert(op.id);
                self.together.extend(others);
            }
            self.since.entry(op.id).or_insert((now, like));
            let first = *self.alike.entry(like).or_insert(now);
            self.first.entry(op.id).or_insert(first);
        }
    }

    /// A request was answered. `fault`: with a device fault.
    ///
    /// # Errors
    /// If that was too early.
    pub(crate) fn answered(&mut self, op: &Op, fault: bool, now: u64) -> Result<(), String> {
        self.since.remove(&op.id);
        if !fault {
            self.alike.remove(&likeness(op));
        }
        let Some(first) = self.first.get(&op.id) else { return Ok(()) };
        match self.timeouts[op.export] {
            Some(timeout) if fault && self.faultless[op.export] && now < first + timeout => Err(format!(
                "request {} to export {}, whose bdev does not fail, got a device fault {} ms after it came",
                op.id,
                op.export,
                now - first
            )),
            _ => Ok(()),
        }
    }

    /// Nobody waits for a request any more.
    pub(crate) fn forget(&mut self, op: u32) {
        self.since.remove(&op);
        self.first.remove(&op);
    }

    /// Looks for requests that wait too long.
    ///
    /// # Errors
    /// The first one.
    pub(crate) fn check(&self, ops: &BTreeMap<u32, Op>, now: u64) -> Result<(), String> {
        for (id, (since, _)) in self.since.iter().filter(|(id, _)| !self.together.contains(id)) {
            let export = ops[id].export;
            if let Some(timeout) = self.timeouts[export]
                && now > since + timeout + LATE
            {
                return Err(format!(
                    "request {id} to export {export} has waited for {} ms, and its bdev has {timeout} ms",
                    now - since
                ));
            }
        }
        Ok(())
    }
}
