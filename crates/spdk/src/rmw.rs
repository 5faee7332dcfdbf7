//! submit, where a request does not cover whole blocks: reads through a bounce buffer, writes that change a part of
//! a block and leave its other sectors as they are, whoever writes those at the same time.
//!
//! A part of a block is written by reading the block, laying the new sectors over it, and asking the bdev layer to
//! store the result if the block still is what was read (spdk_bdev_comparev_and_writev_blocks). SPDK carries that
//! out with NVMe's fused commands, or else under a lock of the block that holds back plain writes of every channel
//! too (lib/bdev/bdev.c, bdev_lock_lba_range). If another writer was faster, the block is read again: each failure
//! means that somebody else's write succeeded.
//!
//! The buffers are made once per lcore, before the first such request; a request that finds none waits for one.

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    mem::ManuallyDrop,
    ptr::{self, NonNull},
    slice,
};

use dpdk::Mbuf;

use crate::{
    IoKind, Outcome,
    channel::{self, finish, outcome_of, queue_of, status_of},
    completion::{Header, List, QueueHead, header},
    error::{EAGAIN, EINVAL, ENOMEM, Error, Result},
};

/// Bytes of an AoE sector.
const SECTOR: usize = 512;

/// Largest block.
const BLOCK_MAX: usize = 4096;

/// The covering blocks of a read: 16 sectors that begin and end within one.
const BUFFER: usize = 16 * SECTOR + BLOCK_MAX;

/// Requests that one lcore has in this state at a time. Each may hold one of SPDK's I/Os while it waits for another
/// (the lock, then compare and write), so there must be far fewer than SPDK has (65535, 256 kept per lcore).
const BOUNCES: usize = 64;

/// How often a block may differ from what was just read before the bdev is taken to be broken. At most 64 requests
/// of each lcore compete, and one of them wins each time.
const MISCOMPARES_MAX: u32 = 100_000;

/// What an unaligned request needs beside its mbuf.
pub(crate) struct Bounce {
    next: *mut Bounce,
    mbuf: *mut c_void,
    /// [`BUFFER`] bytes for the bdev. A write has the block as it was at their start and as it will be behind that.
    buffer: NonNull<u8>,
    /// Sectors of the request that are done.
    done: u32,
    /// Sectors that the step under way does.
    doing: u32,
    step: Step,
    miscompares: u32,
    was: spdk_sys::iovec,
    will_be: spdk_sys::iovec,
}

/// What the bdev is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Read the covering blocks of a read.
    ReadAll,
    /// Read the block that a write changes a part of.
    ReadOld,
    /// Store the changed block, if it is as it was read.
    CompareAndWrite,
    /// Store whole blocks from the mbuf.
    WriteWhole,
}

/// An lcore's bounce buffers, and the requests that wait for one.
pub(crate) struct Bounces {
    free: Cell<*mut Bounce>,
    /// To be started again on the next turn.
    again: Cell<*mut Bounce>,
    waiting: List,
    all: Cell<*mut [Bounce]>,
}

impl Bounces {
    pub(crate) const fn none() -> Self {
        Self {
            free: Cell::new(ptr::null_mut()),
            again: Cell::new(ptr::null_mut()),
            waiting: List::new(),
            all: Cell::new(ptr::slice_from_raw_parts_mut(ptr::null_mut(), 0)),
        }
    }

    /// Makes the buffers, unless they are there.
    ///
    /// # Errors
    /// `ENOMEM` without memory for them.
    pub(crate) fn make(&self) -> Result<()> {
        if !self.all.get().is_null() {
            return Ok(());
        }
        // SAFETY: spdk_dma_malloc (spdk/env.h) gives `size` bytes or null.
        let memory = unsafe { spdk_sys::spdk_dma_malloc(BOUNCES * BUFFER, BLOCK_MAX, ptr::null_mut()) };
        let memory =
            NonNull::new(memory.cast::<u8>()).ok_or(Error { call: "spdk_dma_malloc", errno: ENOMEM })?;
        // SAFETY: BOUNCES * BUFFER bytes of it; written once so that all of them are initialised.
        unsafe { memory.write_bytes(0, BOUNCES * BUFFER) };
        let bounces: Vec<Bounce> = (0..BOUNCES)
            .map(|index| Bounce {
                next: ptr::null_mut(),
                mbuf: ptr::null_mut(),
                // SAFETY: within the memory.
                buffer: unsafe { memory.add(index * BUFFER) },
                done: 0,
                doing: 0,
                step: Step::ReadAll,
                miscompares: 0,
                was: spdk_sys::iovec::default(),
                will_be: spdk_sys::iovec::default(),
            })
            .collect();
        let all = Box::into_raw(bounces.into_boxed_slice());
        self.all.set(all);
        for index in 0..BOUNCES {
            // SAFETY: within the slice.
            self.give_back(unsafe { all.cast::<Bounce>().add(index) });
        }
        Ok(())
    }

