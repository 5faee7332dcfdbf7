//! Where a frame's memory comes from: a mempool of mbufs, on one NUMA node.

use std::{ffi::CString, ptr::NonNull, sync::Arc};

use crate::{
    Mbuf,
    error::{Error, Result, last},
};

/// Mbufs each lcore keeps for itself, without touching the pool's shared ring (RTE_MEMPOOL_CACHE_MAX_SIZE is
/// 512).
const CACHE: u32 = 256;

/// A pool of mbufs of one size.
#[derive(Debug)]
pub struct Mempool {
    raw: NonNull<dpdk_sys::rte_mempool>,
    size: u32,
}

// SAFETY: rte_mempool (rte_mempool.h) is made for use by several lcores at once; this type only allocates
// from it and counts it, which are both multi-thread safe.
unsafe impl Send for Mempool {}
// SAFETY: as above.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// Makes a pool of `size` mbufs with `room` bytes for a frame each (beside the head room), and
    /// `private` bytes for the owner's state of a frame.
    ///
    /// `numa_node` of `None` is any. `private` must be a multiple of 8 (RTE_MBUF_PRIV_ALIGN), and
    /// `room` + 128 at most 65535.
    ///
    /// # Errors
    /// `ENOMEM` without enough hugepage memory, `EEXIST` if the name is taken, `EINVAL` for what is out of
    /// range.
    pub fn new(name: &str, size: u32, private: u16, room: u16, numa_node: Option<u32>) -> Result<Arc<Self>> {
        let call = "rte_pktmbuf_pool_create";
        let invalid = Error { call, errno: 22 };
        let c_name = CString::new(name).map_err(|_| invalid)?;
        let data_room = room.checked_add(crate::HEADROOM).ok_or(invalid)?;
        let node = match numa_node {
            Some(node) => i32::try_from(node).map_err(|_| invalid)?,
            None => -1,
        };
        let cache = CACHE.min(size / 2);
        // SAFETY: rte_pktmbuf_pool_create (rte_mbuf.h) checks its arguments; the name is copied.
        let raw = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(c_name.as_ptr(), size, cache, private, data_room, node)
        };
        let raw = NonNull::new(raw).ok_or_else(|| last(call))?;
        Ok(Arc::new(Self { raw, size }))
    }

    /// One mbuf with an empty frame, or `None` if the pool is empty. On an lcore; never blocks.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool was made by rte_pktmbuf_pool_create and lives as long as self.
        let raw = unsafe { dpdk_sys::dpdk_shim_mbuf_alloc(self.raw.as_ptr()) };
        // SAFETY: a fresh mbuf belongs to nobody else.
        NonNull::new(raw).map(|raw| unsafe { Mbuf::from_raw(raw) })
    }

    /// Mbufs in the pool in all.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Mbufs that nobody holds now. Walks every lcore's cache: for tests and the control plane.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool lives as long as self.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.raw.as_ptr()) }
    }

    pub(crate) fn as_ptr(&self) -> *mut dpdk_sys::rte_mempool {
        self.raw.as_ptr()
    }
}

impl Drop for Mempool {
    fn drop(&mut self) {
        // An mbuf still held somewhere would point into freed memory: then the pool stays.
        if self.available() == self.size {
            // SAFETY: every mbuf is back, and this was the last handle.
            unsafe { dpdk_sys::rte_mempool_free(self.raw.as_ptr()) };
        }
    }
}
