//! What a seed stands for: lcores, exports, initiators, their requests, and the faults.

use crate::dice::Dice;

pub(crate) mod generate;
mod part;

pub(crate) use part::Part;

/// Sectors of each export that requests go to: few, so that they meet.
pub(crate) const SECTORS: u64 = 24;
/// The most sectors of a read or write, with an MTU of 1500.
pub(crate) const MOST_SECTORS: u64 = 2;
/// The most sectors of a TRIM's first range.
pub(crate) const MOST_TRIMMED: u64 = 4;

/// How a device keeps what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    /// A completed write is on stable media.
    None,
    /// A flush brings it there.
    Flush,
    /// A flush or FUA brings it there, as with NVMe.
    Fua,
    /// It is a file: a write completes when an fdatasync has brought it there, which many share.
    Group,
}

/// What becomes of blocks that are unmapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unmapped {
    /// They hold zeros.
    Zeros,
    /// They hold zeros, or what they held before, as it happens.
    Either,
}

/// A simulated bdev's behaviour. Chances are of 1,000, times in ticks, of which a second has 1,000.
#[derive(Debug, Clone)]
pub(crate) struct DiskPlan {
    /// Sectors of a block.
    pub(crate) sectors_per_block: u32,
    pub(crate) cache: Cache,
    pub(crate) unmapped: Unmapped,
    pub(crate) latency: (u64, u64),
    /// I/Os that take much longer, and how much longer at most.
    pub(crate) late: u64,
    pub(crate) latest: u64,
    pub(crate) no_memory: u64,
    pub(crate) fail: u64,
    pub(crate) hang: u64,
    /// The lcore for which everything fails.
    pub(crate) fails_on: Option<u32>,
    /// Channels that an lcore does not get.
    pub(crate) no_channel: u64,
}

/// An export.
#[derive(Debug, Clone)]
pub(crate) struct ExportPlan {
    pub(crate) slot: u8,
    pub(crate) vlan: Option<u16>,
    pub(crate) write_through: bool,
    /// Seconds that its bdev has for a request.
    pub(crate) io_timeout: u8,
    pub(crate) disk: DiskPlan,
    /// The export whose address it gets when that one is deleted by force.
    pub(crate) follows: Option<usize>,
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
    /// The priority of its tags; outside of a VLAN it sends none without one.
    pub(crate) priority: Option<u8>,
}

/// A request's operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    /// Of the request's sectors and, if the gap is not 0, one more sector so far behind them.
    Trim {
        gap: u64,
    },
    Flush,
    /// The export is for these initiators only, a bit for each; for all if there is none.
    Reserve {
        holders: u32,
    },
    /// Sets the export's config string to one of its own.
    Config,
    /// Adds every initiator and an address of its own to the export's mask list.
    Mask,
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
    /// Whether it writes sectors or gives them up.
    pub(crate) fn changes(&self) -> bool {
        matches!(self.operation, Operation::Write | Operation::Trim { .. })
    }

    /// Whether it changes initiator state.
    pub(crate) fn sets_state(&self) -> bool {
        matches!(self.operation, Operation::Reserve { .. } | Operation::Config | Operation::Mask)
    }

    /// Its ranges: first sector and number.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        let first = (self.lba, self.sectors);
        let second = match self.operation {
            Operation::Trim { gap } if gap > 0 => (self.lba + self.sectors + gap, 1),
            _ => (0, 0),
        };
        [first, second].into_iter().filter(|(_, sectors)| *sectors > 0)
    }

    pub(crate) fn covers(&self, export: usize, lba: u64) -> bool {
        self.export == export && self.ranges().any(|(first, sectors)| (first..first + sectors).contains(&lba))
    }

    /// Whether some sector may be of both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let end = |op: &Self| op.ranges().map(|(first, sectors)| first + sectors).max().unwrap_or(0);
        self.export == other.export && self.lba < end(other) && other.lba < end(self)
    }
}

/// A frame that no initiator sends again, and the exports that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// A config query to every slot of every shelf, or of the shelf.
    Config { every_shelf: bool },
    /// IDENTIFY to every slot.
    Identify,
    /// A write to every slot, which is for nobody.
    Write,
    /// A read of an export in another VLAN than its own, which is for nobody.
    Elsewhere { export: usize },
}

/// A question, by whom and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) at: u64,
    pub(crate) initiator: usize,
    pub(crate) vlan: Option<u16>,
    pub(crate) question: Question,
}

/// What happens to an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// It is deleted, and so long after that created again on the same bdev.
    Delete { again: u64 },
    /// It is deleted by force, and the export that follows it gets its address.
    Force,
    /// Its bdev is removed, and is back so long after that.
    Remove { back: u64 },
    /// The bdev becomes smaller; the lcores learn of it later.
    Shrink,
    /// It goes on with another way to its disk, whose flushes do not reach what came by the one before. `refuses`: the disk
    /// refuses flushes meanwhile.
    Replace { refuses: bool },
}

/// What an operator wants for an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Lists of the only initiators to answer, and of those never to answer, which keep no initiator off.
    Lists,
    /// A config string of the call's own.
    Config,
    /// A reservation for these initiators, a bit for each; for nobody if there is none.
    Reserve { holders: u32 },
}

/// A call of an operator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// No request has the same.
    pub(crate) id: u32,
    pub(crate) at: u64,
    pub(crate) export: usize,
    pub(crate) wanted: Wanted,
}

impl Call {
    /// The request that makes the same change of initiator state.
    pub(crate) fn as_request(&self) -> Option<Op> {
        let operation = match self.wanted {
            Wanted::Lists => return None,
            Wanted::Config => Operation::Config,
            Wanted::Reserve { holders } => Operation::Reserve { holders },
        };
        let Self { id, at, export, .. } = *self;
        Some(Op { id, initiator: 0, export, operation, lba: 0, sectors: 0, at })
    }
}

/// A seed's plan.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) lcores: usize,
    pub(crate) mbufs: u32,
    pub(crate) distribute: bool,
    /// Each lcore has a port of its own, in place of a queue of one port.
    pub(crate) ports: bool,
    /// Chance of an lcore to stand still for a while.
    pub(crate) stall: u64,
    pub(crate) overlap: bool,
    /// Chance that a step of a save of initiator state fails.
    pub(crate) not_stored: u64,
    pub(crate) exports: Vec<ExportPlan>,
    pub(crate) initiators: Vec<InitiatorPlan>,
    pub(crate) link: LinkPlan,
    pub(crate) ops: Vec<Op>,
    pub(crate) questions: Vec<Asked>,
    pub(crate) calls: Vec<Call>,
    /// At a tick, to an export.
    pub(crate) events: Vec<(u64, usize, Event)>,
    /// Ticks at which it is looked up what a loss of power would leave.
    pub(crate) power_cuts: Vec<u64>,
}

impl Plan {
    /// The decisions of one kind.
    pub(crate) fn dice(&self, kind: &str) -> Dice {
        Dice::new(self.seed, kind)
    }
}

#[cfg(test)]
mod tests;
