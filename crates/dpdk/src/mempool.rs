//! Where a frame's memory comes from: a mempool of mbufs, on one NUMA node.

use std::{
    ffi::{CStr, CString, c_void},
    ptr::{self, NonNull},
    sync::Arc,
};

use crate::{
    DataAlignment, HEADROOM, Mbuf,
    eal::EalStarted,
    error::{Error, Result, check, last},
    layout::Layout,
};

/// Mbufs each lcore keeps for itself, without touching the pool's shared ring (RTE_MEMPOOL_CACHE_MAX_SIZE is
/// 512).
const CACHE: u32 = 256;

/// The most mbufs that an lcore keeps for itself: half as many again (CALC_CACHE_FLUSHTHRESH, rte_mempool.c).
const CACHED_MOST: u32 = CACHE + CACHE / 2;

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

// SAFETY: objects of a mempool may be taken and given back on several threads at once (rte_mempool.h), and it may be
// counted and freed on any thread. This type does nothing else with the pool; it frees the pool when its last handle is
// dropped.
unsafe impl Send for Mempool {}
// SAFETY: as for Send: the methods of a shared pool take objects and count them.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// The most mbufs that the cache of an lcore which frees them keeps from all others.
    pub const CACHED_MOST: u32 = CACHED_MOST;

    /// Makes a pool of `size` mbufs, each with `room` bytes for a frame (beside the head room) and a private area of
    /// `private` bytes.
    ///
    /// `numa_node` of `None` is any. `private` must be a multiple of 8 (RTE_MBUF_PRIV_ALIGN), and
    /// `room` + 128 at most 65535.
    ///
    /// # Errors
    /// `ENOMEM` without enough hugepage memory, `EEXIST` if the name is taken, `EINVAL` for a value out of range.
    pub fn new(
        _: EalStarted,
        name: &str,
        size: u32,
        private: u16,
        room: u16,
        numa_node: Option<u32>,
    ) -> Result<Arc<Self>> {
        let call = "rte_pktmbuf_pool_create";
        let (c_name, data_room, node) = checked(call, name, room, numa_node)?;
        // SAFETY: rte_pktmbuf_pool_create (rte_mbuf.h) needs EAL, which has started (EalStarted), and a NUL-terminated
        // name, which it copies. It checks the numbers itself.
        let raw = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(c_name.as_ptr(), size, cache(size), private, data_room, node)
        };
        let raw = NonNull::new(raw).ok_or_else(|| last(call))?;
        Ok(Arc::new(Self { raw, size, alignment: None }))
    }

    /// As [`Mempool::new`], with buffers placed so that the byte at `alignment.offset` of a frame lies at a multiple of
    /// `alignment.bytes`. This holds for every frame that starts behind the head room, as received and fresh ones do.
    /// An mbuf then takes an odd multiple of the alignment: with 512 bytes up to 1023 more than it needs, with 4096 up
    /// to 8191.
    ///
    /// The buffers of such a pool do not lie where rte_pktmbuf_init puts them, so [`crate::Port::start`] takes it only
    /// for PMDs that read `buf_addr` ([`crate::port::reads_buf_addr`]). On a platform whose NICs have mempools in
    /// hardware the pool is made without the alignment, because such NICs know one layout only;
    /// [`Mempool::alignment`] is `None` then.
    ///
    /// # Errors
    /// As [`Mempool::new`]; `EINVAL` also for an alignment that is not a power of two from 64 to 4096.
    pub fn aligned(
        eal: EalStarted,
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
        // SAFETY: rte_eal_has_hugepages (rte_eal.h) reads EAL's configuration, which is there since EAL has started.
        let hugepages = unsafe { dpdk_sys::rte_eal_has_hugepages() } != 0;
        // Objects larger than a page are not kept from crossing one, which costs nothing where there are no hugepages
        // and every address is its own IOVA.
        let least = if hugepages { 0 } else { SMALL_PAGE };
        let layout = Layout::new(private, room, alignment, least).ok_or(invalid)?;
        // SAFETY: rte_mbuf_best_mempool_ops (rte_mbuf_pool_ops.h) reads EAL's configuration; EAL has started.
        let ops = unsafe { dpdk_sys::rte_mbuf_best_mempool_ops() };
        // SAFETY: rte_mbuf_best_mempool_ops returns a NUL-terminated name: the user's or the platform's, which EAL keeps,
        // or a literal.
        let ops = unsafe { CStr::from_ptr(ops) };
        if !is_software(ops) {
            return Self::new(eal, name, size, private, room, numa_node);
        }
        let element = u32::try_from(layout.element()).map_err(|_| invalid)?;
        let private_data =
            u32::try_from(size_of::<dpdk_sys::rte_pktmbuf_pool_private>()).map_err(|_| invalid)?;
        // SAFETY: rte_mempool_create_empty (rte_mempool.h) needs EAL, which has started, and a NUL-terminated name, which
        // it copies. It checks the numbers itself.
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
        // SAFETY: rte_mempool_set_ops_byname (rte_mempool.h) asks for a pool that is not populated yet, as this one was
        // just created, and a NUL-terminated name.
        let code =
            unsafe { dpdk_sys::rte_mempool_set_ops_byname(raw.as_ptr(), ops.as_ptr(), ptr::null_mut()) };
        check("rte_mempool_set_ops_byname", code)?;
        // SAFETY: rte_pktmbuf_pool_init (rte_mbuf.h) copies the struct into the pool's private data, which was made of
        // that size above. It asks for elements that hold an mbuf's header, private area and buffer: Layout::new makes
        // the stride at least that.
        unsafe { dpdk_sys::rte_pktmbuf_pool_init(raw.as_ptr(), (&raw mut about).cast()) };
        populate(raw, name, &layout, size, node)?;
        init_mbufs(raw, &layout, alignment)?;
        std::mem::forget(empty);
        Ok(Arc::new(Self { raw, size, alignment: Some(alignment) }))
    }

    /// The alignment of the frames' data; `None` for a pool without one.
    pub fn alignment(&self) -> Option<DataAlignment> {
        self.alignment
    }

    /// One mbuf with an empty frame, or `None` if the pool is empty. On an lcore; never blocks.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: rte_pktmbuf_alloc (rte_mbuf.h) asks for a live pool of initialised mbufs. `new` has
        // rte_pktmbuf_pool_create make one, and `aligned` populates the pool and has `init_mbufs` initialise each object;
        // it is freed when self is dropped, and not before.
        let raw = unsafe { dpdk_sys::dpdk_shim_mbuf_alloc(self.raw.as_ptr()) };
        // SAFETY: rte_pktmbuf_alloc takes the mbuf out of the pool, so it has no other owner. The pool outlives it: `drop`
        // frees a pool only when all mbufs are back.
        NonNull::new(raw).map(|raw| unsafe { Mbuf::from_raw(raw) })
    }

    /// The number of mbufs that the pool was made with.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The number of mbufs that are in the pool now. Walks every lcore's cache: for tests and the control plane.
    pub fn available(&self) -> u32 {
        // SAFETY: rte_mempool_avail_count (rte_mempool.h) reads a live pool; self keeps it.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.raw.as_ptr()) }
    }

    pub(crate) fn as_ptr(&self) -> *mut dpdk_sys::rte_mempool {
        self.raw.as_ptr()
    }
}

