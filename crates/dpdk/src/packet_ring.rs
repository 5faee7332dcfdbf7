//! How far the kernel has got with the tx ring of an af_packet port.
//!
//! The PMD copies frames into a ring that it shares with the kernel, calls sendto(2) once for each burst and reports every
//! frame as sent (DPDK `rte_eth_af_packet.c`). If the socket's send buffer is full, the kernel stops there, and the
//! other frames lie in the ring until the next call. If the ring is full, the PMD waits in poll(2) without a limit. So the
//! queue calls sendto by itself until the kernel reports that nothing is left, and gives the PMD only as many frames as the
//! ring certainly has room for.

use crate::tsc;

/// Calls of sendto a second, at most, while frames are left in the ring: one each 50 microseconds, in which a link of
/// 10 Gbit/s sends 62 KB, less than a third of the default send buffer.
const KICKS_A_SECOND: u64 = 20_000;

/// The same while the kernel refuses: the interface is set down or gone.
const KICKS_A_SECOND_DOWN: u64 = 100;

/// Least memory that a frame under way takes from the send buffer: the kernel's `struct sk_buff` and `struct
/// skb_shared_info` have more than 512 bytes.
const LEAST_FRAME: u32 = 512;

const EAGAIN: i32 = 11;
const ENOBUFS: i32 = 105;

/// The tx ring of one queue, as its thread sees it.
#[derive(Debug)]
pub(crate) struct PacketRing {
    /// Slots of the ring.
    slots: u32,
    /// Slots that the kernel may still use, at most.
    used: u32,
    /// Frames may wait in the ring for a call of sendto.
    unsent: bool,
    /// The kernel sent nothing at the last call: the send buffer is full, or the interface down.
    full: bool,
    /// The interface is down or gone.
    refused: bool,
    /// The time of the next call, by the time stamp counter.
    due: u64,
}

impl PacketRing {
    pub(crate) fn new(slots: u32) -> Self {
        Self { slots, used: 0, unsent: false, full: false, refused: false, due: 0 }
    }

    /// Starts again with an empty ring.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.slots);
    }

    /// Of `wanted` frames, those that the PMD can take without waiting.
    pub(crate) fn room(&mut self, wanted: u16, socket: i32) -> u16 {
        if self.used + u32::from(wanted) > self.slots && (!self.full || self.is_due()) {
            self.kick(socket);
        }
        u16::try_from(self.slots.saturating_sub(self.used)).unwrap_or(u16::MAX).min(wanted)
    }

    /// Notes that the PMD took frames, and called sendto.
    pub(crate) fn gave(&mut self, frames: u16) {
        self.used += u32::from(frames);
        self.unsent = true;
        self.due = tsc::now().wrapping_add(self.interval());
    }

    /// Whether frames may lie in the ring that would be sent by a further call. Not while the kernel refuses: that ends with
    /// an event that nobody can wait for.
    pub(crate) fn is_waiting(&self) -> bool {
        self.unsent && !self.refused
    }

    /// Calls sendto if frames may be left in the ring and it is time. Whether the kernel sent any.
    #[inline]
    pub(crate) fn kick_when_due(&mut self, socket: i32) -> bool {
        self.unsent && self.is_due() && self.kick(socket)
    }

    fn is_due(&self) -> bool {
        // The difference of time stamps is negative until the time is reached.
        tsc::now().wrapping_sub(self.due).cast_signed() >= 0
    }

    fn interval(&self) -> u64 {
        tsc::hz() / if self.refused { KICKS_A_SECOND_DOWN } else { KICKS_A_SECOND }
    }

    fn kick(&mut self, socket: i32) -> bool {
        let mut memory = 0;
        // SAFETY: the shim calls sendto and ioctl, which check the descriptor; it fills the value.
        let sent = unsafe { dpdk_sys::dpdk_shim_packet_kick(socket, &mut memory) };
        self.full = sent < 0;
        self.refused = sent < 0 && sent != -EAGAIN && sent != -ENOBUFS;
        if sent == 0 {
            // No slot waits for a call. Those still in use are frames under way, which share the send buffer.
            self.unsent = false;
            self.used = self.used.min(memory.div_ceil(LEAST_FRAME));
        }
        self.due = tsc::now().wrapping_add(self.interval());
        sent > 0
    }
}