    fn take(&self) -> Option<NonNull<Bounce>> {
        let bounce = NonNull::new(self.free.get())?;
        // SAFETY: what is in the list are live bounces.
        self.free.set(unsafe { (*bounce.as_ptr()).next });
        Some(bounce)
    }

    fn give_back(&self, bounce: *mut Bounce) {
        // SAFETY: a live bounce that is in no list.
        unsafe { (*bounce).next = self.free.replace(bounce) };
    }

    /// Moves on what waits: those SPDK would not queue, and requests for which there is a buffer by now.
    #[inline]
    pub(crate) fn advance(&self) {
        if !self.again.get().is_null() || !self.waiting.is_empty() {
            self.start_waiting();
        }
    }

    #[cold]
    fn start_waiting(&self) {
        let mut next = self.again.replace(ptr::null_mut());
        while let Some(bounce) = NonNull::new(next) {
            // SAFETY: what was in the list are live bounces, each of a request under way.
            next = unsafe { (*bounce.as_ptr()).next };
            go(bounce.as_ptr());
        }
        while !self.waiting.is_empty() && !self.free.get().is_null() {
            let (Some(mbuf), Some(bounce)) = (self.waiting.pop(), self.take()) else { break };
            begin(mbuf.as_ptr(), bounce);
        }
    }
}

impl Drop for Bounces {
    fn drop(&mut self) {
        let all = self.all.get();
        if all.is_null() {
            return;
        }
        // SAFETY: made by `make`, with the memory of all in the first; no request is under way when a completion
        // queue frees its head.
        unsafe {
            let memory = (*all.cast::<Bounce>()).buffer;
            drop(Box::from_raw(all));
            spdk_sys::spdk_dma_free(memory.as_ptr().cast());
        }
    }
}

/// Starts the request in `mbuf`, which does not cover whole blocks, or lets it wait for a buffer.
#[cold]
pub(crate) fn start(mbuf: *mut c_void) {
    let bounces = queue_of(mbuf).bounces();
    match bounces.take() {
        Some(bounce) => begin(mbuf, bounce),
        // SAFETY: a submitted mbuf, which is in no list.
        None if !bounces.all.get().is_null() => unsafe { bounces.waiting.push(mbuf) },
        // Nobody has said that such requests would come.
        None => finish(mbuf, Outcome::Aborted),
    }
}

fn begin(mbuf: *mut c_void, bounce: NonNull<Bounce>) {
    let bounce = bounce.as_ptr();
    // SAFETY: a bounce that was just taken, and a submitted mbuf.
    unsafe {
        (*bounce).mbuf = mbuf;
        (*bounce).done = 0;
        (*bounce).miscompares = 0;
        (*bounce).step = match (*header(mbuf)).io.kind {
            IoKind::WriteSectors => next_step(bounce),
            _ => Step::ReadAll,
        };
    }
    go(bounce);
}

/// Ends the request, and frees its bounce. What waits for one is started on the next turn.
fn end(bounce: *mut Bounce, outcome: Outcome) {
    // SAFETY: a bounce of a request under way.
    let mbuf = unsafe { (*bounce).mbuf };
    queue_of(mbuf).bounces().give_back(bounce);
    finish(mbuf, outcome);
}

/// Where a write goes on: the sector, its place in its block, sectors left, and sectors a block.
///
/// # Safety
/// A bounce of a request under way.
unsafe fn place(bounce: *mut Bounce) -> (u64, u32, u32, u32) {
    // SAFETY: the caller's promise.
    let (header, done) = unsafe { (header((*bounce).mbuf), (*bounce).done) };
    // SAFETY: a submitted mbuf.
    let (io, per_block) = unsafe { ((*header).io, sectors_per_block(header)) };
    let sector = io.block + u64::from(done);
    let within = u32::try_from(sector % u64::from(per_block)).unwrap_or(0);
    (sector, within, io.blocks - done, per_block)
}

/// # Safety
/// A submitted mbuf's header.
unsafe fn sectors_per_block(header: *mut Header) -> u32 {
    // SAFETY: a channel stays while I/O is under way on it.
    unsafe { (*header).channel.as_ref().bdev().info().sectors_per_block() }
}

/// What a write does next, of how many sectors.
///
/// # Safety
/// As for `place`.
unsafe fn next_step(bounce: *mut Bounce) -> Step {
    // SAFETY: the caller's promise.
    unsafe {
        let (_, within, left, per_block) = place(bounce);
        if within == 0 && left >= per_block {
            (*bounce).doing = left - left % per_block;
            Step::WriteWhole
        } else {
            (*bounce).doing = left.min(per_block - within);
            Step::ReadOld
        }
    }
}

