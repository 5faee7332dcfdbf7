//! A port queue's frames and replies that other lcores hand over, or get: see [`crate::distribute`].

use aoe_target::{DropReason, MacAddr};
use dpdk::{Burst, Mbuf};

use super::PortQueue;
use crate::owner::Owners;

impl PortQueue {
    /// Whether other lcores hand it frames.
    #[must_use]
    pub fn is_distributed(&self) -> bool {
        self.distribution.is_some()
    }

    /// The owners of exports, where there are several lcores.
    pub(crate) fn owners(&self) -> Option<&Owners> {
        self.distribution.as_ref().map(|part| part.owners())
    }

    /// Whether all its replies come from its own address, so that a request's destination is not needed for its reply.
    pub(crate) fn has_one_address(&self) -> bool {
        !self.has_addresses
    }

    /// Whether it serves requests to this address, too, which is another queue's.
    #[cold]
    pub(crate) fn serves_address(&self, destination: MacAddr) -> bool {
        self.distribution.as_ref().is_some_and(|part| part.has_address(destination))
    }

    /// The address that a request is answered from: the one that it was sent to, or the queue's own.
    #[cold]
    pub(super) fn address_for(&self, frame: &Mbuf) -> MacAddr {
        match frame.data().first_chunk() {
            Some(&[a, b, c, d, e, f, _]) if self.serves_address(MacAddr([a, b, c, d, e, f])) => {
                MacAddr([a, b, c, d, e, f])
            }
            _ => self.mac,
        }
    }

    /// Hands a frame to the lcore of this number, with the next [`PortQueue::send_handed_over`]. It counts as received where it is
    /// served.
    #[cold]
    #[inline(never)]
    pub(crate) fn hand_over(&mut self, lcore: u16, frame: Mbuf) {
        let length = frame.frame_len() as u64;
        let frame = match &mut self.distribution {
            Some(part) => part.hand_over(lcore, frame),
            None => Err(frame),
        };
        match frame {
            Ok(()) => {
                self.counters.rx_frames -= 1;
                self.counters.rx_bytes -= length;
            }
            Err(frame) => self.drop(frame, DropReason::RingFull),
        }
    }

    /// Sends the frames that are to go to other lcores. Those without room in a ring are dropped.
    #[inline]
    pub(crate) fn send_handed_over(&mut self) {
        let Some(part) = &mut self.distribution else { return };
        let (counters, drops) = (&mut self.counters, &mut self.drops);
        part.send(|frame| {
            counters.rx_frames += 1;
            counters.rx_bytes += frame.frame_len() as u64;
            drops.count(DropReason::RingFull);
        });
    }

    /// Fills `burst` with frames that other lcores handed over, at most `most`. Returns how many.
    pub(crate) fn take_over(&mut self, burst: &mut Burst, most: usize) -> usize {
        let Some(part) = &mut self.distribution else { return 0 };
        let frames = part.take_over(burst, most);
        burst.prefetch();
        frames
    }

    /// Whether no frame that another lcore handed over is still to be served.
    pub(crate) fn is_inbox_empty(&self) -> bool {
        self.distribution.as_ref().is_none_or(|part| part.is_inbox_empty())
    }

    /// Queues the replies that other lcores have made for this queue to send.
    #[inline(never)]
    pub(super) fn queue_returned(&mut self) {
        let mut burst = Burst::new();
        while let Some(part) = &mut self.distribution
            && part.take_returned(&mut burst) > 0
        {
            for frame in &mut burst {
                match frame.into_exclusive() {
                    Ok(frame) => self.send(frame),
                    // A reply's bytes are its own.
                    Err(shared) => {
                        self.drops.count(DropReason::NoRoom);
                        drop(shared);
                    }
                }
            }
        }
    }

    /// The lcore receives nothing more and has nothing in flight.
    pub(crate) fn retire(&mut self) {
        if let Some(part) = &mut self.distribution {
            part.retire();
        }
    }

    /// Whether other lcores have made replies that this queue has to send, or may make some.
    pub(crate) fn awaits_replies(&self) -> bool {
        self.distribution.as_ref().is_some_and(|part| part.awaits_replies())
    }
}
