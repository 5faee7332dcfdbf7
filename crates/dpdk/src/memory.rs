//! Bytes in EAL's own memory, which is in hugepages where EAL has any: what a disk in memory lies in.

use std::{
    ffi::c_void,
    ops::{Deref, DerefMut},
    ptr::{self, NonNull},
    slice,
};

use crate::error::{Error, Result};

/// Where the bytes begin: at a multiple of a hugepage of 2 MiB, so that they take no more of those than they must. It
/// is what SPDK's malloc bdev asks for, too.
const ALIGNMENT: u32 = 2 << 20;

const CALL: &str = "rte_zmalloc_socket";
const EINVAL: i32 = 22;
const ENOMEM: i32 = 12;

/// Bytes of EAL's memory, side by side, on one NUMA node if there is need. Given back when dropped.
#[derive(Debug)]
pub struct Memory {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the bytes are owned by this value alone, and rte_free (rte_malloc.h) takes them back on any thread.
unsafe impl Send for Memory {}
// SAFETY: a shared borrow only reads them.
unsafe impl Sync for Memory {}

impl Memory {
    /// Takes `bytes` of it, at least 1, all zero. `numa_node` of `None` is any; without hugepages all are. EAL has
    /// started.
    ///
    /// # Errors
    /// `ENOMEM` without that much in one piece, on that node; `EINVAL` for no bytes, or a node that cannot be.
    pub fn zeroed(bytes: usize, numa_node: Option<u32>) -> Result<Self> {
        let invalid = Error { call: CALL, errno: EINVAL };
        let node = numa_node.map_or(Ok(-1), |node| i32::try_from(node).map_err(|_| invalid))?;
        if bytes == 0 {
            return Err(invalid);
        }
        // SAFETY: rte_zmalloc_socket (rte_malloc.h) checks the size and the node, takes a power of two as alignment,
        // and no type.
        let start = unsafe { dpdk_sys::rte_zmalloc_socket(ptr::null(), bytes, ALIGNMENT, node) };
        // It leaves no errno.
        let start = NonNull::new(start.cast()).ok_or(Error { call: CALL, errno: ENOMEM })?;
        Ok(Self { start, length: bytes })
    }
}

impl Deref for Memory {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: an allocation of so many bytes, zeroed when it was made, which self owns until it is dropped.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl DerefMut for Memory {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; self is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: what rte_zmalloc_socket gave, freed once; nothing borrows it any more.
        unsafe { dpdk_sys::rte_free(self.start.as_ptr().cast::<c_void>()) };
    }
}
