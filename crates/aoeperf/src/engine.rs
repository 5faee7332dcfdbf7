//! The turn of the polling lcore: replies taken, each answered request's slot and mbuf used for the next, timers
//! looked after, requests sent.
//!
//! Nothing is allocated, formatted or locked on this way, and no system call is made by it. A reply's mbuf becomes
//! the next request, so that the mempool is asked only for the first request of a slot and for retransmits. What can
//! go wrong with a reply is in `trouble`, off the way.

mod complaints;
mod setup;
mod trouble;

use std::collections::VecDeque;

use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::{ATA_DATA_OFFSET, AtaReplyView, Mac, SECTOR, ata};
use dpdk::{Burst, Mbuf, RxMbuf, tsc};

use self::complaints::Complaints;
use crate::flow::{RoundTrip, Window};
use crate::frame::{Request, Template};
use crate::pattern::Pattern;
use crate::ports::PortQueue;
use crate::slots::{Slots, State};
use crate::tally::Tally;
use crate::verify::Disk;

/// Requests that may wait for room in a port's tx ring before no more are built for it.
const TX_BACKLOG: usize = 64;

/// Slots without a request that are tried in a turn.
const TRIES: usize = dpdk::BURST;

/// Blocks that are drawn for a verified request before its slot has to wait.
const DRAWS: usize = 8;

/// The source of new requests, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// None are.
    Drain,
    /// The workload.
    Load,
    /// Reads of all that was written.
    Sweep,
}

/// The result of putting a request into a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Sent,
    /// Something is full, or every block drawn is taken.
    Later,
    /// There is nothing more to ask.
    Never,
}

/// One target, with everything counted by target.
#[derive(Debug)]
pub struct Target {
    /// Its address.
    pub address: ShelfSlot,
    /// Latencies of the measured time.
    pub tally: Tally,
    /// Further copies sent.
    pub retransmits: u64,
    /// Requests that did not end with success.
    pub errors: u64,
    /// Replies that no request waited for.
    pub unexpected: u64,
    /// The expected contents, if the load is verified.
    pub disk: Option<Disk>,
    /// Its paths are these many from this index on; the next one to use.
    first_path: u32,
    paths: u32,
    next_path: u32,
    blocks: u64,
    cursor: u64,
}

/// A path: a port and a MAC address that answers there for a target.
#[derive(Debug)]
pub struct Path {
    /// Index of its target.
    pub target: usize,
    /// Index of its port among the queues.
    pub queue: usize,
    /// The MAC address.
    pub mac: Mac,
    /// Requests answered with success.
    pub answered: u64,
    /// Further copies sent.
    pub retransmits: u64,
    /// The limit of outstanding requests.
    pub window: Window,
    trip: RoundTrip,
    template: Template,
    next_source: usize,
}

/// Everything the lcore touches.
#[derive(Debug)]
pub struct Engine {
    queues: Vec<PortQueue>,
    targets: Vec<Target>,
    paths: Vec<Path>,
    slots: Slots,
    /// Slots that wait for something to ask and room to ask it.
    idle: VecDeque<u32>,
    pattern: Pattern,
    phase: Phase,
    sectors_per_io: u8,
    recording: bool,
    outstanding: usize,
    /// When the last turn began, or ended if it did something.
    clock: u64,
    busy: u64,
    /// When timers are looked at next, how often, from which slot on, and how many at once.
    next_tick: u64,
    tick: u64,
    scanned: u32,
    scan: u32,
    /// Ticks of a second, and after how many a request has failed.
    second: u64,
    dead: u64,
    /// The first errors, in words.
    complaints: Complaints,
    /// Replies of targets that nothing was asked of.
    unexpected_elsewhere: u64,
}

