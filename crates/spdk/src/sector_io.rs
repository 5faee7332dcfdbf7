//! Sector I/O: reads and writes of sectors that are not whole blocks. Reads go through a buffer; writes change a part of
//! a block and leave its other sectors as they are, whoever writes those at the same time.
//!
//! A part of a block is written by reading the block, laying the new sectors over it, and asking the bdev layer to
//! store the result if the block still is what was read (spdk_bdev_comparev_and_writev_blocks). SPDK carries that
//! out with NVMe's fused commands, or else under a lock of the block that holds back plain writes of every channel
//! too (lib/bdev/bdev.c, bdev_lock_lba_range). If another writer was faster, the block is read again: each failure
//! means that somebody else's write succeeded. SPDK reports a compare that the bdev could not carry out in the same way, so a
//! block that reads as before again and again ends the request with a device fault ([`Miscompares`]).
//!
//! A request that finds no free buffer waits for one.

use std::{
    ffi::{c_int, c_void},
    ptr, slice,
};

use dpdk::Mbuf;

use crate::{
    error::{EAGAIN, EINVAL, ENOMEM},
    in_flight::{QueueHead, Submitted, outcome_of_io},
    io::{IoKind, Outcome},
    miscompares::Miscompares,
    sector_buffers::{BUFFER_BYTES, Held, Step},
    sectors::{BlockSize, SECTOR_BYTES, Sectors},
};

/// Drives what waits: steps that SPDK would not queue, and requests for which there is a buffer by now. Once a turn.
#[inline]
pub(crate) fn advance(queue: &QueueHead) {
    if queue.sector_buffers.has_again() || !queue.waiting_for_buffer.is_empty() {
        start_waiting(queue);
    }
}

#[cold]
fn start_waiting(queue: &QueueHead) {
    queue.sector_buffers.take_again().for_each(run_step);
    while queue.sector_buffers.has_free()
        && let Some(request) = queue.waiting_for_buffer.pop()
    {
        if request.header().cancelled {
            request.finish(Outcome::Aborted);
        } else {
            start(request);
        }
    }
}

/// Starts a request that does not cover whole blocks, or lets it wait for a buffer.
#[cold]
pub(crate) fn start(request: Submitted) {
    let queue = request.queue();
    let Some(mut buffer) = queue.sector_buffers.take() else {
        if queue.sector_buffers.exist() {
            queue.waiting_for_buffer.push(request);
        } else {
            // The channel was opened with another queue.
            request.finish(Outcome::Aborted);
        }
        return;
    };
    let is_write = request.header().io.kind == IoKind::Write;
    buffer.request = request.into_arg();
    (buffer.done, buffer.miscompares) = (0, Miscompares::default());
    if is_write {
        plan_write(&mut buffer);
    } else {
        buffer.step = Step::ReadAll;
    }
    run_step(buffer);
}

/// Ends the request, and frees its buffer. A request that waits for one is started on the next turn.
fn end(buffer: Held, outcome: Outcome) {
    // SAFETY: `start` put the request there, and its buffer is given up here.
    let request = unsafe { Submitted::from_arg(buffer.request) };
    request.queue().sector_buffers.give_back(buffer);
    request.finish(outcome);
}

/// Calls `look` with the request of a buffer.
fn with_request<R>(buffer: &Held, look: impl FnOnce(&mut Submitted) -> R) -> R {
    // SAFETY: `start` put the request there; the buffer's holder has it too, and only one of these is alive at a time.
    let mut request = std::mem::ManuallyDrop::new(unsafe { Submitted::from_arg(buffer.request) });
    look(&mut request)
}

/// The sectors of a request that are still to be done, where their data starts in the frame, and the size of blocks.
struct Rest {
    sectors: Sectors,
    payload: usize,
    block: BlockSize,
}

fn rest(buffer: &Held) -> Rest {
    with_request(buffer, |request| {
        let (io, done) = (request.header().io, buffer.done);
        let sectors = Sectors { first: io.sectors.first + u64::from(done), count: io.sectors.count - done };
        let payload = usize::from(io.payload) + done as usize * SECTOR_BYTES;
        Rest { sectors, payload, block: request.channel().block_size }
    })
}

