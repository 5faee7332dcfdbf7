//! complete: where an lcore takes its requests back from the bdevs.

use std::{
    cell::{Cell, RefCell},
    ffi::{c_int, c_void},
    fmt,
    marker::PhantomData,
    mem::{self, MaybeUninit},
    ptr::{self, NonNull},
};

use dpdk::Mbuf;

use crate::{
    Io, MAX_SEGMENTS, Outcome,
    channel::{Channel, retry, synced},
    error::Result,
    fdsync::FdSync,
    rmw::Bounces,
};

/// fdatasyncs one lcore can have under way.
const FDSYNC_DEPTH: u32 = 64;

/// A request while a bdev has it: lives in its mbuf's private area, so that submitting allocates nothing.
#[repr(C)]
pub(crate) struct Header {
    /// The next in the queue's list of ended or waiting requests.
    pub(crate) next: *mut c_void,
    pub(crate) queue: NonNull<QueueHead>,
    pub(crate) channel: NonNull<Channel>,
    pub(crate) io: Io,
    pub(crate) outcome: Outcome,
    pub(crate) iov_count: c_int,
    /// The first `iov_count` are written.
    pub(crate) iov: [MaybeUninit<spdk_sys::iovec>; MAX_SEGMENTS],
}

#[repr(C)]
pub(crate) struct Slot<C> {
    pub(crate) header: Header,
    pub(crate) context: C,
}

/// Bytes of private area that an mbuf needs for requests with context `C`: a multiple of 8, as mempools want.
pub const fn private_size<C>() -> u16 {
    let size = mem::size_of::<Slot<C>>().next_multiple_of(8);
    assert!(size <= 1024);
    #[expect(clippy::cast_possible_truncation, reason = "at most 1024")]
    let size = size as u16;
    size
}

impl<C> Slot<C> {
    /// The place for this state in `frame`'s private area, if it is large enough.
    #[inline]
    pub(crate) fn of(frame: &Mbuf) -> Option<NonNull<Self>> {
        const { assert!(mem::align_of::<Self>() <= 8, "a mempool's private areas are 8-byte aligned") };
        let (area, size) = frame.private_area();
        (size >= mem::size_of::<Self>()).then(|| area.cast())
    }
}

impl Header {
    #[inline]
    pub(crate) fn new(queue: NonNull<QueueHead>, channel: NonNull<Channel>, io: Io) -> Self {
        Self {
            next: ptr::null_mut(),
            queue,
            channel,
            io,
            outcome: Outcome::Aborted,
            iov_count: 0,
            iov: [const { MaybeUninit::uninit() }; MAX_SEGMENTS],
        }
    }

    /// Points the iovecs at `bytes` bytes of the frame from `offset` on. False if it does not hold them, or in
    /// more than [`MAX_SEGMENTS`] segments.
    #[inline(always)]
    pub(crate) fn cover(&mut self, frame: &Mbuf, offset: usize, bytes: u64) -> bool {
        let Ok(mut left) = usize::try_from(bytes) else { return false };
        let mut skip = offset;
        let mut count = 0;
        for (start, length) in frame.segments_raw() {
            if left == 0 {
                break;
            }
            if skip >= length {
                skip -= length;
                continue;
            }
            let Some(iov) = self.iov.get_mut(count) else { return false };
            let covered = (length - skip).min(left);
            iov.write(spdk_sys::iovec { iov_base: start.wrapping_add(skip).cast(), iov_len: covered });
            left -= covered;
            skip = 0;
            count += 1;
        }
        self.iov_count = c_int::try_from(count).unwrap_or(0);
        left == 0
    }
}

impl Header {
    /// Whether SPDK copies these bytes through a bounce buffer for a bdev that wants `alignment` (a power of two): by
    /// the rule of `_are_iovs_aligned` (lib/bdev/bdev.c), which does so for all of an I/O if one address is not a
    /// multiple.
    #[inline(always)]
    pub(crate) fn bounces(&self, alignment: u32) -> bool {
        let count = usize::try_from(self.iov_count).unwrap_or(0);
        let mask = alignment.wrapping_sub(1) as usize;
        // SAFETY: the first `iov_count` are written.
        self.iov.iter().take(count).any(|iov| unsafe { iov.assume_init_ref() }.iov_base.addr() & mask != 0)
    }
}

