//! What an mbuf remembers of its request while the bdev works on it; the rest is in the frame.

use aoe_target::{BdevIo, ExportId, PAYLOAD_OFFSET, Place};

use crate::deadline::Tick;

/// The addresses of frames' data are a multiple of this at least: head room and headers are. Port queues whose mempools
/// are made for it ([`dpdk::Mempool::aligned`]) have more.
pub const PAYLOAD_ALIGNMENT: usize = 4;

/// Bytes into an untagged frame where its data starts, for such mempools.
#[expect(clippy::cast_possible_truncation, reason = "36")]
pub const PAYLOAD: u16 = PAYLOAD_OFFSET as u16;

const _: () = {
    assert!(PAYLOAD_OFFSET == 36);
    // Mbuf buffers start at a multiple of 8, after a 64-byte aligned header and a private area of a multiple of 8; or,
    // in a pool made for larger alignments, where those put the data, which are multiples of 4.
    assert!((dpdk::HEADROOM as usize + PAYLOAD_OFFSET).is_multiple_of(PAYLOAD_ALIGNMENT));
    assert!(private_size().is_multiple_of(8));
};

/// The context of a request in flight. It lies in its mbuf's private area, so it has no lifetime of its own: the request
/// is in flight as long as this is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InFlight {
    /// Index of the port queue that the reply leaves by.
    pub(crate) queue: usize,
    pub(crate) export: ExportId,
    /// Among the lcore's requests in order.
    pub(crate) place: Place,
    pub(crate) io: BdevIo,
    pub(crate) next: Next,
    pub(crate) deadline: Tick,
    /// It was admitted before a fence: [`crate::fence`].
    pub(crate) fenced: bool,
}

impl InFlight {
    /// A request that its reply follows at once.
    #[inline(always)]
    pub(crate) fn new(queue: usize, export: ExportId, place: Place, io: BdevIo, deadline: Tick) -> Self {
        Self { queue, export, place, io, next: Next::Reply, deadline, fenced: false }
    }

    /// A copy, field by field: see [`BdevIo::again`].
    #[inline(always)]
    pub(crate) fn again(&self) -> Self {
        let Self { queue, export, place, io, next, deadline, fenced } = *self;
        Self { queue, export, place, io: io.again(), next, deadline, fenced }
    }
}

/// The continuation of a request: what to do when its I/O has ended well. A failed one is answered at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Reply.
    Reply,
    /// Flush what was written, then reply.
    Flush,
    /// Unmap the next range, from this entry of TRIM's payload on.
    Unmap(u16),
    /// Make the requested SMART page of the drive's log, then reply.
    Smart,
    /// Nothing: it was answered past its deadline.
    Answered,
    /// As [`Next::Answered`]. At its deadline, which is another one now, its bdev is asked once more to abort it.
    AnsweredUnaborted,
    /// Report to the control plane: it is no request of an initiator ([`crate::Lcore::flush_bdev`]).
    BdevFlushed,
}

impl Next {
    /// Whether its initiator was answered past its deadline.
    pub(crate) fn is_answered(self) -> bool {
        matches!(self, Self::Answered | Self::AnsweredUnaborted)
    }
}

/// Private bytes that the mempool of a port queue needs for each mbuf.
pub const fn private_size() -> u16 {
    spdk::private_size::<InFlight>()
}
