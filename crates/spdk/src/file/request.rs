//! A request of SPDK's bdev layer, in the room that its bdev_io has for this module.

use std::{
    ffi::{c_int, c_void},
    mem,
    ptr::NonNull,
};

use io_uring::{opcode, squeue, types};

use super::group_commit::Stamp;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
    Flush,
    Unmap,
    WriteZeroes,
}

/// A request that is not answered. It is answered once: by [`Request::complete`], or with EIO when it is dropped.
#[derive(Debug)]
pub(super) struct Request(NonNull<Fields>);

/// The module's room in a bdev_io.
#[repr(C)]
struct Fields {
    given: spdk_sys::spdk_shim_file_io,
    operation: Operation,
    /// How often the kernel has said "again".
    retries: u8,
    /// The kernel can't zero the range in place.
    punches: bool,
    /// The channel that it was submitted on.
    channel: NonNull<c_void>,
    next: Option<NonNull<Fields>>,
    stamp: Option<Stamp>,
}

const _: () = {
    // bindgen's constants are u32.
    assert!(mem::size_of::<Fields>() <= spdk_sys::SPDK_SHIM_FILE_IO_ROOM as usize);
    // A bdev_io's room lies behind pointers.
    assert!(mem::align_of::<Fields>() <= mem::align_of::<usize>());
};

/// linux/falloc.h.
const FALLOC_FL_KEEP_SIZE: i32 = 0x01;
const FALLOC_FL_PUNCH_HOLE: i32 = 0x02;
const FALLOC_FL_ZERO_RANGE: i32 = 0x10;
/// linux/fs.h.
pub(super) const RWF_DSYNC: i32 = 2;

/// A file as a ring knows it: a descriptor, or a number in the ring's table.
#[derive(Debug, Clone, Copy)]
pub(super) struct RingFile {
    pub(super) number: i32,
    pub(super) is_fixed: bool,
}

impl RingFile {
    /// The flags of an entry for this file.
    pub(super) fn flags(self) -> squeue::Flags {
        if self.is_fixed { squeue::Flags::FIXED_FILE } else { squeue::Flags::empty() }
    }
}

impl Request {
    /// Takes a request from the shim; `None` for a kind that this module does not know, which it has answered.
    ///
    /// # Safety
    /// `io` is a request that the shim has just passed to this module for `channel`: its room is
    /// SPDK_SHIM_FILE_IO_ROOM bytes, aligned like a pointer, and nobody else's until the request is answered.
    #[inline]
    pub(super) unsafe fn take(
        io: *mut spdk_sys::spdk_shim_file_io,
        channel: NonNull<c_void>,
    ) -> Option<Self> {
        let fields = NonNull::new(io.cast::<Fields>())?;
        // SAFETY: the shim has written this part of the room.
        let given = unsafe { io.read() };
        let operation = match given.type_ {
            spdk_sys::SPDK_BDEV_IO_TYPE_READ => Operation::Read,
            spdk_sys::SPDK_BDEV_IO_TYPE_WRITE => Operation::Write,
            spdk_sys::SPDK_BDEV_IO_TYPE_FLUSH => Operation::Flush,
            spdk_sys::SPDK_BDEV_IO_TYPE_UNMAP => Operation::Unmap,
            spdk_sys::SPDK_BDEV_IO_TYPE_WRITE_ZEROES => Operation::WriteZeroes,
            _ => return None,
        };
        let value = Fields { given, operation, retries: 0, punches: false, channel, next: None, stamp: None };
        // SAFETY: the room is large enough (asserted above), aligned, and this request's alone, as the caller promises.
        unsafe { fields.write(value) };
        Some(Self(fields))
    }

    #[inline]
    fn fields(&self) -> &Fields {
        // SAFETY: `take` wrote them, and the room is this token's until the request is answered, which consumes the token.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn fields_mut(&mut self) -> &mut Fields {
        // SAFETY: as in `fields`.
        unsafe { self.0.as_mut() }
    }

    #[inline]
    pub(super) fn operation(&self) -> Operation {
        self.fields().operation
    }

    /// The channel that it was submitted on, which stays while it has requests.
    #[inline]
    pub(super) fn channel(&self) -> NonNull<c_void> {
        self.fields().channel
    }

    /// Bytes to read, write, give up or zero.
    #[inline]
    pub(super) fn bytes(&self) -> u64 {
        self.fields().given.bytes
    }

    /// The byte of the file behind the last one that it concerns.
    #[inline]
    pub(super) fn end(&self) -> u64 {
        self.fields().given.offset.saturating_add(self.bytes())
    }

    #[inline]
    pub(super) fn set_stamp(&mut self, stamp: Stamp) {
        self.fields_mut().stamp = Some(stamp);
    }

