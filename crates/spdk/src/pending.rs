//! Requests in flight as their submitter sees them meanwhile: so that a request that its bdev does not answer can be found and
//! answered from elsewhere.

use std::{ffi::c_void, marker::PhantomData, mem::ManuallyDrop, ptr::NonNull};

use dpdk::Mbuf;

use crate::{
    CurrentThread,
    in_flight::{Slot, Submitted},
    io::IoKind,
    io_abort::{self, Abort},
};

/// A request in flight, seen from outside: the bdev keeps its payload.
#[derive(Debug)]
pub struct Pending<'queue, C> {
    request: ManuallyDrop<Submitted>,
    _context: PhantomData<&'queue mut C>,
}

impl<C: Copy> Pending<'_, C> {
    /// # Safety
    /// `arg` comes from [`Submitted::into_arg`] of a request in flight with a context of this type, and nothing else looks
    /// at its header as long as this is there.
    pub(crate) unsafe fn new(arg: *mut c_void) -> Self {
        // SAFETY: `arg` comes from `into_arg`, as the caller promises; the token is not dropped, so the request stays in
        // flight.
        let request = ManuallyDrop::new(unsafe { Submitted::from_arg(arg) });
        Self { request, _context: PhantomData }
    }

    fn slot(&self) -> NonNull<Slot<C>> {
        self.request.place().cast()
    }

    /// The context that was submitted with it.
    #[must_use]
    pub fn context(&self) -> C {
        // SAFETY: `Submitted::new` put a Slot<C> there, as the caller of `new` promises.
        unsafe { (*self.slot().as_ptr()).context }
    }

    /// Has the request come back with another context.
    pub fn set_context(&mut self, context: C) {
        // SAFETY: as in `context`; nothing else looks at the slot meanwhile.
        unsafe { (*self.slot().as_ptr()).context = context };
    }

    /// Nobody waits for it any more: parts of it that the bdev does not have yet are not submitted. It comes back all the
    /// same, when the bdev has given back what it has.
    pub fn cancel(&mut self) {
        self.request.header_mut().cancelled = true;
    }

    /// [`Pending::cancel`], and the bdev is asked to give back what it has. That may happen within this call; from the queue it
    /// comes by [`CompletionQueue::poll`](crate::CompletionQueue::poll) as ever.
    pub fn abort(&mut self, thread: CurrentThread<'_>) -> Abort {
        self.cancel();
        io_abort::ask(thread, &self.request)
    }

    /// Makes `copy` a copy of the frame up to its payload, with the frame's tag. False if it has no room for that.
    #[must_use]
    pub fn copy_head(&self, copy: &mut Mbuf) -> bool {
        let head = usize::from(self.request.header().io.payload);
        // SAFETY: the bdev has the bytes from the payload on, and only those before are read.
        unsafe { self.request.with_frame(|frame| copy.copy_head_from(frame, head)) }
    }

    /// Calls `look` with the frame, payload included. `None` if the bdev may write its bytes: for a read or a log page.
    pub fn with_given<R>(&self, look: impl FnOnce(&Mbuf) -> R) -> Option<R> {
        let is_given = match self.request.header().io.kind {
            IoKind::Write | IoKind::WriteFua | IoKind::Flush | IoKind::Unmap => true,
            IoKind::Read | IoKind::Health => false,
        };
        // SAFETY: what a bdev writes to its medium it only reads, and it looks at no byte of a flush or an unmap; so nobody
        // writes these bytes, and `look` can't.
        is_given.then(|| unsafe { self.request.with_frame(look) })
    }

    /// The first bytes of the frame. `None` if they reach into the payload, or the frame is shorter.
    #[must_use]
    pub fn head<const BYTES: usize>(&self) -> Option<[u8; BYTES]> {
        if BYTES > usize::from(self.request.header().io.payload) {
            return None;
        }
        // SAFETY: the bdev has the bytes from the payload on, and only those before are read.
        unsafe { self.request.with_frame(Mbuf::first_bytes) }
    }
}
