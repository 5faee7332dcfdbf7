//! Start and stop: a subsystem of ours among SPDK's own.

use std::{
    ffi::{CStr, c_char},
    marker::PhantomData,
};

use crate::error::{ECANCELED, Result, check};

/// A part of the app that starts after the subsystems it depends on, stops before them, and has its
/// configuration saved with theirs.
pub trait Subsystem {
    /// Its name in the configuration.
    const NAME: &'static CStr;
    /// Subsystems that must be up before.
    const DEPENDS: &'static [&'static CStr];

    /// Starts, on the app's thread; may go on after returning, until `done` is completed.
    fn init(done: Initialized);

    /// Stops, on the app's thread; may go on after returning, until `done` is dropped. Also called if `init`
    /// failed, or has not ended yet. No RPC comes any more.
    fn fini(done: Finished);

    /// The RPC calls that would make the present state, as the text of a JSON array of
    /// `{"method", "params"}`.
    fn config() -> String;
}

/// Must be completed, once: SPDK starts the next subsystem then. Dropping it is a failed start.
#[derive(Debug)]
pub struct Initialized {
    code: i32,
    _app_thread: PhantomData<*mut ()>,
}

impl Initialized {
    /// The subsystem is up.
    pub fn succeed(mut self) {
        self.code = 0;
    }

    /// It can't start: the app ends, with this errno's negative as its exit code.
    pub fn fail(mut self, errno: i32) {
        self.code = -errno.abs().max(1);
    }
}

impl Drop for Initialized {
    fn drop(&mut self) {
        if self.code == 0 {
            crate::app::loads();
        }
        // SAFETY: once per init, which this token is for (spdk_internal/event.h, spdk/init.h).
        unsafe { spdk_sys::spdk_shim_subsystem_init_next(self.code) };
    }
}

/// Dropping it says that the subsystem has stopped.
#[derive(Debug)]
pub struct Finished {
    _app_thread: PhantomData<*mut ()>,
}

impl Drop for Finished {
    fn drop(&mut self) {
        // SAFETY: once per fini, which this token is for.
        unsafe { spdk_sys::spdk_shim_subsystem_fini_next() };
    }
}

extern "C" fn init<S: Subsystem>() {
    crate::app::starts();
    S::init(Initialized { code: -ECANCELED, _app_thread: PhantomData });
}

extern "C" fn fini<S: Subsystem>() {
    // SAFETY: on the app's thread, outside of any RPC: SPDK finishes subsystems by a message of its own.
    unsafe { spdk_sys::spdk_shim_rpc_finish() };
    S::fini(Finished { _app_thread: PhantomData });
}

extern "C" fn write_config<S: Subsystem>(writer: *mut spdk_sys::spdk_json_write_ctx) {
    let config = S::config();
    // SAFETY: SPDK hands a live writer, where one value belongs (spdk/json.h).
    unsafe { spdk_sys::spdk_json_write_val_raw(writer, config.as_ptr().cast(), config.len()) };
}

/// Adds `S` to the app. Before [`crate::app::run`], from the same thread.
///
/// # Errors
/// `ENOMEM`.
pub fn add_subsystem<S: Subsystem>() -> Result<()> {
    let depends: Vec<*const c_char> = S::DEPENDS.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the names are static, the array is only read during the call, and no other thread uses SPDK's
    // list of subsystems before the app runs.
    let code = unsafe {
        spdk_sys::spdk_shim_add_subsystem(
            S::NAME.as_ptr(),
            depends.as_ptr(),
            depends.len(),
            Some(init::<S>),
            Some(fini::<S>),
            Some(write_config::<S>),
        )
    };
    check("spdk_add_subsystem", code)
}
