//! An lcore: its port queues and requests, and its turn.

use std::{os::fd::OwnedFd, sync::Arc};

use aoe_target::{
    Acl, DropsOfInitiator, Export, ExportCounters, ExportId, ExportKey, Histograms, InitiatorDropEntry,
    InitiatorState, MacAddr, PortId, PortLimits, Ports, ShelfSlot, StateReply, qos::Limits,
};
use dpdk::{RxInterrupts, tsc};
use spdk::{Bdev, CurrentThread};

use crate::{
    AddError, CaptureTap, Deferred, DeferredSender, Degraded, DegradedChanges, ExportSlice, Idle, PortQueue,
    PortQueueStats, SeenInitiator, TurnCount, pacing::Yields, requests::Requests,
};

/// Turns between two looks at the clock, a power of two. A turn takes microseconds, and deadlines have seconds.
const DEADLINE_TURNS: u64 = 64;

/// Everything that one lcore works with. It lives and is used on one SPDK thread only; no other lcore writes to a cache
/// line of it: see [`PortQueue`].
#[repr(align(128))]
#[derive(Debug)]
pub struct Lcore {
    /// What it does when there is nothing to do. Before the queues: it may hold their interrupts.
    idle: Idle,
    queues: Vec<PortQueue>,
    /// The queue that is polled first in the next turn.
    next_queue: usize,
    requests: Requests,
    yields: Yields,
    /// It takes no new requests.
    stopping: bool,
    turns: u64,
    /// The same, for the control plane.
    turn_count: TurnCount,
    busy_turns: u64,
}

// Written in each turn: in cache lines of its own, wherever the heap puts it.
const _: () = assert!(align_of::<Lcore>() == 128 && size_of::<Lcore>().is_multiple_of(128));

/// An lcore's counters at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// By port queue.
    pub queues: Vec<PortQueueStats>,
    /// By export; empty where only the others were asked for.
    pub exports: Vec<(ExportId, ExportCounters)>,
    /// Exports that it owns: it carries out their ATA commands.
    pub owned: u32,
    /// Requests that bdevs have now.
    pub in_flight: u32,
    /// How often a request was put off to the next turn for want of SPDK's memory.
    pub bdev_waits: u64,
    /// Reads and writes that SPDK copied, because their data did not lie at their bdev's alignment.
    pub bounced: u64,
    /// Writes of a part of a block that failed because their bdev's compare does not work.
    pub compare_faults: u64,
    /// Turns since the start.
    pub turns: u64,
    /// Those in which there was work.
    pub busy_turns: u64,
}

impl Lcore {
    /// An lcore with these queues and no exports. On its SPDK thread.
    ///
    /// # Errors
    /// What [`spdk::CompletionQueue::new`] says.
    pub fn new(mut queues: Vec<PortQueue>) -> spdk::Result<Self> {
        queues.iter_mut().enumerate().for_each(|(index, queue)| queue.set_index(index));
        let capacity = queues.iter().map(PortQueue::mempool_size).sum();
        let mut requests = Requests::new(capacity)?;
        requests.exports.set_owners(queues.iter().find_map(PortQueue::owners).cloned());
        Ok(Self {
            idle: Idle::default(),
            queues,
            next_queue: 0,
            requests,
            yields: Yields::new(tsc::hz()),
            stopping: false,
            turns: 0,
            turn_count: TurnCount::default(),
            busy_turns: 0,
        })
    }

    /// Counts its turns there, too.
    pub fn count_turns(&mut self, turn_count: TurnCount) {
        self.turn_count = turn_count;
    }

    /// Counts changes of degraded exports there.
    pub fn count_degraded_changes(&mut self, changes: DegradedChanges) {
        self.requests.count_degraded_changes(changes);
    }

    /// The exports whose bdevs leave requests without an answer. Allocates: for the control plane, when something has changed.
    #[must_use]
    pub fn degraded(&self) -> Vec<Degraded> {
        self.requests.degraded()
    }

    /// One turn: completes what bdevs have finished, so that mbufs are free before frames are received; receives and
    /// submits; sends the replies of both. Whether there was anything to do.
    #[inline]
    pub fn turn(&mut self) -> bool {
        CurrentThread::with(|thread| self.turn_on(thread))
    }

    /// [`Lcore::turn`] on this SPDK thread.
    #[inline]
    fn turn_on(&mut self, thread: CurrentThread<'_>) -> bool {
        let mut busy = self.requests.complete(thread, &mut self.queues);
        busy |= self.requests.release(thread, &mut self.queues);
        if self.turns.is_multiple_of(DEADLINE_TURNS) {
            busy |= self.requests.check_deadlines(thread, &mut self.queues);
        }
        let mut received = false;
        if self.stopping {
            busy |= self.empty_inboxes(thread);
        } else {
            received = self.receive(thread);
            busy |= received;
            busy |= self.requests.fan_out(thread, &mut self.queues);
        }
        for queue in &mut self.queues {
            busy |= queue.flush();
        }
        self.requests.exports.reap();
        self.turns += 1;
        self.turn_count.set(self.turns);
        self.busy_turns += u64::from(busy);
        if spdk::kernel_io_in_flight() {
            self.yields.turn_ended(received);
        }
        busy
    }

