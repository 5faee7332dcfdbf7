//! An lcore's whole state, and its turn.

use std::collections::VecDeque;

use aoe_target::{Export, ExportCounters, ExportId, ExportState, Ports, Table, TableError};
use spdk::{Bdev, BdevInfo, CompletionQueue, FlushMethod, IoChannel};

use crate::{
    Lane, LaneStats, TurnCount, consult::Mailbox, fanout::Fanout, idle::Idle, intake::COMPLETIONS,
    submit::InFlight,
};

/// What one lcore works with. It lives and is used on one SPDK thread only; nothing in it is shared, and no cache line
/// of it: see [`Lane`].
#[repr(align(128))]
#[derive(Debug)]
pub struct Lcore {
    /// What it does when there is nothing to do. Before the lanes: it may hold interrupts of their queues.
    pub(crate) idle: Idle,
    pub(crate) lanes: Vec<Lane>,
    /// The lane that is polled first in the next turn.
    pub(crate) next_lane: usize,
    pub(crate) table: Table,
    /// By [`ExportId`].
    pub(crate) backings: Vec<Option<Backing>>,
    pub(crate) completions: CompletionQueue<InFlight>,
    pub(crate) fanouts: VecDeque<Fanout>,
    /// Requests among the fan-outs.
    pub(crate) wildcards: usize,
    /// Where requests go that the control plane decides.
    pub(crate) mailbox: Option<Mailbox>,
    /// Requests that are there.
    pub(crate) consulting: usize,
    /// Exports that leave when nothing is under way on them.
    pub(crate) leaving: Vec<ExportId>,
    /// Set when the lcore takes no new requests.
    pub(crate) stopping: bool,
    /// Channels into bdevs that have their data in memory.
    pub(crate) in_memory: usize,
    turns: u64,
    /// The same, for the control plane.
    turn_count: TurnCount,
    pub(crate) busy_turns: u64,
    /// Turns that may still go without rx and tx.
    pub(crate) hold_back: usize,
}

/// An export's bdev as this lcore reaches it. What a read or write touches comes first, in one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Backing {
    /// `None` once the bdev is gone.
    pub(crate) channel: Option<IoChannel>,
    /// A block of the bdev is 512 bytes shifted left by this.
    pub(crate) block_shift: u32,
    /// What brings a write to stable media.
    settling: Settling,
    /// What is done of that before a write is answered.
    pub(crate) before_answer: Settling,
    pub(crate) under_way: u32,
    pub(crate) counters: ExportCounters,
    pub(crate) leaving: Option<Leaving>,
}

/// How a write comes to stable media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settling {
    /// By itself, or not at all: a flush would do nothing.
    Nothing,
    /// By a flush behind it.
    Flush,
    /// By the bit of an NVMe write, or where one command does not do, by a flush.
    Fua,
}

impl Settling {
    fn of(info: &BdevInfo) -> Self {
        match info.flush {
            FlushMethod::Nothing => Self::Nothing,
            FlushMethod::NvmeCommand if info.fua => Self::Fua,
            // One that is impossible fails the write.
            FlushMethod::NvmeCommand
            | FlushMethod::FileSync
            | FlushMethod::Bdev
            | FlushMethod::Impossible => Self::Flush,
        }
    }
}

impl Backing {
    /// Decides again what is done before a write is answered: now and when claims change, not for each write.
    pub(crate) fn settle(&mut self, settles_writes: bool) {
        self.before_answer = if settles_writes { self.settling } else { Settling::Nothing };
    }
}

/// An export that takes no new requests.
pub(crate) struct Leaving {
    pub(crate) export: Box<Export>,
    done: Box<dyn FnOnce()>,
}

impl std::fmt::Debug for Leaving {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Leaving").field("export", &self.export).finish_non_exhaustive()
    }
}

const _: () = {
    // What is written for each frame has cache lines of its own wherever the heap puts it. Of exports there are many, so
    // theirs are single and not in pairs.
    assert!(align_of::<Lcore>() == 128 && size_of::<Lcore>().is_multiple_of(128));
    assert!(align_of::<Lane>() == 128 && size_of::<Lane>().is_multiple_of(128));
    assert!(align_of::<Option<Backing>>() == 64 && size_of::<Option<Backing>>().is_multiple_of(64));
};

