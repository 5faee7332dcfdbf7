//! A simulated device: content, a volatile cache, and when and how each I/O completes.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    ffi::c_int,
    rc::Rc,
};

use spdk::file::{CompletedWrite, FileSyncs};
use spdk::simulated::{self, Aborting, Device, Operation, Status, Submission};

use crate::{
    dice::Dice,
    plan::{Cache, DiskPlan, SECTORS, Unmapped},
};

const ENOMEM: c_int = 12;
const ENODEV: c_int = 19;
const EIO: c_int = 5;
const NEVER: u64 = u64::MAX;
const SECTOR: usize = 512;

/// A sector's content.
pub(crate) type Content = Box<[u8]>;

/// One write's content of a sector.
#[derive(Debug)]
struct Version {
    /// The I/O; 0 is the content at the start.
    io: u64,
    /// The way that it came by.
    way: u32,
    content: Content,
    /// The write has completed.
    completed: bool,
}

/// An I/O that the device has.
#[derive(Debug)]
struct Flying {
    submission: Submission,
    /// It takes effect at this tick ([`NEVER`]: it has, or will not), and completes at that one.
    effect_at: u64,
    done_at: u64,
    status: Status,
    /// A flush: the version of each sector that it brings to stable media.
    covered: Vec<(usize, u64)>,
}

/// An fdatasync in flight.
#[derive(Debug)]
struct Sync {
    done_at: u64,
    /// The version of each sector that it brings to stable media.
    covered: Vec<(usize, u64)>,
    fails: bool,
}

/// A device.
pub(crate) struct Disk {
    plan: DiskPlan,
    dice: Dice,
    now: Rc<Cell<u64>>,
    blocks: u64,
    /// By sector: the version on stable media, then those in the cache, in the order of their effects.
    sectors: Vec<Vec<Version>>,
    flying: BTreeMap<u64, Flying>,
    /// Aborts by number: their channel, and when they complete.
    aborts: BTreeMap<u64, (u32, u64)>,
    /// Submissions so far by operation and first block, so that a decision does not depend on other blocks' I/O.
    submitted: BTreeMap<(u64, u64), u64>,
    /// By way.
    open_channels: BTreeMap<u32, u32>,
    /// Flushes are refused.
    refuses_flushes: bool,
    /// Of a file ([`Cache::Group`]): its fdatasyncs, the writes that wait for one, and the one in flight.
    syncs: FileSyncs,
    unsynced: Vec<(u64, CompletedWrite)>,
    sync: Option<Sync>,
    syncs_started: u64,
    /// Channels that were asked for.
    asked_channels: u64,
    /// It was removed: everything fails.
    is_removed: bool,
    /// Writers of the sectors that were written since this was asked last.
    wrote: Vec<u32>,
    /// Everything completes now, and without a fault: the seed's end.
    calm: bool,
    /// What it was misused for.
    misuse: Option<String>,
    used: bool,
}

impl Disk {
    pub(crate) fn new(plan: DiskPlan, dice: Dice, now: Rc<Cell<u64>>) -> Self {
        let start = || Version { io: 0, way: 0, content: vec![0; SECTOR].into(), completed: true };
        Self {
            blocks: SECTORS / u64::from(plan.sectors_per_block),
            plan,
            dice,
            now,
            sectors: (0..SECTORS).map(|_| vec![start()]).collect(),
            flying: BTreeMap::new(),
            aborts: BTreeMap::new(),
            submitted: BTreeMap::new(),
            open_channels: BTreeMap::new(),
            refuses_flushes: false,
            syncs: FileSyncs::new(),
            unsynced: Vec::new(),
            sync: None,
            syncs_started: 0,
            asked_channels: 0,
            is_removed: false,
            wrote: Vec::new(),
            calm: false,
            misuse: None,
            used: false,
        }
    }

    /// Whether an I/O was submitted since this was asked last.
    pub(crate) fn was_used(&mut self) -> bool {
        std::mem::take(&mut self.used)
    }

    /// When something happens here next.
    pub(crate) fn next(&self) -> Option<u64> {
        let ios = self.flying.values().map(|flying| flying.effect_at.min(flying.done_at));
        let aborts = self.aborts.values().map(|(_, done_at)| *done_at);
        ios.chain(aborts)
            .chain(self.sync.as_ref().map(|sync| sync.done_at))
            .min()
            .filter(|at| *at < NEVER - 1)
    }

    /// Makes it smaller.
    pub(crate) fn shrink(&mut self) {
        self.blocks -= self.blocks / 2;
    }

    /// Removes it: what it has fails, and what it gets is refused.
    pub(crate) fn remove(&mut self) {
        self.is_removed = true;
        let now = self.now.get();
        for flying in self.flying.values_mut() {
            // What has not taken effect by now does not.
            if flying.effect_at > now {
                flying.effect_at = NEVER;
            }
            (flying.done_at, flying.status) = (now, Status::Failed);
        }
    }

