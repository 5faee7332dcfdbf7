//! What is behind an export on an lcore: its channel into the bdev, its requests in flight, and how its writes become durable.

use aoe_target::ExportCounters;
use dpdk::Mbuf;
use spdk::{BdevInfo, CompletionQueue, CurrentThread, FlushMethod, Io, IoChannel};

use crate::{
    budget::{Load, Progress},
    deadline::Timeout,
    inflight::InFlight,
};

/// How a write becomes durable before its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyncPolicy {
    /// By itself, or not at all: a flush would do nothing.
    Nothing,
    /// By a flush after it.
    Flush,
    /// By NVMe's FUA bit, or a flush where one command does not carry the write.
    Fua,
}

impl SyncPolicy {
    pub(crate) fn of(info: &BdevInfo) -> Self {
        match info.flush {
            FlushMethod::Nothing => Self::Nothing,
            FlushMethod::NvmeCommand if info.fua => Self::Fua,
            // An impossible flush fails the write.
            FlushMethod::NvmeCommand
            | FlushMethod::FileSync
            | FlushMethod::Bdev
            | FlushMethod::Impossible => Self::Flush,
        }
    }
}

/// What is behind an export. The fields of a read or write come first, in one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Backing {
    /// `None` once the bdev is gone.
    channel: Option<IoChannel>,
    /// What its bdev needs.
    needed_sync: SyncPolicy,
    /// What is done before a write is answered: nothing while a volatile cache is allowed.
    sync: SyncPolicy,
    load: Load,
    timeout: Timeout,
    /// The lcore that owns the export, if it is another one. Its load says so, too.
    owner: Option<u16>,
    counters: ExportCounters,
    /// What the bdev has completed, for the budget.
    progress: Progress,
    overdue: Overdue,
}

/// An export's requests that its bdev has and that were answered past their deadline.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Overdue {
    pub(crate) requests: u32,
    /// The TSC when there was none before.
    pub(crate) since: u64,
}

// Written for each request. There are many exports, so each has a cache line of its own, and not a pair.
const _: () = assert!(align_of::<Option<Backing>>() == 64 && size_of::<Option<Backing>>().is_multiple_of(64));

impl Backing {
    /// `owner`: the lcore that owns the export, if it is another one.
    pub(crate) fn new(channel: IoChannel, info: &BdevInfo, timeout: Timeout, owner: Option<u16>) -> Self {
        let mut load = Load::default();
        if owner.is_some() {
            load.set_elsewhere();
        }
        Self {
            channel: Some(channel),
            needed_sync: SyncPolicy::of(info),
            sync: SyncPolicy::Nothing,
            load,
            timeout,
            owner,
            counters: ExportCounters::default(),
            progress: Progress::default(),
            overdue: Overdue::default(),
        }
    }

    /// Its way into the bdev; `None` once that is gone.
    #[inline]
    pub(crate) fn channel(&self) -> Option<&IoChannel> {
        self.channel.as_ref()
    }

    /// What is done before a write is answered.
    #[inline]
    pub(crate) fn sync(&self) -> SyncPolicy {
        self.sync
    }

    /// Decides again what is done before a write is answered: when the export's state changes, not for each write.
    pub(crate) fn set_sync(&mut self, syncs_writes: bool) {
        self.sync = if syncs_writes { self.needed_sync } else { SyncPolicy::Nothing };
    }

    /// Whether completed writes may be in a volatile cache that a flush empties.
    pub(crate) fn holds_volatile_writes(&self) -> bool {
        self.sync == SyncPolicy::Nothing
            && self.needed_sync != SyncPolicy::Nothing
            && self.channel().is_some_and(IoChannel::can_flush)
    }

    /// Has its requests go by another channel. Nothing is in flight on the one before, so it closes.
    pub(crate) fn exchange(&mut self, channel: IoChannel, needed_sync: SyncPolicy) {
        (self.channel, self.needed_sync) = (Some(channel), needed_sync);
    }

    /// Its bdev has another time for a request.
    pub(crate) fn set_timeout(&mut self, timeout: Timeout) {
        self.timeout = timeout;
    }

