//! Bytes in EAL's memory, which is in hugepages where EAL has any: the storage of a disk in memory.

use std::{
    ffi::c_void,
    ops::{Deref, DerefMut},
    ptr::{self, NonNull},
    slice,
};

use crate::{
    eal::EalStarted,
    error::{Error, Result},
};

/// Alignment of the first byte: a hugepage of 2 MiB, so that the bytes span as few hugepages as possible. SPDK's malloc
/// bdev uses the same.
const ALIGNMENT: u32 = 2 << 20;

const CALL: &str = "rte_zmalloc_socket";
const EINVAL: i32 = 22;
const ENOMEM: i32 = 12;

/// Contiguous bytes of EAL's memory, on one NUMA node if asked. Freed when dropped.
#[derive(Debug)]
pub struct Memory {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: this value is the only owner of the bytes, and rte_free (rte_malloc.h) may be called on any thread.
unsafe impl Send for Memory {}
// SAFETY: a shared borrow gives `&[u8]`, which only reads.
unsafe impl Sync for Memory {}

impl Memory {
    /// Allocates `bytes`, at least 1, all zero. `numa_node` of `None` is any; without hugepages the node is ignored.
    ///
    /// # Errors
    /// `ENOMEM` without that much in one piece on that node; `EINVAL` for 0 bytes, or a number that no node can have.
    pub fn zeroed(_: EalStarted, bytes: usize, numa_node: Option<u32>) -> Result<Self> {
        let invalid = Error { call: CALL, errno: EINVAL };
        let node = numa_node.map_or(Ok(-1), |node| i32::try_from(node).map_err(|_| invalid))?;
        if bytes == 0 {
            return Err(invalid);
        }
        // SAFETY: rte_zmalloc_socket (rte_malloc.h) needs EAL, which has started (EalStarted), an alignment that is a power
        // of two, and a type that may be NULL. It checks the size and the node itself.
        let start = unsafe { dpdk_sys::rte_zmalloc_socket(ptr::null(), bytes, ALIGNMENT, node) };
        // rte_zmalloc_socket sets no errno.
        let start = NonNull::new(start.cast()).ok_or(Error { call: CALL, errno: ENOMEM })?;
        Ok(Self { start, length: bytes })
    }
}

impl Deref for Memory {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `zeroed` got `length` zeroed bytes from rte_zmalloc_socket, and self owns them until it is dropped.
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
        // SAFETY: rte_free (rte_malloc.h) takes an address from rte_zmalloc_socket, once: self owns it, and a borrow of it
        // cannot outlive self.
        unsafe { dpdk_sys::rte_free(self.start.as_ptr().cast::<c_void>()) };
    }
}
