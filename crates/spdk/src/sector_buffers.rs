//! Buffers for sector I/O: made once per lcore, given to one request each.

use std::{
    cell::Cell,
    ffi::c_void,
    ops::{Deref, DerefMut},
    ptr::{self, NonNull},
};

use crate::{
    error::{ENOMEM, Error, Result},
    miscompares::Miscompares,
    sectors::{BLOCK_BYTES_MAX, SECTOR_BYTES},
};

/// Bytes of a buffer: the covering blocks of a read of 16 sectors, which starts and ends within a block; or a block as
/// it was and as it will be.
pub(crate) const BUFFER_BYTES: usize = 16 * SECTOR_BYTES + BLOCK_BYTES_MAX;

/// Buffers of an lcore. A request in this state may hold one of SPDK's I/Os while it waits for another (the lock, then
/// compare and write), so there must be far fewer than SPDK has (65535, 256 kept per lcore).
const BUFFERS: usize = 64;

const _: () = assert!(2 * BLOCK_BYTES_MAX <= BUFFER_BYTES);

/// What a request of part blocks needs beside its mbuf. At a fixed address: SPDK's callback gets its pointer.
pub(crate) struct SectorBuffer {
    next: *mut SectorBuffer,
    /// [`BUFFER_BYTES`] bytes for the bdev.
    pub(crate) memory: NonNull<u8>,
    /// The request (`Submitted::into_arg`); null while it is free.
    pub(crate) request: *mut c_void,
    /// Sectors of the request that are done.
    pub(crate) done: u32,
    /// Sectors that the present step does.
    pub(crate) doing: u32,
    pub(crate) step: Step,
    pub(crate) miscompares: Miscompares,
    pub(crate) was: spdk_sys::iovec,
    pub(crate) will_be: spdk_sys::iovec,
}

/// What the bdev is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Read the covering blocks of a read.
    ReadAll,
    /// Read the block that a write changes a part of.
    ReadOld,
    /// Store the changed block, if it is as it was read.
    CompareAndWrite,
    /// Store whole blocks from the mbuf.
    WriteWhole,
}

/// A buffer that a request has: it is consumed by what hands it to SPDK or to a list, and comes into being again in SPDK's
/// callback.
pub(crate) struct Held(NonNull<SectorBuffer>);

impl Held {
    /// The argument for SPDK's callback, from which [`Held::from_arg`] makes this again.
    pub(crate) fn into_arg(self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    /// # Safety
    /// `arg` comes from [`Held::into_arg`], and nothing else makes a `Held` of it.
    pub(crate) unsafe fn from_arg(arg: *mut c_void) -> Self {
        // SAFETY: `into_arg` gives no null.
        Self(unsafe { NonNull::new_unchecked(arg.cast()) })
    }
}

impl Deref for Held {
    type Target = SectorBuffer;

    fn deref(&self) -> &SectorBuffer {
        // SAFETY: a buffer of `SectorBuffers::all`, which stays while requests are in flight; only its holder reaches it.
        unsafe { self.0.as_ref() }
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut SectorBuffer {
        // SAFETY: as in `deref`.
        unsafe { self.0.as_mut() }
    }
}

/// A list through buffers.
struct List(Cell<*mut SectorBuffer>);

impl List {
    const fn new() -> Self {
        Self(Cell::new(ptr::null_mut()))
    }

    fn push(&self, mut buffer: Held) {
        buffer.next = self.0.get();
        self.0.set(buffer.0.as_ptr());
    }

    fn pop(&self) -> Option<Held> {
        let buffer = Held(NonNull::new(self.0.get())?);
        self.0.set(buffer.next);
        Some(buffer)
    }

    fn is_empty(&self) -> bool {
        self.0.get().is_null()
    }
}

/// An lcore's buffers.
pub(crate) struct SectorBuffers {
    free: List,
    /// Of requests whose present step is to be started again.
    again: List,
    all: Cell<*mut [SectorBuffer]>,
}

impl SectorBuffers {
    pub(crate) const fn none() -> Self {
        Self {
            free: List::new(),
            again: List::new(),
            all: Cell::new(ptr::slice_from_raw_parts_mut(ptr::null_mut(), 0)),
        }
    }