/// A singly linked list through the headers of requests.
pub(crate) struct List {
    first: Cell<*mut c_void>,
    last: Cell<*mut c_void>,
}

impl List {
    pub(crate) const fn new() -> Self {
        Self { first: Cell::new(ptr::null_mut()), last: Cell::new(ptr::null_mut()) }
    }

    /// # Safety
    /// `mbuf` holds a request that is in no list.
    #[inline]
    pub(crate) unsafe fn push(&self, mbuf: *mut c_void) {
        if self.first.get().is_null() {
            self.first.set(mbuf);
        } else {
            // SAFETY: what is in the list are requests' mbufs.
            unsafe { (*header(self.last.get())).next = mbuf };
        }
        self.last.set(mbuf);
        // SAFETY: the caller's promise.
        unsafe { (*header(mbuf)).next = ptr::null_mut() };
    }

    /// Empties the list, and returns its first.
    fn take(&self) -> *mut c_void {
        self.first.replace(ptr::null_mut())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.get().is_null()
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<NonNull<c_void>> {
        let first = NonNull::new(self.first.get())?;
        // SAFETY: what is in the list are requests' mbufs.
        self.first.set(unsafe { (*header(first.as_ptr())).next });
        Some(first)
    }
}

/// Where the state of the request in `mbuf` is: in its private area, which follows its header. Submitting puts it
/// there; it may be read and written until the request is given back, by the one who has it then (the bdev's
/// callback, or the queue), through this pointer alone and not through references that outlive a call.
#[inline]
pub(crate) fn header(mbuf: *mut c_void) -> *mut Header {
    mbuf.cast::<dpdk_sys::rte_mbuf>().wrapping_add(1).cast()
}

/// The part of a completion queue that requests point to, at a fixed address. Written for each request, so it shares no
/// cache line with what another lcore has on the heap; nor the line beside it, which CPUs fetch along.
#[repr(align(128))]
pub(crate) struct QueueHead {
    ended: List,
    waiting: List,
    under_way: Cell<u32>,
    waits: Cell<u64>,
    bounced: Cell<u64>,
    fdsync: RefCell<FdSync>,
    pub(crate) bounces: Bounces,
}

const _: () = {
    // Both are written for each request, each in an allocation of its own.
    assert!(mem::align_of::<QueueHead>() == 128 && mem::size_of::<QueueHead>().is_multiple_of(128));
    assert!(mem::align_of::<Channel>() == 64 && mem::size_of::<Channel>().is_multiple_of(64));
};

impl QueueHead {
    /// Takes an ended request.
    #[inline]
    pub(crate) fn push(&self, mbuf: *mut c_void) {
        // SAFETY: `channel::finish` passes a submitted mbuf, once.
        unsafe { self.ended.push(mbuf) };
    }

    /// Starts a request again on the next poll.
    pub(crate) fn retry_later(&self, mbuf: *mut c_void) {
        // SAFETY: `channel::start` passes a submitted mbuf that nothing else holds.
        unsafe { self.waiting.push(mbuf) };
    }

    pub(crate) fn count_wait(&self) {
        self.waits.set(self.waits.get() + 1);
    }

    /// Counts an I/O that SPDK copies.
    #[inline]
    pub(crate) fn count_bounced(&self) {
        self.bounced.set(self.bounced.get() + 1);
    }