impl Engine {
    /// One turn: receives into `burst`, handles each reply, and sends new requests.
    #[inline]
    pub fn turn(&mut self, burst: &mut Burst) {
        let begun = tsc::now();
        let mut worked = false;
        for queue in 0..self.queues.len() {
            if self.queues[queue].rx.poll(burst) > 0 {
                worked = true;
                let now = tsc::now();
                burst.prefetch();
                for frame in &mut *burst {
                    self.arrived(frame, now);
                }
            }
        }
        if begun >= self.next_tick {
            self.next_tick = begun + self.tick;
            self.look_at_timers(begun);
        }
        if !self.idle.is_empty() {
            self.start_idle();
        }
        for queue in &mut self.queues {
            if queue.tx.waiting() > 0 {
                queue.tx.flush();
            }
        }
        self.clock = begun;
        if worked {
            self.clock = tsc::now();
            self.busy += self.clock - begun;
        }
    }

    /// A frame has come; `now` is when.
    #[inline]
    fn arrived(&mut self, frame: RxMbuf, now: u64) {
        let data = frame.data();
        let Some(head) = AtaReplyView::of(data) else { return self.odd(frame, now) };
        let Some((index, slot)) = self.slots.outstanding(head.tag()) else {
            return self.unexpected(head.address());
        };
        let target = &mut self.targets[slot.target as usize];
        if head.address() != target.address || head.dst().0 != slot.source {
            let address = head.address();
            return self.unexpected(address);
        }
        let is_write = slot.state == State::Write;
        let length =
            if is_write { ATA_DATA_OFFSET } else { ATA_DATA_OFFSET + usize::from(slot.count) * SECTOR };
        if head.status() & ata::FAILURE != 0 || data.len() < length {
            return self.failed(index, frame, now);
        }
        slot.state = State::Idle;
        if let Some(disk) = &mut target.disk {
            if is_write {
                disk.acknowledge(slot.lba, slot.count, slot.generation);
            } else if let Err(wrong) = disk.check(slot.lba, &data[ATA_DATA_OFFSET..length]) {
                target.errors += 1;
                self.complaints.add(target.address, || wrong);
            }
            disk.release(slot.lba / u64::from(self.sectors_per_io), is_write && slot.copies > 1, now);
        }
        if self.recording {
            target.tally.record(now.saturating_sub(slot.first_sent));
        }
        let path = &mut self.paths[slot.path as usize];
        path.trip.measured(now.saturating_sub(slot.sent));
        path.window.answered();
        path.answered += 1;
        self.outstanding -= 1;
        self.restart(index, frame);
    }

    /// Reuses the slot of a completed request, and the mbuf of its reply, for the next request.
    #[inline]
    fn restart(&mut self, index: u32, frame: RxMbuf) {
        if self.start(index, frame.into_exclusive().ok()) == Start::Later {
            self.idle.push_back(index);
        }
    }

    /// Tries slots that have no request.
    fn start_idle(&mut self) {
        for _ in 0..self.idle.len().min(TRIES) {
            let Some(index) = self.idle.pop_front() else { return };
            if self.start(index, None) == Start::Later {
                self.idle.push_back(index);
            }
        }
    }

