//! One SPDK thread's io_uring: entries for the kernel, and completions.

use std::{
    cell::{Cell, RefCell},
    ffi::c_void,
    fs::File,
    io,
    mem::MaybeUninit,
    os::fd::AsRawFd,
    sync::atomic::{AtomicI32, Ordering},
};

use io_uring::{EnterFlags, IoUring, Probe, cqueue, opcode, squeue};

use super::request::RingFile;
use crate::{
    error::{EAGAIN, EBUSY, EINTR, EIO},
    kernel_io::KernelIo,
};

/// Entries that one system call hands to the kernel.
const ENTRIES: u32 = 256;

/// Requests that the kernel may have, of all files of a thread. The completion ring has room for as many.
const DEPTH: u32 = 4096;

/// Files in the ring's table. Of more, each request looks its descriptor up.
const FILES: u32 = 1024;

/// One SPDK thread's io_uring. It belongs to the thread of the system that opened it.
pub(super) struct Ring {
    uring: RefCell<IoUring>,
    /// Entries that the kernel has or will get in the next poll.
    in_flight: Cell<u32>,
    /// One while the kernel has entries, for lcores that yield to it.
    kernel_io: KernelIo,
    /// Entries for the next poll.
    queued: Cell<u32>,
    /// The free numbers of the table of files; `None` without a table.
    free_files: RefCell<Option<Vec<u32>>>,
}

impl Ring {
    /// A ring for the current thread.
    ///
    /// # Errors
    /// io_uring_setup(2)'s: see [`super::available::explain`].
    pub(super) fn open() -> io::Result<Self> {
        let uring = build(ENTRIES, DEPTH, is_bound())?;
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe)?;
        let needed =
            [opcode::Readv::CODE, opcode::Writev::CODE, opcode::Fsync::CODE, opcode::Fallocate::CODE];
        if !needed.iter().all(|code| probe.is_supported(*code)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // Refused where the process may not open as many files (RLIMIT_NOFILE).
        let table = uring.submitter().register_files_sparse(FILES).ok();
        Ok(Self {
            uring: RefCell::new(uring),
            in_flight: Cell::new(0),
            kernel_io: KernelIo::default(),
            queued: Cell::new(0),
            free_files: RefCell::new(table.map(|()| (0..FILES).rev().collect())),
        })
    }

    /// Makes a file known to the ring, for a new channel.
    pub(super) fn add_file(&self, file: &File) -> RingFile {
        let plain = RingFile { number: file.as_raw_fd(), is_fixed: false };
        let mut free = self.free_files.borrow_mut();
        let Some(place) = free.as_mut().and_then(Vec::pop) else { return plain };
        let added = self.uring.borrow().submitter().register_files_update(place, &[file.as_raw_fd()]);
        match (added, i32::try_from(place)) {
            (Ok(_), Ok(number)) => RingFile { number, is_fixed: true },
            _ => {
                free.as_mut().into_iter().for_each(|free| free.push(place));
                plain
            }
        }
    }

    /// Forgets the file of a channel that closes.
    pub(super) fn remove_file(&self, file: RingFile) {
        let (true, Ok(place)) = (file.is_fixed, u32::try_from(file.number)) else { return };
        // Without this the kernel would keep the file open. A place that can't be emptied is not used again.
        if self.uring.borrow().submitter().register_files_update(place, &[-1]).is_ok() {
            self.free_files.borrow_mut().as_mut().into_iter().for_each(|free| free.push(place));
        }
    }

