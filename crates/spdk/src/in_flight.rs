//! A request in flight: what it asks of its bdev, where its state lies, and what it points to.
//!
//! All state of a request in flight lies in the private area of its mbuf ([`Slot`]), so that submitting allocates
//! nothing. An mbuf in flight is a [`Submitted`]: the bdev may read and write its bytes, so none of this crate's safe
//! code reaches them; only the header in the private area is ours.

use std::{
    cell::{Cell, RefCell},
    ffi::{c_int, c_void},
    mem::{self, ManuallyDrop, MaybeUninit},
    ptr::NonNull,
    rc::Rc,
};

use dpdk::Mbuf;

use crate::{
    Bdev, HEALTH_LOG_BYTES, Thread,
    error::{EAGAIN, EINVAL, ENOMEM},
    fdsync::{FdSync, Group},
    in_flight_table::InFlightTable,
    io::{Io, IoKind, Outcome},
    kernel_io::KernelIo,
    sector_buffers::SectorBuffers,
    sectors::{BlockSize, Blocks},
};

/// Segments of an mbuf that one I/O can cover.
pub const MAX_SEGMENTS: usize = 8;

/// A channel's handles, at a fixed address while I/O is in flight. What every request reads comes first, in a cache line
/// of its own: with many exports it is seldom in the cache.
#[repr(C, align(64))]
pub(crate) struct Channel {
    pub(crate) raw: NonNull<spdk_sys::spdk_io_channel>,
    pub(crate) desc: *mut spdk_sys::spdk_bdev_desc,
    pub(crate) block_size: BlockSize,
    /// What the bdev wants buffers' addresses to be a multiple of.
    pub(crate) alignment: u32,
    pub(crate) in_flight: Cell<u32>,
    /// Its I/O is the kernel's: that of SPDK's aio module, which counts none itself.
    pub(crate) is_kernels: bool,
    /// Its handle was dropped with aborts in flight: the last one closes it.
    pub(crate) is_dropped: Cell<bool>,
    /// Aborts in flight, which are not among those above: they belong to no request.
    pub(crate) aborting: Cell<u32>,
    pub(crate) bdev: Bdev,
    /// Those of the files that a flush syncs, one after the other.
    pub(crate) groups: Box<[Rc<Group<List>>]>,
    /// A reactor runs several SPDK threads on one of the system's.
    pub(crate) owner: Thread,
}

impl Channel {
    /// Descriptor and channel, as SPDK's calls want them.
    #[inline]
    pub(crate) fn handles(&self) -> (*mut spdk_sys::spdk_bdev_desc, *mut spdk_sys::spdk_io_channel) {
        (self.desc, self.raw.as_ptr())
    }

    /// The bytes of the frame that an I/O moves, and its range in blocks, where it is whole blocks.
    pub(crate) fn extent(&self, io: Io) -> (usize, Option<Blocks>) {
        match io.kind {
            IoKind::Read | IoKind::Write | IoKind::WriteFua => {
                (io.sectors.bytes(), self.block_size.exact(io.sectors))
            }
            IoKind::Unmap => (0, self.block_size.inside(io.sectors)),
            IoKind::Health => (HEALTH_LOG_BYTES, None),
            IoKind::Flush => (0, None),
        }
    }

    /// Whether SPDK copies bytes through a bounce buffer that lie at these addresses, ORed: by the rule of
    /// `_are_iovs_aligned` (lib/bdev/bdev.c), which does so for all of an I/O if one address is not a multiple of what
    /// the bdev wants, a power of two.
    #[inline]
    pub(crate) fn bounces(&self, addresses: usize) -> bool {
        addresses & self.alignment.wrapping_sub(1) as usize != 0
    }
}

/// What this crate keeps of a request in flight.
#[repr(C)]
pub(crate) struct Header {
    /// The next in a [`List`].
    next: *mut c_void,
    pub(crate) queue: NonNull<QueueHead>,
    pub(crate) channel: NonNull<Channel>,
    pub(crate) io: Io,
    /// Files that a flush has synced.
    pub(crate) synced: usize,
    /// Its place in its queue's table of requests in flight.
    pub(crate) index: u32,
    /// `None` until it has ended.
    pub(crate) outcome: Option<Outcome>,
    /// Nobody waits for it: what the bdev does not have yet is not submitted any more.
    pub(crate) cancelled: bool,
    pub(crate) iov_count: c_int,
    /// The first `iov_count` are written.
    pub(crate) iov: [MaybeUninit<spdk_sys::iovec>; MAX_SEGMENTS],
}

/// A request's state in its mbuf's private area: ours, then the caller's context.
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

/// An mbuf in flight: given up by [`submit`](crate::IoChannel::submit) until [`poll`](crate::CompletionQueue::poll) gives it back.
///
/// Whoever has the token moves the request on: it is consumed by what hands the request to SPDK, to a list or back to
/// the caller, and comes into being again in SPDK's callback.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Submitted(NonNull<c_void>);

