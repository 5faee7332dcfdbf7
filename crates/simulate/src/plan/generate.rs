//! Makes a plan from a seed.

use std::{collections::BTreeSet, ops::Range};

use super::{
    Asked, Cache, Call, DiskPlan, Event, ExportPlan, InitiatorPlan, LinkPlan, MOST_SECTORS, MOST_TRIMMED, Op,
    Operation, Part, Plan, Question, SECTORS, Unmapped, Wanted,
};
use crate::dice::Dice;

/// The VLAN that some exports are in.
const VLAN: u16 = 100;

/// The number of the first call: requests have smaller ones.
const FIRST_CALL: u32 = 5000;

/// The parts of a seed's plan.
struct Parts<'a> {
    dice: Dice,
    without: &'a BTreeSet<Part>,
}

impl Parts<'_> {
    fn with(&self, part: Part) -> bool {
        !self.without.contains(&part)
    }

    /// In one seed of `of`. Each kind of fault is in some seeds only, so that it does not hide the others.
    fn sometimes(&self, part: Part, of: u64) -> bool {
        self.with(part) && self.dice.below(of, &[part as u64]) == 0
    }

    /// A chance of 1,000, in some seeds.
    fn chance(&self, part: Part, most: u64) -> u64 {
        if self.sometimes(part, 2) { self.dice.within((1, most), &[part as u64, 1]) } else { 0 }
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// The seed's plan without these parts.
pub(crate) fn plan(seed: u64, without: &BTreeSet<Part>) -> Plan {
    let dice = Dice::new(seed, "plan");
    let parts = Parts { dice, without };
    let lcores = 1 + index(dice.below(3, &[100]));
    let distribute = parts.with(Part::Distribute) && lcores > 1 && dice.below(4, &[109]) > 0;
    // Else the lcores are like those of several ports, between which requests have no order.
    let is_ordered = lcores == 1 || distribute && parts.with(Part::OverlapAcross);
    let overlap = parts.with(Part::Overlap) && is_ordered;
    let deadline = parts.sometimes(Part::Deadline, 2);
    let mut exports: Vec<ExportPlan> =
        (0..1 + dice.below(3, &[101])).map(|number| export(&parts, number, lcores, deadline)).collect();
    let initiators: Vec<InitiatorPlan> =
        (0..2 + dice.below(3, &[103])).map(|number| initiator(&parts, number, deadline)).collect();
    let link = LinkPlan {
        loss: parts.chance(Part::Loss, 80),
        // A second copy of a write is in flight beside the first.
        duplicate: if overlap { parts.chance(Part::Duplicate, 80) } else { 0 },
        truncate: parts.chance(Part::Truncate, 30),
        jitter: dice.below(20, &[106]),
        reorders: parts.with(Part::Reorder) && dice.below(2, &[107]) == 0,
    };
    let requests = Requests::of(&parts, seed);
    let mut ops = requests.for_exports(0..exports.len(), initiators.len());
    let last = ops.last().map_or(1, |op| op.at).max(2);
    let events = events(&parts, exports.len(), last);
    let calls = calls(&parts, exports.len(), initiators.len(), last);
    let is_replaced = |event: &Event| matches!(event, Event::Replace { .. });
    for (_, export, _) in events.iter().filter(|(_, _, event)| is_replaced(event)) {
        // The flush in between is for what nobody has flushed before.
        let export = &mut exports[*export];
        if export.disk.cache != Cache::Group {
            export.write_through = false;
            export.disk.cache = if export.disk.cache == Cache::Fua { Cache::Fua } else { Cache::Flush };
        }
    }
    for (at, forced, _) in events.iter().filter(|(_, _, event)| *event == Event::Force) {
        let number = exports.len();
        let slot = exports[*forced].slot;
        let next = export(&parts, number as u64, lcores, deadline);
        exports.push(ExportPlan { slot, follows: Some(*forced), ..next });
        let own = requests.for_follower(number, 1 + *forced as u64, initiators.len(), *at);
        ops.extend(own);
    }
    ops.sort_by_key(|op| op.at);
    let replaces = events.iter().any(|(_, _, event)| is_replaced(event));
    Plan {
        seed,
        lcores,
        mbufs: [127, 255, 1023][index(dice.below(3, &[108]))],
        distribute,
        ports: distribute && parts.with(Part::Ports) && dice.below(2, &[112]) == 0,
        stall: parts.chance(Part::Stall, 600),
        overlap,
        not_stored: if dice.below(3, &[111]) == 0 { 90 } else { 0 },
        power_cuts: (0..if replaces { 12 } else { 3 }).map(|cut| dice.below(last, &[110, cut])).collect(),
        questions: if replaces {
            // An export that is held drops its copy of a question that others answer, which counts as a drop more.
            Vec::new()
        } else {
            questions(&parts, exports.len(), initiators.len(), last)
        },
        calls,
        exports,
        initiators,
        link,
        ops,
        events,
    }
}

fn export(parts: &Parts<'_>, number: u64, lcores: usize, deadline: bool) -> ExportPlan {
    let roll = |what: u64, below: u64| parts.dice.below(below, &[102, number, what]);
    let group = if parts.with(Part::GroupCommit) { Cache::Group } else { Cache::None };
    let cache = [Cache::None, Cache::Flush, Cache::Fua, group][index(roll(0, 4))];
    let large = parts.with(Part::LargeBlocks) && roll(1, 4) == 0;
    let faulty = roll(2, 2) == 0;
    let only = |chance: u64| if faulty { chance } else { 0 };
    let fails_on = parts.with(Part::FailOneLcore) && roll(3, 8) == 0;
    ExportPlan {
        slot: u8::try_from(number).unwrap_or(u8::MAX),
        vlan: (parts.with(Part::Vlan) && roll(10, 4) == 0).then_some(VLAN),
        write_through: cache == Cache::Group || cache != Cache::None && roll(4, 3) > 0,
        io_timeout: if deadline { 1 + u8::try_from(roll(11, 2)).unwrap_or(0) } else { 60 },
        disk: DiskPlan {
            sectors_per_block: if large { 8 } else { 1 },
            cache,
            unmapped: if roll(12, 2) == 0 { Unmapped::Zeros } else { Unmapped::Either },
            latency: (roll(5, 8), 8 + roll(6, 40)),
            late: if roll(9, 2) == 0 { 0 } else { roll(7, 60) },
            latest: if deadline { 6000 } else { 1500 },
            no_memory: only(parts.chance(Part::NoMemory, 300)),
            fail: only(parts.chance(Part::Fail, 60)),
            hang: only(parts.chance(Part::Hang, if deadline { 30 } else { 1000 })),
            fails_on: fails_on.then(|| u32::try_from(roll(8, lcores as u64)).unwrap_or(0)),
            no_channel: parts.chance(Part::NoChannel, 400),
        },
        follows: None,
    }
}

fn initiator(parts: &Parts<'_>, number: u64, deadline: bool) -> InitiatorPlan {
    let roll = |what: u64, below: u64| parts.dice.below(below, &[104, number, what]);
    InitiatorPlan {
        window: [1, 4, 16, 64][index(roll(0, 4))],
        // A request that waits for one past its deadline gets its own fault before its initiator gives up.
        patience: if deadline { 250 + roll(1, 250) } else { 60 + roll(1, 340) },
        tries: 7,
        priority: (parts.with(Part::Vlan) && roll(2, 3) == 0).then(|| u8::try_from(roll(3, 8)).unwrap_or(0)),
    }
}

/// One event for some exports.
fn events(parts: &Parts<'_>, exports: usize, last: u64) -> Vec<(u64, usize, Event)> {
    let of = |export: usize| {
        let roll = |what: u64, below: u64| parts.dice.below(below, &[200, export as u64, what]);
        let (part, event) = match roll(0, 12) {
            0 | 1 => (Part::Delete, Event::Delete { again: 1 + roll(2, 400) }),
            2 => (Part::Force, Event::Force),
            3 | 4 => (Part::Remove, Event::Remove { back: 1 + roll(2, 400) }),
            5 => (Part::Shrink, Event::Shrink),
            6 | 7 => (Part::Replace, Event::Replace { refuses: roll(2, 2) == 0 }),
            _ => return None,
        };
        parts.with(part).then(|| (roll(1, last), export, event))
    };
    (0..exports).filter_map(of).collect()
}

fn questions(parts: &Parts<'_>, exports: usize, initiators: usize, last: u64) -> Vec<Asked> {
    if !parts.sometimes(Part::Wildcard, 2) {
        return Vec::new();
    }
    let count = parts.dice.within((1, 12), &[300]);
    let vlans = parts.with(Part::Vlan);
    let of = |number: u64| {
        let roll = |what: u64, below: u64| parts.dice.below(below, &[301, number, what]);
        Asked {
            at: roll(0, last),
            initiator: index(roll(1, initiators as u64)),
            vlan: (vlans && roll(2, 3) == 0).then_some(VLAN),
            question: match roll(3, 8) {
                0..=2 => Question::Config { every_shelf: roll(4, 2) == 0 },
                3 | 4 => Question::Identify,
                5 => Question::Write,
                _ => Question::Elsewhere { export: index(roll(5, exports as u64)) },
            },
        }
    };
    let mut questions: Vec<Asked> = (0..count).map(of).collect();
    questions.sort_by_key(|asked| asked.at);
    questions
}

fn calls(parts: &Parts<'_>, exports: usize, initiators: usize, last: u64) -> Vec<Call> {
    if !parts.sometimes(Part::Calls, 2) {
        return Vec::new();
    }
    let reserves = parts.sometimes(Part::Fence, 3);
    let of = |number: u64| {
        let roll = |what: u64, below: u64| parts.dice.below(below, &[401, number, what]);
        Call {
            id: FIRST_CALL + u32::try_from(number).unwrap_or(0),
            at: roll(0, last),
            export: index(roll(1, exports as u64)),
            wanted: match roll(2, 4) {
                0 if reserves => {
                    let holders = if roll(3, 3) == 0 { 0 } else { roll(4, 1 << initiators) };
                    Wanted::Reserve { holders: u32::try_from(holders).unwrap_or(0) }
                }
                1 => Wanted::Config,
                _ => Wanted::Lists,
            },
        }
    };
    (0..parts.dice.within((1, 8), &[400])).map(of).collect()
}

/// The requests of a seed.
struct Requests {
    dice: Dice,
    count: u64,
    gap: u64,
    /// Requests gather on a part of each export, or they would seldom meet.
    spread: u64,
    trims: bool,
    reserves: bool,
    sets_state: bool,
}

impl Requests {
    fn of(parts: &Parts<'_>, seed: u64) -> Self {
        let dice = Dice::new(seed, "requests");
        Self {
            dice,
            count: dice.within((60, 300), &[0]),
            gap: dice.within((1, 12), &[1]),
            spread: dice.within((2, SECTORS), &[2]),
            trims: parts.sometimes(Part::Trim, 2),
            reserves: parts.sometimes(Part::Fence, 3),
            sets_state: parts.sometimes(Part::State, 3),
        }
    }

    fn for_exports(&self, exports: Range<usize>, initiators: usize) -> Vec<Op> {
        let mut at = 0;
        (1..=self.count).map(|id| self.one(id, &exports, initiators, &mut at)).collect()
    }

    /// Requests to the export that follows another. Their ids do not depend on the other parts of the plan.
    fn for_follower(&self, export: usize, nth: u64, initiators: usize, from: u64) -> Vec<Op> {
        let mut at = from;
        let ids = (1..=self.count / 4).map(|number| 1000 * nth + number);
        ids.map(|id| self.one(id, &(export..export + 1), initiators, &mut at)).collect()
    }

    fn one(&self, id: u64, exports: &Range<usize>, initiators: usize, at: &mut u64) -> Op {
        let roll = |what: u64, below: u64| self.dice.below(below, &[3, id, what]);
        *at += roll(2, self.gap);
        let (operation, sectors) = match roll(0, 40) {
            0 | 1 => (Operation::Flush, 0),
            2..=4 if self.trims => (Operation::Trim { gap: roll(6, 3) }, 1 + roll(1, MOST_TRIMMED)),
            5 if self.reserves => {
                let all = (1 << initiators) - 1;
                let holders = if roll(7, 3) == 0 { 0 } else { 1 + roll(8, all) };
                (Operation::Reserve { holders: u32::try_from(holders).unwrap_or(0) }, 0)
            }
            6 if self.sets_state => (Operation::Config, 0),
            7 if self.sets_state && roll(9, 2) == 0 => (Operation::Mask, 0),
            2..=23 => (Operation::Write, 1 + roll(1, MOST_SECTORS)),
            _ => (Operation::Read, 1 + roll(1, MOST_SECTORS)),
        };
        let needed = match operation {
            Operation::Trim { gap } if gap > 0 => sectors + gap + 1,
            _ => sectors,
        };
        Op {
            id: u32::try_from(id).unwrap_or(u32::MAX),
            initiator: index(roll(3, initiators as u64)),
            export: exports.start + index(roll(4, exports.len() as u64)),
            operation,
            lba: roll(5, self.spread.min(SECTORS - needed) + 1),
            sectors,
            at: *at,
        }
    }
}
