//! The initiators: as Linux's aoe driver they send a request again under a new tag, and accept the reply to the newest tag
//! only.

use std::collections::{BTreeMap, VecDeque};

use aoe_initiator::{
    ShelfSlot,
    wire::{AtaRequest, Envelope, Mac, ata, opcode},
};
use ring_lab::frames;

use crate::{
    history::content,
    link::Carried,
    plan::{InitiatorPlan, Op, Operation, Plan},
};

/// The shelf of every export; the slot is its number.
pub(crate) const SHELF: u16 = 1;

/// An initiator's address.
pub(crate) fn mac(initiator: usize) -> [u8; 6] {
    [2, 0, 0, 0, 1, u8::try_from(initiator).unwrap_or(u8::MAX)]
}

/// An export's address.
pub(crate) fn address(export: usize) -> ShelfSlot {
    ShelfSlot { shelf: SHELF, slot: u8::try_from(export).unwrap_or(u8::MAX) }
}

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
        let begins = self.waiting.values().filter_map(|ops| ops.front().map(|op| op.at));
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
            let op = ops.front().filter(|op| op.at <= now)?;
            let in_flight = self.outstanding.values().map(|request| &request.op);
            let own =
                in_flight.clone().filter(|other| (other.initiator, other.export) == (*initiator, *export));
            let conflicts = |other: &Op| {
                other.overlaps(op)
                    && (other.operation == Operation::Write || op.operation == Operation::Write)
            };
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
            if op.operation == Operation::Write {
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
        if !self.overlap && request.inside > 0 && op.operation == Operation::Write {
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
        let envelope = Envelope {
            dst: Mac(frames::TARGET),
            src: Mac(mac(op.initiator)),
            address: address(op.export),
            tag,
        };
        let count = u8::try_from(op.sectors).unwrap_or(u8::MAX);
        let bytes = match op.operation {
            Operation::Read => AtaRequest::read(op.lba, count).frame(&envelope, &[]),
            Operation::Flush => {
                AtaRequest { aflags: ata::AFLAG_LBA48, ..AtaRequest::bare(opcode::FLUSH_EXT) }
                    .frame(&envelope, &[])
            }
            Operation::Write => {
                let sectors = (op.lba..op.lba + op.sectors).map(|lba| content(op.id, op.export, lba));
                AtaRequest::write(op.lba, count).frame(&envelope, &sectors.collect::<Vec<_>>().concat())
            }
        };
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