impl Drop for Mempool {
    fn drop(&mut self) {
        // A pool with an mbuf outside stays: the mbuf would point into freed memory.
        if self.available() == self.size {
            // SAFETY: rte_mempool_free (rte_mempool.h) asks that nobody uses the pool or an object of it. Every mbuf is
            // back. No more can be taken: this is the last handle, and a port keeps a handle until it is closed.
            unsafe { dpdk_sys::rte_mempool_free(self.raw.as_ptr()) };
        }
    }
}

/// A partially built pool, which is freed on an error.
struct Empty(NonNull<dpdk_sys::rte_mempool>);

impl Drop for Empty {
    fn drop(&mut self) {
        // SAFETY: rte_mempool_free (rte_mempool.h) asks that nobody uses the pool. `aligned`, which made it, has given
        // out no handle and no mbuf yet.
        unsafe { dpdk_sys::rte_mempool_free(self.0.as_ptr()) };
    }
}

/// The size of each lcore's cache, for a pool of `size` mbufs.
fn cache(size: u32) -> u32 {
    CACHE.min(size / 2)
}

/// The arguments in the form that DPDK takes: a C string, the size of a buffer (head room and room), a node or -1.
fn checked(call: &'static str, name: &str, room: u16, numa_node: Option<u32>) -> Result<(CString, u16, i32)> {
    let invalid = Error { call, errno: EINVAL };
    let name = CString::new(name).map_err(|_| invalid)?;
    let data_room = room.checked_add(HEADROOM).ok_or(invalid)?;
    let node = numa_node.map_or(Ok(-1), |node| i32::try_from(node).map_err(|_| invalid))?;
    Ok((name, data_room, node))
}

