//! submit: a request's I/O, from or into the bytes of its mbuf, through one lcore's channel of a bdev.

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    fmt,
    os::fd::AsRawFd,
    ptr::NonNull,
};

use dpdk::Mbuf;

use crate::{
    Bdev, CompletionQueue, FlushMethod, HEALTH_LOG_BYTES, Thread,
    completion::{Header, QueueHead, Slot, header},
    error::{EAGAIN, EINVAL, ENOMEM, ENOTSUP, Error},
    memory::{self, Memory},
    rmw,
};

/// Segments of an mbuf that one I/O can cover.
pub const MAX_SEGMENTS: usize = 8;

/// What to do with a bdev.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoKind {
    /// Blocks into the frame.
    Read,
    /// The frame's bytes into blocks.
    Write,
    /// As [`IoKind::Write`], with NVMe's Force Unit Access: on stable media when it ends. For a bdev with
    /// [`crate::BdevInfo::fua`], and data in one segment of the frame. Goes past the bdev layer's counts of writes.
    WriteFua,
    /// Sectors of 512 bytes into the frame, which are not whole blocks: `block` and `blocks` count sectors, 16 at
    /// most. [`CompletionQueue::prepare_sectors`] comes first. Costs a copy.
    ReadSectors,
    /// The frame's bytes into sectors of 512 bytes, as [`IoKind::ReadSectors`]. Other sectors of the same blocks stay
    /// what they are, and what others write there at the same time.
    WriteSectors,
    /// Everything written and completed before to stable storage. Covers the whole bdev.
    Flush,
    /// The blocks are no longer needed; the frame is not looked at. For a bdev with [`crate::BdevInfo::unmaps`].
    Unmap,
    /// NVMe's log page of health information ([`crate::HEALTH_LOG_BYTES`]) into the frame. For a bdev with
    /// [`crate::BdevInfo::health`].
    Health,
}

/// One I/O of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Io {
    /// What to do.
    pub kind: IoKind,
    /// First block, in the bdev's blocks; with [`IoKind::Flush`] 0, since it counts what is flushed there.
    pub block: u64,
    /// Blocks; with [`IoKind::Flush`] not looked at.
    pub blocks: u32,
    /// Where the data starts in the frame.
    pub payload: u16,
}

/// How an I/O ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// The medium could not be read or written there.
    MediaError,
    /// Beyond the bdev's end.
    OutOfRange,
    /// The bdev can't do this, or not now: removed, reset, claimed, read-only.
    Aborted,
    /// Any other failure of the device.
    DeviceFault,
}

/// One SPDK thread's way into a bdev.
///
/// Not `Send`: it belongs to the thread that opened it. Dropped with I/O under way, it stays open.
pub struct IoChannel {
    inner: NonNull<Channel>,
}

/// At a fixed address while I/O is under way. What every request reads comes first, in a cache line of its own: with
/// many exports it is seldom in the cache.
#[repr(C, align(64))]
pub(crate) struct Channel {
    raw: NonNull<spdk_sys::spdk_io_channel>,
    desc: *mut spdk_sys::spdk_bdev_desc,
    block_size: u32,
    alignment: u32,
    under_way: Cell<u32>,
    pub(crate) memory: Memory,
    bdev: Bdev,
    /// A reactor runs several SPDK threads on one of the system's.
    owner: Thread,
}

impl IoChannel {
    pub(crate) fn open(bdev: Bdev) -> crate::Result<Self> {
        let failed = Error { call: "spdk_bdev_get_io_channel", errno: ENOMEM };
        let owner = Thread::current().ok_or(Error { errno: EINVAL, ..failed })?;
        // SAFETY: an open descriptor, on an SPDK thread (spdk/bdev.h).
        let raw = unsafe { spdk_sys::spdk_bdev_get_io_channel(bdev.inner.raw()) };
        let raw = NonNull::new(raw).ok_or(failed)?;
        let (desc, block_size) = (bdev.inner.raw(), bdev.info().block_size);
        // SPDK's largest is far below 4 GiB.
        let alignment = u32::try_from(bdev.info().alignment).unwrap_or(u32::MAX);
        let (under_way, memory) = (Cell::new(0), Memory::unknown());
        let channel = Channel { raw, desc, block_size, alignment, under_way, memory, bdev, owner };
        let inner = NonNull::from(Box::leak(Box::new(channel)));
        memory::find(inner);
        Ok(Self { inner })
    }