    /// Notes that the kernel said "again". False when it has done so too often.
    pub(super) fn may_retry(&mut self) -> bool {
        let retries = &mut self.fields_mut().retries;
        *retries = retries.saturating_add(1);
        *retries < u8::MAX
    }

    /// Has zeroes written by giving the blocks up. False if that was so already.
    pub(super) fn punch_instead(&mut self) -> bool {
        !mem::replace(&mut self.fields_mut().punches, true)
    }

    /// The entry of a ring that carries it out. `write_flags` are for writes. A FLUSH has none of its own: `None`.
    #[inline]
    pub(super) fn entry(&self, file: RingFile, write_flags: i32) -> Option<squeue::Entry> {
        let Fields { given, operation, punches, .. } = self.fields();
        let fd = types::Fd(file.number);
        let fallocate = |mode| {
            let fallocate = opcode::Fallocate::new(fd, given.bytes).offset(given.offset);
            fallocate.mode(mode | FALLOC_FL_KEEP_SIZE).build()
        };
        let entry = match operation {
            Operation::Read => {
                let count = u32::try_from(given.iov_count).unwrap_or(0);
                opcode::Readv::new(fd, given.iovs.cast(), count).offset(given.offset).build()
            }
            Operation::Write => {
                let count = u32::try_from(given.iov_count).unwrap_or(0);
                let write = opcode::Writev::new(fd, given.iovs.cast(), count);
                write.offset(given.offset).rw_flags(write_flags).build()
            }
            Operation::WriteZeroes if !punches => fallocate(FALLOC_FL_ZERO_RANGE),
            Operation::Unmap | Operation::WriteZeroes => fallocate(FALLOC_FL_PUNCH_HOLE),
            Operation::Flush => return None,
        };
        Some(entry.flags(file.flags()))
    }

    /// Answers it: `Err` is an errno.
    #[inline]
    pub(super) fn complete(self, result: Result<(), c_int>) {
        self.answer(result.err().map_or(0, c_int::wrapping_neg));
        mem::forget(self);
    }

    #[inline]
    fn answer(&self, code: c_int) {
        let bdev_io = self.fields().given.bdev_io;
        // SAFETY: spdk_bdev_io_complete (spdk/bdev_module.h) takes a submitted bdev_io, once: both callers give the token up.
        // They are on the thread of the channel, which tokens do not leave.
        unsafe { spdk_sys::spdk_shim_file_complete(bdev_io, code) };
    }

    /// Gives the token up to the kernel, whose completion has this number.
    #[inline]
    pub(super) fn into_user_data(self) -> u64 {
        let address = self.0.as_ptr().expose_provenance();
        mem::forget(self);
        address as u64
    }

    /// The token that was given up.
    ///
    /// # Safety
    /// `user_data` came from [`Request::into_user_data`] on this thread, and comes back once.
    #[inline]
    pub(super) unsafe fn from_user_data(user_data: u64) -> Option<Self> {
        let address = usize::try_from(user_data).ok()?;
        NonNull::new(std::ptr::with_exposed_provenance_mut(address)).map(Self)
    }
}

impl Drop for Request {
    /// A request that nobody answers would hang its bdev.
    fn drop(&mut self) {
        self.answer(-crate::error::EIO);
    }
}

/// Requests in the order of their arrival, linked through their rooms.
#[derive(Debug, Default)]
pub(super) struct Queue {
    first: Option<NonNull<Fields>>,
    last: Option<NonNull<Fields>>,
}

impl Queue {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline]
    pub(super) fn push(&mut self, mut request: Request) {
        request.fields_mut().next = None;
        let place = request.0;
        mem::forget(request);
        match self.last {
            // SAFETY: `last` is the room of a request in this queue, which owns it; nobody else refers to it.
            Some(mut last) if self.first.is_some() => unsafe { last.as_mut() }.next = Some(place),
            _ => self.first = Some(place),
        }
        self.last = Some(place);
    }

    /// Puts back what [`Queue::pop`] has just given.
    pub(super) fn push_front(&mut self, mut request: Request) {
        request.fields_mut().next = self.first;
        let place = request.0;
        mem::forget(request);
        if self.first.is_none() {
            self.last = Some(place);
        }
        self.first = Some(place);
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Request> {
        // The queue owns what it holds, and gives it up here.
        let request = Request(self.first?);
        self.first = request.fields().next;
        Some(request)
    }

    /// The stamp of the first one, if it has one.
    #[inline]
    pub(super) fn first_stamp(&self) -> Option<Stamp> {
        // SAFETY: the room of a request in this queue, which owns it.
        self.first.and_then(|first| unsafe { first.as_ref() }.stamp)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