    /// It is there again.
    pub(crate) fn restore(&mut self) {
        self.is_removed = false;
    }

    /// Flushes are refused from now on, or not.
    pub(crate) fn refuse_flushes(&mut self, refuses: bool) {
        self.refuses_flushes = refuses;
    }

    /// The requests whose data was written since this was asked last.
    pub(crate) fn take_writers(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.wrote)
    }

    pub(crate) fn sectors_now(&self) -> u64 {
        self.blocks * u64::from(self.plan.sectors_per_block)
    }

    /// No faults from now on, and every I/O completes.
    pub(crate) fn calm(&mut self) {
        (self.calm, self.is_removed) = (true, false);
        for flying in self.flying.values_mut() {
            // Not a second time.
            if flying.effect_at != NEVER {
                flying.effect_at = flying.effect_at.min(self.now.get());
            }
            if flying.done_at != NEVER {
                flying.done_at = flying.done_at.min(self.now.get());
            }
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.flying.len() + self.aborts.len()
    }

    pub(crate) fn misuse(&self) -> Option<&str> {
        self.misuse.as_deref()
    }

    /// The content now.
    pub(crate) fn content(&self, lba: u64) -> &[u8] {
        let versions = &self.sectors[index(lba)];
        &versions.last().expect("a sector has content").content
    }

    /// What a loss of power at this moment leaves: the stable version or any later one, as it happens.
    pub(crate) fn survivor(&self, lba: u64, dice: Dice, cut: u64) -> &[u8] {
        let versions = &self.sectors[index(lba)];
        &versions[index(dice.below(versions.len() as u64, &[cut, lba]))].content
    }

    /// Lets effects happen, and returns what completes now, in the order of its time.
    pub(crate) fn advance(&mut self) -> Vec<(u64, Status)> {
        let now = self.now.get();
        let by_time = |at: fn(&Flying) -> u64, flying: &BTreeMap<u64, Flying>| {
            let mut due: Vec<(u64, u64)> =
                flying.iter().map(|(io, flying)| (at(flying), *io)).filter(|(at, _)| *at <= now).collect();
            due.sort_unstable();
            due.into_iter().map(|(_, io)| io).collect::<Vec<u64>>()
        };
        for io in by_time(|flying| flying.effect_at, &self.flying) {
            self.take_effect(io);
        }
        let done = by_time(|flying| flying.done_at, &self.flying);
        let done: Vec<u64> = done.into_iter().filter(|io| !self.waits_for_sync(*io)).collect();
        let mut ended: Vec<(u64, Status)> =
            done.into_iter().filter_map(|io| Some((io, self.finish(io)?))).collect();
        if self.plan.cache == Cache::Group {
            self.sync_file(&mut ended);
        }
        self.aborts.retain(|abort, (_, done_at)| {
            let is_done = self.calm || *done_at <= now;
            ended.extend(is_done.then_some((*abort, Status::Done)));
            !is_done
        });
        ended
    }

    /// Has a write to a file wait for an fdatasync. False for all else, which ends now.
    fn waits_for_sync(&mut self, io: u64) -> bool {
        let is_file = self.plan.cache == Cache::Group;
        let Some(flying) = self.flying.get_mut(&io).filter(|flying| flying.status == Status::Done) else {
            return false;
        };
        if !is_file || flying.submission.operation == Operation::Read {
            return false;
        }
        flying.done_at = NEVER;
        self.complete_versions(io);
        self.unsynced.push((io, self.syncs.complete()));
        true
    }

    /// Ends the fdatasync that is due, and the writes that have their result by now; starts the next one.
    fn sync_file(&mut self, ended: &mut Vec<(u64, Status)>) {
        let now = self.now.get();
        if let Some(sync) = self.sync.take_if(|sync| self.calm || sync.done_at <= now) {
            self.syncs.end(if sync.fails && !self.calm { Err(EIO) } else { Ok(()) });
            if !sync.fails || self.calm {
                sync.covered.iter().for_each(|(sector, version)| self.make_stable(*sector, *version));
            }
        }
        for (io, write) in std::mem::take(&mut self.unsynced) {
            match self.syncs.outcome(write) {
                None => self.unsynced.push((io, write)),
                Some(outcome) => {
                    if let Some(flying) = self.flying.get_mut(&io).filter(|_| outcome.is_err()) {
                        flying.status = Status::Failed;
                    }
                    ended.extend(self.finish(io).map(|status| (io, status)));
                }
            }
        }
        if !self.unsynced.is_empty() && self.syncs.start() {
            self.syncs_started += 1;
            let subject = |what: u64| [10, self.syncs_started, what];
            let done_at = now + self.dice.within(self.plan.latency, &subject(0));
            let fails = self.dice.permille(self.plan.fail / 4, &subject(1));
            self.sync = Some(Sync { done_at, covered: covered_now(&self.sectors, None), fails });
        }
    }

    fn take_effect(&mut self, io: u64) {
        let Some(flying) = self.flying.get_mut(&io) else { return };
        flying.effect_at = NEVER;
        let Submission { operation, first, blocks, channel, .. } = flying.submission;
        let way = way_of(channel);
        let per_block = u64::from(self.plan.sectors_per_block);
        let sectors = index(first * per_block)..index((first + blocks) * per_block);
        let visible = |sectors: &[Vec<Version>]| {
            let contents = sectors.iter().map(|versions| &*versions.last().expect("content").content);
            contents.collect::<Vec<_>>().concat()
        };
        match operation {
            // A failed read leaves anything in the buffer.
            Operation::Read => simulated::fill(io, &visible(&self.sectors[sectors])),
            // A failed write may have taken effect, or not.
            Operation::Write | Operation::WriteFua | Operation::Unmap
                if flying.status != Status::Done && io.is_multiple_of(2) => {}
            Operation::CompareAndWrite if flying.status != Status::Done => {}
            Operation::CompareAndWrite
                if simulated::compared(io) != visible(&self.sectors[sectors.clone()]) =>
            {
                flying.status = Status::Miscompare;
            }
            Operation::Write | Operation::WriteFua | Operation::CompareAndWrite => {
                let data = simulated::data(io);
                for (versions, content) in self.sectors[sectors].iter_mut().zip(data.chunks(SECTOR)) {
                    // Other sectors of a block are written as they are.
                    if versions.last().is_none_or(|last| *last.content != *content) {
                        self.wrote.extend(writer_of(content));
                    }
                    versions.push(Version { io, way, content: content.into(), completed: false });
                }
            }
            Operation::Unmap => {
                for versions in &mut self.sectors[sectors] {
                    if self.plan.unmapped == Unmapped::Zeros || self.dice.below(2, &[8, io]) == 0 {
                        let content = vec![0; SECTOR].into();
                        versions.push(Version { io, way, content, completed: false });
                    }
                }
            }
            Operation::Flush => {}
        }
    }

    fn finish(&mut self, io: u64) -> Option<Status> {
        let flying = self.flying.remove(&io)?;
        self.complete_versions(io);
        if flying.status == Status::Done {
            let is_stable = match flying.submission.operation {
                Operation::Write | Operation::CompareAndWrite | Operation::Unmap => {
                    self.plan.cache == Cache::None
                }
                Operation::WriteFua => true,
                Operation::Read | Operation::Flush => false,
            };
            if is_stable {
                (0..self.sectors.len()).for_each(|sector| self.make_stable(sector, io));
            }
            flying.covered.iter().for_each(|(sector, version)| self.make_stable(*sector, *version));
        }
        Some(flying.status)
    }

    /// What this I/O has written has completed.
    fn complete_versions(&mut self, io: u64) {
        let versions = self.sectors.iter_mut().flatten().filter(|version| version.io == io);
        versions.for_each(|version| version.completed = true);
    }

    /// Brings the version of this I/O to stable media.
    fn make_stable(&mut self, sector: usize, io: u64) {
        let versions = &mut self.sectors[sector];
        if let Some(at) = versions.iter().position(|version| version.io == io) {
            versions.drain(..at);
        }
    }
}

