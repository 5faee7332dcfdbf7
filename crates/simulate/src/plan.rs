//! What a seed stands for: lcores, exports, initiators, their requests, and the faults.

use std::{collections::BTreeSet, str::FromStr};

use crate::dice::Dice;

/// Sectors of each export that requests go to: few, so that they meet.
pub(crate) const SECTORS: u64 = 24;
/// The most sectors of a request, with an MTU of 1500.
pub(crate) const MOST_SECTORS: u64 = 2;

/// A part of the simulation that can be left out, on the command line and by shrinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Requests that overlap others in flight, and retransmissions of writes that the target still works on.
    Overlap,
    /// The same where several lcores serve an export.
    OverlapAcross,
    /// Bdevs that do not answer some I/Os until the end.
    Hang,
    /// The link loses frames.
    Loss,
    /// The link duplicates frames.
    Duplicate,
    /// The link delivers frames in another order.
    Reorder,
    /// The link cuts frames short.
    Truncate,
    /// SPDK has no memory for some I/Os.
    NoMemory,
    /// Bdevs fail some I/Os.
    Fail,
    /// The bdev of one lcore fails everything.
    FailOneLcore,
    /// Lcores stall.
    Stall,
    /// Frames are distributed over lcores by software.
    Distribute,
    /// Exports are deleted, taken offline and made smaller.
    Events,
    /// Blocks of 4096 bytes.
    LargeBlocks,
}

impl Part {
    pub(crate) const ALL: [Self; 14] = [
        Self::Overlap,
        Self::OverlapAcross,
        Self::Hang,
        Self::Loss,
        Self::Duplicate,
        Self::Reorder,
        Self::Truncate,
        Self::NoMemory,
        Self::Fail,
        Self::FailOneLcore,
        Self::Stall,
        Self::Distribute,
        Self::Events,
        Self::LargeBlocks,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::OverlapAcross => "overlap-across",
            Self::Hang => "hang",
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Truncate => "truncate",
            Self::NoMemory => "no-memory",
            Self::Fail => "fail",
            Self::FailOneLcore => "fail-one-lcore",
            Self::Stall => "stall",
            Self::Distribute => "distribute",
            Self::Events => "events",
            Self::LargeBlocks => "large-blocks",
        }
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|part| part.name() == text);
        found.ok_or_else(|| {
            format!("no part of the simulation is called {text:?}: {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// How a device keeps what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    /// A completed write is on stable media.
    None,
    /// A flush brings it there.
    Flush,
    /// A flush or FUA brings it there, as with NVMe.
    Fua,
}

/// A simulated bdev's behaviour. Chances are of 1,000, times in ticks.
#[derive(Debug, Clone)]
pub(crate) struct DiskPlan {
    /// Sectors of a block.
    pub(crate) sectors_per_block: u32,
    pub(crate) cache: Cache,
    pub(crate) latency: (u64, u64),
    /// I/Os that take much longer.
    pub(crate) late: u64,
    pub(crate) no_memory: u64,
    pub(crate) fail: u64,
    pub(crate) hang: u64,
    /// The lcore for which everything fails.
    pub(crate) fails_on: Option<u32>,
}

/// An export.
#[derive(Debug, Clone)]
pub(crate) struct ExportPlan {
    pub(crate) write_through: bool,
    pub(crate) disk: DiskPlan,
}

/// The link between an initiator and the target, both ways.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkPlan {
    pub(crate) loss: u64,
    pub(crate) duplicate: u64,
    pub(crate) truncate: u64,
    /// Ticks that a frame is late at most, on top of its shortest time.
    pub(crate) jitter: u64,
    pub(crate) reorders: bool,
}

/// An initiator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InitiatorPlan {
    /// Requests to one export in flight.
    pub(crate) window: usize,
    /// Ticks after which a request is sent again.
    pub(crate) patience: u64,
    /// Transmissions after which it gives up.
    pub(crate) tries: u32,
}

/// A request's operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    Flush,
}

/// A request that an initiator makes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Op {
    /// From 1 on; 0 is the content at the start.
    pub(crate) id: u32,
    pub(crate) initiator: usize,
    pub(crate) export: usize,
    pub(crate) operation: Operation,
    pub(crate) lba: u64,
    pub(crate) sectors: u64,
    /// Not before this tick.
    pub(crate) at: u64,
}

