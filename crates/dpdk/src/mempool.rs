//! Where a frame's memory comes from: a mempool of mbufs, on one NUMA node.

use std::{
    ffi::{CStr, CString, c_void},
    ptr::{self, NonNull},
    sync::Arc,
};

use crate::{
    DataAlignment, HEADROOM, Mbuf,
    error::{Error, Result, check, last},
    layout::Layout,
};

/// Mbufs each lcore keeps for itself, without touching the pool's shared ring (RTE_MEMPOOL_CACHE_MAX_SIZE is
/// 512).
const CACHE: u32 = 256;

/// Smallest piece of memory that is tried for an aligned pool's mbufs when there is no larger one: a hugepage.
const MEMORY_MIN: usize = 2 << 20;

/// A page without hugepages.
const SMALL_PAGE: usize = 4096;

const EINVAL: i32 = 22;
const ENOMEM: i32 = 12;

/// A pool of mbufs of one size.
#[derive(Debug)]
pub struct Mempool {
    raw: NonNull<dpdk_sys::rte_mempool>,
    size: u32,
    alignment: Option<DataAlignment>,
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
        let (c_name, data_room, node) = checked(call, name, room, numa_node)?;
        // SAFETY: rte_pktmbuf_pool_create (rte_mbuf.h) checks its arguments; the name is copied.
        let raw = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(c_name.as_ptr(), size, cache(size), private, data_room, node)
        };
        let raw = NonNull::new(raw).ok_or_else(|| last(call))?;
        Ok(Arc::new(Self { raw, size, alignment: None }))
    }

    /// As [`Mempool::new`], with rooms that lie so that what `alignment` says falls on a boundary in every frame that
    /// starts behind the head room, as received and fresh ones do. An mbuf takes an odd multiple of the alignment
    /// then: with 512 bytes up to 1023 more than it needs, with 4096 up to 8191.
    ///
    /// On a platform whose NICs have mempools in hardware the pool is one without that alignment, since such NICs
    /// reckon with one layout only: [`Mempool::alignment`] tells. The af_xdp PMD, which reckons too, must not be given
    /// an aligned pool.
    ///
    /// # Errors
    /// As [`Mempool::new`]; `EINVAL` also for an alignment that is not a power of two from 64 to 4096.
    pub fn aligned(
        name: &str,
        size: u32,
        private: u16,
        room: u16,
        numa_node: Option<u32>,
        alignment: DataAlignment,
    ) -> Result<Arc<Self>> {
        let call = "rte_mempool_create_empty";
        let invalid = Error { call, errno: EINVAL };
        let (c_name, data_room, node) = checked(call, name, room, numa_node)?;
        if size == 0 || !private.is_multiple_of(8) {
            return Err(invalid);
        }
        // SAFETY: no condition (rte_eal.h).
        let hugepages = unsafe { dpdk_sys::rte_eal_has_hugepages() } != 0;
        // Objects larger than a page are not kept from crossing one, which costs nothing where there are no hugepages
        // and every address is its own IOVA.
        let least = if hugepages { 0 } else { SMALL_PAGE };
        let layout = Layout::new(private, room, alignment, least).ok_or(invalid)?;
        // SAFETY: no condition (rte_mbuf_pool_ops.h); a NUL-terminated name that stays.
        let ops = unsafe { CStr::from_ptr(dpdk_sys::rte_mbuf_best_mempool_ops()) };
        if !is_software(ops) {
            return Self::new(name, size, private, room, numa_node);
        }
        let element = u32::try_from(layout.element()).map_err(|_| invalid)?;
        let private_data =
            u32::try_from(size_of::<dpdk_sys::rte_pktmbuf_pool_private>()).map_err(|_| invalid)?;
        // SAFETY: rte_mempool_create_empty (rte_mempool.h) checks its arguments; the name is copied.
        let raw = unsafe {
            dpdk_sys::rte_mempool_create_empty(
                c_name.as_ptr(),
                size,
                element,
                cache(size),
                private_data,
                node,
                dpdk_sys::RTE_MEMPOOL_F_NO_SPREAD,
            )
        };
        let raw = NonNull::new(raw).ok_or_else(|| last(call))?;
        let empty = Empty(raw);
        let mut about = dpdk_sys::rte_pktmbuf_pool_private {
            mbuf_data_room_size: data_room,
            mbuf_priv_size: private,
            ..Default::default()
        };
        // SAFETY: an empty pool; the name is one that DPDK gave.
        let code =
            unsafe { dpdk_sys::rte_mempool_set_ops_byname(raw.as_ptr(), ops.as_ptr(), ptr::null_mut()) };
        check("rte_mempool_set_ops_byname", code)?;
        // SAFETY: a pool with room for the struct in its private data, as was asked; it is copied. An element is
        // larger than a header, private area and room.
        unsafe { dpdk_sys::rte_pktmbuf_pool_init(raw.as_ptr(), (&raw mut about).cast()) };
        populate(raw, name, &layout, size, node)?;
        init_mbufs(raw, &layout, alignment)?;
        std::mem::forget(empty);
        Ok(Arc::new(Self { raw, size, alignment: Some(alignment) }))
    }

    /// What lies at a boundary in its mbufs; `None` for a pool without that.
    pub fn alignment(&self) -> Option<DataAlignment> {
        self.alignment
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

/// A pool on its way; freed with what it has if it does not get there.
struct Empty(NonNull<dpdk_sys::rte_mempool>);

impl Drop for Empty {
    fn drop(&mut self) {
        // SAFETY: nobody has had an mbuf of it.
        unsafe { dpdk_sys::rte_mempool_free(self.0.as_ptr()) };
    }
}

/// Mbufs that each lcore keeps, of a pool of `size`.
fn cache(size: u32) -> u32 {
    CACHE.min(size / 2)
}

/// What DPDK's calls want, from what ours do: name, head room and room together, node or -1.
fn checked(call: &'static str, name: &str, room: u16, numa_node: Option<u32>) -> Result<(CString, u16, i32)> {
    let invalid = Error { call, errno: EINVAL };
    let name = CString::new(name).map_err(|_| invalid)?;
    let data_room = room.checked_add(HEADROOM).ok_or(invalid)?;
    let node = numa_node.map_or(Ok(-1), |node| i32::try_from(node).map_err(|_| invalid))?;
    Ok((name, data_room, node))
}

/// Whether mempools of these ops keep mbufs in memory alone, wherever they are put. Others (dpaa, cnxk, bucket)
/// belong to hardware or to a layout of their own.
fn is_software(ops: &CStr) -> bool {
    let ops = ops.to_bytes();
    ops.starts_with(b"ring_") || ops == b"stack" || ops == b"lf_stack"
}

/// Gives an empty pool memory for all its objects.
fn populate(
    pool: NonNull<dpdk_sys::rte_mempool>,
    name: &str,
    layout: &Layout,
    size: u32,
    node: i32,
) -> Result<()> {
    let mut page = 0;
    // SAFETY: a live pool; fills the value (rte_mempool.h).
    let code = unsafe { dpdk_sys::rte_mempool_get_page_size(pool.as_ptr(), &mut page) };
    check("rte_mempool_get_page_size", code)?;
    let mut left = size as usize;
    let mut most = usize::MAX;
    let mut zones = 0u32;
    while left > 0 {
        let wanted = layout.memory(left, page).min(most);
        let call = "rte_memzone_reserve";
        let zone = CString::new(format!("{name}_{zones}")).map_err(|_| Error { call, errno: EINVAL })?;
        // SAFETY: copies the name, checks the rest (rte_memzone.h).
        let zone = unsafe { dpdk_sys::rte_memzone_reserve(zone.as_ptr(), wanted, node, 0) };
        let Some(zone) = NonNull::new(zone.cast_mut()) else {
            let error = last(call);
            // Where memory is in pieces, several smaller ones may do.
            most = wanted / 2;
            if error.errno != ENOMEM || most < MEMORY_MIN {
                return Err(error);
            }
            continue;
        };
        zones += 1;
        let found = populate_from(pool, zone, layout, page, left)?;
        if found == 0 {
            return Err(Error { call, errno: ENOMEM });
        }
        left -= found;
    }
    Ok(())
}

/// Puts objects into a zone, which is the pool's then, and goes with it. Returns how many.
fn populate_from(
    pool: NonNull<dpdk_sys::rte_mempool>,
    zone: NonNull<dpdk_sys::rte_memzone>,
    layout: &Layout,
    page: usize,
    left: usize,
) -> Result<usize> {
    // SAFETY: a live zone's address and length (rte_memzone.h).
    let (start, length) =
        unsafe { ((*zone.as_ptr()).__bindgen_anon_1.addr.cast::<u8>(), (*zone.as_ptr()).len) };
    let mut objects = 0;
    // The first piece's end is the zone's: a pool frees its pieces together.
    let mut owner = Some(zone.as_ptr().cast::<c_void>());
    let mut outcome = Ok(());
    for (address, bytes) in layout.pieces(start.addr(), length, page, left) {
        // SAFETY: `pieces` stays within the zone.
        let piece = unsafe { start.add(address - start.addr()) };
        // SAFETY: mapped memory of a zone.
        let iova = unsafe { dpdk_sys::dpdk_shim_iova(piece.cast()) };
        let free: dpdk_sys::rte_mempool_memchunk_free_cb_t = owner.map(|_| free_zone as _);
        // SAFETY: the piece is this pool's alone from now on, and lies within one page or where IOVAs are addresses
        // (rte_mempool.h); `free_zone` takes the zone, once.
        let code = unsafe {
            dpdk_sys::rte_mempool_populate_iova(
                pool.as_ptr(),
                piece.cast(),
                iova,
                bytes,
                free,
                owner.unwrap_or(ptr::null_mut()),
            )
        };
        match check("rte_mempool_populate_iova", code) {
            Ok(0) => break,
            Ok(count) => {
                owner = None;
                objects += count as usize;
            }
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    if owner.is_some() {
        // SAFETY: no piece of it was taken.
        unsafe { dpdk_sys::rte_memzone_free(zone.as_ptr()) };
    }
    outcome.map(|()| objects)
}

unsafe extern "C" fn free_zone(_: *mut dpdk_sys::rte_mempool_memhdr, zone: *mut c_void) {
    // SAFETY: the argument of `populate_from`; the pool's objects are gone.
    unsafe { dpdk_sys::rte_memzone_free(zone.cast()) };
}

/// Makes an mbuf of each object, as rte_pktmbuf_init does, and moves its buffer by the layout's shift.
///
/// From then on nothing must reckon a buffer's place from its mbuf's. Of DPDK's functions these do (rte_mbuf.h):
/// - rte_mbuf_from_indirect, for mbufs that are attached to others, and rte_pktmbuf_attach and _clone that make such:
///   nothing here does, and what a PMD attaches to are mbufs of its own;
/// - rte_mbuf_buf_addr, _data_addr_default and _to_baddr: no PMD of 22.11 calls them;
/// - rte_pktmbuf_detach, when an mbuf to which a PMD attached foreign memory is freed (mlx5 with mprq_en, netvsc):
///   the buffer is then where rte_pktmbuf_init had put it. Its room is the same and within the object, which is larger
///   by the shift: such an mbuf is only no longer aligned.
///
/// PMDs read `buf_addr` and `buf_iova` of the mbufs they fill. Those that reckon instead are af_xdp, in its zero-copy
/// mode, and those of NICs with mempools in hardware (see [`Mempool::aligned`]).
fn init_mbufs(pool: NonNull<dpdk_sys::rte_mempool>, layout: &Layout, alignment: DataAlignment) -> Result<()> {
    let mut shift = dpdk_sys::dpdk_shim_mbuf_shift {
        shift: layout.shift,
        offset: alignment.offset,
        alignment: alignment.bytes,
        misplaced: 0,
    };
    // SAFETY: a populated pool whose objects nobody has; each is as large as its mbuf with the shift.
    let made = unsafe {
        dpdk_sys::rte_mempool_obj_iter(
            pool.as_ptr(),
            Some(dpdk_sys::dpdk_shim_mbuf_init),
            (&raw mut shift).cast(),
        )
    };
    // A release of DPDK that lays objects out in another way.
    if made == 0 || shift.misplaced > 0 {
        return Err(Error { call: "rte_mempool_obj_iter", errno: EINVAL });
    }
    Ok(())
}
