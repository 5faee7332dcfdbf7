//! From lcore to lcore: a ring on which some hand frames to one.

use std::{ffi::CString, mem::MaybeUninit, ptr::NonNull, sync::Arc};

use crate::{
    BURST, Burst, Mbuf,
    error::{Error, Result, last},
};

/// A ring, and the frames in it.
#[derive(Debug)]
struct Ring(NonNull<dpdk_sys::rte_ring>);

// SAFETY: rte_ring (rte_ring.h) is made for use across threads; which ends may be used by several at once is decided
// by `handover`, and kept by its two types.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: this was the last handle, so no other thread enqueues or dequeues; the ring was made by
        // rte_ring_create, and each frame in it was given up when it was put in.
        unsafe {
            while let Some(raw) = NonNull::new(dpdk_sys::dpdk_shim_ring_dequeue(self.0.as_ptr())) {
                drop(Mbuf::from_raw(raw));
            }
            dpdk_sys::rte_ring_free(self.0.as_ptr());
        }
    }
}

/// Where one lcore puts frames for another. Frames that nobody takes out any more are freed with the last end.
#[derive(Debug)]
pub struct FrameSender(Arc<Ring>);

/// Where one lcore takes out the frames that others handed to it.
#[derive(Debug)]
pub struct FrameReceiver {
    ring: Arc<Ring>,
    /// Not `Sync`: one thread takes out at a time.
    _not_sync: std::marker::PhantomData<std::cell::Cell<()>>,
}

/// Makes a ring for `capacity` frames with so many senders, and returns its ends.
///
/// # Errors
/// `EINVAL` for no sender, a capacity of 0 or 2^31 and more, or a name with a NUL byte; `ENAMETOOLONG`, `EEXIST` or
/// `ENOMEM` from `rte_ring_create`.
pub fn handover(
    name: &str,
    capacity: u32,
    senders: usize,
    numa_node: Option<u32>,
) -> Result<(Vec<FrameSender>, FrameReceiver)> {
    let call = "rte_ring_create";
    let invalid = Error { call, errno: 22 };
    let c_name = CString::new(name).map_err(|_| invalid)?;
    if senders == 0 || capacity == 0 || capacity >= 1 << 31 {
        return Err(invalid);
    }
    let node = match numa_node {
        Some(node) => i32::try_from(node).map_err(|_| invalid)?,
        None => -1,
    };
    // One place of a ring is never used.
    let size = (capacity + 1).next_power_of_two();
    let single = if senders == 1 { dpdk_sys::RING_F_SP_ENQ } else { 0 };
    // SAFETY: copies the name, checks the size (a power of two). A producer that no other joins, and a consumer that
    // is always alone, are what the two flags promise.
    let raw =
        unsafe { dpdk_sys::rte_ring_create(c_name.as_ptr(), size, node, single | dpdk_sys::RING_F_SC_DEQ) };
    let ring = Arc::new(Ring(NonNull::new(raw).ok_or_else(|| last(call))?));
    let ends = (0..senders).map(|_| FrameSender(Arc::clone(&ring))).collect();
    Ok((ends, FrameReceiver { ring, _not_sync: std::marker::PhantomData }))
}

impl FrameSender {
    /// Hands over the first of `frames`, as many as there is room for; the others stay, in order. Returns how many
    /// went. Never blocks.
    #[inline]
    pub fn send(&mut self, frames: &mut Vec<Mbuf>) -> usize {
        let count = u32::try_from(frames.len()).unwrap_or(u32::MAX);
        // SAFETY: a live ring; Mbuf is transparent over the pointer, and `count` of them are initialised.
        let taken = unsafe {
            dpdk_sys::dpdk_shim_ring_enqueue_burst(self.0.0.as_ptr(), frames.as_mut_ptr().cast(), count)
        } as usize;
        let left = frames.len() - taken;
        let start = frames.as_mut_ptr();
        // SAFETY: the first `taken` belong to the ring now and must neither be dropped nor looked at; those behind
        // them are moved to the front, within the vector's length, and are then all that it has.
        unsafe {
            std::ptr::copy(start.add(taken), start, left);
            frames.set_len(left);
        }
        taken
    }
}

impl FrameReceiver {
    /// Fills `burst` with frames that were handed over, at most [`BURST`]; frames still in it are freed. Returns how
    /// many. Never blocks.
    #[inline]
    pub fn receive(&mut self, burst: &mut Burst) -> usize {
        burst.fill(|places: &mut [MaybeUninit<Mbuf>; BURST]| {
            // SAFETY: a live ring with one receiver, borrowed mutably, and an array of as many pointers; what is taken
            // out was given up when it was put in.
            let taken = unsafe {
                dpdk_sys::dpdk_shim_ring_dequeue_burst(
                    self.ring.0.as_ptr(),
                    places.as_mut_ptr().cast(),
                    u32::from(crate::queue::BURST_U16),
                )
            };
            taken as usize
        })
    }

    /// True if no frame is there to be taken out.
    #[inline]
    pub fn is_empty(&self) -> bool {
        // SAFETY: reads a live ring.
        unsafe { dpdk_sys::dpdk_shim_ring_is_empty(self.ring.0.as_ptr()) }
    }
}
