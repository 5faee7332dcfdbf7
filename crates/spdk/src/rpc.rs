//! Methods of ours on SPDK's JSON-RPC server, and further servers.

use std::{
    ffi::{CStr, CString},
    fmt,
    marker::PhantomData,
    path::Path,
    ptr::NonNull,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    app_thread::AppThread,
    c_string::collect,
    error::{EINVAL, EIO, Error, Result},
    thread::Poller,
};

/// JSON-RPC's "invalid params" (spdk/jsonrpc.h).
pub const INVALID_PARAMS: i32 = spdk_sys::SPDK_JSONRPC_ERROR_INVALID_PARAMS;
/// JSON-RPC's "internal error".
pub const INTERNAL_ERROR: i32 = spdk_sys::SPDK_JSONRPC_ERROR_INTERNAL_ERROR;

/// When SPDK takes a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phases {
    /// Before the subsystems start.
    pub startup: bool,
    /// Once they are up.
    pub runtime: bool,
}

impl Phases {
    /// Before the subsystems start, and no later.
    pub const STARTUP: Self = Self { startup: true, runtime: false };
    /// Once the subsystems are up.
    pub const RUNTIME: Self = Self { startup: false, runtime: true };

    fn mask(self) -> u32 {
        let part = |is: bool, bit: u32| if is { bit } else { 0 };
        part(self.startup, spdk_sys::SPDK_RPC_STARTUP) | part(self.runtime, spdk_sys::SPDK_RPC_RUNTIME)
    }
}

/// Held while SPDK's list of methods is read or changed from here. SPDK's servers read it too, but only while the app
/// runs, when it changes no more: [`register`] needs the app before it runs.
static METHODS: Mutex<()> = Mutex::new(());

/// When SPDK takes the method of that name, ours or its own; `None` if there is no such method.
pub fn phases(method: &str) -> Option<Phases> {
    let method = CString::new(method).ok()?;
    let mut mask = 0;
    let _list = METHODS.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: spdk_rpc_get_method_state_mask (spdk/rpc.h) reads a NUL-terminated name and the list of methods, and writes
    // the mask. SPDK's modules add methods before `main`, and `register` does with the lock.
    let code = unsafe { spdk_sys::spdk_rpc_get_method_state_mask(method.as_ptr(), &mut mask) };
    let has = |bit: u32| mask & bit != 0;
    (code == 0).then(|| Phases {
        startup: has(spdk_sys::SPDK_RPC_STARTUP),
        runtime: has(spdk_sys::SPDK_RPC_RUNTIME),
    })
}

/// A further RPC server at a socket of its own, beside the one that [`crate::app::AppOptions::rpc_socket`] names.
///
/// Its socket and its lock file are removed when it is dropped. The answer to a call that waits then is dropped later, by
/// SPDK.
pub struct Server {
    raw: Option<NonNull<spdk_sys::spdk_rpc_server>>,
    poller: Option<Poller>,
}

impl Server {
    /// Listens at `path`, and serves on the app's thread.
    ///
    /// # Errors
    /// `EINVAL` for a path with a NUL byte, `EIO` if SPDK can't listen there, which it logs.
    pub fn listen(_: AppThread<'_>, path: &Path) -> Result<Self> {
        let call = "spdk_rpc_server_listen";
        let invalid = Error { call, errno: EINVAL };
        let path = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| invalid)?;
        // SAFETY: spdk_rpc_server_listen (spdk/rpc.h) copies the NUL-terminated path. Its handlers run where the server is
        // polled: on this thread, the app's, by the poller below.
        let raw = unsafe { spdk_sys::spdk_rpc_server_listen(path.as_ptr()) };
        let raw = NonNull::new(raw).ok_or(Error { call, errno: EIO })?;
        let mut server = Self { raw: Some(raw), poller: None };
        server.poller = Some(Poller::register(Self::PERIOD, move || {
            // SAFETY: spdk_rpc_server_accept (spdk/rpc.h) takes a server that is not closed. `drop` ends this poller before
            // it closes the server, on this thread.
            unsafe { spdk_sys::spdk_rpc_server_accept(raw.as_ptr()) };
            false
        })?);
        Ok(server)
    }

    /// How often calls are looked for.
    const PERIOD: Duration = Duration::from_micros(100);
}