impl Disk {
    fn submit(&mut self, submission: Submission) -> Result<(), c_int> {
        self.used = true;
        let place = (submission.first, submission.operation as u64);
        let count = *self.submitted.entry(place).and_modify(|count| *count += 1).or_default();
        let subject = |what: u64| [what, place.0, place.1, count];
        let (plan, dice, now) = (&self.plan, self.dice, self.now.get());
        let faulty = !self.calm;
        if self.is_removed {
            return Err(ENODEV);
        }
        if faulty && dice.permille(plan.no_memory, &subject(0)) {
            return Err(ENOMEM);
        }
        let mut took = dice.within(plan.latency, &subject(1));
        if faulty && dice.permille(plan.late, &subject(2)) {
            took += dice.within((100, plan.latest), &subject(3));
        }
        let mut effect_at = now + if took == 0 { 0 } else { dice.below(took + 1, &subject(4)) };
        let mut done_at = now + took;
        if faulty && dice.permille(plan.hang, &subject(5)) {
            (effect_at, done_at) =
                (if submission.io.is_multiple_of(2) { effect_at } else { NEVER - 1 }, NEVER - 1);
        }
        let fails = plan.fails_on == Some(submission.channel % WAY) || dice.permille(plan.fail, &subject(6));
        let failure = if dice.below(2, &subject(7)) == 0 { Status::Failed } else { Status::MediaError };
        let is_flush = submission.operation == Operation::Flush;
        let way = Some(way_of(submission.channel));
        let covered = if is_flush { covered_now(&self.sectors, way) } else { Vec::new() };
        let status = match faulty && (fails || is_flush && self.refuses_flushes) {
            true if is_flush && dice.below(2, &subject(8)) == 0 => Status::Aborted,
            true => failure,
            false => Status::Done,
        };
        self.flying.insert(submission.io, Flying { submission, effect_at, done_at, status, covered });
        Ok(())
    }

