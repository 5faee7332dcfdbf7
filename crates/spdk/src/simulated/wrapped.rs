//! The functions that stand in the places of SPDK's. They have the signatures of SPDK's, and each is called as SPDK's is,
//! under the conditions of spdk/bdev.h.

use std::{
    ffi::{c_int, c_void},
    ptr,
    rc::Rc,
    slice,
};

use super::{
    Aborting, BDEV, CHANNEL, CHANNEL_BITS, IO, Operation, Pending, STATE, Simulated, Status, Submission,
    channel_of, device_of, handle, number,
};
use crate::error::{EINVAL, EIO};

/// # Safety
/// `iovs` has `count` elements.
unsafe fn pieces(iovs: *const spdk_sys::iovec, count: c_int) -> Vec<(*mut u8, usize)> {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: as the caller promises.
    let iovs = unsafe { slice::from_raw_parts(iovs, count) };
    iovs.iter().map(|iov| (iov.iov_base.cast::<u8>(), iov.iov_len)).collect()
}

/// The arguments that every function for I/O has.
struct Call {
    desc: *mut spdk_sys::spdk_bdev_desc,
    channel: *mut spdk_sys::spdk_io_channel,
    callback: spdk_sys::spdk_bdev_io_completion_cb,
    arg: *mut c_void,
}

/// Hands an I/O to its device, as SPDK's function does.
fn submit(
    call: &Call,
    operation: Operation,
    range: Option<(u64, u64)>,
    data: Vec<(*mut u8, usize)>,
    compared: Vec<(*mut u8, usize)>,
) -> c_int {
    let (Some((bdev, channel)), Some(callback)) = (channel_of(call.channel), call.callback) else {
        return -EIO;
    };
    let Some(device) = device_of(bdev).filter(|_| number(BDEV, call.desc) == Some(bdev)) else { return -EIO };
    let size = device.borrow().blocks();
    let (first, blocks) = range.unwrap_or((0, size));
    // As lib/bdev/bdev.c, bdev_io_valid_blocks.
    if first.checked_add(blocks).is_none_or(|end| end > size) {
        return -EINVAL;
    }
    let pending = Pending { callback, arg: call.arg, data, compared };
    let io = STATE.with_borrow_mut(|state| {
        state.last_io += 1;
        state.pending.insert(state.last_io, pending);
        state.last_io
    });
    match device.borrow_mut().submit(Submission { io, channel, operation, first, blocks }) {
        Ok(()) => 0,
        Err(errno) => {
            STATE.with_borrow_mut(|state| _ = state.pending.remove(&io));
            -errno
        }
    }
}