    /// Whether there is room for an entry.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.queued.get() < ENTRIES && self.in_flight.get() < DEPTH
    }

    /// Takes an entry for the next poll, after [`Ring::has_room`].
    ///
    /// # Safety
    /// Memory that the entry names, and its file, stay until its completion is looked at, which has the entry's number.
    #[inline]
    pub(super) unsafe fn push(&self, entry: squeue::Entry) {
        // SAFETY: the caller promises that the entry's memory stays.
        let pushed = unsafe { self.uring.borrow_mut().submission().push(&entry) };
        debug_assert!(pushed.is_ok(), "asked for room before");
        self.queued.set(self.queued.get() + 1);
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// Whether the kernel has entries, or will get some.
    #[inline]
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.get() > 0
    }

    /// One call of the kernel, if there is something to hand over, or the kernel says that it has completions to hand out.
    #[inline]
    pub(super) fn enter(&self) -> bool {
        let mut uring = self.uring.borrow_mut();
        let (submitter, mut submission, _) = uring.split();
        submission.sync();
        if submission.is_empty() && !submission.taskrun() && !submission.cq_overflow() {
            return false;
        }
        let count = u32::try_from(submission.len()).unwrap_or(u32::MAX);
        drop(submission);
        // SAFETY: io_uring_enter(2) takes the entries in the ring, for which `push` holds, and no further argument.
        let entered = unsafe { submitter.enter::<c_void>(count, 0, EnterFlags::GETEVENTS.bits(), None) };
        match entered {
            Ok(taken) => self.queued.set(count.saturating_sub(u32::try_from(taken).unwrap_or(0))),
            // The entries stay for the next poll.
            Err(error) => {
                self.queued.set(count);
                note_failed_call(&error);
            }
        }
        true
    }

    /// The completions that are there, [`BATCH`] at most.
    #[inline]
    pub(super) fn completions<'room>(&self, room: &'room mut Room) -> &'room [cqueue::Entry] {
        let batch = self.uring.borrow_mut().completion().fill(&mut room.0);
        let count = u32::try_from(batch.len()).unwrap_or(0);
        self.in_flight.set(self.in_flight.get() - count);
        batch
    }

    /// At the end of a poll: tells lcores whether the kernel has entries, if that has changed. What it ended at once, as reads
    /// from the page cache, changes nothing.
    #[inline]
    pub(super) fn tell_kernel_io(&self) {
        let has_some = self.in_flight.get() > self.queued.get();
        match (has_some, self.kernel_io.in_flight()) {
            (true, 0) => self.kernel_io.started(),
            (false, 1..) => self.kernel_io.ended(),
            _ => {}
        }
    }
}

/// The errno of a call of the kernel that failed as none should, of any ring, and is not logged yet; 0 for none.
static FAILED_CALL: AtomicI32 = AtomicI32::new(0);

/// Notes that io_uring_enter(2) failed. The kernel may be out of memory, or have completions that must be looked at first: that is
/// over soon. All else would be an error of this module's.
#[cold]
fn note_failed_call(error: &io::Error) {
    let errno = error.raw_os_error().unwrap_or(EIO);
    if ![EAGAIN, EBUSY, EINTR].contains(&errno) {
        FAILED_CALL.store(errno, Ordering::Relaxed);
    }
}

/// The errno of a call of the kernel that failed, if there was one since the last call.
pub(super) fn take_failed_call() -> Option<i32> {
    Some(FAILED_CALL.swap(0, Ordering::Relaxed)).filter(|errno| *errno != 0)
}

/// Completions looked at in one go.
pub(super) const BATCH: usize = 32;

/// Room for [`BATCH`] completions.
pub(super) struct Room([MaybeUninit<cqueue::Entry>; BATCH]);

impl Room {
    #[inline]
    pub(super) const fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; BATCH])
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Ring").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

/// Whether this SPDK thread stays on one thread of the system.
fn is_bound() -> bool {
    // SAFETY: the shim asks SPDK about the current thread, if there is one.
    unsafe { spdk_sys::spdk_shim_thread_is_bound() }
}

/// Makes a ring. On a thread that is bound, completions run when the ring is entered and interrupt nothing; Linux has had that
/// since 6.1, and wants all calls from one thread of the system then.
pub(super) fn build(entries: u32, completions: u32, is_bound: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(completions);
    let plain = builder.clone();
    if !is_bound {
        return plain.build(entries);
    }
    builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
    match builder.build(entries) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => plain.build(entries),
        built => built,
    }
}