    /// Starts an fdatasync whose end [`crate::channel::synced`] hears of. Returns 0 or a negative errno.
    pub(crate) fn fdatasync(&self, fd: c_int, mbuf: *mut c_void) -> c_int {
        // SAFETY: `synced` takes a submitted mbuf, once, and `channel::flush` passes one.
        unsafe { self.fdsync.borrow_mut().submit(fd, mbuf) }
    }
}

/// A request that has ended, with what was submitted.
#[derive(Debug)]
pub struct Completed<C> {
    /// The frame: a read's data is in it.
    pub frame: Mbuf,
    /// What was passed to submit.
    pub context: C,
    /// What it did.
    pub io: Io,
    /// How it ended.
    pub outcome: Outcome,
}

/// One lcore's requests that its bdevs have, and those they have finished.
///
/// Not `Send`: requests come back on the thread that submitted them. Dropped with requests under way, its
/// memory stays.
pub struct CompletionQueue<C> {
    head: NonNull<QueueHead>,
    _this_thread: PhantomData<*mut C>,
}

impl<C: Copy> CompletionQueue<C> {
    /// A queue for the current thread.
    ///
    /// # Errors
    /// What io_setup(2) says, `EAGAIN` when fs.aio-max-nr is used up.
    pub fn new() -> Result<Self> {
        let head = Box::new(QueueHead {
            ended: List::new(),
            waiting: List::new(),
            under_way: Cell::new(0),
            waits: Cell::new(0),
            bounced: Cell::new(0),
            fdsync: RefCell::new(FdSync::open(FDSYNC_DEPTH, synced)?),
            bounces: Bounces::none(),
        });
        Ok(Self { head: NonNull::from(Box::leak(head)), _this_thread: PhantomData })
    }

    fn inner(&self) -> &QueueHead {
        // SAFETY: leaked by `new`, freed by `drop` only.
        unsafe { self.head.as_ref() }
    }

    /// Makes ready for [`crate::IoKind::ReadSectors`] and [`crate::IoKind::WriteSectors`]: buffers of 768 KiB in all,
    /// once. Before the first such request; allocates.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn prepare_sectors(&self) -> Result<()> {
        self.inner().bounces.make()
    }

    /// Takes a request that starts now.
    #[inline]
    pub(crate) fn enter(&self) -> NonNull<QueueHead> {
        let under_way = &self.inner().under_way;
        under_way.set(under_way.get() + 1);
        self.head
    }

    /// Requests submitted and not yet given back by [`CompletionQueue::poll`].
    #[inline]
    pub fn under_way(&self) -> u32 {
        self.inner().under_way.get()
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

    /// Moves on what can't move by itself: requests that SPDK would not queue, and fdatasyncs. Once a turn,
    /// before [`CompletionQueue::poll`].
    #[inline]
    pub fn advance(&self) {
        let head = self.inner();
        head.fdsync.borrow_mut().poll();
        head.bounces.advance();
        if head.waiting.first.get().is_null() {
            return;
        }
        // What has to wait again goes into the emptied list, for the next turn.
        let mut next = head.waiting.take();
        while let Some(mbuf) = NonNull::new(next) {
            // SAFETY: what was in the list are requests' mbufs.
            next = unsafe { (*header(mbuf.as_ptr())).next };
            retry(mbuf);
        }
    }

    /// The next request that has ended, in the order they ended.
    #[inline]
    pub fn poll(&self) -> Option<Completed<C>> {
        let head = self.inner();
        let mbuf = head.ended.pop()?;
        head.under_way.set(head.under_way.get() - 1);
        let slot = header(mbuf.as_ptr()).cast::<Slot<C>>();
        // SAFETY: `submit` put a Slot<C> there, which the header is the first of (repr(C)): a queue's requests all
        // have its context type. C is Copy, so the slot may be forgotten.
        let (context, io, outcome) = unsafe { ((*slot).context, (*slot).header.io, (*slot).header.outcome) };
        // SAFETY: submit gave the mbuf up, and the bdev is done with it.
        let frame = unsafe { Mbuf::from_raw(mbuf.cast()) };
        Some(Completed { frame, context, io, outcome })
    }
}

impl<C> Drop for CompletionQueue<C> {
    fn drop(&mut self) {
        // SAFETY: leaked by `new`.
        if unsafe { self.head.as_ref() }.under_way.get() > 0 {
            return;
        }
        // SAFETY: no request points here any more.
        drop(unsafe { Box::from_raw(self.head.as_ptr()) });
    }
}

impl<C> fmt::Debug for CompletionQueue<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CompletionQueue").finish_non_exhaustive()
    }
}