impl Op {
    pub(crate) fn covers(&self, export: usize, lba: u64) -> bool {
        self.operation != Operation::Flush
            && self.export == export
            && (self.lba..self.lba + self.sectors).contains(&lba)
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.operation != Operation::Flush
            && other.operation != Operation::Flush
            && self.export == other.export
            && self.lba < other.lba + other.sectors
            && other.lba < self.lba + self.sectors
    }
}

/// What happens to an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Delete,
    TakeOffline,
    /// The bdev becomes smaller; the lcores learn of it later.
    Shrink,
}

/// A seed's plan.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) lcores: usize,
    pub(crate) mbufs: u32,
    pub(crate) distribute: bool,
    /// Chance of an lcore to stand still for a while.
    pub(crate) stall: u64,
    pub(crate) overlap: bool,
    pub(crate) exports: Vec<ExportPlan>,
    pub(crate) initiators: Vec<InitiatorPlan>,
    pub(crate) link: LinkPlan,
    pub(crate) ops: Vec<Op>,
    /// At a tick, to an export.
    pub(crate) events: Vec<(u64, usize, Event)>,
    /// Ticks at which it is looked up what a loss of power would leave.
    pub(crate) power_cuts: Vec<u64>,
}

impl Plan {
    /// The seed's plan without these parts.
    pub(crate) fn new(seed: u64, without: &BTreeSet<Part>) -> Self {
        let dice = Dice::new(seed, "plan");
        let with = |part: Part| !without.contains(&part);
        // Each kind of fault is in some seeds only, so that it does not hide the others.
        let chance = |part: Part, most: u64| {
            let subject = [part as u64];
            if with(part) && dice.below(2, &subject) == 0 {
                dice.within((1, most), &[part as u64, 1])
            } else {
                0
            }
        };
        let lcores = 1 + usize::try_from(dice.below(3, &[100])).unwrap_or(0);
        let overlap = with(Part::Overlap) && (lcores == 1 || with(Part::OverlapAcross));
        let exports: Vec<ExportPlan> = (0..1 + dice.below(3, &[101]))
            .map(|export| {
                let roll = |what: u64, below: u64| dice.below(below, &[102, export, what]);
                let cache = [Cache::None, Cache::Flush, Cache::Fua][usize::try_from(roll(0, 3)).unwrap_or(0)];
                let large = with(Part::LargeBlocks) && roll(1, 4) == 0;
                let faulty = roll(2, 2) == 0;
                let only = |chance: u64| if faulty { chance } else { 0 };
                let fails_on = with(Part::FailOneLcore) && roll(3, 8) == 0;
                ExportPlan {
                    write_through: cache != Cache::None && roll(4, 3) > 0,
                    disk: DiskPlan {
                        sectors_per_block: if large { 8 } else { 1 },
                        cache,
                        latency: (roll(5, 8), 8 + roll(6, 40)),
                        late: if roll(9, 2) == 0 { 0 } else { roll(7, 60) },
                        no_memory: only(chance(Part::NoMemory, 300)),
                        fail: only(chance(Part::Fail, 60)),
                        hang: only(chance(Part::Hang, 1000)),
                        fails_on: fails_on.then(|| u32::try_from(roll(8, lcores as u64)).unwrap_or(0)),
                    },
                }
            })
            .collect();
        let initiators: Vec<InitiatorPlan> = (0..2 + dice.below(3, &[103]))
            .map(|initiator| InitiatorPlan {
                window: [1, 4, 16, 64][usize::try_from(dice.below(4, &[104, initiator])).unwrap_or(0)],
                patience: dice.within((60, 400), &[105, initiator]),
                tries: 7,
            })
            .collect();
        let link = LinkPlan {
            loss: chance(Part::Loss, 80),
            // A second copy of a write is in flight beside the first.
            duplicate: if overlap { chance(Part::Duplicate, 80) } else { 0 },
            truncate: chance(Part::Truncate, 30),
            jitter: dice.below(20, &[106]),
            reorders: with(Part::Reorder) && dice.below(2, &[107]) == 0,
        };
        let ops = ops(seed, &exports, initiators.len());
        let last = ops.last().map_or(1, |op| op.at).max(2);
        let events = if with(Part::Events) { events(dice, exports.len(), last) } else { Vec::new() };
        Self {
            seed,
            lcores,
            mbufs: [127, 255, 1023][usize::try_from(dice.below(3, &[108])).unwrap_or(0)],
            distribute: with(Part::Distribute) && lcores > 1 && dice.below(2, &[109]) == 0,
            stall: chance(Part::Stall, 600),
            overlap,
            exports,
            initiators,
            link,
            ops,
            events,
            power_cuts: (0..3).map(|cut| dice.below(last, &[110, cut])).collect(),
        }
    }
}