    /// Receives from one queue after the other until all are empty or the turn's budget is used; the next turn starts
    /// with another queue. Whether there was a frame.
    #[inline]
    fn receive(&mut self, thread: CurrentThread<'_>) -> bool {
        self.requests.start_receiving();
        let mut received = false;
        for _ in 0..self.queues.len() {
            if !self.requests.may_receive() {
                break;
            }
            let queue = self.next_queue;
            self.next_queue = if queue + 1 < self.queues.len() { queue + 1 } else { 0 };
            received |= self.requests.receive(thread, &mut self.queues[queue]);
        }
        received
    }

    /// When it is stopping: serves what other lcores have handed over. Whether there was anything.
    #[cold]
    fn empty_inboxes(&mut self, thread: CurrentThread<'_>) -> bool {
        let mut busy = false;
        for queue in &mut self.queues {
            busy |= self.requests.take_over(thread, queue) > 0;
        }
        if !busy && self.has_answered() {
            self.queues.iter_mut().for_each(PortQueue::retire);
        }
        busy
    }

    /// Whether nothing is in flight here, and every reply of this lcore has left it.
    fn has_answered(&self) -> bool {
        let is_empty = |queue: &PortQueue| queue.is_inbox_empty() && !queue.has_replies();
        !self.requests.is_in_flight() && self.queues.iter().all(is_empty)
    }

    /// After a turn without work: rests, if that is wanted and there is nothing to wait for. Whether it found work
    /// meanwhile.
    #[inline]
    pub(crate) fn rest(&mut self) -> bool {
        if matches!(self.idle, Idle::Poll) || self.waits() || !self.idle.is_due(self.busy_turns) {
            return false;
        }
        // A frame that came before the interrupts were armed brings none.
        let busy = self.idle.arm() && self.turn();
        self.idle.rest(busy);
        busy
    }

    /// Whether something must go on without a frame.
    fn waits(&self) -> bool {
        self.stopping
            || self.requests.is_in_flight()
            || self.requests.has_work()
            || self.queues.iter().any(PortQueue::has_replies)
    }

    /// Rests in this way from now on. Interrupts must be those of its own queues.
    pub fn rest_by(&mut self, idle: Idle) {
        self.idle = idle;
    }

    /// Interrupts of the rx queues of all these, at this epoll descriptor.
    ///
    /// # Errors
    /// What [`RxInterrupts::add`] says.
    pub fn interrupts(queues: &[PortQueue], epoll: OwnedFd) -> dpdk::Result<RxInterrupts> {
        let mut interrupts = RxInterrupts::new(epoll);
        queues.iter().try_for_each(|queue| queue.add_interrupt(&mut interrupts))?;
        Ok(interrupts)
    }

    /// First phase of a creation: opens a channel into the bdev. No request finds the export before [`Lcore::serve`].
    ///
    /// # Errors
    /// [`AddError`]; the lcore is as it was then.
    pub fn prepare(&mut self, export: Box<Export>, bdev: &Bdev) -> Result<(), AddError> {
        self.requests.exports.prepare(export, bdev, &self.requests.bdevs)
    }

    /// The bdev of an offline export has come back: opens a channel into it. The export takes the place of the offline one,
    /// which has its key, by [`Lcore::serve`].
    ///
    /// # Errors
    /// [`AddError`]; the lcore is as it was then.
    pub fn attach(&mut self, export: Box<Export>, bdev: &Bdev) -> Result<(), AddError> {
        self.requests.exports.attach(export, bdev, &self.requests.bdevs)
    }

    /// Second phase: requests find the export that was prepared or attached. Returns the offline one whose place it takes:
    /// its memory is freed where it was made.
    ///
    /// # Errors
    /// [`AddError`]; the export is not here any more then.
    pub fn serve(&mut self, key: impl Into<ExportKey>) -> Result<Option<Box<Export>>, AddError> {
        let key = key.into();
        let before = self.requests.exports.serve(key)?;
        self.requests.apply_limits(key);
        Ok(before)
    }

    /// Both phases at once, where there is one lcore.
    ///
    /// # Errors
    /// [`AddError`]; the lcore is as it was then.
    pub fn add(&mut self, export: Box<Export>, bdev: &Bdev) -> Result<(), AddError> {
        let key = export.key();
        self.prepare(export, bdev)?;
        self.serve(key).map(drop)
    }

