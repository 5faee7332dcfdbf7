//! The way of a detached queue's replies: a ring to an lcore that sends them, and those without room in it yet.

use dpdk::{FrameSender, RxMbuf, TxMbuf};

/// The way of a detached queue's replies to an lcore that sends them.
#[derive(Debug)]
pub(crate) struct ReturnRing {
    ring: FrameSender,
    /// Replies without room in the ring yet. Its memory is there from the start.
    waiting: Vec<RxMbuf>,
    /// Flushes that left some waiting.
    full: u64,
}

impl ReturnRing {
    pub(super) fn new(ring: FrameSender) -> Self {
        Self { ring, waiting: Vec::new(), full: 0 }
    }

    /// The ring, with room for so many replies that wait for room in it: the mbufs of the port.
    pub(crate) fn with_room(mut self, replies: usize) -> Self {
        self.waiting.reserve_exact(replies);
        self
    }

    /// Queues a reply.
    ///
    /// # Errors
    /// The reply, if as many wait as the port has mbufs: then it is of another mempool.
    pub(crate) fn push(&mut self, reply: TxMbuf) -> Result<(), TxMbuf> {
        if self.waiting.len() == self.waiting.capacity() {
            return Err(reply);
        }
        self.waiting.push(reply.into_mbuf().into());
        Ok(())
    }

    /// Puts waiting replies into the ring. Returns how many.
    pub(crate) fn flush(&mut self) -> usize {
        let sent = self.ring.send(&mut self.waiting);
        self.full += u64::from(!self.waiting.is_empty());
        sent
    }

    /// Replies that wait for room.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Flushes that left some waiting.
    pub(crate) fn full(&self) -> u64 {
        self.full
    }
}
