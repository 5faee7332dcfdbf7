//! Management: methods of ours on SPDK's JSON-RPC server.

use std::{
    ffi::{CStr, CString, c_char, c_void},
    marker::PhantomData,
    ptr::NonNull,
    slice,
};

/// JSON-RPC's "invalid params" (spdk/jsonrpc.h).
pub const INVALID_PARAMS: i32 = spdk_sys::SPDK_JSONRPC_ERROR_INVALID_PARAMS;
/// JSON-RPC's "internal error".
pub const INTERNAL_ERROR: i32 = spdk_sys::SPDK_JSONRPC_ERROR_INTERNAL_ERROR;

/// A method, once the subsystems are up.
pub trait Method {
    /// Its name.
    const NAME: &'static CStr;

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
        spdk_sys::spdk_rpc_register_method(M::NAME.as_ptr(), Some(handle::<M>), spdk_sys::SPDK_RPC_RUNTIME);
    }
}