/// Hands the present step to the bdev, or puts it off to the next turn.
fn go(bounce: *mut Bounce) {
    // SAFETY: called for bounces of requests under way; the mbuf, its header and the bounce are this request's
    // alone, and stay until `ended` runs.
    let code = unsafe {
        let mbuf = (*bounce).mbuf;
        let header = header(mbuf);
        let channel = (*header).channel.as_ref();
        let (desc, ch) = channel.raw_pair();
        let (sector, _, left, per_block) = place(bounce);
        let block = sector / u64::from(per_block);
        let block_bytes = per_block as usize * SECTOR;
        let arg = bounce.cast::<c_void>();
        let buffer = (*bounce).buffer.as_ptr();
        match (*bounce).step {
            Step::ReadAll => {
                let last = (sector + u64::from(left) - 1) / u64::from(per_block);
                let bytes =
                    usize::try_from(last - block + 1).unwrap_or(usize::MAX).saturating_mul(block_bytes);
                if bytes > BUFFER {
                    return end(bounce, Outcome::Aborted);
                }
                (*bounce).was = spdk_sys::iovec { iov_base: buffer.cast(), iov_len: bytes };
                let iov = &raw mut (*bounce).was;
                spdk_sys::spdk_bdev_readv_blocks(desc, ch, iov, 1, block, last - block + 1, Some(ended), arg)
            }
            Step::ReadOld => {
                (*bounce).was = spdk_sys::iovec { iov_base: buffer.cast(), iov_len: block_bytes };
                let iov = &raw mut (*bounce).was;
                spdk_sys::spdk_bdev_readv_blocks(desc, ch, iov, 1, block, 1, Some(ended), arg)
            }
            Step::CompareAndWrite => {
                let new = buffer.add(block_bytes);
                (*bounce).will_be = spdk_sys::iovec { iov_base: new.cast(), iov_len: block_bytes };
                let (was, will_be) = (&raw mut (*bounce).was, &raw mut (*bounce).will_be);
                spdk_sys::spdk_bdev_comparev_and_writev_blocks(
                    desc,
                    ch,
                    was,
                    1,
                    will_be,
                    1,
                    block,
                    1,
                    Some(ended),
                    arg,
                )
            }
            Step::WriteWhole => {
                let frame = frame_of(mbuf);
                let skip = payload_at(bounce);
                let bytes = u64::from((*bounce).doing) * SECTOR as u64;
                if !(*header).cover(&frame, skip, bytes) {
                    return end(bounce, Outcome::Aborted);
                }
                if (*header).bounces(channel.alignment()) {
                    queue_of(mbuf).count_bounced();
                }
                let iov = (&raw mut (*header).iov).cast::<spdk_sys::iovec>();
                let blocks = u64::from((*bounce).doing / per_block);
                let count = (*header).iov_count;
                spdk_sys::spdk_bdev_writev_blocks(desc, ch, iov, count, block, blocks, Some(ended), arg)
            }
        }
    };
    match -code {
        0 => {}
        ENOMEM => {
            // SAFETY: SPDK took nothing: the request is still here.
            queue_of(unsafe { (*bounce).mbuf }).count_wait();
            go_later(bounce);
        }
        EAGAIN => go_later(bounce),
        EINVAL => end(bounce, Outcome::OutOfRange),
        _ => end(bounce, Outcome::Aborted),
    }
}

/// The mbuf, without owning it.
///
/// # Safety
/// A submitted mbuf of this thread that no other reference is used on meanwhile.
unsafe fn frame_of(mbuf: *mut c_void) -> ManuallyDrop<Mbuf> {
    // SAFETY: the caller's promise; a submitted mbuf is not null.
    ManuallyDrop::new(unsafe { Mbuf::from_raw(NonNull::new_unchecked(mbuf.cast())) })
}

/// Where in the frame the data of the present step starts.
///
/// # Safety
/// A bounce of a request under way.
unsafe fn payload_at(bounce: *mut Bounce) -> usize {
    // SAFETY: the caller's promise.
    unsafe { usize::from((*header((*bounce).mbuf)).io.payload) + (*bounce).done as usize * SECTOR }
}

/// Calls `copy` for each piece of the frame's bytes `from..from + length`, with the offset in that range, the
/// piece's address and its length.
fn pieces(frame: &Mbuf, from: usize, length: usize, mut copy: impl FnMut(usize, *mut u8, usize)) {
    let (mut skip, mut done) = (from, 0);
    for (start, segment) in frame.segments_raw() {
        if skip >= segment {
            skip -= segment;
            continue;
        }
        let piece = (segment - skip).min(length - done);
        copy(done, start.wrapping_add(skip), piece);
        done += piece;
        skip = 0;
        if done == length {
            break;
        }
    }
}

