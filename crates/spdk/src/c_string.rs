//! Text from C.

use std::{
    ffi::{CStr, c_char, c_void},
    slice,
};

/// A C string as text; empty for NULL.
///
/// # Safety
/// `string` is NULL or NUL-terminated, and does not change during the call.
pub(crate) unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: not NULL, so NUL-terminated and unchanged, as the caller promises.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

/// Appends a piece of text to the `Vec<u8>` at `vec`, for the shim's functions that write text. A piece may end inside of a
/// character.
pub(crate) extern "C" fn collect(vec: *mut c_void, piece: *const c_char, length: usize) {
    // SAFETY: who passes this function to the shim passes a pointer to a `Vec<u8>` that it does not use meanwhile.
    let text = unsafe { &mut *vec.cast::<Vec<u8>>() };
    // SAFETY: write_text in the shim, the only caller, passes a buffer with `length` bytes in it.
    let bytes = unsafe { slice::from_raw_parts(piece.cast::<u8>(), length) };
    text.extend_from_slice(bytes);
}
