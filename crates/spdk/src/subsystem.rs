//! Subsystems: parts of the app that start and stop among SPDK's own.

use std::{
    ffi::{CStr, c_char},
    marker::PhantomData,
};

use crate::{
    app_thread::AppThread,
    error::{ECANCELED, Result, check},
    stage::{self, Stage},
    thread::Thread,
};

/// A part of the app that starts after the subsystems it depends on, stops before them, and has its
/// configuration saved with theirs.
pub trait Subsystem {
    /// Its name in the configuration.
    const NAME: &'static CStr;
    /// Subsystems that must be up before.
    const DEPENDS: &'static [&'static CStr];

    /// Starts. May go on after returning, until `done` is completed.
    fn init(app: AppThread<'_>, done: Initialized);

    /// Stops. May go on after returning, until `done` is dropped. Also called if `init` failed, or has not completed
    /// yet. No RPC comes any more.
    fn fini(app: AppThread<'_>, done: Finished);

    /// The RPC calls that would make the present state, as the text of a JSON array of
    /// `{"method", "params"}`.
    fn config(app: AppThread<'_>) -> String;
}

/// Must be completed, once: SPDK starts the next subsystem then. Dropping it is a failed start.
#[derive(Debug)]
pub struct Initialized {
    code: i32,
    _not_send: PhantomData<*mut ()>,
}

impl Initialized {
    /// The subsystem is up.
    pub fn succeed(mut self) {
        self.code = 0;
    }

    /// The subsystem can't start: the app ends, with this errno's negative as its exit code.
    pub fn fail(mut self, errno: i32) {
        self.code = -errno.abs().max(1);
    }
}

impl Drop for Initialized {
    fn drop(&mut self) {
        let code = self.code;
        on_app_thread(move || {
            if code == 0 {
                // This subsystem comes after those it depends on, so SPDK's configuration follows soon.
                stage::enter(Stage::Loading);
            }
            // SAFETY: spdk_subsystem_init_next (lib/init/subsystem.c) is to be called on the app's thread, as this is, and
            // once for each init: `init` makes one token for each, and this is its end.
            unsafe { spdk_sys::spdk_shim_subsystem_init_next(code) };
        });
    }
}

/// Dropping it reports that the subsystem has stopped.
#[derive(Debug)]
pub struct Finished {
    _not_send: PhantomData<*mut ()>,
}

impl Drop for Finished {
    fn drop(&mut self) {
        on_app_thread(|| {
            // SAFETY: spdk_subsystem_fini_next (lib/init/subsystem.c) is to be called on the app's thread, as this is, and
            // once for each fini: `fini` makes one token for each, and this is its end.
            unsafe { spdk_sys::spdk_shim_subsystem_fini_next() };
        });
    }
}

/// Runs `work` now on the app's thread, or by a message to it from another SPDK thread.
fn on_app_thread(work: impl FnOnce() + Send + 'static) {
    if crate::thread::is_app_thread() {
        return work();
    }
    // Without the app there is nothing that waits for this step.
    Thread::app().map(|app| app.send(work)).transpose().unwrap_or_default();
}

extern "C" fn init<S: Subsystem>() {
    // SAFETY: SPDK initialises subsystems on the app's thread (lib/init/subsystem.c asserts it); the proof is not kept
    // beyond this call.
    let app = unsafe { AppThread::new() };
    // SPDK has carried out the part of the configuration that comes before subsystems.
    stage::enter_stoppable(app);
    S::init(app, Initialized { code: -ECANCELED, _not_send: PhantomData });
}

extern "C" fn fini<S: Subsystem>() {
    // SAFETY: SPDK finishes subsystems on the app's thread (lib/init/subsystem.c asserts it); the proof is not kept beyond
    // this call.
    let app = unsafe { AppThread::new() };
    // SAFETY: spdk_rpc_finish (spdk/init.h) closes the RPC servers. It must be called on the app's thread and outside of
    // an RPC: SPDK finishes subsystems from a message of its own.
    unsafe { spdk_sys::spdk_shim_rpc_finish() };
    S::fini(app, Finished { _not_send: PhantomData });
}

extern "C" fn write_config<S: Subsystem>(writer: *mut spdk_sys::spdk_json_write_ctx) {
    // SAFETY: SPDK writes the configuration while it carries out an RPC, on the app's thread; the proof is not kept beyond
    // this call.
    let config = S::config(unsafe { AppThread::new() });
    // SAFETY: SPDK passes a live writer, at a place for one value (write_config_json in lib/init/subsystem.c). The text's
    // bytes are readable, and copied.
    unsafe { spdk_sys::spdk_json_write_val_raw(writer, config.as_ptr().cast(), config.len()) };
}

/// Adds `S` to SPDK's list of subsystems.
///
/// # Errors
/// `ENOMEM`.
///
/// # Safety
/// The app does not run yet, and no other thread uses the list.
pub(crate) unsafe fn add<S: Subsystem>() -> Result<()> {
    let depends: Vec<*const c_char> = S::DEPENDS.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: spdk_add_subsystem (lib/init/subsystem.c) keeps the names, which are static; the shim reads the array
    // during the call. The list is this thread's, as the caller promises.
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