    /// Has its requests go to a bdev that has come back.
    pub(crate) fn attach(&mut self, channel: IoChannel, info: &BdevInfo) {
        self.channel = Some(channel);
        self.needed_sync = SyncPolicy::of(info);
    }

    /// Whether nothing is in flight: no request, and nothing else on its channel.
    pub(crate) fn is_idle(&self) -> bool {
        self.load.in_flight() == 0 && self.channel().is_none_or(|channel| channel.in_flight() == 0)
    }

    /// Closes the channel, on which nothing is in flight: the bdev is gone.
    pub(crate) fn close(&mut self) {
        self.channel = None;
    }

    #[inline]
    pub(crate) fn counters(&mut self) -> &mut ExportCounters {
        &mut self.counters
    }

    /// The counters so far.
    pub(crate) fn counted(&self) -> ExportCounters {
        self.counters
    }

    /// Counts a request that is now in flight, at the bdev or in the control plane, until [`Backing::ended`].
    #[inline]
    pub(crate) fn started(&mut self) {
        self.load.started();
    }

    /// A request is no longer in flight: it is being answered.
    #[inline]
    pub(crate) fn ended(&mut self) {
        self.load.ended();
    }

    /// The time that its bdev has for a request.
    #[inline(always)]
    pub(crate) fn timeout(&self) -> Timeout {
        self.timeout
    }

    /// The number of the lcore that owns the export, if it is another one: its requests to the bdev are handed over. The
    /// budget is short then ([`crate::budget::Room::is_short`]), so that a request to an own export does not look here.
    pub(crate) fn owner_elsewhere(&self) -> Option<u16> {
        self.owner
    }

    /// Its requests that were answered past their deadline.
    pub(crate) fn overdue(&self) -> Overdue {
        self.overdue
    }

    /// A request was answered past its deadline. True if it is the only one.
    pub(crate) fn expired(&mut self, tsc: u64) -> bool {
        self.counters.timeouts += 1;
        self.overdue.requests += 1;
        let is_first = self.overdue.requests == 1;
        if is_first {
            self.overdue.since = tsc;
        }
        is_first
    }

    /// The bdev has answered such a request. True if there is none left.
    pub(crate) fn answered_late(&mut self) -> bool {
        self.counters.late_completions += 1;
        self.overdue.requests -= 1;
        self.overdue.requests == 0
    }

    /// Its requests in flight, as the budget sees them.
    #[inline(always)]
    pub(crate) fn load(&self) -> Load {
        self.load
    }

    /// Says whether requests in flight were admitted before a fence.
    pub(crate) fn set_fenced(&mut self, fenced: bool) {
        self.load.set_fenced(fenced);
    }

    /// Says whether its rates are limited.
    pub(crate) fn set_limited(&mut self, limited: bool) {
        self.load.set_limited(limited);
    }

    /// Says whether its requests are timed.
    pub(crate) fn set_timed(&mut self, timed: bool) {
        self.load.set_timed(timed);
    }

    /// Says whether the requests of each initiator are counted.
    pub(crate) fn set_tracked(&mut self, tracked: bool) {
        self.load.set_tracked(tracked);
    }

    /// Whether its bdev has completed something lately: within `recent` ticks of the TSC before `now`.
    pub(crate) fn is_well(&mut self, now: u64, recent: u64) -> bool {
        let completed = self.counters.completions();
        self.load.in_flight() == 0 || self.progress.is_recent(completed, now, recent)
    }

    /// Hands an I/O to the bdev.
    ///
    /// # Errors
    /// The frame, if the bdev is gone, or on another SPDK thread than the lcore's.
    #[inline(always)]
    pub(crate) fn submit(
        &self,
        thread: CurrentThread<'_>,
        bdevs: &CompletionQueue<InFlight>,
        io: Io,
        frame: Mbuf,
        context: InFlight,
    ) -> Result<(), Mbuf> {
        match &self.channel {
            Some(channel) => channel.submit(thread, bdevs, io, frame, context),
            None => Err(frame),
        }
    }
}
