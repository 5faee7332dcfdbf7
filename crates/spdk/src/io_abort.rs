//! Aborts: a bdev is asked to give an I/O back that nobody waits for any more.
//!
//! An abort decides nothing. The request comes back when its bdev has ended the I/O, and only then is its frame free: aborted,
//! carried out, or failed. A bdev that does not find the I/O, or can't end it, keeps it as it would have without the abort.
//!
//! SPDK finds the I/O of an abort by the argument of its callback. That is the request's mbuf, or the buffer of a request that
//! goes through one (`sector_io`), and either has one I/O at a time. SPDK ends the parts of an I/O that it has split.

use std::{ffi::c_void, ptr::NonNull};

use crate::{
    CurrentThread, FlushMethod,
    closing::Closing,
    error::ENOMEM,
    in_flight::{Channel, Submitted},
    io::IoKind,
};

/// Aborts that a channel has in flight at most. Each takes two of SPDK's I/Os or more, and SPDK looks through all of the
/// channel's I/O for it; an NVMe drive carries out a few at a time.
const ABORTS_MAX: u32 = 64;

/// What became of the wish to abort a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// The bdev was asked. It may have given the request back already.
    Asked,
    /// Too many aborts are in flight, or SPDK has no memory for one now.
    NotNow,
    /// The bdev can't abort, or does not have the request.
    Impossible,
}

/// Asks the bdev to give a cancelled request back.
#[cold]
pub(crate) fn ask(thread: CurrentThread<'_>, request: &Submitted) -> Abort {
    if request.header().outcome.is_some() {
        // Nothing of it is in flight on its channel, which may be closed.
        return Abort::Impossible;
    }
    let (place, channel) = (request.header().channel, request.channel());
    if !channel.bdev.info().aborts || !thread.is(&channel.owner) {
        return Abort::Impossible;
    }
    let Some(arg) = arg_at_bdev(request, channel) else { return Abort::Impossible };
    if channel.aborting.get() >= ABORTS_MAX {
        return Abort::NotNow;
    }
    channel.aborting.set(channel.aborting.get() + 1);
    let (desc, ch) = channel.handles();
    // SAFETY: spdk_bdev_abort (spdk/bdev.h) takes an open descriptor and channel, which stay while `aborting` counts the abort,
    // on the channel's thread, as was just seen. `arg` is only compared. The request may end within the call: nothing of its
    // header is borrowed here. `aborted` gets the channel's place once, if the call succeeds.
    let code = unsafe { spdk_sys::spdk_bdev_abort(desc, ch, arg, Some(aborted), place.as_ptr().cast()) };
    if code == 0 {
        // The abort may have ended already.
        return Abort::Asked;
    }
    channel.aborting.set(channel.aborting.get() - 1);
    if -code == ENOMEM { Abort::NotNow } else { Abort::Impossible }
}

/// The argument of the callback that the request's I/O has at the bdev. `None` if no bdev has one of it.
fn arg_at_bdev(request: &Submitted, channel: &Channel) -> Option<*mut c_void> {
    let io = request.header().io;
    match io.kind {
        // An fdatasync of files, which the kernel has.
        IoKind::Flush if channel.bdev.info().flush == FlushMethod::FileSync => None,
        IoKind::Read | IoKind::Write if channel.block_size.exact(io.sectors).is_none() => {
            request.queue().sector_buffers.held_by(request.arg())
        }
        _ => Some(request.arg()),
    }
}

/// SPDK's callback: an abort has ended. What it has achieved shows in how the request comes back.
extern "C" fn aborted(io: *mut spdk_sys::spdk_bdev_io, _: bool, place: *mut c_void) {
    // SAFETY: spdk_bdev_free_io (spdk/bdev.h) takes a completed I/O, as this is, once.
    unsafe { spdk_sys::spdk_bdev_free_io(io) };
    // SAFETY: `ask` passed the place of a channel, which is no null.
    let place = unsafe { NonNull::new_unchecked(place.cast::<Channel>()) };
    // SAFETY: a channel stays while aborts are in flight on it (`IoChannel::drop`).
    let channel = unsafe { place.as_ref() };
    let left = channel.aborting.get() - 1;
    channel.aborting.set(left);
    if left == 0 && channel.is_dropped.get() {
        // On its thread, where SPDK completes a channel's I/O.
        Closing(place).close();
    }
}
