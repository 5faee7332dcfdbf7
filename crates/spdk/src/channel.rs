//! submit, complete: the boundary to the bdevs. An [`IoChannel`] takes requests, a [`CompletionQueue`] gives them back.
//!
//! # Contract
//!
//! The caller hands over a frame and an [`Io`] in sectors of 512 bytes. It need not know the bdev's block size, its
//! alignment, or how it flushes; and it need not check what may change until the I/O runs.
//!
//! | Condition | Who checks | If it does not hold |
//! | --- | --- | --- |
//! | the range lies within the export | the caller, since an export may be a part of a bdev: this boundary knows bdevs only | another export's data |
//! | the range lies within the bdev | SPDK, when the I/O runs: the bdev may have shrunk since the caller looked | [`Outcome::OutOfRange`] |
//! | first + count does not overflow | the caller: its range lies within an export, whose end is below 2^48 sectors | wrapped, then as above |
//! | the frame holds the data from `payload` on, in at most [`crate::MAX_SEGMENTS`] segments | [`IoChannel::submit`]: lengths come from the wire | [`Outcome::Aborted`] |
//! | the data lies at the bdev's alignment | SPDK, which copies through a buffer of its own if not; counted by [`CompletionQueue::bounced`] | slower |
//! | the range is whole blocks | [`IoChannel::submit`], which else takes `sector_io`, by way of a buffer | slower |
//! | a write of part blocks leaves the other sectors as they are | `sector_io`, by compare-and-write, again if another writer was faster | [`Outcome::DeviceFault`] where the bdev's compare does not work, counted by [`CompletionQueue::compare_faults`] |
//! | [`IoKind::WriteFua`]: the drive keeps FUA, one command carries the write | the caller, by [`crate::BdevInfo::fua`] and [`IoChannel::can_force`] | [`Outcome::Aborted`] |
//! | [`IoKind::Flush`]: the bdev has a way to flush | the descriptor, when it was opened ([`crate::FlushMethod`]) | [`Outcome::Aborted`], never Done |
//! | writes completed before a flush are on stable media after it | the bdev kind's entry in `durability` | data loss at power failure |
//! | SPDK has memory for the I/O | SPDK; without, the request waits here and is tried on each turn | counted by [`CompletionQueue::waits`] |
//! | a request whose time is over ([`crate::Pending::abort`]) comes back early | the bdev, where [`crate::BdevInfo::aborts`] says so | it comes back when its I/O ends |
//! | the call is on the SPDK thread that opened the channel | [`IoChannel::submit`], by the caller's [`CurrentThread`]: the types are not `Send`, and a reactor may run several SPDK threads | the frame comes back, and the request is answered with a device fault |
//!
//! In exchange the caller may rely on this: every request for which `submit` returns Ok comes back exactly once by
//! [`CompletionQueue::poll`], on the same thread, never from within `submit`, with the frame it was submitted with.
//! Requests are not ordered among each other; a flush covers the writes that came back before it was submitted.
//!
//! # Errors, and what the initiator gets
//!
//! An outcome is about the disk, so it becomes ATA registers and never an AoE error: Linux retransmits for minutes on the
//! latter and fails the I/O at once on the former.
//!
//! | Outcome | Causes | ATA registers: status, error |
//! | --- | --- | --- |
//! | [`Outcome::Done`] | | 40h, 00h |
//! | [`Outcome::OutOfRange`] | EINVAL of a read or write, NVMe LBA Out of Range | 41h, 10h (IDNF) |
//! | [`Outcome::MediaError`] | NVMe's media errors | of a read 41h, 40h (UNC); else 61h, 04h (device fault) |
//! | [`Outcome::Aborted`] | any other refusal of a submission; NVMe invalid opcode or field, aborted, write protected | 41h, 04h (ABRT) |
//! | [`Outcome::DeviceFault`] | all else: a failed fdatasync, a broken compare-and-write, internal errors | 61h, 04h (device fault) |
//!
//! A bdev that is gone has no channel: its requests are answered with a device fault before they come here.

use std::{cell::Cell, fmt, marker::PhantomData, ptr::NonNull};

use dpdk::Mbuf;

use crate::{
    Bdev, CurrentThread, FlushMethod, Thread,
    closing::Closing,
    error::{ChannelError, EINVAL, ENOMEM, Error, Result},
    fdsync::{FdSync, FileSyncs},
    file_flush,
    in_flight::{Channel, QueueHead, Slot, Submitted, ended},
    in_flight_table::InFlightTable,
    io::{Io, IoKind, Outcome},
    other_io,
    pending::Pending,
    sector_io,
    sectors::{BlockSize, Blocks, Sectors},
};