    fn inner(&self) -> &Channel {
        // SAFETY: leaked by `open`, freed by `drop` only.
        unsafe { self.inner.as_ref() }
    }

    /// I/O under way.
    pub fn under_way(&self) -> u32 {
        self.inner().under_way.get()
    }

    /// [`crate::BdevInfo::in_memory`] of its bdev.
    pub fn is_in_memory(&self) -> bool {
        self.inner().bdev.info().in_memory
    }

    /// Asks the CPU for what [`IoChannel::submit`] reads first.
    #[inline]
    pub fn prefetch(&self) {
        dpdk::prefetch_at(self.inner.as_ptr().cast_const().cast());
    }

    /// Where a sector of 512 bytes of the bdev is in this process's memory: a hint for the CPU's cache, since it may be gone
    /// with the bdev at any time. `None` beyond the end, without [`crate::BdevInfo::in_memory`], and in the channel's first
    /// moment, before the bdev has said it.
    #[inline(always)]
    pub fn data_place(&self, sector: u64) -> Option<*const u8> {
        self.inner().memory.place(sector)
    }

    /// Starts `io` on the bytes of `frame`, and keeps frame and `context` until `queue` gives them back, which
    /// happens exactly once for every call that returns Ok, whatever becomes of it.
    ///
    /// `frame` must hold the I/O's data from `io.payload` on (a read's frame is resized before), in at most
    /// [`MAX_SEGMENTS`] segments, or it comes back as [`Outcome::Aborted`]; and its mempool must have
    /// [`crate::private_size`] bytes for each mbuf. When SPDK is out of memory for it, it waits its turn.
    ///
    /// Data goes from and to the mbuf itself; the bdev layer copies only where the bdev asks for an alignment
    /// ([`crate::BdevInfo::alignment`]) that the payload does not have.
    ///
    /// # Errors
    /// The frame, if its mempool's private areas are too small.
    #[inline(always)]
    pub fn submit<C: Copy>(
        &self,
        queue: &CompletionQueue<C>,
        io: Io,
        frame: Mbuf,
        context: C,
    ) -> Result<(), Mbuf> {
        let channel = self.inner();
        debug_assert!(channel.owner.is_current(), "a channel is used on its own SPDK thread");
        let Some(slot) = Slot::<C>::of(&frame) else { return Err(frame) };
        let bytes = match io.kind {
            IoKind::Flush | IoKind::Unmap => 0,
            IoKind::Health => HEALTH_LOG_BYTES as u64,
            IoKind::Read | IoKind::Write | IoKind::WriteFua => {
                u64::from(io.blocks) * u64::from(channel.block_size)
            }
            IoKind::ReadSectors | IoKind::WriteSectors => u64::from(io.blocks) * 512,
        };
        let header = Header::new(queue.enter(), self.inner, io);
        // SAFETY: `of` checked the private area's size and alignment; this mbuf is owned, so its private area
        // is ours. The iovecs are written in place.
        let covered = unsafe {
            slot.write(Slot { header, context });
            (*slot.as_ptr()).header.cover(&frame, usize::from(io.payload), bytes)
        };
        channel.under_way.set(channel.under_way.get() + 1);
        let mbuf = frame.into_raw().as_ptr().cast();
        if covered {
            // Of sectors of blocks only whole ones go from the frame: `rmw` counts those.
            if matches!(io.kind, IoKind::Read | IoKind::Write)
                // SAFETY: written above, and nobody else's yet.
                && unsafe { (*slot.as_ptr()).header.bounces(channel.alignment) }
            {
                queue_of(mbuf).count_bounced();
            }
            start(mbuf);
        } else {
            finish(mbuf, Outcome::Aborted);
        }
        Ok(())
    }
}