/// Tries again on the next turn.
#[cold]
fn go_later(bounce: *mut Bounce) {
    // SAFETY: a bounce of a request under way, which is in no list.
    unsafe {
        let bounces = queue_of((*bounce).mbuf).bounces();
        (*bounce).next = bounces.again.replace(bounce);
    }
}

/// A step has ended.
extern "C" fn ended(io: *mut spdk_sys::spdk_bdev_io, success: bool, arg: *mut c_void) {
    let bounce = arg.cast::<Bounce>();
    // SAFETY: the argument of `go`.
    let step = unsafe { (*bounce).step };
    let failure = (!success).then(|| {
        if step == Step::CompareAndWrite && is_miscompare(io) {
            return None;
        }
        // SAFETY: a completed I/O of ours.
        let (status_type, status) = unsafe { status_of(io) };
        Some(outcome_of(status_type, status))
    });
    // SAFETY: each completion frees its I/O, once.
    unsafe { spdk_sys::spdk_bdev_free_io(io) };
    // SAFETY: as for `go`: the request is this function's again.
    unsafe {
        match failure {
            Some(Some(outcome)) => return end(bounce, outcome),
            Some(None) => {
                (*bounce).miscompares += 1;
                if (*bounce).miscompares > MISCOMPARES_MAX {
                    return end(bounce, Outcome::DeviceFault);
                }
                (*bounce).step = Step::ReadOld;
                return go(bounce);
            }
            None => {}
        }
        match step {
            Step::ReadAll => {
                copy_out(bounce);
                end(bounce, Outcome::Done);
            }
            Step::ReadOld => {
                merge(bounce);
                (*bounce).step = Step::CompareAndWrite;
                go(bounce);
            }
            Step::CompareAndWrite | Step::WriteWhole => {
                (*bounce).done += (*bounce).doing;
                if (*bounce).done >= (*header((*bounce).mbuf)).io.blocks {
                    return end(bounce, Outcome::Done);
                }
                (*bounce).step = next_step(bounce);
                go(bounce);
            }
        }
    }
}

/// Whether a compare-and-write failed because the block is not what was compared.
fn is_miscompare(io: *mut spdk_sys::spdk_bdev_io) -> bool {
    let (mut cdw0, mut first_type, mut first, mut second_type, mut second): (
        u32,
        c_int,
        c_int,
        c_int,
        c_int,
    ) = (0, 0, 0, 0, 0);
    // SAFETY: a completed I/O of ours (spdk/bdev.h).
    unsafe {
        spdk_sys::spdk_bdev_io_get_nvme_fused_status(
            io,
            &mut cdw0,
            &mut first_type,
            &mut first,
            &mut second_type,
            &mut second,
        );
    }
    // spdk/nvme_spec.h: SPDK_NVME_SCT_MEDIA_ERROR, SPDK_NVME_SC_COMPARE_FAILURE.
    (first_type, first) == (2, 0x85)
}

/// A read's sectors from the buffer into the frame.
///
/// # Safety
/// A bounce whose blocks were read.
unsafe fn copy_out(bounce: *mut Bounce) {
    // SAFETY: the caller's promise; the buffer holds the covering blocks, so the sectors from `within` on.
    unsafe {
        let (_, within, left, _) = place(bounce);
        let sectors = (*bounce).buffer.as_ptr().add(within as usize * SECTOR);
        let frame = frame_of((*bounce).mbuf);
        pieces(&frame, payload_at(bounce), left as usize * SECTOR, |offset, piece, length| {
            ptr::copy_nonoverlapping(sectors.add(offset), piece, length);
        });
    }
}

/// The block as it will be: what was read, with the frame's sectors laid over it.
///
/// # Safety
/// A bounce whose old block was read.
unsafe fn merge(bounce: *mut Bounce) {
    // SAFETY: the caller's promise; old and new block lie one after the other in the buffer.
    unsafe {
        let (_, within, _, per_block) = place(bounce);
        let block_bytes = per_block as usize * SECTOR;
        let buffer = slice::from_raw_parts_mut((*bounce).buffer.as_ptr(), 2 * block_bytes);
        let (was, will_be) = buffer.split_at_mut(block_bytes);
        will_be.copy_from_slice(was);
        let changed = will_be.as_mut_ptr().add(within as usize * SECTOR);
        let frame = frame_of((*bounce).mbuf);
        let bytes = (*bounce).doing as usize * SECTOR;
        pieces(&frame, payload_at(bounce), bytes, |offset, piece, length| {
            ptr::copy_nonoverlapping(piece, changed.add(offset), length);
        });
    }
}

const _: () = assert!(2 * BLOCK_MAX <= BUFFER && channel::MAX_SEGMENTS > 0);

impl QueueHead {
    pub(crate) fn bounces(&self) -> &Bounces {
        &self.bounces
    }
}