fn events(dice: Dice, exports: usize, last: u64) -> Vec<(u64, usize, Event)> {
    let kinds = [Event::Delete, Event::TakeOffline, Event::Shrink];
    let of = |export: usize| {
        let roll = |what: u64, below: u64| dice.below(below, &[200, export as u64, what]);
        let kind = kinds.get(usize::try_from(roll(0, 9)).unwrap_or(9))?;
        Some((roll(1, last), export, *kind))
    };
    (0..exports).filter_map(of).collect()
}

fn ops(seed: u64, exports: &[ExportPlan], initiators: usize) -> Vec<Op> {
    let dice = Dice::new(seed, "requests");
    let count = dice.within((60, 300), &[0]);
    let gap = dice.within((1, 12), &[1]);
    // Requests gather on a part of each export, or they would seldom meet.
    let spread = dice.within((2, SECTORS), &[2]);
    let mut at = 0;
    (1..=count)
        .map(|id| {
            let roll = |what: u64, below: u64| dice.below(below, &[3, id, what]);
            let operation = match roll(0, 20) {
                0 => Operation::Flush,
                1..=11 => Operation::Write,
                _ => Operation::Read,
            };
            let sectors = if operation == Operation::Flush { 0 } else { 1 + roll(1, MOST_SECTORS) };
            at += roll(2, gap);
            Op {
                id: u32::try_from(id).unwrap_or(u32::MAX),
                initiator: usize::try_from(roll(3, initiators as u64)).unwrap_or(0),
                export: usize::try_from(roll(4, exports.len() as u64)).unwrap_or(0),
                operation,
                lba: roll(5, spread.min(SECTORS - sectors) + 1).min(SECTORS - sectors),
                sectors,
                at,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_plan_and_requests_lie_within_their_exports() {
        for seed in 0..200 {
            let plan = Plan::new(seed, &BTreeSet::new());
            assert_eq!(format!("{plan:?}"), format!("{:?}", Plan::new(seed, &BTreeSet::new())));
            assert!(plan.ops.len() >= 60);
            assert!(
                plan.ops.iter().all(|op| op.lba + op.sectors <= SECTORS && op.export < plan.exports.len())
            );
        }
    }

    #[test]
    fn every_fault_is_in_some_plans_and_can_be_left_out() {
        let is_there = |plan: &Plan, part: Part| {
            let disks = |is: fn(&DiskPlan) -> bool| plan.exports.iter().any(|export| is(&export.disk));
            match part {
                Part::Overlap => plan.overlap && plan.lcores == 1,
                Part::OverlapAcross => plan.overlap && plan.lcores > 1,
                Part::Hang => disks(|disk| disk.hang > 0),
                Part::Loss => plan.link.loss > 0,
                Part::Duplicate => plan.link.duplicate > 0,
                Part::Reorder => plan.link.reorders,
                Part::Truncate => plan.link.truncate > 0,
                Part::NoMemory => disks(|disk| disk.no_memory > 0),
                Part::Fail => disks(|disk| disk.fail > 0),
                Part::FailOneLcore => disks(|disk| disk.fails_on.is_some()),
                Part::Stall => plan.stall > 0,
                Part::Distribute => plan.distribute,
                Part::Events => !plan.events.is_empty(),
                Part::LargeBlocks => disks(|disk| disk.sectors_per_block > 1),
            }
        };
        for part in Part::ALL {
            assert_eq!(part.name().parse(), Ok(part));
            let seeds = |without: &BTreeSet<Part>| {
                (0..100).filter(|seed| is_there(&Plan::new(*seed, without), part)).count()
            };
            assert!(seeds(&BTreeSet::new()) > 5, "{part:?}");
            assert_eq!(seeds(&BTreeSet::from([part])), 0, "{part:?}");
        }
    }
}