/// One SPDK thread's way into a bdev.
///
/// Not `Send`: it belongs to the thread that opened it. Dropped with I/O in flight, it stays open; with aborts in flight, until
/// these have ended.
pub struct IoChannel {
    inner: NonNull<Channel>,
}

impl IoChannel {
    /// A way into `bdev` for the current SPDK thread, whose requests come back by `queue`. Allocates.
    ///
    /// # Errors
    /// [`ChannelError::BlockSize`] for a bdev whose blocks are not 512, 1024, 2048 or 4096 bytes. `EINVAL` outside an SPDK thread;
    /// `ENOMEM` if the bdev can't make one (removed, or out of resources), or without memory for the buffers of sector I/O.
    pub fn open<C: Copy>(bdev: &Bdev, queue: &CompletionQueue<C>) -> std::result::Result<Self, ChannelError> {
        let failed = Error { call: "spdk_bdev_get_io_channel", errno: ENOMEM };
        let owner = Thread::current().ok_or(Error { errno: EINVAL, ..failed })?;
        let bytes = bdev.info().block_size;
        let block_size = BlockSize::new(bytes).ok_or(ChannelError::BlockSize(bytes))?;
        if block_size.sectors() > 1 {
            queue.inner().sector_buffers.make()?;
        }
        let desc = bdev.inner.raw();
        // SAFETY: spdk_bdev_get_io_channel (spdk/bdev.h) takes an open descriptor, which `bdev` keeps, on an SPDK thread, which
        // this is.
        let raw = unsafe { spdk_sys::spdk_bdev_get_io_channel(desc) };
        let raw = NonNull::new(raw).ok_or(failed)?;
        // SPDK's largest is far below 4 GiB.
        let alignment = u32::try_from(bdev.info().alignment).unwrap_or(u32::MAX);
        let mut fdsync = queue.inner().fdsync.borrow_mut();
        let channel = Channel {
            raw,
            desc,
            block_size,
            alignment,
            in_flight: Cell::new(0),
            is_kernels: bdev.info().flush == FlushMethod::FileSync,
            groups: bdev.inner.files.iter().map(|file| fdsync.join(file)).collect(),
            is_dropped: Cell::new(false),
            aborting: Cell::new(0),
            bdev: bdev.clone(),
            owner,
        };
        Ok(Self { inner: NonNull::from(Box::leak(Box::new(channel))) })
    }

    fn inner(&self) -> &Channel {
        // SAFETY: `open` leaked it, and only `drop` frees it or leads to that.
        unsafe { self.inner.as_ref() }
    }

    /// I/Os in flight, aborts of others included.
    pub fn in_flight(&self) -> u32 {
        let channel = self.inner();
        channel.in_flight.get() + channel.aborting.get()
    }

    /// Whether the bdev has a way to flush: without one, [`IoKind::Flush`] ends with [`Outcome::Aborted`].
    #[must_use]
    pub fn can_flush(&self) -> bool {
        self.inner().bdev.info().flush != FlushMethod::Impossible
    }

    /// Whether one command carries a write of these sectors from `frame`, so that it can be an [`IoKind::WriteFua`].
    #[inline]
    #[must_use]
    pub fn can_force(&self, sectors: Sectors, frame: &Mbuf) -> bool {
        frame.segments() == 1 && self.inner().block_size.exact(sectors).is_some()
    }

    /// Starts `io` on the bytes of `frame`, and keeps frame and `context` until `queue` gives them back: see the
    /// contract of this module. A read's frame must be as long as its data asks for.
    ///
    /// # Errors
    /// The frame, on another SPDK thread than the channel's, if its mempool's private areas are smaller than
    /// [`private_size`](crate::private_size), or if the queue has as many requests in flight as it was made for.
    #[inline(always)]
    pub fn submit<C: Copy>(
        &self,
        thread: CurrentThread<'_>,
        queue: &CompletionQueue<C>,
        io: Io,
        frame: Mbuf,
        context: C,
    ) -> std::result::Result<(), Mbuf> {
        let channel = self.inner();
        // A reactor runs several SPDK threads on one thread of the system, so `!Send` alone does not keep others out.
        if !thread.is(&channel.owner) {
            return Err(frame);
        }
        let Some(place) = queue.inner().in_flight.next() else { return Err(frame) };
        let mut request = Submitted::new(frame, queue.head, self.inner, io, place.index, context)?;
        place.take(request.arg());
        channel.in_flight.set(channel.in_flight.get() + 1);
        if channel.is_kernels {
            queue.inner().kernel_io.started();
        }
        // Apart from all others, whose cases are not looked at then: a read or write of whole blocks, by one iovec.
        if (io.kind == IoKind::Read || io.kind == IoKind::Write)
            && let Some(blocks) = channel.block_size.exact(io.sectors)
            && let Some(address) = request.cover_piece(usize::from(io.payload), io.sectors.bytes())
        {
            if channel.bounces(address) {
                queue.inner().count_bounced();
            }
            transfer(request, channel, io.kind == IoKind::Write, blocks);
        } else {
            start_covered(request);
        }
        Ok(())
    }
}