    /// Makes the buffers, unless they are there.
    ///
    /// # Errors
    /// `ENOMEM` without memory for them.
    pub(crate) fn make(&self) -> Result<()> {
        if self.exist() {
            return Ok(());
        }
        // SAFETY: spdk_dma_malloc (spdk/env.h) gives `size` bytes or null.
        let memory =
            unsafe { spdk_sys::spdk_dma_malloc(BUFFERS * BUFFER_BYTES, BLOCK_BYTES_MAX, ptr::null_mut()) };
        let memory =
            NonNull::new(memory.cast::<u8>()).ok_or(Error { call: "spdk_dma_malloc", errno: ENOMEM })?;
        // SAFETY: all of its bytes; written once so that they are initialised.
        unsafe { memory.write_bytes(0, BUFFERS * BUFFER_BYTES) };
        let buffers: Vec<SectorBuffer> = (0..BUFFERS)
            .map(|index| SectorBuffer {
                next: ptr::null_mut(),
                // SAFETY: within the memory.
                memory: unsafe { memory.add(index * BUFFER_BYTES) },
                request: ptr::null_mut(),
                done: 0,
                doing: 0,
                step: Step::ReadAll,
                miscompares: Miscompares::default(),
                was: spdk_sys::iovec::default(),
                will_be: spdk_sys::iovec::default(),
            })
            .collect();
        let all = NonNull::from(Box::leak(buffers.into_boxed_slice()));
        self.all.set(all.as_ptr());
        for index in 0..BUFFERS {
            // SAFETY: within the slice.
            let buffer = unsafe { all.cast::<SectorBuffer>().add(index) };
            self.free.push(Held(buffer));
        }
        Ok(())
    }

    /// Whether [`SectorBuffers::make`] was called.
    pub(crate) fn exist(&self) -> bool {
        !self.all.get().is_null()
    }

    /// Whether a buffer is free.
    pub(crate) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// A free buffer, for one request.
    pub(crate) fn take(&self) -> Option<Held> {
        self.free.pop()
    }

    /// The buffer that a request has, as SPDK's callback gets it; `None` if it has none.
    #[cold]
    pub(crate) fn held_by(&self, request: *mut c_void) -> Option<*mut c_void> {
        let first = self.all.get().cast::<SectorBuffer>();
        let count = if self.exist() { BUFFERS } else { 0 };
        // SAFETY: within the slice.
        let mut buffers = (0..count).map(|index| unsafe { first.add(index) });
        // SAFETY: a buffer of the slice, of which nobody has a reference now: holders make one for each access.
        let held = buffers.find(|buffer| unsafe { (**buffer).request } == request);
        held.map(<*mut SectorBuffer>::cast)
    }

    pub(crate) fn give_back(&self, mut buffer: Held) {
        buffer.request = ptr::null_mut();
        self.free.push(buffer);
    }

    /// Keeps a buffer whose present step is to be started again on the next turn.
    pub(crate) fn again_later(&self, buffer: Held) {
        self.again.push(buffer);
    }

    /// Whether a step is to be started again.
    #[inline]
    pub(crate) fn has_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// The buffers whose step is to be started again; those that are kept meanwhile are for the next turn.
    pub(crate) fn take_again(&self) -> impl Iterator<Item = Held> + use<> {
        let again = List(Cell::new(self.again.0.replace(ptr::null_mut())));
        std::iter::from_fn(move || again.pop())
    }
}

impl Drop for SectorBuffers {
    fn drop(&mut self) {
        if !self.exist() {
            return;
        }
        // SAFETY: made by `make`; no request is in flight when a completion queue frees its head, so every buffer is in
        // `free`.
        let all = unsafe { Box::from_raw(self.all.get()) };
        if let Some(first) = all.first() {
            // SAFETY: the memory of all, which starts with the first one's.
            unsafe { spdk_sys::spdk_dma_free(first.memory.as_ptr().cast()) };
        }
    }
}