    /// An I/O that is aborted has had its effect, or has it now, or never.
    fn abort(&mut self, Aborting { abort, channel }: Aborting, io: Option<u64>) -> Result<(), c_int> {
        let subject = |what: u64| [11, abort, what];
        let (plan, dice, now) = (&self.plan, self.dice, self.now.get());
        if !self.calm && dice.permille(plan.no_memory, &subject(0)) {
            return Err(ENOMEM);
        }
        let is_able = dice.below(2, &[12]) == 0 && dice.below(4, &subject(1)) > 0;
        // What waits for an fdatasync is done.
        let flying = io.and_then(|io| self.flying.get_mut(&io)).filter(|flying| flying.done_at != NEVER);
        if let Some(flying) = flying.filter(|_| is_able) {
            if flying.effect_at != NEVER {
                flying.effect_at = if dice.below(2, &subject(2)) == 0 { now } else { NEVER };
            }
            (flying.done_at, flying.status) = (now + dice.within(plan.latency, &subject(3)), Status::Aborted);
        }
        self.aborts.insert(abort, (channel, now + dice.within(plan.latency, &subject(4))));
        Ok(())
    }

    fn open_channel(&mut self, channel: u32) -> bool {
        self.asked_channels += 1;
        let refused = self.is_removed
            || !self.calm && self.dice.permille(self.plan.no_channel, &[9, self.asked_channels]);
        *self.open_channels.entry(way_of(channel)).or_default() += u32::from(!refused);
        !refused
    }

    fn channel_closed(&mut self, channel: u32) {
        *self.open_channels.entry(way_of(channel)).or_default() -= 1;
        let flies = self.flying.values().any(|flying| flying.submission.channel == channel);
        if flies || self.aborts.values().any(|(of, _)| *of == channel) {
            self.misuse = Some(format!("channel {channel} was closed with I/O in flight"));
        }
    }

    fn way_closed(&mut self, way: u32) {
        let open = self.open_channels.get(&way).copied().unwrap_or(0);
        if open > 0 {
            self.misuse = Some(format!("the descriptor of way {way} was closed with {open} open channels"));
        }
    }
}

/// The numbers of channels that each way has.
const WAY: u32 = 1 << 16;

/// The way of a channel.
const fn way_of(channel: u32) -> u32 {
    channel / WAY
}

/// A way to a disk. What comes by it is in a cache of its own, until a flush by the same way.
pub(crate) struct Way {
    disk: Rc<RefCell<Disk>>,
    number: u32,
}

impl Way {
    pub(crate) fn new(disk: &Rc<RefCell<Disk>>, number: u32) -> Self {
        Self { disk: Rc::clone(disk), number }
    }
}

impl Device for Way {
    fn blocks(&self) -> u64 {
        self.disk.borrow().blocks
    }

    fn submit(&mut self, submission: Submission) -> Result<(), c_int> {
        let channel = self.number * WAY + submission.channel;
        self.disk.borrow_mut().submit(Submission { channel, ..submission })
    }

    fn abort(&mut self, abort: Aborting, io: Option<u64>) -> Result<(), c_int> {
        let channel = self.number * WAY + abort.channel;
        self.disk.borrow_mut().abort(Aborting { channel, ..abort }, io)
    }

    fn open_channel(&mut self, channel: u32) -> bool {
        self.disk.borrow_mut().open_channel(self.number * WAY + channel)
    }

    fn channel_closed(&mut self, channel: u32) {
        self.disk.borrow_mut().channel_closed(self.number * WAY + channel);
    }

    fn closed(&mut self) {
        self.disk.borrow_mut().way_closed(self.number);
    }
}

/// The newest completed version of each sector that came by this way, or by any: nothing more is promised to be stable after a
/// flush.
fn covered_now(sectors: &[Vec<Version>], way: Option<u32>) -> Vec<(usize, u64)> {
    let is_covered = |version: &&Version| version.completed && way.is_none_or(|way| version.way == way);
    let newest = |versions: &Vec<Version>| Some(versions.iter().rfind(is_covered)?.io);
    sectors.iter().enumerate().filter_map(|(sector, versions)| Some((sector, newest(versions)?))).collect()
}

/// The request whose data this sector holds, if it is one's.
fn writer_of(sector: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*sector.first_chunk()?)).filter(|op| *op != 0)
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