/// Decides what a write does next, and to how many sectors.
fn plan_write(buffer: &mut Held) {
    let Rest { sectors, block, .. } = rest(buffer);
    let (within, per_block) = (block.within_block(sectors.first), block.sectors());
    (buffer.step, buffer.doing) = if within == 0 && sectors.count >= per_block {
        (Step::WriteWhole, sectors.count - block.within_block(u64::from(sectors.count)))
    } else {
        (Step::ReadOld, sectors.count.min(per_block - within))
    };
}

/// Hands the present step to the bdev, or puts it off to the next turn. Ends the request if it was cancelled.
fn run_step(mut buffer: Held) {
    if with_request(&buffer, |request| request.header().cancelled) {
        return end(buffer, Outcome::Aborted);
    }
    let Rest { sectors, payload, block } = rest(&buffer);
    let doing = Sectors { count: buffer.doing, ..sectors };
    let (first, bytes) = (block.block_of(sectors.first), block.bytes());
    let memory = buffer.memory;
    let step = buffer.step;
    // What SPDK reads or fills, of the buffer or the frame.
    let (iovs, count, blocks) = match step {
        Step::ReadAll => {
            let covering = block.covering(sectors);
            let all = usize::try_from(covering.count).unwrap_or(usize::MAX).saturating_mul(bytes);
            if all > BUFFER_BYTES {
                return end(buffer, Outcome::Aborted);
            }
            buffer.was = spdk_sys::iovec { iov_base: memory.as_ptr().cast(), iov_len: all };
            (&raw mut buffer.was, 1, covering.count)
        }
        Step::ReadOld => {
            buffer.was = spdk_sys::iovec { iov_base: memory.as_ptr().cast(), iov_len: bytes };
            (&raw mut buffer.was, 1, 1)
        }
        Step::CompareAndWrite => {
            // SAFETY: a buffer holds two blocks.
            let new = unsafe { memory.add(bytes) };
            buffer.will_be = spdk_sys::iovec { iov_base: new.as_ptr().cast(), iov_len: bytes };
            (&raw mut buffer.was, 1, 1)
        }
        Step::WriteWhole => {
            let covered = with_request(&buffer, |request| {
                let covered = request.cover(payload, doing.bytes());
                if covered.is_some_and(|addresses| request.channel().bounces(addresses)) {
                    request.queue().count_bounced();
                }
                let header = request.header_mut();
                covered.map(|_| (header.iovs(), header.iov_count))
            });
            let Some((iovs, count)) = covered else { return end(buffer, Outcome::Aborted) };
            (iovs, count, block.covering(doing).count)
        }
    };
    let will_be = &raw mut buffer.will_be;
    let (channel, queue) = with_request(&buffer, |request| (request.channel(), request.queue()));
    let (desc, ch) = channel.handles();
    let arg = buffer.into_arg();
    // The conditions of the calls below (spdk/bdev.h): the descriptor and the channel are open, since the channel stays while
    // I/O is in flight on it; this is the channel's thread, as in `IoChannel::submit`; iovecs, buffer and the frame's bytes
    // are this request's alone and stay until `ended` runs, which gets `arg` once. SPDK checks the range itself.
    let code = match step {
        // SAFETY: as above.
        Step::ReadAll | Step::ReadOld => unsafe {
            spdk_sys::spdk_bdev_readv_blocks(desc, ch, iovs, count, first, blocks, Some(ended), arg)
        },
        // SAFETY: as above.
        Step::WriteWhole => unsafe {
            spdk_sys::spdk_bdev_writev_blocks(desc, ch, iovs, count, first, blocks, Some(ended), arg)
        },
        // SAFETY: as above.
        Step::CompareAndWrite => unsafe {
            spdk_sys::spdk_bdev_comparev_and_writev_blocks(
                desc,
                ch,
                iovs,
                count,
                will_be,
                1,
                first,
                blocks,
                Some(ended),
                arg,
            )
        },
    };
    if code == 0 {
        return;
    }
    // SAFETY: on an error SPDK has not taken the buffer, so `ended` does not get it.
    let buffer = unsafe { Held::from_arg(arg) };
    match -code {
        ENOMEM => {
            queue.count_wait();
            queue.sector_buffers.again_later(buffer);
        }
        EAGAIN => queue.sector_buffers.again_later(buffer),
        EINVAL => end(buffer, Outcome::OutOfRange),
        _ => end(buffer, Outcome::Aborted),
    }
}

