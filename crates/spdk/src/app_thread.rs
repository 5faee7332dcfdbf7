//! The app's thread: the SPDK thread on which SPDK carries out RPCs, makes and removes bdevs and starts subsystems.

use std::marker::PhantomData;

use dpdk::EalStarted;

use crate::{
    error::{EINVAL, Error, Result},
    thread,
};

/// Proof that this code runs on the app's thread, which functions of the control plane ask for.
///
/// It is neither `Send` nor `'static`: it lasts as long as the call that SPDK made on this thread, so it can be neither
/// sent to another thread nor kept for another SPDK thread of the same reactor.
#[derive(Debug, Clone, Copy)]
pub struct AppThread<'call> {
    _call: PhantomData<&'call ()>,
    _not_send: PhantomData<*mut ()>,
}

impl AppThread<'_> {
    /// Calls `work` with the proof.
    ///
    /// # Errors
    /// `EINVAL` on any other thread, where `work` is not called.
    pub fn with<R>(work: impl FnOnce(AppThread<'_>) -> R) -> Result<R> {
        if !thread::is_app_thread() {
            return Err(Error { call: "spdk_thread_is_app_thread", errno: EINVAL });
        }
        // SAFETY: just checked, and the proof ends with the closure's call: its lifetime is the closure's own.
        Ok(work(unsafe { AppThread::new() }))
    }

    /// # Safety
    /// The current SPDK thread is the app's, and stays so for the lifetime that the caller gives the proof.
    pub(crate) unsafe fn new() -> Self {
        let app = Self { _call: PhantomData, _not_send: PhantomData };
        // Recorded for [`EalStarted::get`].
        app.eal();
        app
    }

    /// The proof that EAL has started.
    pub fn eal(self) -> EalStarted {
        // SAFETY: spdk_app_start starts EAL before it makes the app's thread, and SPDK calls rte_eal_cleanup from a
        // destructor only (lib/env_dpdk/init.c).
        unsafe { EalStarted::assume() }
    }

    /// Ends the app with exit code `code`, after all subsystems have finished. Later calls do nothing.
    pub fn stop(self, code: i32) {
        // SAFETY: spdk_app_stop (spdk/event.h) asks for a started app. It sends a message to the app's thread, which
        // exists while this code runs on it.
        unsafe { spdk_sys::spdk_app_stop(code) };
    }
}
