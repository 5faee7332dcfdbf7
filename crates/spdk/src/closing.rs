//! The end of a channel, when its handle is dropped or when the last of its aborts has ended.

use std::ptr::NonNull;

use crate::in_flight::Channel;

/// A channel being closed.
pub(crate) struct Closing(pub(crate) NonNull<Channel>);

// SAFETY: only `close` uses it, on the thread that opened the channel: `IoChannel::drop` calls it there, or sends it there, and
// SPDK's callbacks for the channel run there.
unsafe impl Send for Closing {}

impl Closing {
    /// On the SPDK thread that opened it.
    pub(crate) fn close(self) {
        // SAFETY: `open` leaked it. The handle is being dropped, or was, and nothing in flight refers to it, as `drop` has seen;
        // or the callback of the last abort.
        let channel = unsafe { Box::from_raw(self.0.as_ptr()) };
        // SAFETY: spdk_put_io_channel (spdk/thread.h) must be called on the thread that opened the channel, as this is, once.
        // The descriptor is closed later, when the last handle on the bdev is dropped.
        unsafe { spdk_sys::spdk_put_io_channel(channel.raw.as_ptr()) };
    }
}