    /// Puts a request into a slot without one, and its frame into its port's tx queue.
    #[inline]
    fn start(&mut self, index: u32, frame: Option<Mbuf>) -> Start {
        if self.phase == Phase::Drain {
            return Start::Never;
        }
        let target_index = self.slots.at(index).target;
        let target = &mut self.targets[target_index as usize];
        let Some(path_index) = target.path(&self.paths) else { return Start::Later };
        let path = &mut self.paths[path_index as usize];
        let queue = &mut self.queues[path.queue];
        if queue.tx.waiting() >= TX_BACKLOG {
            return Start::Later;
        }
        let Some(mut frame) = frame.or_else(|| queue.mempool.alloc()) else { return Start::Later };
        let (is_write, lba, count) = if self.phase == Phase::Sweep {
            match target.disk.as_mut().and_then(|disk| disk.sweep(self.sectors_per_io)) {
                Some((lba, count)) => (false, lba, count),
                None => return Start::Never,
            }
        } else {
            let Some(block) = target.block(&mut self.pattern, self.clock) else { return Start::Later };
            (self.pattern.is_write(), block * u64::from(self.sectors_per_io), self.sectors_per_io)
        };
        let slot = self.slots.renew(index);
        let source = queue.sources[path.next_source];
        path.next_source = if path.next_source + 1 < queue.sources.len() { path.next_source + 1 } else { 0 };
        let request = Request { tag: slot.tag, source, is_write, lba, count };
        slot.lba = lba;
        slot.source = source;
        slot.count = count;
        slot.path = path_index;
        slot.copies = 1;
        slot.generation = 0;
        slot.state = if is_write { State::Write } else { State::Read };
        path.window.sent();
        self.outstanding += 1;
        let now = tsc::now();
        slot.first_sent = now;
        slot.sent = now;
        // A reply's mbuf that came through a port with smaller rooms is of no use here.
        if frame.resize(request.frame_len()) {
            let data = frame.data_mut();
            path.template.write(&request, data);
            if is_write && let Some(disk) = &mut target.disk {
                slot.generation = disk.stamp(lba, &mut data[ATA_DATA_OFFSET..]);
            }
            if frame.into_tx().is_ok_and(|frame| queue.tx.push(frame).is_ok()) {
                return Start::Sent;
            }
        }
        self.send_in_another_mbuf(index);
        Start::Sent
    }

    /// The phase from now on.
    pub fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.idle.clear();
        if phase != Phase::Drain {
            for index in 0..u32::try_from(self.slots.len()).unwrap_or(0) {
                if self.slots.at(index).state == State::Idle {
                    self.idle.push_back(index);
                }
            }
        }
    }

    /// Records latencies and load from now on, and those alone.
    pub fn start_recording(&mut self) {
        self.targets.iter_mut().for_each(|target| target.tally.clear());
        self.busy = 0;
        self.recording = true;
    }

    /// Records no more.
    pub fn stop_recording(&mut self) {
        self.recording = false;
    }

    /// Requests outstanding.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Requests recorded since [`Engine::start_recording`].
    pub fn requests(&self) -> u64 {
        self.targets.iter().map(|target| target.tally.requests()).sum()
    }

    /// Requests that are over, of the whole run.
    pub fn answers(&self) -> u64 {
        let errors: u64 = self.targets.iter().map(|target| target.errors).sum();
        errors + self.paths.iter().map(|path| path.answered).sum::<u64>()
    }

    /// Whether there are slots without a request.
    pub fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// When the last turn was, in ticks of [`tsc`].
    #[inline]
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// Ticks of turns that received something, since [`Engine::start_recording`].
    pub fn busy(&self) -> u64 {
        self.busy
    }

    /// All targets, in the order of their addresses.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Replies that no request waited for, of targets that nothing was asked of.
    pub fn unexpected_elsewhere(&self) -> u64 {
        self.unexpected_elsewhere
    }

    /// All paths, target by target.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// All ports.
    pub fn queues(&self) -> &[PortQueue] {
        &self.queues
    }

    /// The first errors, in words.
    pub fn complaints(&self) -> &[String] {
        self.complaints.as_slice()
    }
}

impl Target {
    /// The next path that has room, in turn.
    #[inline]
    fn path(&mut self, paths: &[Path]) -> Option<u32> {
        for _ in 0..self.paths {
            let path = self.first_path + self.next_path;
            self.next_path = if self.next_path + 1 < self.paths { self.next_path + 1 } else { 0 };
            if paths[path as usize].window.has_room() {
                return Some(path);
            }
        }
        None
    }

    /// The next block, claimed if the disk is verified. `None`: those drawn are all taken.
    #[inline]
    fn block(&mut self, pattern: &mut Pattern, now: u64) -> Option<u64> {
        let Some(disk) = &mut self.disk else { return Some(pattern.block(self.blocks, &mut self.cursor)) };
        (0..DRAWS).map(|_| pattern.block(self.blocks, &mut self.cursor)).find(|block| disk.claim(*block, now))
    }
}
