//! Management: methods of ours on SPDK's JSON-RPC server.

use std::{
    ffi::{CStr, CString, c_char, c_void},
    fmt,
    marker::PhantomData,
    path::Path,
    ptr::NonNull,
    slice,
    time::Duration,
};

use crate::{
    Poller,
    error::{EINVAL, EIO, Error, Result},
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

/// When SPDK takes the method of that name, ours or its own; `None` if there is no such method.
pub fn phases(method: &str) -> Option<Phases> {
    let method = CString::new(method).ok()?;
    let mut mask = 0;
    // SAFETY: reads the list of methods (spdk/rpc.h), which constructors and `register` fill before the app runs.
    let code = unsafe { spdk_sys::spdk_rpc_get_method_state_mask(method.as_ptr(), &mut mask) };
    let has = |bit: u32| mask & bit != 0;
    (code == 0).then(|| Phases {
        startup: has(spdk_sys::SPDK_RPC_STARTUP),
        runtime: has(spdk_sys::SPDK_RPC_RUNTIME),
    })
}

/// Whether a subsystem of that name is linked into this program. On the app's thread.
pub fn subsystem_exists(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    // SAFETY: reads SPDK's list of subsystems (spdk/init.h), which is complete before the app runs.
    unsafe { spdk_sys::spdk_subsystem_exists(name.as_ptr()) }
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
    /// Listens at `path`, and serves on this thread, the app's.
    ///
    /// # Errors
    /// `EINVAL` outside an SPDK thread and for a path with a NUL byte, `EIO` if SPDK can't listen there, which it logs.
    pub fn listen(path: &Path) -> Result<Self> {
        let call = "spdk_rpc_server_listen";
        let invalid = Error { call, errno: EINVAL };
        let path = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| invalid)?;
        // SAFETY: the path is copied (spdk/rpc.h).
        let raw = unsafe { spdk_sys::spdk_rpc_server_listen(path.as_ptr()) };
        let raw = NonNull::new(raw).ok_or(Error { call, errno: EIO })?;
        let mut server = Self { raw: Some(raw), poller: None };
        server.poller = Some(Poller::register(Self::PERIOD, move || {
            // SAFETY: the server is closed after this poller's end, on the thread that runs it.
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
            // SAFETY: a listening server, on the thread that polled it, and polls it no more. SPDK takes its connection
            // from each call that waits.
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
    _app_thread: PhantomData<*mut ()>,
}

impl Request {
    /// Answers with the text of a JSON value.
    pub fn result(mut self, json: &str) {
        let Some(raw) = self.raw.take() else { return };
        // SAFETY: an unanswered request (spdk/jsonrpc.h); a NULL writer means that no answer is wanted.
        unsafe {
            let writer = spdk_sys::spdk_jsonrpc_begin_result(raw.as_ptr());
            if !writer.is_null() {
                spdk_sys::spdk_json_write_val_raw(writer, json.as_ptr().cast(), json.len());
                spdk_sys::spdk_jsonrpc_end_result(raw.as_ptr(), writer);
            }
        }
    }

    /// Answers with an error: a JSON-RPC code, or a negative errno as SPDK's own methods do.
    pub fn error(mut self, code: i32, message: &str) {
        self.send_error(code, message);
    }

    fn send_error(&mut self, code: i32, message: &str) {
        let Some(raw) = self.raw.take() else { return };
        let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
        // SAFETY: an unanswered request; the message is copied.
        unsafe { spdk_sys::spdk_jsonrpc_send_error_response(raw.as_ptr(), code, message.as_ptr()) };
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.send_error(INTERNAL_ERROR, "the target gave this call up");
    }
}

/// Collects text that C code hands over piece by piece, in the `Vec<u8>` at `ctx`. A piece may end inside of a
/// character.
pub(crate) extern "C" fn collect(ctx: *mut c_void, piece: *const c_char, length: usize) {
    // SAFETY: callers pass `&mut Vec<u8>` as ctx, and the shim `length` readable bytes.
    let (text, bytes) =
        unsafe { (&mut *ctx.cast::<Vec<u8>>(), slice::from_raw_parts(piece.cast::<u8>(), length)) };
    text.extend_from_slice(bytes);
}

extern "C" fn handle<M: Method>(
    request: *mut spdk_sys::spdk_jsonrpc_request,
    params: *const spdk_sys::spdk_json_val,
) {
    let request = Request { raw: NonNull::new(request), _app_thread: PhantomData };
    let mut text = Vec::new();
    // SAFETY: params is NULL or a decoded value that stays while the handler runs; `collect` takes a Vec.
    let code = unsafe { spdk_sys::spdk_shim_json_text(params, Some(collect), (&raw mut text).cast()) };
    if code != 0 {
        request.error(INTERNAL_ERROR, "out of memory while reading the parameters");
        return;
    }
    let text = String::from_utf8_lossy(&text);
    M::call(Some(&*text).filter(|text| !text.is_empty()), request);
}

/// Registers `M`. Before [`crate::app::run`], from the same thread; once per name.
pub fn register<M: Method>() {
    // SAFETY: spdk_rpc_register_method (spdk/rpc.h) copies the name; the app does not run yet.
    unsafe {
        spdk_sys::spdk_rpc_register_method(M::NAME.as_ptr(), Some(handle::<M>), M::PHASES.mask());
    }
}
