//! The initiators: as Linux's aoe driver they send a request again under a new tag, and accept the reply to the newest tag
//! only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    frame,
    link::Carried,
    plan::{ExportPlan, InitiatorPlan, Op, Plan},
};

/// A request that has no reply yet.
#[derive(Debug)]
pub(crate) struct Outstanding {
    pub(crate) op: Op,
    pub(crate) newest: u32,
    /// When it is sent again.
    due: u64,
    tries: u32,
    /// Copies on the link or in the target.
    pub(crate) inside: u32,
}

/// What an initiator does next.
#[derive(Debug)]
pub(crate) enum Action {
    Send(Carried),
    /// Nothing, this time.
    Wait,
    GaveUp(Op),
}

/// All initiators.
#[derive(Debug)]
pub(crate) struct Initiators {
    plans: Vec<InitiatorPlan>,
    exports: Vec<ExportPlan>,
    /// Exports that are not there yet.
    closed: BTreeSet<usize>,
    overlap: bool,
    /// Requests still to be made, by initiator and export.
    waiting: BTreeMap<(usize, usize), VecDeque<Op>>,
    /// By request.
    outstanding: BTreeMap<u32, Outstanding>,
    /// Writes that were given up: without [`Plan::overlap`], nothing touches their sectors any more.
    abandoned: Vec<Op>,
    pub(crate) skipped: u64,
    tags: u32,
}

impl Initiators {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut waiting: BTreeMap<(usize, usize), VecDeque<Op>> = BTreeMap::new();
        plan.ops.iter().for_each(|op| waiting.entry((op.initiator, op.export)).or_default().push_back(*op));
        Self {
            plans: plan.initiators.clone(),
            closed: (0..)
                .zip(&plan.exports)
                .filter(|(_, export)| export.follows.is_some())
                .map(|(e, _)| e)
                .collect(),
            exports: plan.exports.clone(),
            overlap: plan.overlap,
            waiting,
            outstanding: BTreeMap::new(),
            abandoned: Vec::new(),
            skipped: 0,
            tags: 0,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.outstanding.is_empty() && self.waiting.values().all(VecDeque::is_empty)
    }

    pub(crate) fn outstanding(&mut self, op: u32) -> Option<&mut Outstanding> {
        self.outstanding.get_mut(&op)
    }

    /// An export is there that followed another.
    pub(crate) fn open(&mut self, export: usize) {
        self.closed.remove(&export);
    }

    /// Nobody asks for an export any more. Returns the requests that were outstanding.
    pub(crate) fn leave(&mut self, export: usize) -> Vec<Op> {
        self.waiting.retain(|(_, to), _| *to != export);
        let asked = self.outstanding.values().map(|request| request.op);
        let left: Vec<Op> = asked.filter(|op| op.export == export).collect();
        self.outstanding.retain(|_, request| request.op.export != export);
        left
    }

    /// The request is over.
    pub(crate) fn remove(&mut self, op: u32) {
        self.outstanding.remove(&op);
    }

    /// The next thing that an initiator does at this moment.
    pub(crate) fn act(&mut self, now: u64) -> Option<Action> {
        if let Some(op) =
            self.outstanding.values().find(|request| request.due <= now).map(|request| request.op)
        {
            return Some(self.repeat(op, now));
        }
        let op = self.startable(now)?;
        self.waiting.get_mut(&(op.initiator, op.export))?.pop_front();
        let patience = self.plans[op.initiator].patience;
        let request = Outstanding { op, newest: 0, due: now + patience, tries: 1, inside: 0 };
        self.outstanding.insert(op.id, request);
        Some(self.transmit(&op, now))
    }

    /// When an initiator does something next, if nothing happens before.
    pub(crate) fn next(&self) -> Option<u64> {
        let due = self.outstanding.values().map(|request| request.due);
        let open = self.waiting.iter().filter(|((_, export), _)| !self.closed.contains(export));
        let begins = open.filter_map(|(_, ops)| ops.front().map(|op| op.at));
        due.chain(begins).min()
    }

    fn startable(&mut self, now: u64) -> Option<Op> {
        if !self.overlap {
            // Nobody knows what such a sector holds.
            for ops in self.waiting.values_mut() {
                let before = ops.len();
                ops.retain(|op| !self.abandoned.iter().any(|abandoned| abandoned.overlaps(op)));
                self.skipped += (before - ops.len()) as u64;
            }
        }
        let ready = |((initiator, export), ops): (&(usize, usize), &VecDeque<Op>)| {
            let op = ops.front().filter(|op| op.at <= now && !self.closed.contains(&op.export))?;
            let in_flight = self.outstanding.values().map(|request| &request.op);
            let own =
                in_flight.clone().filter(|other| (other.initiator, other.export) == (*initiator, *export));
            let conflicts = |other: &Op| other.overlaps(op) && (other.changes() || op.changes());
            let free = own.count() < self.plans[*initiator].window;
            (free && (self.overlap || !in_flight.clone().any(conflicts))).then_some(*op)
        };
        self.waiting.iter().find_map(ready)
    }

    fn repeat(&mut self, op: Op, now: u64) -> Action {
        let InitiatorPlan { patience, tries, .. } = self.plans[op.initiator];
        let Some(request) = self.outstanding.get_mut(&op.id) else { return Action::GaveUp(op) };
        if request.tries >= tries {
            self.outstanding.remove(&op.id);
            if op.changes() {
                self.abandoned.push(op);
            }
            // As Linux, which takes the device down then.
            if let Some(ops) = self.waiting.get_mut(&(op.initiator, op.export)) {
                self.skipped += ops.len() as u64;
                ops.clear();
            }
            return Action::GaveUp(op);
        }
        request.due = now + (patience << request.tries.min(3));
        request.tries += 1;
        if !self.overlap && request.inside > 0 && op.changes() {
            return Action::Wait;
        }
        self.transmit(&op, now)
    }

    fn transmit(&mut self, op: &Op, now: u64) -> Action {
        self.tags += 1;
        // As Linux: a count, then the clock.
        let tag = self.tags << 16 | u32::try_from(now & 0xffff).unwrap_or(0);
        if let Some(request) = self.outstanding.get_mut(&op.id) {
            request.newest = tag;
        }
        let tci = frame::tci(&self.plans[op.initiator], self.exports[op.export].vlan);
        let bytes = frame::tagged(frame::request(op, &self.exports[op.export], tag), tci);
        Action::Send(Carried {
            initiator: op.initiator,
            to_target: true,
            op: op.id,
            tag,
            bytes,
            is_cut: false,
        })
    }
}