impl Drop for IoChannel {
    fn drop(&mut self) {
        if self.inner().in_flight.get() > 0 {
            return;
        }
        if self.inner().aborting.get() > 0 {
            return self.inner().is_dropped.set(true);
        }
        let closing = Closing(self.inner);
        let owner = &self.inner().owner;
        if owner.is_current() {
            closing.close();
        } else {
            // Without its thread the channel stays, and with it the descriptor.
            owner.clone().send(move || closing.close()).unwrap_or_default();
        }
    }
}

impl fmt::Debug for IoChannel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("IoChannel")
            .field("bdev", &self.inner().bdev)
            .field("in_flight", &self.in_flight())
            .finish()
    }
}

/// Covers the bytes that an I/O moves, and starts it.
#[cold]
#[inline(never)]
fn start_covered(mut request: Submitted) {
    let (io, channel) = (request.header().io, request.channel());
    let (bytes, blocks) = channel.extent(io);
    let Some(addresses) = request.cover(usize::from(io.payload), bytes) else {
        return request.finish(Outcome::Aborted);
    };
    // `sector_io` counts what it sends from the frame.
    if matches!(io.kind, IoKind::Read | IoKind::Write) && blocks.is_some() && channel.bounces(addresses) {
        request.queue().count_bounced();
    }
    start(request);
}

/// Hands a read or write of whole blocks to the bdev.
#[inline(always)]
fn transfer(mut request: Submitted, channel: &Channel, is_write: bool, blocks: Blocks) {
    let (desc, ch) = channel.handles();
    let (iov, iov_count) = (request.header_mut().iovs(), request.header().iov_count);
    let Blocks { first, count } = blocks;
    let arg = request.into_arg();
    // The conditions of both calls (spdk/bdev.h): the descriptor and the channel are open, since the channel stays while I/O is in
    // flight on it; this is the channel's thread, which `submit` checks and on which the queue tries again; the iovecs, in
    // the request's header, and the bytes they point to stay until `ended` runs, which gets `arg` once. SPDK checks the range
    // itself.
    let code = if is_write {
        // SAFETY: as above.
        unsafe { spdk_sys::spdk_bdev_writev_blocks(desc, ch, iov, iov_count, first, count, Some(ended), arg) }
    } else {
        // SAFETY: as above.
        unsafe { spdk_sys::spdk_bdev_readv_blocks(desc, ch, iov, iov_count, first, count, Some(ended), arg) }
    };
    if code != 0 {
        // SAFETY: on an error SPDK has not taken the request, so `ended` does not get it.
        unsafe { Submitted::from_arg(arg) }.refused(code);
    }
    // Else the request is the bdev's, and may have ended already.
}

/// Hands a request to the bdev, or to those that wait.
fn start(request: Submitted) {
    let (io, channel) = (request.header().io, request.channel());
    match (io.kind, channel.extent(io).1) {
        (IoKind::Read | IoKind::Write, Some(blocks)) => {
            transfer(request, channel, io.kind == IoKind::Write, blocks);
        }
        (IoKind::Read | IoKind::Write, None) => sector_io::start(request),
        (_, blocks) => other_io::start(request, blocks),
    }
}

/// A request that has ended, with what was submitted.
#[derive(Debug)]
pub struct Completed<C> {
    frame: Mbuf,
    /// In the private area of `frame`.
    slot: NonNull<Slot<C>>,
}

impl<C: Copy> Completed<C> {
    /// How it ended.
    #[inline(always)]
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        // SAFETY: `poll` found the slot there. It stays as long as the mbuf, which self owns; nobody else writes it.
        let outcome = unsafe { self.slot.as_ref() }.header.outcome;
        // `finish` has set it.
        outcome.unwrap_or(Outcome::Aborted)
    }

    /// What was passed to submit, where it lies: a field that is not looked at is not read.
    #[inline(always)]
    #[must_use]
    pub fn context(&self) -> &C {
        // SAFETY: as in `outcome`.
        &unsafe { self.slot.as_ref() }.context
    }

    /// The frame: a read's data is in it.
    #[inline(always)]
    #[must_use]
    pub fn frame(&self) -> &Mbuf {
        &self.frame
    }

    /// The frame, which is the caller's again.
    #[inline(always)]
    #[must_use]
    pub fn into_frame(self) -> Mbuf {
        self.frame
    }
}

/// One lcore's requests in flight, and those that have ended.
///
/// Not `Send`: requests come back on the thread that submitted them. Dropped with requests in flight, its memory stays.
pub struct CompletionQueue<C> {
    head: NonNull<QueueHead>,
    _this_thread: PhantomData<*mut C>,
}