/// Why an export can't be added to an lcore.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// Its address or id is taken, or none.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Its bdev gives this lcore no channel.
    #[error("no I/O channel: {0}")]
    Channel(#[from] spdk::Error),
}

/// An lcore's counters at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// By lane.
    pub lanes: Vec<LaneStats>,
    /// By export.
    pub exports: Vec<(ExportId, ExportCounters)>,
    /// Requests that bdevs have now.
    pub under_way: u32,
    /// How often a request was put off to the next turn for want of SPDK's memory.
    pub bdev_waits: u64,
    /// Reads and writes that SPDK copied, because their data did not lie at their bdev's alignment.
    pub bounced: u64,
    /// Turns since the start.
    pub turns: u64,
    /// Those in which there was work.
    pub busy_turns: u64,
}

impl Lcore {
    /// An lcore with these lanes and no exports. On its SPDK thread.
    ///
    /// # Errors
    /// What [`CompletionQueue::new`] says.
    pub fn new(lanes: Vec<Lane>) -> spdk::Result<Self> {
        Ok(Self {
            lanes,
            next_lane: 0,
            table: Table::new(),
            backings: Vec::new(),
            completions: CompletionQueue::new()?,
            fanouts: VecDeque::with_capacity(256),
            wildcards: 0,
            mailbox: None,
            consulting: 0,
            leaving: Vec::new(),
            stopping: false,
            in_memory: 0,
            idle: Idle::default(),
            turns: 0,
            turn_count: TurnCount::default(),
            busy_turns: 0,
            hold_back: 0,
        })
    }

    /// Has it count its turns there.
    pub fn count_turns(&mut self, turn_count: TurnCount) {
        self.turn_count = turn_count;
    }

    /// Goes the way of the data once: completions first, so that their mbufs are back before new frames are
    /// taken; then rx; then one tx burst for the replies of both. While bdevs have more completions than a turn
    /// takes, rx and tx wait for as many turns as a burst needs: replies leave in one burst (a system call with
    /// af_packet, a doorbell with a NIC), and the cache is not filled with requests that would only wait behind them.
    /// Where bursts are to be long, replies wait for company besides ([`Lane::in_long_bursts`]). True if there was
    /// anything to do.
    #[inline]
    pub fn turn(&mut self) -> bool {
        let completed = self.complete();
        let mut busy = completed > 0;
        if completed >= COMPLETIONS && self.hold_back > 0 && !self.stopping {
            self.hold_back -= 1;
        } else {
            let received = if self.stopping { self.finish_inboxes() } else { self.receive() };
            busy |= received;
            if !self.stopping {
                busy |= self.fan_out();
            }
            busy |= self.send(received);
        }
        if !self.leaving.is_empty() {
            self.see_off();
        }
        self.turns += 1;
        self.turn_count.set(self.turns);
        self.busy_turns += u64::from(busy);
        busy
    }

    /// One tx burst a lane for the replies that wait, unless they wait for company. True if there were any that the NIC
    /// took.
    #[inline]
    fn send(&mut self, received: bool) -> bool {
        let more_under_way = self.completions.under_way() > 0;
        let mut sent = false;
        for lane in &mut self.lanes {
            let replies = lane.tx.waiting();
            if replies > 0 && !lane.company.is_awaited(replies, received, more_under_way) {
                sent |= lane.tx.flush() > 0;
            }
        }
        sent
    }

    /// Takes an export in, with a channel of its own into the bdev.
    ///
    /// # Errors
    /// [`AddError`]; the lcore is as it was then.
    pub fn add(&mut self, export: Box<Export>, bdev: &Bdev) -> Result<(), AddError> {
        let index = export.id().0 as usize;
        if self.backings.get(index).is_some_and(Option::is_some) {
            return Err(TableError::IdTaken(export.id()).into());
        }
        let (id, settles_writes) = (export.id(), export.settles_writes());
        self.table.insert(export)?;
        let block_shift = bdev.info().sectors_per_block().max(1).ilog2();
        let ready = if block_shift > 0 { self.completions.prepare_sectors() } else { Ok(()) };
        let channel = match ready.and_then(|()| bdev.channel()) {
            Ok(channel) => channel,
            Err(error) => {
                self.table.remove(id);
                return Err(error.into());
            }
        };
        self.in_memory += usize::from(bdev.info().in_memory);
        if self.backings.len() <= index {
            self.backings.resize_with(index + 1, || None);
        }
        let backing = self.backings[index].insert(Backing {
            channel: Some(channel),
            counters: ExportCounters::default(),
            block_shift,
            settling: Settling::of(bdev.info()),
            before_answer: Settling::Nothing,
            under_way: 0,
            leaving: None,
        });
        backing.settle(settles_writes);
        Ok(())
    }