impl Channel {
    pub(crate) fn bdev(&self) -> &Bdev {
        &self.bdev
    }

    /// What the bdev wants buffers' addresses to be a multiple of.
    pub(crate) fn alignment(&self) -> u32 {
        self.alignment
    }

    /// Descriptor and channel, as SPDK's calls want them.
    pub(crate) fn raw_pair(&self) -> (*mut spdk_sys::spdk_bdev_desc, *mut spdk_sys::spdk_io_channel) {
        (self.desc, self.raw.as_ptr())
    }
}

/// A channel on its way to its end.
pub(crate) struct Closing(pub(crate) NonNull<Channel>);

// SAFETY: it is only used by `close`, on the thread that opened the channel.
unsafe impl Send for Closing {}

impl Closing {
    /// On the SPDK thread that opened it.
    pub(crate) fn close(self) {
        // SAFETY: leaked by `open`, and still there: only this frees it, and only once.
        if unsafe { self.0.as_ref() }.memory.abandon() {
            return;
        }
        // SAFETY: leaked by `open`, the handle is gone and no I/O refers to it, nor the search for its memory; this is
        // the thread that opened it, as spdk_put_io_channel (spdk/thread.h) wants. The descriptor goes after the
        // channel.
        unsafe {
            let channel = Box::from_raw(self.0.as_ptr());
            spdk_sys::spdk_put_io_channel(channel.raw.as_ptr());
        }
    }
}

impl Drop for IoChannel {
    fn drop(&mut self) {
        if self.under_way() > 0 {
            return;
        }
        let closing = Closing(self.inner);
        let owner = &self.inner().owner;
        if owner.is_current() {
            closing.close();
        } else {
            // Without its thread the channel stays, and with it the descriptor.
            let _ = owner.clone().send(move || closing.close());
        }
    }
}

impl fmt::Debug for IoChannel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("IoChannel")
            .field("bdev", &self.inner().bdev)
            .field("under_way", &self.under_way())
            .finish()
    }
}

/// Hands the request in `mbuf` to the bdev, or to those that wait.
#[inline(always)]
fn start(mbuf: *mut c_void) {
    let header = header(mbuf);
    // SAFETY: called for submitted mbufs only, which nothing else has now; a channel stays while I/O is under way
    // on it.
    let (channel, io, iov_count) = unsafe { ((*header).channel.as_ref(), (*header).io, (*header).iov_count) };
    // SAFETY: as above; the place of the iovecs, of which SPDK looks at `iov_count`.
    let iov = unsafe { (&raw mut (*header).iov).cast::<spdk_sys::iovec>() };
    let (desc, ch) = channel.raw_pair();
    let (block, blocks) = (io.block, u64::from(io.blocks));
    // SAFETY: descriptor and channel are open and this is the channel's thread; the iovecs, and the bytes
    // they point to, belong to this request until `ended` runs (spdk/bdev.h). The bdev checks the range.
    let code = unsafe {
        match io.kind {
            IoKind::Read => {
                spdk_sys::spdk_bdev_readv_blocks(desc, ch, iov, iov_count, block, blocks, Some(ended), mbuf)
            }
            IoKind::Write => {
                spdk_sys::spdk_bdev_writev_blocks(desc, ch, iov, iov_count, block, blocks, Some(ended), mbuf)
            }
            IoKind::WriteFua => match (iov_count, write_dwords(io, true)) {
                (1, Some([low, high, control])) => {
                    let (data, bytes) = ((*iov).iov_base, (*iov).iov_len);
                    spdk_sys::spdk_shim_nvme_write(
                        desc,
                        ch,
                        low,
                        high,
                        control,
                        data,
                        bytes,
                        Some(ended),
                        mbuf,
                    )
                }
                _ => -ENOTSUP,
            },
            IoKind::ReadSectors | IoKind::WriteSectors => return rmw::start(mbuf),
            IoKind::Flush => flush(channel, mbuf),
            IoKind::Unmap => spdk_sys::spdk_bdev_unmap_blocks(desc, ch, block, blocks, Some(ended), mbuf),
            IoKind::Health => match iov_count {
                // `cover` has put all the log's bytes into the one piece.
                1 => spdk_sys::spdk_shim_nvme_health(desc, ch, (*iov).iov_base, Some(ended), mbuf),
                _ => -EINVAL,
            },
        }
    };
    // With 0 the request is the bdev's, and may have ended already; else it is still here.
    match -code {
        0 => {}
        ENOMEM => wait(mbuf),
        EAGAIN => queue_of(mbuf).retry_later(mbuf),
        // spdk/bdev.h: EINVAL is a range beyond the end, or a buffer SPDK can't use.
        EINVAL if !matches!(io.kind, IoKind::Flush | IoKind::Health) => finish(mbuf, Outcome::OutOfRange),
        _ => finish(mbuf, Outcome::Aborted),
    }
}