impl Submitted {
    /// Puts a request's state into its mbuf and gives the mbuf up. `None`, and the mbuf is as it was, if its private area
    /// is too small.
    #[inline(always)]
    pub(crate) fn new<C>(
        frame: Mbuf,
        queue: NonNull<QueueHead>,
        channel: NonNull<Channel>,
        io: Io,
        index: u32,
        context: C,
    ) -> std::result::Result<Self, Mbuf> {
        const { assert!(mem::align_of::<Slot<C>>() <= 8, "a mempool's private areas are 8-byte aligned") };
        let (area, size) = frame.private_area();
        if size < mem::size_of::<Slot<C>>() {
            return Err(frame);
        }
        let header = Header {
            next: std::ptr::null_mut(),
            queue,
            channel,
            io,
            synced: 0,
            index,
            outcome: None,
            cancelled: false,
            iov_count: 0,
            iov: [const { MaybeUninit::uninit() }; MAX_SEGMENTS],
        };
        // SAFETY: the private area is large enough and aligned, as was just seen, and belongs to this mbuf's owner.
        unsafe { area.cast::<Slot<C>>().write(Slot { header, context }) };
        Ok(Self(frame.into_raw().cast()))
    }

    /// The argument for SPDK's callback, from which [`Submitted::from_arg`] makes the token again.
    #[inline]
    pub(crate) fn into_arg(self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// The argument, while the token stays.
    #[inline]
    pub(crate) fn arg(&self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// # Safety
    /// `arg` comes from [`Submitted::into_arg`], and nothing else makes a token of it.
    #[inline]
    pub(crate) unsafe fn from_arg(arg: *mut c_void) -> Self {
        // SAFETY: `arg` comes from `into_arg`, as the caller promises, which gives no null.
        Self(unsafe { NonNull::new_unchecked(arg) })
    }

    #[inline]
    pub(crate) fn place(&self) -> NonNull<Header> {
        // SAFETY: a mempool's element is an rte_mbuf and its private area (rte_mbuf.h, rte_mbuf_to_priv), in which
        // `new` put the header first.
        unsafe { self.0.cast::<dpdk_sys::rte_mbuf>().add(1) }.cast()
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: `new` wrote the header. The token is its only way in, and is borrowed.
        unsafe { self.place().as_ref() }
    }

    #[inline]
    pub(crate) fn header_mut(&mut self) -> &mut Header {
        // SAFETY: as in `header`; the token is borrowed mutably.
        unsafe { self.place().as_mut() }
    }

    /// Gives the request back to its queue.
    #[inline]
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.header_mut().outcome = Some(outcome);
        let channel = self.channel();
        channel.in_flight.set(channel.in_flight.get() - 1);
        let queue = self.queue();
        if channel.is_kernels {
            queue.kernel_io.ended();
        }
        queue.ended.push(self);
    }

    /// Ends the request, which SPDK has not taken, or lets it wait until SPDK has memory for its I/O again: it is tried on each
    /// turn. Not in SPDK's own queue of those that wait (spdk_bdev_queue_io_wait), which nobody can overtake: a
    /// compare-and-write needs memory for its parts while it has some, and would stand behind those that wait for it to end.
    #[cold]
    pub(crate) fn refused(self, code: c_int) {
        let is_ranged = !matches!(self.header().io.kind, IoKind::Flush | IoKind::Health);
        match -code {
            ENOMEM => {
                self.queue().count_wait();
                self.queue().waiting.push(self);
            }
            EAGAIN => self.queue().waiting.push(self),
            // spdk/bdev.h: EINVAL is a range beyond the end, or a buffer SPDK can't use.
            EINVAL if is_ranged => self.finish(Outcome::OutOfRange),
            _ => self.finish(Outcome::Aborted),
        }
    }

    /// The queue that the request goes back to.
    #[inline]
    pub(crate) fn queue<'a>(&self) -> &'a QueueHead {
        // SAFETY: a completion queue's head stays while requests are in flight (`CompletionQueue::drop`); it is only
        // read, its members are cells.
        unsafe { self.header().queue.as_ref() }
    }

    /// The channel that the request goes through.
    #[inline]
    pub(crate) fn channel<'a>(&self) -> &'a Channel {
        // SAFETY: a channel stays while I/O is in flight on it (`IoChannel::drop`).
        unsafe { self.header().channel.as_ref() }
    }

    /// Ends the flight: the mbuf belongs to the caller.
    ///
    /// # Safety
    /// No bdev has the request.
    #[inline]
    pub(crate) unsafe fn into_frame(self) -> Mbuf {
        // SAFETY: `new` gave up a valid mbuf that this token stands for.
        unsafe { Mbuf::from_raw(self.0.cast()) }
    }

    /// Calls `look` with the mbuf.
    ///
    /// # Safety
    /// No bdev has the bytes that `look` reads or writes meanwhile.
    pub(crate) unsafe fn with_frame<R>(&self, look: impl FnOnce(&Mbuf) -> R) -> R {
        // SAFETY: `new` gave up a valid mbuf that this token stands for; it is not dropped here.
        let frame = ManuallyDrop::new(unsafe { Mbuf::from_raw(self.0.cast()) });
        look(&frame)
    }

    /// Points an iovec at `bytes` bytes of the frame from `offset` on. Returns their address; `None` if they are none, or not
    /// in the first segment.
    #[inline(always)]
    pub(crate) fn cover_piece(&mut self, offset: usize, bytes: usize) -> Option<usize> {
        // SAFETY: as in `with_frame`; the bytes are not read here, and the header is not part of what `frame` reaches.
        let frame = ManuallyDrop::new(unsafe { Mbuf::from_raw(self.0.cast()) });
        self.header_mut().cover_piece(&frame, offset, bytes)
    }

    /// Points the iovecs at `bytes` bytes of the frame from `offset` on. Returns their addresses, ORed; `None` if the frame
    /// does not hold them, or in more than [`MAX_SEGMENTS`] segments.
    pub(crate) fn cover(&mut self, offset: usize, bytes: usize) -> Option<usize> {
        // SAFETY: as in `with_frame`; the bytes are not read here, and the header is not part of what `frame` reaches.
        let frame = ManuallyDrop::new(unsafe { Mbuf::from_raw(self.0.cast()) });
        self.header_mut().cover(&frame, offset, bytes)
    }
}

impl Header {
    #[inline(always)]
    fn cover_piece(&mut self, frame: &Mbuf, offset: usize, bytes: usize) -> Option<usize> {
        let (start, length) = frame.segments_raw().next()?;
        if bytes == 0 || offset + bytes > length {
            return None;
        }
        let first = start.wrapping_add(offset);
        self.iov[0].write(spdk_sys::iovec { iov_base: first.cast(), iov_len: bytes });
        self.iov_count = 1;
        Some(first.addr())
    }