    /// Takes an export out: no new request finds it, those under way are answered, then `done` is called. At
    /// once if there is no such export here.
    pub fn remove(&mut self, id: ExportId, done: impl FnOnce() + 'static) {
        let backing = self.backings.get_mut(id.0 as usize).and_then(Option::as_mut);
        match (self.table.remove(id), backing) {
            (Some(export), Some(backing)) => {
                backing.leaving = Some(Leaving { export, done: Box::new(done) });
                self.leaving.push(id);
            }
            _ => done(),
        }
    }

    /// Serves an export on other ports than before; requests under way are answered all the same.
    pub fn rebind(&mut self, id: ExportId, ports: Ports) {
        let Some(export) = self.table.remove(id) else { return };
        // It was in the table a moment ago, and leaves ports, so there is room for it.
        let _ = self.table.insert(export.on(ports));
    }

    /// The export's bdev is going: every request for it gets a device fault from now on, and its channel is
    /// closed when nothing is under way on it.
    pub fn take_offline(&mut self, id: ExportId) {
        if let Some(export) = self.table.get_mut(id) {
            export.state = ExportState::Offline;
        }
        if self.backings.get(id.0 as usize).is_some_and(Option::is_some) {
            self.leaving.push(id);
        }
    }

    /// The export's size in 512-byte sectors has changed.
    pub fn resize(&mut self, id: ExportId, sectors: u64) {
        if let Some(export) = self.table.get_mut(id) {
            export.sectors = sectors;
        }
    }

    /// Closes the channels of exports that are leaving or offline and have nothing under way.
    #[cold]
    fn see_off(&mut self) {
        let backings = &mut self.backings;
        let mut gone = Vec::new();
        self.leaving.retain(|id| {
            let Some(place) = backings.get_mut(id.0 as usize) else { return false };
            let Some(backing) = place else { return false };
            if backing.under_way > 0 {
                return true;
            }
            if let Some(channel) = backing.channel.take() {
                self.in_memory -= usize::from(channel.is_in_memory());
            }
            if let Some(leaving) = backing.leaving.take() {
                gone.push(leaving.done);
                *place = None;
            }
            false
        });
        // Last, since they may want to look at what is left.
        gone.into_iter().for_each(|done| done());
    }

    /// Takes no new requests from now on; those under way, and those that other lcores have handed over, are still
    /// answered by further turns.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.fanouts.clear();
        self.wildcards = 0;
    }

    /// True when [`Lcore::stop`] was called, nothing is under way, and every reply has left.
    pub fn is_idle(&self) -> bool {
        self.stopping
            && self.completions.under_way() == 0
            && self.consulting == 0
            && self.are_inboxes_empty()
            && self.lanes.iter().all(|lane| lane.tx.waiting() == 0)
    }

    /// Requests that bdevs have now.
    pub fn under_way(&self) -> u32 {
        self.completions.under_way()
    }

    /// The counters now. Allocates: for the control plane, at its pace.
    pub fn snapshot(&self) -> Snapshot {
        let exports = (0u32..)
            .zip(&self.backings)
            .filter_map(|(id, backing)| backing.as_ref().map(|backing| (ExportId(id), backing.counters)));
        Snapshot {
            lanes: self.lanes.iter().map(Lane::stats).collect(),
            exports: exports.collect(),
            under_way: self.completions.under_way(),
            bdev_waits: self.completions.waits(),
            bounced: self.completions.bounced(),
            turns: self.turns,
            busy_turns: self.busy_turns,
        }
    }
}
