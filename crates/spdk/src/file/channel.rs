//! One SPDK thread's way into a file: requests that wait, that the kernel has, and that wait for an fdatasync.

use std::{
    cell::{Cell, RefCell},
    fmt,
    ptr::NonNull,
    rc::Rc,
    sync::Arc,
};

use io_uring::{opcode, types};

use super::{
    disk::Disk,
    group_commit::{Lead, Syncs},
    listed::Listed,
    options::SyncMode,
    request::{Operation, Queue, RWF_DSYNC, Request, RingFile},
    ring::Ring,
};
use crate::error::{EAGAIN, ECANCELED, EINTR, EIO, ENOTSUP};

/// Requests of one channel that the kernel may have. More wait here: what the disk's queue has no room for, io_uring hands to
/// threads, one for each request.
const DEPTH: u32 = 128;

/// How often an fdatasync that the kernel did not begin is tried again.
const SYNC_RETRIES: u8 = 100;

/// Marks the number of an fdatasync's completion, which is a channel's address. Addresses are even.
const SYNC_MARK: u64 = 1;

/// One SPDK thread's way into a file.
///
/// Its methods are called on that thread. They answer requests, upon which SPDK may call them again before they return: no
/// borrow lasts over an answer.
pub(super) struct Channel {
    disk: Arc<Disk>,
    ring: Rc<Ring>,
    listed: Rc<Listed<Self>>,
    file: RingFile,
    /// Requests that the kernel has.
    in_flight: Cell<u32>,
    /// Requests that it does not have yet.
    waiting: RefCell<Queue>,
    /// Writes that it has completed and FLUSHes, which wait for an fdatasync, in the order of their stamps.
    unsynced: RefCell<Queue>,
    sync: Cell<Syncing>,
    /// The ring looks after it in its polls.
    is_listed: Cell<bool>,
}

/// This channel's part in the file's fdatasyncs.
#[derive(Debug, Default)]
enum Syncing {
    /// Another channel leads the one in flight, or none is.
    #[default]
    None,
    /// It leads one, which the ring had no room for.
    ToSubmit(Lead, u8),
    /// It leads one, which the kernel has.
    InFlight(Lead, u8),
}

impl Channel {
    pub(super) fn new(disk: Arc<Disk>, ring: Rc<Ring>, listed: Rc<Listed<Self>>) -> Self {
        let file = ring.add_file(disk.file());
        listed.reserve();
        Self {
            disk,
            ring,
            listed,
            file,
            in_flight: Cell::new(0),
            waiting: RefCell::default(),
            unsynced: RefCell::default(),
            sync: Cell::default(),
            is_listed: Cell::new(false),
        }
    }

    /// Takes a request.
    #[inline]
    pub(super) fn submit(&self, mut request: Request) {
        if request.operation() == Operation::Flush {
            // It covers the writes that SPDK knows to be complete.
            Syncs::order_completions();
            request.set_stamp(self.disk.syncs().stamp());
            self.unsynced.borrow_mut().push(request);
            return self.list();
        }
        if request.operation() != Operation::Read
            && (self.disk.refuses_writes() || self.disk.ends_before(request.end()))
        {
            return request.complete(Err(EIO));
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            let Err(back) = self.start(request) else { return };
            request = back;
        }
        waiting.push(request);
        self.list();
    }

    /// Puts a request into the ring. Gives it back if there is no room.
    #[inline]
    fn start(&self, request: Request) -> Result<(), Request> {
        if self.in_flight.get() >= DEPTH || !self.ring.has_room() {
            return Err(request);
        }
        let write_flags = if self.disk.sync() == SyncMode::Each { RWF_DSYNC } else { 0 };
        let Some(entry) = request.entry(self.file, write_flags) else { return Err(request) };
        self.in_flight.set(self.in_flight.get() + 1);
        // SAFETY: Ring::push asks for an entry whose memory stays until its completion is looked at: the iovecs and the data are
        // the bdev_io's, which stays until the request is answered, and the file is the disk's, which this channel keeps.
        unsafe { self.ring.push(entry.user_data(request.into_user_data())) };
        Ok(())
    }

    /// Has the ring look after this channel.
    fn list(&self) {
        if !self.is_listed.replace(true) {
            self.listed.push(NonNull::from(self));
        }
    }

    /// In each poll of the ring while it is listed: answers what an fdatasync covers, starts one, and starts what waits. False
    /// when it need not be listed any more.
    pub(super) fn advance(&self) -> bool {
        self.answer_synced();
        self.start_sync();
        loop {
            let next = self.waiting.borrow_mut().pop();
            let Some(request) = next else { break };
            if let Err(back) = self.start(request) {
                self.waiting.borrow_mut().push_front(back);
                break;
            }
        }
        let is_listed = !self.waiting.borrow().is_empty() || !self.unsynced.borrow().is_empty();
        self.is_listed.set(is_listed);
        is_listed
    }