    fn cover(&mut self, frame: &Mbuf, offset: usize, bytes: usize) -> Option<usize> {
        let (mut left, mut skip) = (bytes, offset);
        let (mut count, mut addresses) = (0, 0);
        for (start, length) in frame.segments_raw() {
            if left == 0 {
                break;
            }
            if skip >= length {
                skip -= length;
                continue;
            }
            let covered = (length - skip).min(left);
            let first = start.wrapping_add(skip);
            self.iov.get_mut(count)?.write(spdk_sys::iovec { iov_base: first.cast(), iov_len: covered });
            addresses |= first.addr();
            left -= covered;
            skip = 0;
            count += 1;
        }
        self.iov_count = c_int::try_from(count).unwrap_or(0);
        (left == 0).then_some(addresses)
    }

    /// Address and length of the bytes, if they lie in one piece.
    pub(crate) fn only_piece(&self) -> Option<(*mut c_void, usize)> {
        // SAFETY: `cover` has written the first `iov_count` elements.
        let iov = (self.iov_count == 1).then(|| unsafe { self.iov[0].assume_init_ref() })?;
        Some((iov.iov_base, iov.iov_len))
    }

    /// The iovecs, of which SPDK looks at the first `iov_count`.
    #[inline]
    pub(crate) fn iovs(&mut self) -> *mut spdk_sys::iovec {
        self.iov.as_mut_ptr().cast()
    }
}

/// A singly linked list through the headers of requests in flight.
pub(crate) struct List {
    first: Cell<*mut c_void>,
    last: Cell<*mut c_void>,
}

impl Default for List {
    fn default() -> Self {
        Self::new()
    }
}

impl List {
    pub(crate) const fn new() -> Self {
        Self { first: Cell::new(std::ptr::null_mut()), last: Cell::new(std::ptr::null_mut()) }
    }