/// Starts a flush, by the way that reaches this bdev's stable storage. Returns 0 or a negative errno.
///
/// # Safety
/// As for the submission calls in `start`.
unsafe fn flush(channel: &Channel, mbuf: *mut c_void) -> c_int {
    let descriptor = &channel.bdev.inner;
    let (desc, ch) = channel.raw_pair();
    match descriptor.info().flush {
        FlushMethod::Nothing => {
            finish(mbuf, Outcome::Done);
            0
        }
        FlushMethod::Impossible => -ENOTSUP,
        FlushMethod::Bdev => {
            // All of it, as large as it is now.
            let blocks = channel.bdev.blocks();
            // SAFETY: the caller's promise.
            unsafe { spdk_sys::spdk_bdev_flush_blocks(desc, ch, 0, blocks, Some(ended), mbuf) }
        }
        // SAFETY: the caller's promise.
        FlushMethod::NvmeCommand => unsafe { spdk_sys::spdk_shim_nvme_flush(desc, ch, Some(ended), mbuf) },
        FlushMethod::FileSync => {
            // SAFETY: a submitted mbuf, which nothing else has now.
            let done = unsafe { (*header(mbuf)).io.block };
            match usize::try_from(done).ok().and_then(|index| descriptor.files.get(index)) {
                Some(file) => queue_of(mbuf).fdatasync(file.as_raw_fd(), mbuf),
                None => -EINVAL,
            }
        }
    }
}

/// Lets a request wait until SPDK has memory for its I/O again: it is tried on each turn. Not in SPDK's own queue of those
/// that wait (spdk_bdev_queue_io_wait), which nobody can overtake: a compare-and-write needs memory for its parts while
/// it has some, and would stand behind those that wait for it to end.
#[cold]
fn wait(mbuf: *mut c_void) {
    let queue = queue_of(mbuf);
    queue.count_wait();
    queue.retry_later(mbuf);
}

/// Starts again a request that had to wait.
pub(crate) fn retry(mbuf: NonNull<c_void>) {
    start(mbuf.as_ptr());
}

/// For a submitted mbuf.
#[inline]
pub(crate) fn queue_of<'a>(mbuf: *mut c_void) -> &'a QueueHead {
    // SAFETY: a completion queue stays while requests are under way on it; its head is only read, its members
    // are cells.
    unsafe { (*header(mbuf)).queue.as_ref() }
}

extern "C" fn ended(io: *mut spdk_sys::spdk_bdev_io, success: bool, mbuf: *mut c_void) {
    let outcome = if success {
        Outcome::Done
    } else {
        // SAFETY: a completed I/O of ours.
        let (status_type, status) = unsafe { status_of(io) };
        outcome_of(status_type, status)
    };
    // SAFETY: each completion frees its I/O, once.
    unsafe { spdk_sys::spdk_bdev_free_io(io) };
    finish(mbuf, outcome);
}