type Desc = *mut spdk_sys::spdk_bdev_desc;
type Channel = *mut spdk_sys::spdk_io_channel;
type Iov = *mut spdk_sys::iovec;
type Done = spdk_sys::spdk_bdev_io_completion_cb;

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
extern "C" fn __wrap_spdk_bdev_get_io_channel(desc: Desc) -> Channel {
    let opened = number(BDEV, desc).and_then(|number| {
        STATE.with_borrow_mut(|state| {
            let bdev = state.bdevs.get_mut(&number)?;
            bdev.channels += 1;
            Some((number, Rc::clone(&bdev.device), bdev.channels - 1))
        })
    });
    match opened {
        Some((bdev, device, channel)) if device.borrow_mut().open_channel(channel) => {
            handle(CHANNEL, bdev << CHANNEL_BITS | u64::from(channel))
        }
        _ => ptr::null_mut(),
    }
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
extern "C" fn __wrap_spdk_put_io_channel(channel: Channel) {
    let Some((bdev, channel)) = channel_of(channel) else { return };
    if let Some(device) = device_of(bdev) {
        device.borrow_mut().channel_closed(channel);
    }
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
extern "C" fn __wrap_spdk_bdev_close(desc: Desc) {
    let Some(bdev) = number(BDEV, desc) else { return };
    let closed = STATE.with_borrow_mut(|state| state.bdevs.remove(&bdev));
    if let Some(Simulated { device, .. }) = closed {
        device.borrow_mut().closed();
    }
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
extern "C" fn __wrap_spdk_bdev_desc_get_bdev(desc: Desc) -> *mut spdk_sys::spdk_bdev {
    desc.cast()
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
extern "C" fn __wrap_spdk_bdev_get_num_blocks(bdev: *const spdk_sys::spdk_bdev) -> u64 {
    number(BDEV, bdev).and_then(device_of).map_or(0, |device| device.borrow().blocks())
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_spdk_bdev_readv_blocks(
    desc: Desc,
    channel: Channel,
    iov: Iov,
    iov_count: c_int,
    first: u64,
    blocks: u64,
    callback: Done,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the caller passes `iov_count` iovecs.
    let data = unsafe { pieces(iov, iov_count) };
    let call = Call { desc, channel, callback, arg };
    submit(&call, Operation::Read, Some((first, blocks)), data, Vec::new())
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_spdk_bdev_writev_blocks(
    desc: Desc,
    channel: Channel,
    iov: Iov,
    iov_count: c_int,
    first: u64,
    blocks: u64,
    callback: Done,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the caller passes `iov_count` iovecs.
    let data = unsafe { pieces(iov, iov_count) };
    let call = Call { desc, channel, callback, arg };
    submit(&call, Operation::Write, Some((first, blocks)), data, Vec::new())
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_spdk_bdev_comparev_and_writev_blocks(
    desc: Desc,
    channel: Channel,
    compare_iov: Iov,
    compare_count: c_int,
    iov: Iov,
    iov_count: c_int,
    first: u64,
    blocks: u64,
    callback: Done,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the caller passes `compare_count` iovecs.
    let compared = unsafe { pieces(compare_iov, compare_count) };
    // SAFETY: the caller passes `iov_count` iovecs.
    let data = unsafe { pieces(iov, iov_count) };
    let call = Call { desc, channel, callback, arg };
    submit(&call, Operation::CompareAndWrite, Some((first, blocks)), data, compared)
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
extern "C" fn __wrap_spdk_bdev_unmap_blocks(
    desc: Desc,
    channel: Channel,
    first: u64,
    blocks: u64,
    callback: Done,
    arg: *mut c_void,
) -> c_int {
    let call = Call { desc, channel, callback, arg };
    submit(&call, Operation::Unmap, Some((first, blocks)), Vec::new(), Vec::new())
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
extern "C" fn __wrap_spdk_bdev_flush_blocks(
    desc: Desc,
    channel: Channel,
    first: u64,
    blocks: u64,
    callback: Done,
    arg: *mut c_void,
) -> c_int {
    let call = Call { desc, channel, callback, arg };
    submit(&call, Operation::Flush, Some((first, blocks)), Vec::new(), Vec::new())
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
extern "C" fn __wrap_spdk_shim_nvme_flush(
    desc: Desc,
    channel: Channel,
    callback: Done,
    arg: *mut c_void,
) -> c_int {
    submit(&Call { desc, channel, callback, arg }, Operation::Flush, None, Vec::new(), Vec::new())
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
extern "C" fn __wrap_spdk_shim_nvme_write(
    desc: Desc,
    channel: Channel,
    low: u32,
    high: u32,
    control: u32,
    data: *mut c_void,
    bytes: usize,
    callback: Done,
    arg: *mut c_void,
) -> c_int {
    let range = (u64::from(high) << 32 | u64::from(low), u64::from(control & 0xffff) + 1);
    let forced = control >> 30 & 1 == 1;
    let operation = if forced { Operation::WriteFua } else { Operation::Write };
    let call = Call { desc, channel, callback, arg };
    submit(&call, operation, Some(range), vec![(data.cast(), bytes)], Vec::new())
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
extern "C" fn __wrap_spdk_bdev_abort(
    desc: Desc,
    channel: Channel,
    wanted: *mut c_void,
    callback: Done,
    arg: *mut c_void,
) -> c_int {
    let (Some((bdev, channel)), Some(callback)) = (channel_of(channel), callback) else { return -EIO };
    let Some(device) = device_of(bdev).filter(|_| number(BDEV, desc) == Some(bdev)) else { return -EIO };
    let (abort, io) = STATE.with_borrow_mut(|state| {
        let io = state.pending.iter().find(|(_, pending)| pending.arg == wanted).map(|(io, _)| *io);
        state.last_io += 1;
        let pending = Pending { callback, arg, data: Vec::new(), compared: Vec::new() };
        state.pending.insert(state.last_io, pending);
        (state.last_io, io)
    });
    match device.borrow_mut().abort(Aborting { abort, channel }, io) {
        Ok(()) => 0,
        Err(errno) => {
            STATE.with_borrow_mut(|state| _ = state.pending.remove(&abort));
            -errno
        }
    }
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
extern "C" fn __wrap_spdk_bdev_free_io(io: *mut spdk_sys::spdk_bdev_io) {
    let freed = number(IO, io).and_then(|io| STATE.with_borrow_mut(|state| state.completed.remove(&io)));
    assert!(freed.is_some(), "an I/O is freed once, after it has completed");
}

/// The type and code of an I/O's NVMe status (spdk/nvme_spec.h).
fn status_of(io: *const spdk_sys::spdk_bdev_io) -> (c_int, c_int) {
    let status = number(IO, io).and_then(|io| STATE.with_borrow(|state| state.completed.get(&io).copied()));
    match status.expect("the status of an I/O that has completed and is not freed") {
        Status::Done => (0, 0),
        // Compare failure.
        Status::Miscompare => (2, 0x85),
        // Internal device error.
        Status::Failed => (0, 0x06),
        // Unrecovered read error.
        Status::MediaError => (2, 0x81),
        // Aborted by request.
        Status::Aborted => (0, 0x07),
    }
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_spdk_bdev_io_get_nvme_status(
    io: *const spdk_sys::spdk_bdev_io,
    _result: *mut u32,
    kind: *mut c_int,
    code: *mut c_int,
) {
    let status = status_of(io);
    // SAFETY: the caller passes a place for the type.
    unsafe { kind.write(status.0) };
    // SAFETY: the caller passes a place for the code.
    unsafe { code.write(status.1) };
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_spdk_bdev_io_get_nvme_fused_status(
    io: *const spdk_sys::spdk_bdev_io,
    _result: *mut u32,
    first_kind: *mut c_int,
    first_code: *mut c_int,
    _second_kind: *mut c_int,
    _second_code: *mut c_int,
) {
    let status = status_of(io);
    // SAFETY: the caller passes a place for the compare's type.
    unsafe { first_kind.write(status.0) };
    // SAFETY: the caller passes a place for the compare's code.
    unsafe { first_code.write(status.1) };
}