    #[inline]
    pub(crate) fn push(&self, mut request: Submitted) {
        request.header_mut().next = std::ptr::null_mut();
        let arg = request.into_arg();
        if self.first.get().is_null() {
            self.first.set(arg);
        } else {
            // SAFETY: `last` came from `into_arg` and is in the list, which owns it; this token is not dropped.
            let mut last = ManuallyDrop::new(unsafe { Submitted::from_arg(self.last.get()) });
            last.header_mut().next = arg;
        }
        self.last.set(arg);
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<Submitted> {
        let first = NonNull::new(self.first.get())?;
        // SAFETY: the list owns what it holds, and gives it up here.
        let request = unsafe { Submitted::from_arg(first.as_ptr()) };
        self.first.set(request.header().next);
        Some(request)
    }

    /// The requests that are in the list now; those that join it meanwhile stay.
    pub(crate) fn take(&self) -> Self {
        Self { first: Cell::new(self.first.replace(std::ptr::null_mut())), last: Cell::new(self.last.get()) }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.get().is_null()
    }
}

/// The part of a completion queue that requests point to, at a fixed address. Written for each request, so it shares no
/// cache line with another lcore's data on the heap; nor the line beside it, which CPUs fetch along.
#[repr(align(128))]
pub(crate) struct QueueHead {
    /// Requests for the next poll.
    pub(crate) ended: List,
    /// Requests to start again.
    pub(crate) waiting: List,
    pub(crate) in_flight: InFlightTable,
    /// Requests that were put off for want of SPDK's memory.
    pub(crate) waits: Cell<u64>,
    /// I/Os that SPDK copied.
    pub(crate) bounced: Cell<u64>,
    /// Writes of part blocks that failed because their bdev's compare does not work.
    pub(crate) compare_faults: Cell<u64>,
    pub(crate) fdsync: RefCell<FdSync<List>>,
    /// The requests on channels whose I/O is the kernel's.
    pub(crate) kernel_io: KernelIo,
    pub(crate) sector_buffers: SectorBuffers,
    /// Requests that wait for one of these.
    pub(crate) waiting_for_buffer: List,
}

impl QueueHead {
    pub(crate) fn new(fdsync: FdSync<List>, in_flight: InFlightTable) -> Self {
        Self {
            ended: List::new(),
            waiting: List::new(),
            in_flight,
            waits: Cell::new(0),
            bounced: Cell::new(0),
            compare_faults: Cell::new(0),
            fdsync: RefCell::new(fdsync),
            kernel_io: KernelIo::default(),
            sector_buffers: SectorBuffers::none(),
            waiting_for_buffer: List::new(),
        }
    }

    /// Takes a request out that has ended.
    #[inline(always)]
    pub(crate) fn leave(&self, request: &Submitted) {
        let index = request.header().index;
        let moved = self.in_flight.remove(index);
        // SAFETY: the table has the arguments of requests in flight, whose headers `Submitted::new` wrote, and this token
        // is not dropped. It may stand for the same mbuf as `request`, whose header is not borrowed here.
        let mut moved = ManuallyDrop::new(unsafe { Submitted::from_arg(moved) });
        moved.header_mut().index = index;
    }

    /// Counts a request that waits for SPDK's memory.
    pub(crate) fn count_wait(&self) {
        self.waits.set(self.waits.get() + 1);
    }

    /// Counts an I/O that SPDK copies.
    #[inline]
    pub(crate) fn count_bounced(&self) {
        self.bounced.set(self.bounced.get() + 1);
    }

    /// Counts a write of a part of a block that a compare without sense has failed.
    #[cold]
    pub(crate) fn count_compare_fault(&self) {
        self.compare_faults.set(self.compare_faults.get() + 1);
    }
}

const _: () = {
    // Both are written for each request, each in an allocation of its own.
    assert!(mem::align_of::<QueueHead>() == 128 && mem::size_of::<QueueHead>().is_multiple_of(128));
    assert!(mem::align_of::<Channel>() == 64 && mem::size_of::<Channel>().is_multiple_of(64));
};

/// SPDK's callback: an I/O has ended.
pub(crate) extern "C" fn ended(io: *mut spdk_sys::spdk_bdev_io, success: bool, arg: *mut c_void) {
    // SAFETY: who hands a request to SPDK with this callback gives it up, and SPDK passes it here once.
    let request = unsafe { Submitted::from_arg(arg) };
    // SAFETY: SPDK has just completed this I/O, with `success`, and calls once.
    let outcome = unsafe { outcome_of_io(io, success) };
    request.finish(outcome);
}

/// The outcome of a completed I/O, which is freed.
///
/// # Safety
/// SPDK has just completed `io`, which is ours, with this `success`.
pub(crate) unsafe fn outcome_of_io(io: *mut spdk_sys::spdk_bdev_io, success: bool) -> Outcome {
    let outcome = if success {
        Outcome::Done
    } else {
        let (mut cdw0, mut status_type, mut status) = (0, 0, 0);
        // SAFETY: spdk_bdev_io_get_nvme_status (spdk/bdev.h) reads a completed I/O that is not freed, as the caller
        // promises.
        unsafe { spdk_sys::spdk_bdev_io_get_nvme_status(io, &mut cdw0, &mut status_type, &mut status) };
        Outcome::of_nvme(status_type, status)
    };
    // SAFETY: spdk_bdev_free_io (spdk/bdev.h) takes a completed I/O, as the caller promises, once.
    unsafe { spdk_sys::spdk_bdev_free_io(io) };
    outcome
}
