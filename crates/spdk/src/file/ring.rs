//! One SPDK thread's io_uring: what goes to the kernel in a poll, and what has come back.

use std::{
    cell::{Cell, RefCell},
    ffi::c_void,
    fs::File,
    io,
    mem::MaybeUninit,
    os::fd::AsRawFd,
    ptr::NonNull,
};

use io_uring::{EnterFlags, IoUring, Probe, cqueue, opcode, squeue};

use super::{
    channel::Channel,
    group_commit::Syncs,
    request::{Request, RingFile},
};
use crate::kernel_io::KernelIo;

/// Entries that one system call hands to the kernel.
const ENTRIES: u32 = 256;

/// Requests that the kernel may have, of all files of a thread. The completion ring has room for as many.
const DEPTH: u32 = 4096;

/// Files in the ring's table. Of more, each request looks its descriptor up.
const FILES: u32 = 1024;

/// Completions looked at in one go, and the number of times in one poll: other pollers of the thread wait meanwhile.
const BATCH: usize = 32;
const BATCHES: usize = 8;

/// One SPDK thread's io_uring. It belongs to the thread of the system that opened it.
pub(super) struct Ring {
    uring: RefCell<IoUring>,
    /// Entries that the kernel has or will get in the next poll.
    in_flight: KernelIo,
    /// Entries for the next poll.
    queued: Cell<u32>,
    /// Channels that have something to do in each poll. Room for all is reserved when they open.
    listed: RefCell<Vec<NonNull<Channel>>>,
    channels: Cell<usize>,
    /// The free numbers of the table of files; `None` without a table.
    free_files: RefCell<Option<Vec<u32>>>,
    /// System calls that failed in a way that trying again may not cure.
    failed_calls: Cell<u64>,
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
            in_flight: KernelIo::default(),
            queued: Cell::new(0),
            listed: RefCell::default(),
            channels: Cell::new(0),
            free_files: RefCell::new(table.map(|()| (0..FILES).rev().collect())),
            failed_calls: Cell::new(0),
        })
    }

    /// Makes a file known to the ring, for a new channel.
    pub(super) fn add_file(&self, file: &File) -> RingFile {
        self.channels.set(self.channels.get() + 1);
        let mut listed = self.listed.borrow_mut();
        let missing = self.channels.get().saturating_sub(listed.len());
        listed.reserve(missing);
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
        self.channels.set(self.channels.get() - 1);
        let (true, Ok(place)) = (file.is_fixed, u32::try_from(file.number)) else { return };
        // Without this the kernel would keep the file open. A place that can't be emptied is not used again.
        if self.uring.borrow().submitter().register_files_update(place, &[-1]).is_ok() {
            self.free_files.borrow_mut().as_mut().into_iter().for_each(|free| free.push(place));
        }
    }

    /// Puts a channel on the list of those that each poll looks after. It is on it once at most, and until it takes itself off.
    #[inline]
    pub(super) fn list(&self, channel: NonNull<Channel>) {
        self.listed.borrow_mut().push(channel);
    }

    /// Takes a channel off that closes.
    pub(super) fn unlist(&self, channel: NonNull<Channel>) {
        self.listed.borrow_mut().retain(|listed| *listed != channel);
    }

    /// Whether there is room for an entry.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.queued.get() < ENTRIES && self.in_flight.in_flight() < DEPTH
    }

    /// Takes an entry for the next poll, after [`Ring::has_room`].
    ///
    /// # Safety
    /// Memory that the entry names, and its file, stay until its completion is looked at. Its number is one that
    /// [`Ring::poll`] knows.
    #[inline]
    pub(super) unsafe fn push(&self, entry: squeue::Entry) {
        // SAFETY: the caller promises that the entry's memory stays.
        let pushed = unsafe { self.uring.borrow_mut().submission().push(&entry) };
        debug_assert!(pushed.is_ok(), "asked for room before");
        self.queued.set(self.queued.get() + 1);
        self.in_flight.started();
    }

    /// Looks after the channels, hands entries to the kernel, and ends what the kernel has ended. True if there was something
    /// of it. One system call at most.
    pub(super) fn poll(&self) -> bool {
        if self.in_flight.in_flight() == 0 && self.listed.borrow().is_empty() {
            return false;
        }
        self.advance_channels();
        let entered = self.enter();
        self.reap() || entered
    }

    fn advance_channels(&self) {
        let mut index = 0;
        loop {
            let next = self.listed.borrow().get(index).copied();
            let Some(channel) = next else { break };
            // SAFETY: a channel takes itself off the list before it closes, and SPDK closes channels in messages, so not from
            // within this call.
            if unsafe { channel.as_ref() }.advance() {
                index += 1;
            } else {
                self.listed.borrow_mut().swap_remove(index);
            }
        }
        // Those that found no room come first the next time.
        if !self.has_room() && index > 1 {
            self.listed.borrow_mut().rotate_left(1);
        }
    }

    /// One call of the kernel, if there is something to hand over, or the kernel says that it has completions to hand out.
    #[inline]
    fn enter(&self) -> bool {
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
            // The kernel has no memory or too many completions: the entries stay for the next poll.
            Err(error) => {
                self.queued.set(count);
                let is_busy = matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ResourceBusy
                );
                if !is_busy {
                    self.failed_calls.set(self.failed_calls.get() + 1);
                }
            }
        }
        true
    }

    /// Ends what the kernel has ended.
    #[inline]
    fn reap(&self) -> bool {
        let mut found = false;
        for _ in 0..BATCHES {
            let mut room = [const { MaybeUninit::<cqueue::Entry>::uninit() }; BATCH];
            let batch = self.uring.borrow_mut().completion().fill(&mut room);
            if batch.is_empty() {
                break;
            }
            found = true;
            Syncs::order_completions();
            for completion in batch.iter() {
                self.in_flight.ended();
                Self::dispatch(completion);
            }
            if batch.len() < BATCH {
                break;
            }
        }
        found
    }

    #[inline]
    fn dispatch(completion: &cqueue::Entry) {
        let (number, result) = (completion.user_data(), completion.result());
        // SAFETY: the number of a completion on this ring.
        if let Some(channel) = unsafe { Channel::of_sync(number) } {
            return channel.synced(result);
        }
        // SAFETY: no channel's, so that of a request, which the kernel gives back once.
        let Some(request) = (unsafe { Request::from_user_data(number) }) else { return };
        let channel = request.channel();
        // SAFETY: a channel stays while it has requests.
        unsafe { channel.as_ref() }.ended(request, result);
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