/// Whether mempools with these ops keep pointers to mbufs, wherever the mbufs lie. Other ops (dpaa, cnxk, bucket) belong
/// to hardware or prescribe a layout.
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
    // SAFETY: rte_mempool_get_page_size (rte_mempool.h) reads a live pool, which `aligned` owns, and writes the value.
    let code = unsafe { dpdk_sys::rte_mempool_get_page_size(pool.as_ptr(), &mut page) };
    check("rte_mempool_get_page_size", code)?;
    let mut left = size as usize;
    let mut most = usize::MAX;
    let mut zones = 0u32;
    while left > 0 {
        let wanted = layout.memory(left, page).min(most);
        let call = "rte_memzone_reserve";
        let zone = CString::new(format!("{name}_{zones}")).map_err(|_| Error { call, errno: EINVAL })?;
        // SAFETY: rte_memzone_reserve (rte_memzone.h) needs EAL, as every pool does, and a NUL-terminated name, which it
        // copies. It checks the other arguments itself.
        let zone = unsafe { dpdk_sys::rte_memzone_reserve(zone.as_ptr(), wanted, node, 0) };
        let Some(zone) = NonNull::new(zone.cast_mut()) else {
            let error = last(call);
            // Free memory may be fragmented: try smaller zones.
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

/// Puts objects into a zone, which the pool then owns and frees. Returns the number of objects.
fn populate_from(
    pool: NonNull<dpdk_sys::rte_mempool>,
    zone: NonNull<dpdk_sys::rte_memzone>,
    layout: &Layout,
    page: usize,
    left: usize,
) -> Result<usize> {
    // SAFETY: `zone` was just reserved by `populate`, so the descriptor is valid, and EAL does not change it while the
    // zone is reserved.
    let descriptor = unsafe { zone.as_ref() };
    // SAFETY: rte_memzone_reserve fills `addr`; every member of the union is an address.
    let start = unsafe { descriptor.__bindgen_anon_1.addr }.cast::<u8>();
    let length = descriptor.len;
    let mut objects = 0;
    // The callback of the first piece frees the zone: a pool frees its pieces together.
    let mut owner = Some(zone.as_ptr().cast::<c_void>());
    let mut outcome = Ok(());
    for (address, bytes) in layout.pieces(start.addr(), length, page, left) {
        // SAFETY: `pieces` yields addresses from `start` to `start + length`, the zone's bytes.
        let piece = unsafe { start.add(address - start.addr()) };
        // SAFETY: rte_mem_virt2memseg and rte_mem_virt2iova (rte_memory.h) look an address up and take any.
        let iova = unsafe { dpdk_sys::dpdk_shim_iova(piece.cast()) };
        let free: dpdk_sys::rte_mempool_memchunk_free_cb_t = owner.map(|_| free_zone as _);
        // SAFETY: rte_mempool_populate_iova (rte_mempool.h) asks for memory that is the pool's alone, that stays until
        // the callback, and whose IOVAs are contiguous. The zone was reserved for this pool, and `pieces` yields each
        // byte once. A piece lies within one page, except without hugepages, where each IOVA is its address. The callback
        // is passed with the first piece only, so it frees the zone once.
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
        // SAFETY: rte_memzone_free (rte_memzone.h) takes a reserved zone that nobody uses. The pool took no piece of it,
        // so the callback, which would free the zone, was not registered.
        unsafe { dpdk_sys::rte_memzone_free(zone.as_ptr()) };
    }
    outcome.map(|()| objects)
}

unsafe extern "C" fn free_zone(_: *mut dpdk_sys::rte_mempool_memhdr, zone: *mut c_void) {
    // SAFETY: `populate_from` registers this callback with a reserved zone, once for each zone. rte_mempool_free calls it
    // when the pool's objects are no longer used.
    unsafe { dpdk_sys::rte_memzone_free(zone.cast()) };
}

/// Initialises each object as an mbuf, as rte_pktmbuf_init does, and moves its buffer by the layout's shift.
///
/// From then on no code may compute a buffer's address from its mbuf's. These functions of DPDK (rte_mbuf.h) do:
/// - rte_mbuf_from_indirect, for mbufs that are attached to others. This crate attaches and clones none; a PMD attaches
///   to mbufs of its own.
/// - rte_mbuf_buf_addr, rte_mbuf_data_addr_default and rte_mbuf_to_baddr, which a PMD may call. The PMDs that do not are
///   listed in [`crate::port::reads_buf_addr`], and a port of another PMD is refused such a pool.
/// - rte_pktmbuf_detach, when an mbuf to which a PMD attached foreign memory is freed (mlx5 with mprq_en, netvsc). The
///   buffer then lies where rte_pktmbuf_init put it. It has the same size and lies within the object, which is larger
///   by the shift, so the mbuf is valid and only no longer aligned.
fn init_mbufs(pool: NonNull<dpdk_sys::rte_mempool>, layout: &Layout, alignment: DataAlignment) -> Result<()> {
    let mut shift = dpdk_sys::dpdk_shim_mbuf_shift {
        shift: layout.shift,
        offset: alignment.offset,
        alignment: alignment.bytes,
        misplaced: 0,
    };
    // SAFETY: rte_mempool_obj_iter (rte_mempool.h) asks for a pool whose objects nobody uses meanwhile; `aligned` has
    // given none out. The callback, dpdk_shim_mbuf_init, writes an mbuf into each object, which Layout::new made large
    // enough for the shifted buffer, and takes `shift`, which outlives the call.
    let made = unsafe {
        dpdk_sys::rte_mempool_obj_iter(
            pool.as_ptr(),
            Some(dpdk_sys::dpdk_shim_mbuf_init),
            (&raw mut shift).cast(),
        )
    };
    // This release of DPDK lays objects out in another way.
    if made == 0 || shift.misplaced > 0 {
        return Err(Error { call: "rte_mempool_obj_iter", errno: EINVAL });
    }
    Ok(())
}