    /// The kernel has ended a request, with what io_uring gives for it.
    #[inline]
    pub(super) fn ended(&self, mut request: Request, result: i32) {
        self.in_flight.set(self.in_flight.get() - 1);
        let operation = request.operation();
        let is_transfer = matches!(operation, Operation::Read | Operation::Write);
        match result {
            0.. if !is_transfer || u64::from(result.unsigned_abs()) == request.bytes() => self.done(request),
            // The file is shorter than it was, or its file system is full.
            0.. => {
                self.disk.note_failure(operation, None);
                request.complete(Err(EIO));
            }
            _ if is_again(-result) && request.may_retry() => self.wait(request),
            _ if -result == ENOTSUP && operation == Operation::WriteZeroes && request.punch_instead() => {
                self.wait(request);
            }
            _ => {
                self.disk.note_failure(operation, Some(-result));
                request.complete(Err(-result));
            }
        }
    }

    /// Answers a request, or lets it wait for an fdatasync.
    #[inline]
    fn done(&self, mut request: Request) {
        let waits = match (request.operation(), self.disk.sync()) {
            (Operation::Read | Operation::Flush, _) | (_, SyncMode::None) => false,
            // It has had its own.
            (Operation::Write, SyncMode::Each) => false,
            (Operation::Write | Operation::Unmap | Operation::WriteZeroes, _) => true,
        };
        if !waits {
            return request.complete(Ok(()));
        }
        // The ring has ordered the completion.
        request.set_stamp(self.disk.syncs().stamp());
        self.unsynced.borrow_mut().push(request);
        self.list();
    }

    fn wait(&self, request: Request) {
        self.waiting.borrow_mut().push(request);
        self.list();
    }

    /// Answers the writes and FLUSHes that an fdatasync covers, this channel's or another's.
    fn answer_synced(&self) {
        let mut answered = 0;
        loop {
            let mut unsynced = self.unsynced.borrow_mut();
            let Some(stamp) = unsynced.first_stamp() else { break };
            let Some(outcome) = self.disk.syncs().outcome(stamp) else { break };
            let Some(request) = unsynced.pop() else { break };
            drop(unsynced);
            answered += 1;
            request.complete(outcome);
        }
        if answered > 0 {
            self.disk.count_answered(answered);
        }
    }

    /// Starts an fdatasync if something waits for one and none is in flight.
    fn start_sync(&self) {
        if !self.ring.has_room() {
            return;
        }
        let (lead, retries) = match self.sync.take() {
            Syncing::ToSubmit(lead, retries) => (lead, retries),
            Syncing::None if !self.unsynced.borrow().is_empty() => match self.disk.syncs().lead() {
                Some(lead) => (lead, 0),
                None => return,
            },
            other => return self.sync.set(other),
        };
        let sync = opcode::Fsync::new(types::Fd(self.file.number)).flags(types::FsyncFlags::DATASYNC).build();
        let user_data = NonNull::from(self).as_ptr().expose_provenance() as u64 | SYNC_MARK;
        // SAFETY: Ring::push asks for memory that stays: there is none but the file, which the disk keeps. The channel that
        // `user_data` names stays, too: it has a request that waits for this fdatasync.
        unsafe { self.ring.push(sync.flags(self.file.flags()).user_data(user_data)) };
        self.sync.set(Syncing::InFlight(lead, retries));
    }

    /// The channel of a request.
    ///
    /// # Safety
    /// The request was taken for a channel ([`Request::take`]), which stays while it has requests.
    #[inline]
    pub(super) unsafe fn of<'a>(request: &Request) -> &'a Self {
        // SAFETY: as the caller promises.
        unsafe { request.channel().cast::<Self>().as_ref() }
    }

    /// The channel whose fdatasync's completion has this number; `None` for the number of a request.
    ///
    /// # Safety
    /// The number is that of a completion on this thread's ring.
    pub(super) unsafe fn of_sync<'a>(user_data: u64) -> Option<&'a Self> {
        if user_data & SYNC_MARK == 0 {
            return None;
        }
        let address = usize::try_from(user_data & !SYNC_MARK).ok()?;
        // SAFETY: `start_sync` made the number from a channel, which stays while its fdatasync is in flight.
        unsafe { std::ptr::with_exposed_provenance::<Self>(address).as_ref() }
    }

    /// The kernel has ended the fdatasync that this channel leads.
    pub(super) fn synced(&self, result: i32) {
        let Syncing::InFlight(lead, retries) = self.sync.take() else { return };
        if is_again(-result) && retries < SYNC_RETRIES {
            // It was not begun, so what covers it later covers it as well.
            self.sync.set(Syncing::ToSubmit(lead, retries + 1));
            return self.list();
        }
        let result = if result < 0 { Err(-result) } else { Ok(()) };
        self.disk.note_sync(result);
        self.disk.syncs().end(lead, result);
        self.answer_synced();
    }

    /// Gives back what the kernel does not have; true if it has nothing. For a reset.
    pub(super) fn drain(&self) -> bool {
        let mut waiting = self.waiting.take();
        while let Some(request) = waiting.pop() {
            request.complete(Err(ECANCELED));
        }
        self.is_idle()
    }

    /// Whether no request of this channel is left.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.get() == 0 && self.waiting.borrow().is_empty() && self.unsynced.borrow().is_empty()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Channel").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.listed.remove(NonNull::from(&*self));
        self.ring.remove_file(self.file);
    }
}

/// Whether the kernel has not begun something that it may begin later.
fn is_again(errno: i32) -> bool {
    [EAGAIN, EINTR].contains(&errno)
}