/// A step has ended.
extern "C" fn ended(io: *mut spdk_sys::spdk_bdev_io, success: bool, arg: *mut c_void) {
    // SAFETY: `run_step` gave the buffer up, and SPDK passes it to this callback once.
    let mut buffer = unsafe { Held::from_arg(arg) };
    let differs = !success && buffer.step == Step::CompareAndWrite && is_miscompare(io);
    // SAFETY: SPDK has just completed this I/O, with `success`, and calls once.
    let outcome = unsafe { outcome_of_io(io, success) };
    if differs {
        let bytes = rest(&buffer).block.bytes();
        // SAFETY: the buffer is the request's alone, and holds the block that was compared.
        let compared = unsafe { slice::from_raw_parts(buffer.memory.as_ptr(), bytes) };
        if !buffer.miscompares.failed(compared) {
            with_request(&buffer, |request| request.queue().count_compare_fault());
            return end(buffer, Outcome::DeviceFault);
        }
        buffer.step = Step::ReadOld;
        return run_step(buffer);
    }
    if outcome != Outcome::Done {
        return end(buffer, outcome);
    }
    match buffer.step {
        Step::ReadAll => {
            copy_out(&buffer);
            end(buffer, Outcome::Done);
        }
        Step::ReadOld => {
            merge(&buffer);
            buffer.step = Step::CompareAndWrite;
            run_step(buffer);
        }
        Step::CompareAndWrite | Step::WriteWhole => {
            buffer.done += buffer.doing;
            if rest(&buffer).sectors.count == 0 {
                return end(buffer, Outcome::Done);
            }
            plan_write(&mut buffer);
            run_step(buffer);
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
    // SAFETY: spdk_bdev_io_get_nvme_fused_status (spdk/bdev.h) reads a completed I/O that is not freed yet.
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

/// Copies a read's sectors from the buffer into the frame.
fn copy_out(buffer: &Held) {
    let Rest { sectors, payload, block } = rest(buffer);
    let skip = block.within_block(sectors.first) as usize * SECTOR_BYTES;
    // SAFETY: the buffer holds the blocks that cover the sectors, which lie in it from `skip` on.
    let data = unsafe { slice::from_raw_parts(buffer.memory.as_ptr(), skip + sectors.bytes()) };
    let data = &data[skip..];
    with_pieces(buffer, payload, sectors.bytes(), |offset, piece, length| {
        // SAFETY: a piece of the frame, which lies elsewhere than the buffer; the bdev is done with both.
        unsafe { ptr::copy_nonoverlapping(data[offset..offset + length].as_ptr(), piece, length) };
    });
}

/// Makes the block as it will be: what was read, with the frame's sectors laid over it.
fn merge(buffer: &Held) {
    let Rest { sectors, payload, block } = rest(buffer);
    let bytes = block.bytes();
    // SAFETY: the buffer is the request's alone, and holds two blocks, both initialised.
    let both = unsafe { slice::from_raw_parts_mut(buffer.memory.as_ptr(), 2 * bytes) };
    let (was, will_be) = both.split_at_mut(bytes);
    will_be.copy_from_slice(was);
    let skip = block.within_block(sectors.first) as usize * SECTOR_BYTES;
    let doing = Sectors { count: buffer.doing, ..sectors };
    let changed = &mut will_be[skip..skip + doing.bytes()];
    with_pieces(buffer, payload, doing.bytes(), |offset, piece, length| {
        let place = changed[offset..offset + length].as_mut_ptr();
        // SAFETY: as in `copy_out`.
        unsafe { ptr::copy_nonoverlapping(piece, place, length) };
    });
}

/// Calls `copy` for each piece of the request's bytes `from..from + length`, with the offset in that range, the
/// piece's address and its length.
fn with_pieces(buffer: &Held, from: usize, length: usize, copy: impl FnMut(usize, *mut u8, usize)) {
    // SAFETY: called between two steps, when no bdev has the request's bytes.
    with_request(buffer, |request| unsafe { request.with_frame(|frame| pieces(frame, from, length, copy)) });
}

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
