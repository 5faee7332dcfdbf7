//! receive: where a bdev in memory keeps its data, so that the CPU can be asked for it before the bdev copies it.
//!
//! The bdev is asked once for each channel, by SPDK's zero copy (spdk_bdev_zcopy_start) of its first block. The address is
//! a hint for the CPU's cache, and nothing is ever read or written there.

use std::{
    cell::Cell,
    ffi::c_void,
    ptr::{self, NonNull},
};

use crate::channel::{Channel, Closing};

/// Bytes of a sector.
const SECTOR: usize = 512;

/// What a channel knows of where its bdev's data is.
pub(crate) struct Memory {
    /// Of sector 0; not looked at while `sectors` is 0.
    start: Cell<*const u8>,
    /// 0 while it is not known.
    sectors: Cell<u64>,
    search: Cell<Search>,
}

/// Whether the bdev was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    /// No, or it has answered.
    None,
    /// Its answer is awaited, and will find the channel.
    Awaited,
    /// Its answer is awaited, and closes the channel.
    Abandoned,
}

impl Memory {
    pub(crate) const fn unknown() -> Self {
        Self { start: Cell::new(ptr::null()), sectors: Cell::new(0), search: Cell::new(Search::None) }
    }

    /// [`crate::IoChannel::data_place`].
    #[inline(always)]
    pub(crate) fn place(&self, sector: u64) -> Option<*const u8> {
        #[expect(clippy::cast_possible_truncation, reason = "less than what is in this process's memory")]
        let offset = || sector as usize * SECTOR;
        (sector < self.sectors.get()).then(|| self.start.get().wrapping_add(offset()))
    }

    /// Leaves the channel's end to the bdev's answer. False if none is awaited.
    pub(crate) fn abandon(&self) -> bool {
        let awaited = self.search.get() != Search::None;
        if awaited {
            self.search.set(Search::Abandoned);
        }
        awaited
    }
}

/// Asks the bdev of a channel that was just opened, on its thread. Without an answer its data has no place.
pub(crate) fn find(channel: NonNull<Channel>) {
    // SAFETY: `IoChannel::open` has leaked it, and it stays until the answer: see `Closing::close`.
    let (opened, context) = (unsafe { channel.as_ref() }, channel.as_ptr().cast());
    if !opened.bdev().info().in_memory {
        return;
    }
    let (desc, ch) = opened.raw_pair();
    opened.memory.search.set(Search::Awaited);
    // SAFETY: descriptor and channel are open, and this is the channel's thread (spdk/bdev.h); `found` gets the channel
    // once, later, on this thread, and until then it is not freed.
    let code = unsafe { spdk_sys::spdk_shim_bdev_find_memory(desc, ch, Some(found), context) };
    if code != 0 {
        opened.memory.search.set(Search::None);
    }
}

/// The bdev's answer.
extern "C" fn found(context: *mut c_void, address: *mut c_void) {
    let Some(channel) = NonNull::new(context.cast::<Channel>()) else { return };
    // SAFETY: `find` passed a leaked channel, which is freed by nothing but `Closing::close`, and not while this is
    // awaited.
    let opened = unsafe { channel.as_ref() };
    if opened.memory.search.replace(Search::None) == Search::Abandoned {
        return Closing(channel).close();
    }
    if !address.is_null() {
        opened.memory.start.set(address.cast_const().cast());
        opened.memory.sectors.set(opened.bdev().sectors());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sectors_of_a_known_memory_have_a_place() {
        let memory = Memory::unknown();
        assert_eq!(memory.place(0), None);
        let data = [0u8; 2 * SECTOR];
        memory.start.set(data.as_ptr());
        memory.sectors.set(2);
        assert_eq!(memory.place(0), Some(data.as_ptr()));
        assert_eq!(memory.place(1), Some(data[SECTOR..].as_ptr()));
        for beyond in [2, (1 << 48) - 1, 1 << 55, u64::MAX] {
            assert_eq!(memory.place(beyond), None, "{beyond}");
        }
    }

    #[test]
    fn only_an_awaited_answer_is_left_a_channel_to_close() {
        let memory = Memory::unknown();
        assert!(!memory.abandon());
        memory.search.set(Search::Awaited);
        assert!(memory.abandon());
        assert_eq!(memory.search.get(), Search::Abandoned);
    }
}