impl<C: Copy> CompletionQueue<C> {
    /// A queue for the current thread, with at most `capacity` requests in flight.
    ///
    /// # Errors
    /// io_setup(2)'s: `EAGAIN` when fs.aio-max-nr is used up.
    pub fn new(capacity: usize) -> Result<Self> {
        let table = InFlightTable::new(capacity);
        let head = Box::new(QueueHead::new(FdSync::open()?, table));
        Ok(Self { head: NonNull::from(Box::leak(head)), _this_thread: PhantomData })
    }

    #[inline]
    fn inner(&self) -> &QueueHead {
        // SAFETY: `new` leaked it, and only `drop` frees it.
        unsafe { self.head.as_ref() }
    }

    /// Requests submitted and not yet given back by [`CompletionQueue::poll`].
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.inner().in_flight.count()
    }

    /// Calls `look` with the request that has this index among those in flight; `None` if none has. It keeps its index until another
    /// one ends.
    pub fn look_at<R>(&mut self, index: u32, look: impl FnOnce(&Pending<'_, C>) -> R) -> Option<R> {
        let arg = self.inner().in_flight.get(index)?;
        // SAFETY: as in `for_each_in_flight`.
        Some(look(&unsafe { Pending::new(arg) }))
    }

    /// Calls `look` with each request in flight, by their indices from 0 on. Those that have ended and wait for
    /// [`CompletionQueue::poll`] are among them.
    pub fn for_each_in_flight(&mut self, mut look: impl FnMut(&mut Pending<'_, C>)) {
        self.inner().in_flight.for_each(|arg| {
            // SAFETY: the table has the arguments of requests in flight, and a queue's requests all have its context
            // type. `self` is borrowed mutably, so none is submitted or given back meanwhile, and there is no other way to them.
            look(&mut unsafe { Pending::new(arg) });
        });
    }

    /// How often a request was put off to the next turn for want of SPDK's memory.
    pub fn waits(&self) -> u64 {
        self.inner().waits.get()
    }

    /// Reads and writes of whole blocks whose bytes did not lie at the bdev's alignment
    /// ([`crate::BdevInfo::alignment`]), so that SPDK copied them through a buffer of its own.
    pub fn bounced(&self) -> u64 {
        self.inner().bounced.get()
    }

    /// The fdatasyncs of files so far, and the flushes that they answered.
    pub fn file_syncs(&self) -> FileSyncs {
        self.inner().fdsync.borrow().counts
    }

    /// Writes of a part of a block that failed because the bdev says that the block has changed when it has not: it can't carry
    /// out the compare that it claims to.
    pub fn compare_faults(&self) -> u64 {
        self.inner().compare_faults.get()
    }

    /// Drives work that has no callback: retries requests that got ENOMEM, polls fdatasync completions. Once a turn,
    /// before [`CompletionQueue::poll`].
    #[inline]
    pub fn advance(&self) {
        let head = self.inner();
        file_flush::advance(head);
        sector_io::advance(head);
        if !head.waiting.is_empty() {
            self.retry();
        }
    }

    #[cold]
    fn retry(&self) {
        // What has to wait again goes into the emptied list, for the next turn.
        let waiting = self.inner().waiting.take();
        while let Some(request) = waiting.pop() {
            if request.header().cancelled {
                request.finish(Outcome::Aborted);
            } else {
                start(request);
            }
        }
    }

    /// The next request that has ended, in the order they ended. When there is none, the flushes of files are submitted
    /// that came since.
    #[inline]
    pub fn poll(&self) -> Option<Completed<C>> {
        let head = self.inner();
        let Some(request) = head.ended.pop() else {
            // All completions of this turn have been looked at: the flushes that follow from them share an fdatasync.
            file_flush::submit(head);
            return None;
        };
        head.leave(&request);
        // `Submitted::new` put a Slot<C> there, which the header is the first of (repr(C)): a queue's requests all have its
        // context type. C is Copy, so the slot may be forgotten.
        let slot = request.place().cast::<Slot<C>>();
        // SAFETY: the request was in the list of ended ones, which `finish` fills, so no bdev has it.
        let frame = unsafe { request.into_frame() };
        Some(Completed { frame, slot })
    }
}

impl<C> Drop for CompletionQueue<C> {
    fn drop(&mut self) {
        // SAFETY: `new` leaked it, and this is the only place that frees it.
        if unsafe { self.head.as_ref() }.in_flight.count() > 0 {
            return;
        }
        // SAFETY: `new` leaked it. No request is in flight, so none points here.
        drop(unsafe { Box::from_raw(self.head.as_ptr()) });
    }
}

impl<C> fmt::Debug for CompletionQueue<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CompletionQueue").finish_non_exhaustive()
    }
}
