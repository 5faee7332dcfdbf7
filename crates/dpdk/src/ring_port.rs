//! A port made of rings, whose far end the same program holds: for tests without an interface.

use std::{ffi::CString, ptr::NonNull};

use crate::{
    Mbuf, RxMbuf,
    eal::EalStarted,
    error::{Error, Result, check, last},
};

/// The far end of one queue pair of a ring port.
#[derive(Debug)]
pub struct PeerRing {
    to_port: NonNull<dpdk_sys::rte_ring>,
    from_port: NonNull<dpdk_sys::rte_ring>,
}

// SAFETY: rte_ring (rte_ring.h) may be used by several producers and consumers at once if it was created without the
// flags RING_F_SP_ENQ and RING_F_SC_DEQ; `ring` passes none. The rings are never freed.
unsafe impl Send for PeerRing {}

fn ring(_: EalStarted, name: &str, size: u32) -> Result<NonNull<dpdk_sys::rte_ring>> {
    let c_name = CString::new(name).map_err(|_| Error { call: "rte_ring_create", errno: 22 })?;
    // SAFETY: rte_ring_create (rte_ring.h) needs EAL, which has started (EalStarted), and a NUL-terminated name, which it
    // copies. It checks the size itself.
    let raw = unsafe { dpdk_sys::rte_ring_create(c_name.as_ptr(), size, -1, 0) };
    NonNull::new(raw).ok_or_else(|| last("rte_ring_create"))
}

/// Makes a port called `net_ring_<name>` with one queue pair of `size` frames (a power of two) each way, and
/// returns its number and its far end.
///
/// # Errors
/// `EINVAL`, `EEXIST` or `ENOMEM` from `rte_ring_create`; what `rte_eth_from_rings` leaves.
pub fn ring_port(eal: EalStarted, name: &str, size: u32) -> Result<(u16, PeerRing)> {
    let (number, mut peers) = ring_port_with_queues(eal, name, size, 1)?;
    let peer = peers.pop().ok_or(Error { call: "rte_eth_from_rings", errno: 22 })?;
    Ok((number, peer))
}

/// As [`ring_port`], with several queue pairs, and a far end for each.
///
/// # Errors
/// As [`ring_port`]'s.
pub fn ring_port_with_queues(
    eal: EalStarted,
    name: &str,
    size: u32,
    queues: u16,
) -> Result<(u16, Vec<PeerRing>)> {
    let mut peers = Vec::new();
    for queue in 0..queues {
        peers.push(PeerRing {
            to_port: ring(eal, &format!("{name}_rx{queue}"), size)?,
            from_port: ring(eal, &format!("{name}_tx{queue}"), size)?,
        });
    }
    let c_name = CString::new(name).map_err(|_| Error { call: "rte_eth_from_rings", errno: 22 })?;
    let rx: Vec<_> = peers.iter().map(|peer| peer.to_port.as_ptr()).collect();
    let tx: Vec<_> = peers.iter().map(|peer| peer.from_port.as_ptr()).collect();
    let count = u32::from(queues);
    // SAFETY: rte_eth_from_rings (rte_eth_ring.h) copies the NUL-terminated name and both arrays, which have `count`
    // elements, and keeps the rings, which are never freed. EAL has started (EalStarted).
    let number =
        unsafe { dpdk_sys::rte_eth_from_rings(c_name.as_ptr(), rx.as_ptr(), count, tx.as_ptr(), count, 0) };
    let number = check("rte_eth_from_rings", number)?;
    let number = u16::try_from(number).map_err(|_| Error { call: "rte_eth_from_rings", errno: 34 })?;
    Ok((number, peers))
}

impl PeerRing {
    /// Sends a frame to the port; gives it back if the ring is full.
    ///
    /// # Errors
    /// The frame.
    pub fn send(&self, frame: Mbuf) -> std::result::Result<(), Mbuf> {
        let raw = frame.into_raw();
        // SAFETY: rte_ring_enqueue (rte_ring.h) asks for a live ring; `ring` made it and it is never freed. The ring holds
        // owned mbufs only: `into_raw` gave this one up.
        let taken = unsafe { dpdk_sys::dpdk_shim_ring_enqueue(self.to_port.as_ptr(), raw.as_ptr()) } != 0;
        // SAFETY: a full ring did not take the mbuf, which therefore still has no other owner.
        if taken { Ok(()) } else { Err(unsafe { Mbuf::from_raw(raw) }) }
    }

    /// Takes the next frame that the port sent.
    pub fn receive(&self) -> Option<RxMbuf> {
        // SAFETY: rte_ring_dequeue (rte_ring.h) asks for a live ring; `ring` made it and it is never freed.
        let raw = unsafe { dpdk_sys::dpdk_shim_ring_dequeue(self.from_port.as_ptr()) };
        // SAFETY: the ring PMD enqueues mbufs that a tx burst gave up, and a dequeued object has no other owner.
        NonNull::new(raw).map(|raw| unsafe { RxMbuf::from_raw(raw) })
    }
}
