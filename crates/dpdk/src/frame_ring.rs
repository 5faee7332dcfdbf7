//! A ring on which lcores hand frames to another lcore.

use std::{ffi::CString, mem::MaybeUninit, ptr::NonNull, sync::Arc};

use crate::{
    BURST, Burst, RxMbuf,
    eal::EalStarted,
    error::{Error, Result, last},
    queue::BURST_U16,
};

/// A ring and the frames in it.
#[derive(Debug)]
struct Ring(NonNull<dpdk_sys::rte_ring>);

// SAFETY: rte_ring (rte_ring.h) may be used by several threads, within the limits of its flags. RING_F_SP_ENQ allows one
// producer at a time: `frame_ring` sets it for a ring with one FrameSender, whose `send` takes `&mut self`. RING_F_SC_DEQ
// allows one consumer at a time: there is one FrameReceiver, whose `receive` takes `&mut self`.
unsafe impl Send for Ring {}
// SAFETY: as for Send.
unsafe impl Sync for Ring {}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: rte_ring_dequeue (rte_ring.h) asks for a live ring. `frame_ring` made it, and this is its last handle, so
        // no other thread uses it.
        while let Some(raw) = NonNull::new(unsafe { dpdk_sys::dpdk_shim_ring_dequeue(self.0.as_ptr()) }) {
            // SAFETY: FrameSender::send gave the mbuf up to the ring, and a dequeued object has no other owner.
            drop(unsafe { RxMbuf::from_raw(raw) });
        }
        // SAFETY: rte_ring_free (rte_ring.h) takes a ring of rte_ring_create that nobody uses any more.
        unsafe { dpdk_sys::rte_ring_free(self.0.as_ptr()) };
    }
}

/// The end of one lcore that sends frames. Frames left in the ring are freed with its last end.
#[derive(Debug)]
pub struct FrameSender(Arc<Ring>);

/// The end of the lcore that receives frames.
#[derive(Debug)]
pub struct FrameReceiver {
    ring: Arc<Ring>,
    /// Not `Sync`: one thread receives at a time.
    _not_sync: std::marker::PhantomData<std::cell::Cell<()>>,
}

/// Makes a ring for `capacity` frames with `senders` sending ends, and returns its ends.
///
/// # Errors
/// `EINVAL` for no sender, a capacity of 0 or 2^31 and more, or a name with a NUL byte; `ENAMETOOLONG`, `EEXIST` or
/// `ENOMEM` from `rte_ring_create`.
pub fn frame_ring(
    _: EalStarted,
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
    // A ring holds one object less than its size.
    let size = (capacity + 1).next_power_of_two();
    let single = if senders == 1 { dpdk_sys::RING_F_SP_ENQ } else { 0 };
    // SAFETY: rte_ring_create (rte_ring.h) needs EAL, which has started (EalStarted), and a NUL-terminated name, which it
    // copies. It checks the size itself. The flags' conditions are kept by the types, see `Ring`.
    let raw =
        unsafe { dpdk_sys::rte_ring_create(c_name.as_ptr(), size, node, single | dpdk_sys::RING_F_SC_DEQ) };
    let ring = Arc::new(Ring(NonNull::new(raw).ok_or_else(|| last(call))?));
    let ends = (0..senders).map(|_| FrameSender(Arc::clone(&ring))).collect();
    Ok((ends, FrameReceiver { ring, _not_sync: std::marker::PhantomData }))
}

impl FrameSender {
    /// Sends the first of `frames`, as many as the ring has room for; the others stay, in order. Returns the number of
    /// frames sent. Never blocks.
    #[inline]
    pub fn send(&mut self, frames: &mut Vec<RxMbuf>) -> usize {
        let count = u32::try_from(frames.len()).unwrap_or(u32::MAX);
        // SAFETY: rte_ring_enqueue_burst (rte_ring.h) asks for a live ring, which self holds, and `count` object pointers:
        // the vector has at least that many, and an RxMbuf is a transparent pointer.
        let taken = unsafe {
            dpdk_sys::dpdk_shim_ring_enqueue_burst(self.0.0.as_ptr(), frames.as_mut_ptr().cast(), count)
        } as usize;
        let left = frames.len() - taken;
        let start = frames.as_mut_ptr();
        // SAFETY: the ring took at most `count` mbufs, so `taken` is within the vector's length.
        let rest = unsafe { start.add(taken) };
        // SAFETY: both ranges lie within the vector's length, and may overlap. The ring owns the first `taken` mbufs now;
        // they are overwritten, or cut off below, without being dropped.
        unsafe { std::ptr::copy(rest, start, left) };
        // SAFETY: the first `left` elements are the mbufs that were not taken, each once.
        unsafe { frames.set_len(left) };
        taken
    }
}

impl FrameReceiver {
    /// Fills `burst` with frames from the ring, at most [`BURST`]; frames still in it are freed. Returns their number.
    /// Never blocks.
    #[inline]
    pub fn receive(&mut self, burst: &mut Burst) -> usize {
        self.receive_at_most(burst, BURST)
    }

    /// The same, of at most `most` frames, and at most [`BURST`].
    #[inline]
    pub fn receive_at_most(&mut self, burst: &mut Burst, most: usize) -> usize {
        let most = u16::try_from(most).unwrap_or(BURST_U16).min(BURST_U16);
        burst.fill(|places: &mut [MaybeUninit<RxMbuf>; BURST]| {
            // SAFETY: rte_ring_dequeue_burst (rte_ring.h) asks for a live ring, which self holds, one consumer at a time
            // (`&mut self`), and room for BURST pointers, the array's length. Each mbuf was given up by
            // FrameSender::send, and a dequeued object has no other owner.
            let taken = unsafe {
                dpdk_sys::dpdk_shim_ring_dequeue_burst(
                    self.ring.0.as_ptr(),
                    places.as_mut_ptr().cast(),
                    u32::from(most),
                )
            };
            taken as usize
        })
    }

    /// Whether the ring holds no frame.
    #[inline]
    pub fn is_empty(&self) -> bool {
        // SAFETY: rte_ring_empty (rte_ring.h) reads a live ring, which self holds.
        unsafe { dpdk_sys::dpdk_shim_ring_is_empty(self.ring.0.as_ptr()) }
    }
}