/// NVMe's status type and code of a failed I/O.
///
/// # Safety
/// `io` is completed, and not freed.
pub(crate) unsafe fn status_of(io: *mut spdk_sys::spdk_bdev_io) -> (c_int, c_int) {
    let (mut cdw0, mut status_type, mut status) = (0, 0, 0);
    // SAFETY: the caller's promise (spdk/bdev.h).
    unsafe { spdk_sys::spdk_bdev_io_get_nvme_status(io, &mut cdw0, &mut status_type, &mut status) };
    (status_type, status)
}

/// An fdatasync has ended: the next file's begins before this turn's end, if there is one. Not from here, where the
/// queue looks for ended ones.
pub(crate) extern "C" fn synced(mbuf: *mut c_void, result: i64) {
    if result != 0 {
        return finish(mbuf, Outcome::DeviceFault);
    }
    let header = header(mbuf);
    // SAFETY: a submitted mbuf, given back by the kernel; a channel stays while I/O is under way on it.
    let (done, files) = unsafe {
        (*header).io.block += 1;
        ((*header).io.block, (*header).channel.as_ref().bdev.inner.files.len())
    };
    if done < files as u64 { queue_of(mbuf).retry_later(mbuf) } else { finish(mbuf, Outcome::Done) }
}

/// Dwords 10 to 12 of NVMe's Write (NVM Express 1.4, 6.15): the first block's lower and upper half; the number of
/// blocks less one, with Force Unit Access in bit 30. `None` for a number that a command can't carry.
fn write_dwords(io: Io, fua: bool) -> Option<[u32; 3]> {
    let blocks_less_one = u16::try_from(io.blocks.checked_sub(1)?).ok()?;
    let [a, b, c, d, e, f, g, h] = io.block.to_le_bytes();
    let control = u32::from(blocks_less_one) | u32::from(fua) << 30;
    Some([u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]), control])
}

/// What an NVMe status (spdk/nvme_spec.h: type, code) means for a request.
pub(crate) fn outcome_of(status_type: c_int, status: c_int) -> Outcome {
    match (status_type, status) {
        (0, 0x80) => Outcome::OutOfRange,
        // Invalid opcode or field, aborted by request or by a deleted queue, namespace write protected.
        (0, 0x01 | 0x02 | 0x07 | 0x08 | 0x20) => Outcome::Aborted,
        (2, _) => Outcome::MediaError,
        _ => Outcome::DeviceFault,
    }
}

/// Gives a request back to its queue.
#[inline]
pub(crate) fn finish(mbuf: *mut c_void, outcome: Outcome) {
    let header = header(mbuf);
    // SAFETY: called once for each submitted mbuf, by whichever way it ends; a channel stays while I/O is under
    // way on it.
    let channel = unsafe {
        (*header).outcome = outcome;
        (*header).channel.as_ref()
    };
    channel.under_way.set(channel.under_way.get() - 1);
    queue_of(mbuf).push(mbuf);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_with_fua_is_one_command() {
        let io = |block, blocks| Io { kind: IoKind::WriteFua, block, blocks, payload: 36 };
        assert_eq!(write_dwords(io(0x1_2345_6789, 16), true), Some([0x2345_6789, 1, 0x4000_000f]));
        assert_eq!(write_dwords(io(7, 1), false), Some([7, 0, 0]));
        assert_eq!(write_dwords(io(0, 65536), true), Some([0, 0, 0x4000_ffff]));
        assert_eq!(write_dwords(io(0, 65537), true), None);
        assert_eq!(write_dwords(io(0, 0), true), None);
    }

    #[test]
    fn nvme_statuses_map_to_what_an_initiator_is_told() {
        assert_eq!(outcome_of(0, 0x80), Outcome::OutOfRange);
        assert_eq!(outcome_of(0, 0x01), Outcome::Aborted);
        assert_eq!(outcome_of(0, 0x08), Outcome::Aborted);
        assert_eq!(outcome_of(2, 0x81), Outcome::MediaError, "unrecovered read error");
        assert_eq!(outcome_of(2, 0x80), Outcome::MediaError, "write fault");
        assert_eq!(outcome_of(0, 0x06), Outcome::DeviceFault, "internal device error");
        assert_eq!(outcome_of(7, 0xff), Outcome::DeviceFault);
    }
}
