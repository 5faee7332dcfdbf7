//! The functions that the shim calls for the module: pointers become references, and what Rust owns goes to C and comes back.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    ptr::{self, NonNull},
    sync::Arc,
};

use serde_json::Value;

use super::{
    available, channel::Channel, disk::Disk, options::SyncMode, request::Request, thread_ring::ThreadRing,
};

static SIDE: spdk_sys::spdk_shim_file_side = spdk_sys::spdk_shim_file_side {
    open_ring: Some(open_ring),
    poll_ring: Some(poll_ring),
    close_ring: Some(close_ring),
    open_channel: Some(open_channel),
    close_channel: Some(close_channel),
    submit: Some(submit),
    drain: Some(drain),
    supports: Some(supports),
    describe: Some(describe),
    write_params: Some(write_params),
    close_disk: Some(close_disk),
};

/// Attaches this side to the shim, before the app runs.
pub(super) fn attach() {
    // SAFETY: the shim keeps a pointer to a static, whose functions keep to shim/file.h.
    unsafe { spdk_sys::spdk_shim_file_attach(&raw const SIDE) };
}

/// Writes a line of the log.
pub(super) fn log(level: spdk_sys::spdk_log_level, text: &str) {
    let text = std::ffi::CString::new(text.replace('\0', " ")).unwrap_or_default();
    // SAFETY: spdk_log (spdk/log.h) may be called on any thread, with a NUL-terminated string.
    unsafe { spdk_sys::spdk_shim_log(level, text.as_ptr()) };
}

extern "C" fn open_ring() -> *mut c_void {
    match ThreadRing::open() {
        Ok(ring) => Box::into_raw(Box::new(ring)).cast(),
        Err(error) => {
            log(spdk_sys::SPDK_LOG_ERROR, &available::explain(&error).sentence);
            ptr::null_mut()
        }
    }
}

extern "C" fn poll_ring(ring: *mut c_void) -> c_int {
    // SAFETY: the shim passes what `open_ring` returned, on its thread, until `close_ring`.
    let ring = unsafe { &*ring.cast::<ThreadRing>() };
    c_int::from(ring.poll())
}

extern "C" fn close_ring(ring: *mut c_void) {
    // SAFETY: `open_ring` leaked it, and the shim calls once.
    drop(unsafe { Box::from_raw(ring.cast::<ThreadRing>()) });
}

extern "C" fn open_channel(disk: *mut c_void, ring: *mut c_void) -> *mut c_void {
    // SAFETY: as in `poll_ring`.
    let ring = unsafe { &*ring.cast::<ThreadRing>() };
    // SAFETY: `into_raw` made the pointer, and the bdev keeps the disk until `close_disk`; this reference is another one.
    unsafe { Arc::increment_strong_count(disk.cast::<Disk>()) };
    // SAFETY: counted above.
    let disk = unsafe { Arc::from_raw(disk.cast::<Disk>()) };
    Box::into_raw(Box::new(Channel::new(disk, ring.ring(), ring.listed()))).cast()
}

extern "C" fn close_channel(channel: *mut c_void) {
    // SAFETY: `open_channel` leaked it, and the shim calls once.
    let channel = unsafe { Box::from_raw(channel.cast::<Channel>()) };
    if !channel.is_idle() {
        // SPDK closes no channel that has requests. Their completions would look for it.
        Box::leak(channel);
    }
}

extern "C" fn submit(channel: *mut c_void, io: *mut spdk_sys::spdk_shim_file_io) {
    let Some(channel) = NonNull::new(channel) else { return };
    // SAFETY: the shim passes a new request for this channel.
    let Some(request) = (unsafe { Request::take(io, channel) }) else { return };
    // SAFETY: `open_channel` leaked it, and the shim calls on its thread until `close_channel`.
    unsafe { channel.cast::<Channel>().as_ref() }.submit(request);
}

extern "C" fn drain(channel: *mut c_void) -> bool {
    // SAFETY: as in `submit`.
    unsafe { &*channel.cast::<Channel>() }.drain()
}

/// The disk of a bdev.
///
/// # Safety
/// `disk` came from [`into_raw`] and `close_disk` was not called with it, nor is during the lifetime.
pub(super) unsafe fn disk<'a>(disk: *mut c_void) -> &'a Disk {
    // SAFETY: as the caller promises.
    unsafe { &*disk.cast::<Disk>() }
}

/// The pointer that stands for a disk in the shim.
pub(super) fn into_raw(disk: Arc<Disk>) -> *mut c_void {
    Arc::into_raw(disk).cast_mut().cast()
}

/// The disk of which no bdev was made.
///
/// # Safety
/// `disk` came from [`into_raw`], and the shim does not have it.
pub(super) unsafe fn from_raw(disk: *mut c_void) -> Arc<Disk> {
    // SAFETY: as the caller promises.
    unsafe { Arc::from_raw(disk.cast::<Disk>()) }
}

extern "C" fn supports(this: *mut c_void, kind: spdk_sys::spdk_bdev_io_type) -> bool {
    // SAFETY: the shim passes the disk of a bdev that it has.
    let disk = unsafe { disk(this) };
    let writes = !disk.options().readonly;
    match kind {
        spdk_sys::SPDK_BDEV_IO_TYPE_READ | spdk_sys::SPDK_BDEV_IO_TYPE_FLUSH => true,
        spdk_sys::SPDK_BDEV_IO_TYPE_WRITE => writes,
        spdk_sys::SPDK_BDEV_IO_TYPE_UNMAP | spdk_sys::SPDK_BDEV_IO_TYPE_WRITE_ZEROES => {
            writes && disk.opened().punches
        }
        _ => false,
    }
}

extern "C" fn describe(this: *mut c_void, writer: *mut spdk_sys::spdk_json_write_ctx) {
    // SAFETY: the shim passes the disk of a bdev that it has.
    write(&unsafe { disk(this) }.description(), writer);
}

extern "C" fn write_params(
    this: *mut c_void,
    uuid: *const c_char,
    writer: *mut spdk_sys::spdk_json_write_ctx,
) {
    // SAFETY: the shim passes a NUL-terminated string, which stays during the call.
    let uuid = unsafe { CStr::from_ptr(uuid) }.to_string_lossy();
    // SAFETY: the shim passes the disk of a bdev that it has.
    write(&unsafe { disk(this) }.params(&uuid), writer);
}

fn write(value: &Value, writer: *mut spdk_sys::spdk_json_write_ctx) {
    let text = value.to_string();
    // SAFETY: the shim passes a live writer at a place for one value. The text's bytes are readable, and copied.
    unsafe { spdk_sys::spdk_json_write_val_raw(writer, text.as_ptr().cast(), text.len()) };
}

extern "C" fn close_disk(this: *mut c_void) {
    // SAFETY: `into_raw` leaked it, and the shim calls once.
    drop(unsafe { Arc::from_raw(this.cast::<Disk>()) });
}

/// Whether SPDK is told that a bdev has a volatile cache.
pub(super) fn has_cache(sync: SyncMode) -> bool {
    sync == SyncMode::None
}
