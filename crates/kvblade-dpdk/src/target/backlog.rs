//! Messages that could not be sent, in their order.
//!
//! SPDK may have no memory for a message. A message that is lost leaves an lcore behind what the control plane believes: with the
//! size, the address or the rule of before. So it waits, and with it those behind it.

use std::collections::VecDeque;

/// The messages for one receiver that wait to be sent again.
#[derive(Debug)]
pub(super) struct Backlog<M> {
    waiting: VecDeque<M>,
}

/// The outcome of sending a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent<M> {
    /// It arrives, or nobody is there who could take it: it is dropped then.
    Done,
    /// Not now.
    Again(M),
}

impl<M> Default for Backlog<M> {
    fn default() -> Self {
        Self { waiting: VecDeque::new() }
    }
}

impl<M> Backlog<M> {
    /// Sends a message, or keeps it. True if it is the first one that waits.
    pub(super) fn send(&mut self, message: M, send: impl FnOnce(M) -> Sent<M>) -> bool {
        if !self.waiting.is_empty() {
            self.waiting.push_back(message);
            return false;
        }
        if let Sent::Again(message) = send(message) {
            self.waiting.push_back(message);
        }
        !self.waiting.is_empty()
    }

    /// Sends what waits, as far as that goes. True if something waited and nothing does any more.
    pub(super) fn send_waiting(&mut self, mut send: impl FnMut(M) -> Sent<M>) -> bool {
        while let Some(message) = self.waiting.pop_front() {
            if let Sent::Again(message) = send(message) {
                self.waiting.push_front(message);
                return false;
            }
            if self.waiting.is_empty() {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_once_and_in_order_whenever_there_is_memory() {
        let mut backlog = Backlog::default();
        let mut arrived = Vec::new();
        let mut number = 0u32;
        // Memory for that many messages in each round.
        for memory in [1, 0, 2, 0, 0, 5, 1, 9] {
            let mut left = memory;
            let mut send = |message| {
                if left == 0 {
                    return Sent::Again(message);
                }
                left -= 1;
                arrived.push(message);
                Sent::Done
            };
            backlog.send_waiting(&mut send);
            for _ in 0..2 {
                backlog.send(number, &mut send);
                number += 1;
            }
        }
        assert_eq!(arrived, (0..number).collect::<Vec<_>>());
        assert!(backlog.waiting.is_empty());
    }

    #[test]
    fn the_beginning_and_the_end_of_a_shortage_are_seen_once() {
        let mut backlog = Backlog::default();
        let begins = [1, 2].map(|message| backlog.send(message, Sent::Again));
        assert_eq!(begins, [true, false]);
        assert!(!backlog.send_waiting(Sent::Again));
        let ends = [backlog.send_waiting(|_| Sent::Done), backlog.send_waiting(|_| Sent::Done)];
        assert_eq!(ends, [true, false]);
    }
}
