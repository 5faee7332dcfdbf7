//! FLUSH for a file: the kernel's asynchronous fdatasync, so that no lcore waits for a disk.

use std::{
    ffi::{c_int, c_void},
    ptr::NonNull,
};

use crate::error::{Error, Result};

/// One lcore's fdatasyncs in flight.
#[derive(Debug)]
pub(crate) struct FdSync {
    raw: NonNull<spdk_sys::spdk_shim_fdsync>,
    in_flight: u32,
    done: Done,
}

/// Called when an fdatasync has ended, with the argument it was submitted with, and 0 or a negative errno.
pub(crate) type Done = extern "C" fn(*mut c_void, i64);

impl FdSync {
    /// Room for `depth` at once.
    ///
    /// # Errors
    /// io_setup(2)'s: `EAGAIN` when the machine's fs.aio-max-nr is used up.
    pub(crate) fn open(depth: u32, done: Done) -> Result<Self> {
        let mut code = 0;
        // SAFETY: fills `code`.
        let raw = unsafe { spdk_sys::spdk_shim_fdsync_open(depth, &mut code) };
        let raw = NonNull::new(raw).ok_or(Error { call: "io_setup", errno: code.saturating_neg() })?;
        Ok(Self { raw, in_flight: 0, done })
    }

    /// Starts an fdatasync of `fd`. Returns 0 or a negative errno; `-EAGAIN` when `depth` are in flight.
    ///
    /// # Safety
    /// `arg` is what `done` can take, once.
    pub(crate) unsafe fn submit(&mut self, fd: c_int, arg: *mut c_void) -> c_int {
        // SAFETY: a live context; the kernel takes its own reference to the file.
        let code = unsafe { spdk_sys::spdk_shim_fdsync_submit(self.raw.as_ptr(), fd, arg) };
        if code == 0 {
            self.in_flight += 1;
        }
        code
    }

    /// Calls `done` for each fdatasync that has ended. Costs one comparison while none is in flight.
    #[inline]
    pub(crate) fn poll(&mut self) {
        if self.in_flight == 0 {
            return;
        }
        // SAFETY: a live context; `done` can take every submitted arg (submit's condition).
        let ended = unsafe { spdk_sys::spdk_shim_fdsync_poll(self.raw.as_ptr(), Some(self.done)) };
        self.in_flight -= u32::try_from(ended).unwrap_or(0);
    }
}

impl Drop for FdSync {
    fn drop(&mut self) {
        // SAFETY: io_destroy(2) waits for what is in flight; nothing uses the context afterwards.
        unsafe { spdk_sys::spdk_shim_fdsync_close(self.raw.as_ptr()) };
    }
}