impl Drop for Server {
    fn drop(&mut self) {
        // No accept after this.
        self.poller = None;
        if let Some(raw) = self.raw.take() {
            // SAFETY: spdk_rpc_server_close (spdk/rpc.h) takes a listening server, once. A Server is not Send, so this is
            // the thread that polled it, and the poller has ended. SPDK detaches the calls that still wait.
            unsafe { spdk_sys::spdk_rpc_server_close(raw.as_ptr()) };
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").finish_non_exhaustive()
    }
}

/// A method of ours.
pub trait Method {
    /// Its name.
    const NAME: &'static CStr;

    /// When it may be called.
    const PHASES: Phases = Phases::RUNTIME;

    /// Handles one call, on the app's thread. `params` is the call's JSON text, if it has any. The answer may
    /// be given later, on the same thread.
    fn call(params: Option<&str>, request: Request);
}

/// A call that waits for its answer. Dropping it answers that it was given up.
#[derive(Debug)]
pub struct Request {
    raw: Option<NonNull<spdk_sys::spdk_jsonrpc_request>>,
    _not_send: PhantomData<*mut ()>,
}

impl Request {
    /// Answers with the text of a JSON value.
    pub fn result(mut self, json: &str) {
        let Some(raw) = self.raw.take() else { return };
        // SAFETY: spdk_jsonrpc_begin_result (spdk/jsonrpc.h) takes an unanswered request. `handle` makes one Request for
        // each call, and an answer takes the pointer out of it.
        let writer = unsafe { spdk_sys::spdk_jsonrpc_begin_result(raw.as_ptr()) };
        // A NULL writer means that no answer is wanted.
        if writer.is_null() {
            return;
        }
        // SAFETY: the writer expects one value. The text's bytes are readable, and copied.
        unsafe { spdk_sys::spdk_json_write_val_raw(writer, json.as_ptr().cast(), json.len()) };
        // SAFETY: spdk_jsonrpc_end_result (spdk/jsonrpc.h) takes the request with its writer, once.
        unsafe { spdk_sys::spdk_jsonrpc_end_result(raw.as_ptr(), writer) };
    }

    /// Answers with an error: a JSON-RPC code, or a negative errno as SPDK's own methods do.
    pub fn error(mut self, code: i32, message: &str) {
        self.send_error(code, message);
    }

    fn send_error(&mut self, code: i32, message: &str) {
        let Some(raw) = self.raw.take() else { return };
        let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
        // SAFETY: spdk_jsonrpc_send_error_response (spdk/jsonrpc.h) takes an unanswered request, as in `result`, and copies
        // the NUL-terminated message.
        unsafe { spdk_sys::spdk_jsonrpc_send_error_response(raw.as_ptr(), code, message.as_ptr()) };
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.send_error(INTERNAL_ERROR, "the target gave this call up");
    }
}

extern "C" fn handle<M: Method>(
    request: *mut spdk_sys::spdk_jsonrpc_request,
    params: *const spdk_sys::spdk_json_val,
) {
    let request = Request { raw: NonNull::new(request), _not_send: PhantomData };
    let mut text = Vec::new();
    // SAFETY: SPDK passes NULL or a decoded value that stays while the handler runs (spdk/rpc.h). The shim passes the Vec to
    // `collect` during this call only.
    let code = unsafe { spdk_sys::spdk_shim_json_text(params, Some(collect), (&raw mut text).cast()) };
    if code != 0 {
        request.error(INTERNAL_ERROR, "out of memory while reading the parameters");
        return;
    }
    let text = String::from_utf8_lossy(&text);
    M::call(Some(&*text).filter(|text| !text.is_empty()), request);
}

/// Registers `M`, of an app that does not run yet.
pub(crate) fn register<M: Method>() {
    let _list = METHODS.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: spdk_rpc_register_method (spdk/rpc.h) copies the name and changes the list of methods, which the lock
    // protects. App::register, the only caller, is called before the app and SPDK's servers run.
    unsafe { spdk_sys::spdk_rpc_register_method(M::NAME.as_ptr(), Some(handle::<M>), M::PHASES.mask()) };
}