    /// Drains an export: no new request finds it, those in flight are answered, then `done` is called. At once if there is
    /// no such export here.
    pub fn remove(&mut self, key: impl Into<ExportKey>, done: impl FnOnce() + 'static) {
        let key = key.into();
        self.requests.lift_limits(key);
        self.requests.exports.remove(key, done);
    }

    /// Serves an export on other ports than before; requests in flight are answered all the same. Whether it is here.
    pub fn rebind(&mut self, key: impl Into<ExportKey>, ports: Ports) -> bool {
        self.requests.exports.rebind(key.into(), ports)
    }

    /// The export's bdev is going: answers every request for it with a device fault from now on. When nothing is in flight
    /// on its channel, that closes and `done` is called; at once if there is no such export here.
    pub fn take_offline(&mut self, key: impl Into<ExportKey>, done: impl FnOnce() + 'static) {
        let key = key.into();
        self.requests.lift_limits(key);
        self.requests.exports.take_offline(key, done);
    }

    /// First step of an exchange: opens the channel that the export is to go on with, as `export`, which has its key, address
    /// and ports.
    ///
    /// # Errors
    /// [`AddError`]; the lcore is as it was then.
    pub fn open_other(&mut self, export: Box<Export>, bdev: &Bdev) -> Result<(), AddError> {
        self.requests.exports.open_other(export, bdev, &self.requests.bdevs)
    }

    /// Second step: drops new requests from now on, and calls `done` when nothing is in flight; at once if there is no such
    /// export here. Requests that wait for a limit on rates go on without.
    pub fn hold(&mut self, key: impl Into<ExportKey>, done: impl FnOnce() + 'static) {
        let key = key.into();
        self.requests.lift_limits(key);
        self.requests.exports.hold(key, done);
    }

    /// Third step, on a held export: flushes the bdev. `done` gets whether all completed writes are on stable media.
    pub fn flush_bdev(&mut self, key: impl Into<ExportKey>, done: impl FnOnce(bool) + 'static) {
        let (requests, queues, key) = (&mut self.requests, &mut self.queues, key.into());
        CurrentThread::with(|thread| requests.flush_bdev(thread, queues, key, done));
    }

    /// Last step: serves the export by the other channel. Returns the export before: its memory is freed where it was made.
    pub fn exchange(&mut self, key: impl Into<ExportKey>) -> Option<Box<Export>> {
        let key = key.into();
        let before = self.requests.exports.exchange(key);
        self.requests.apply_limits(key);
        before
    }

    /// Ends an exchange that is not to be: serves the export as before. Returns the export that is not needed.
    pub fn release(&mut self, key: impl Into<ExportKey>) -> Option<Box<Export>> {
        let key = key.into();
        let unneeded = self.requests.exports.release(key);
        self.requests.apply_limits(key);
        unneeded
    }

    /// Serves an export with other options that concern neither its sectors nor its bdev. Returns the one before, or, if there
    /// is no such export here, this one: its memory is freed where it was made.
    pub fn configure(&mut self, export: Box<Export>) -> Box<Export> {
        let key = export.key();
        let before = self.requests.exports.configure(export);
        self.requests.apply_limits(key);
        before
    }

    /// Times the requests of an export from now on, into these histograms, or no longer. Returns the histograms before, or, if
    /// there is no such export here, these: their memory is freed where it was made.
    pub fn time(
        &mut self,
        key: impl Into<ExportKey>,
        histograms: Option<Box<Histograms>>,
    ) -> Option<Box<Histograms>> {
        self.requests.time(key.into(), histograms)
    }

    /// Takes the histograms of an export that is gone, if it was timed.
    pub fn time_no_longer(&mut self, key: impl Into<ExportKey>) -> Option<Box<Histograms>> {
        self.requests.time_no_longer(key.into())
    }

    /// Copies the histograms of an export that is timed. Whether it is. Does not allocate.
    pub fn copy_histograms(&mut self, key: impl Into<ExportKey>, to: &mut Histograms) -> bool {
        self.requests.copy_histograms(key.into(), to)
    }

    /// Sets limits on the rates of an export, in place of those that it has. Requests that wait go on by them.
    pub fn limit(&mut self, key: impl Into<ExportKey>, limits: Limits) {
        self.requests.limit(key.into(), limits);
    }

    /// Looks at the requests in flight, for [`Lcore::initiators`]. Does not allocate.
    pub fn sample_initiators(&mut self) {
        self.requests.sample_initiators();
    }

    /// The initiators that were seen, at most 1024, in no order. Allocates: for the control plane, at its pace.
    pub fn initiators(&mut self) -> Vec<SeenInitiator> {
        self.requests.initiators()
    }

    /// The drops of each initiator that is told apart, and those of the others. Allocates: for the control plane, at its
    /// pace.
    #[must_use]
    pub fn initiator_drops(&self) -> (Vec<InitiatorDropEntry>, DropsOfInitiator) {
        self.requests.initiator_drops()
    }

    /// Sets the export's size in sectors of 512 bytes.
    pub fn resize(&mut self, key: impl Into<ExportKey>, sectors: u64) {
        self.requests.exports.resize(key.into(), sectors);
    }

    /// Puts an export's new state and acl in place. Returns the old ones: their memory is freed where it was made. A
    /// draining export gets them too, for its replies.
    pub fn publish(
        &mut self,
        key: impl Into<ExportKey>,
        state: &Arc<InitiatorState>,
        acl: Option<&Arc<Acl>>,
    ) -> Vec<(Arc<InitiatorState>, Option<Arc<Acl>>)> {
        self.requests.exports.publish(key.into(), state, acl)
    }

    /// The exports that drain here, each with its requests in flight.
    #[must_use]
    pub fn draining(&self) -> Vec<(ExportKey, u32)> {
        self.requests.exports.draining()
    }

    /// Calls `done` when the requests to this export that bdevs have now have ended: those that were admitted before what
    /// the caller has just published. Requests that come later are not waited for. Nor are deferred ones, which the caller
    /// decides on by the rule published last.
    pub fn fence(&mut self, id: ExportId, done: impl FnOnce() + 'static) {
        self.requests.fence(id, done);
    }

    /// Advertises the exports that `pattern` means, on `port` or on all ports whose advertisements this lcore sends; those
    /// of a VLAN in it.
    pub fn advertise(&mut self, port: Option<PortId>, pattern: ShelfSlot) {
        self.requests.advertise(&self.queues, port, pattern);
    }

    /// Serves `port` with `mac` in place of the address `old`, and within new limits. Requests in flight are answered within
    /// these, too.
    pub fn change_port(&mut self, port: PortId, old: MacAddr, mac: MacAddr, limits: PortLimits) {
        for queue in self.queues.iter_mut().filter(|queue| queue.port() == port) {
            queue.change(old, mac, limits);
        }
    }

    /// Copies the frames of `port` for a capture from now on. Gives the part in it back if this lcore has no queue pair of that
    /// port, or too many captures: its memory is freed where it was made.
    pub fn capture(&mut self, port: PortId, tap: CaptureTap) -> Option<CaptureTap> {
        match self.queues.iter_mut().find(|queue| queue.port() == port) {
            Some(queue) => queue.tap(tap),
            None => Some(tap),
        }
    }

    /// Copies no longer for the capture of this number. Gives back its parts. Allocates: for the control plane, at its pace.
    pub fn end_capture(&mut self, capture: u64) -> Vec<CaptureTap> {
        self.queues.iter_mut().filter_map(|queue| queue.untap(capture)).collect()
    }

    /// Sends deferred requests there. Until then they are dropped as [`aoe_target::DropReason::DeferredFull`].
    pub fn defer_to(&mut self, sender: DeferredSender) {
        self.requests.defer_to(sender);
    }

    /// Answers a deferred request from `state_reply` and the state published last.
    pub fn complete_deferred(&mut self, request: Deferred, state_reply: StateReply) {
        self.requests.complete_deferred(&mut self.queues, request, state_reply);
    }

    /// Takes no new requests from now on; those in flight, and those that other lcores have handed over, are still
    /// answered by further turns.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.requests.cancel_fanouts();
        self.requests.lift_all_limits();
    }

    /// Whether [`Lcore::stop`] was called, nothing is in flight, and every reply has left: also those of other lcores that
    /// leave by a queue of this one, so all of these must have stopped.
    pub fn is_idle(&self) -> bool {
        self.stopping && self.has_answered() && !self.queues.iter().any(PortQueue::awaits_replies)
    }

    /// Requests that bdevs have now.
    pub fn in_flight(&self) -> u32 {
        self.requests.bdevs.in_flight()
    }

    /// All counters now. Visits every export, so it is for tests; the control plane takes the two parts below.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { exports: self.requests.exports.counters().collect(), ..self.counters() }
    }

    /// Writes the counters of the exports of a slice into it. Does not allocate.
    pub fn count_exports(&self, slice: &mut ExportSlice) {
        slice.fill(|id| self.requests.exports.counters_of(id));
    }

    /// The counters now, but for those of exports. Allocates for the few port queues: for the control plane, at its pace.
    pub fn counters(&self) -> Snapshot {
        let bdevs = &self.requests.bdevs;
        Snapshot {
            queues: self.queues.iter().map(PortQueue::stats).collect(),
            exports: Vec::new(),
            owned: self.requests.exports.owned(),
            in_flight: bdevs.in_flight(),
            bdev_waits: bdevs.waits(),
            bounced: bdevs.bounced(),
            compare_faults: bdevs.compare_faults(),
            turns: self.turns,
            busy_turns: self.busy_turns,
        }
    }
}
