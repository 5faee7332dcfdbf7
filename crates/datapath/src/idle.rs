//! How an lcore rests after turns without work.
//!
//! It rests only when many turns in a row had no work and nothing is in flight, and only for a bounded time: SPDK's
//! other pollers and messages of the same reactor, RPCs among them, wait as long.

use std::time::Duration;

use dpdk::RxInterrupts;

/// Turns without work before the first rest: some tens of microseconds, longer than an initiator with one request in flight
/// takes to send the next.
const EMPTY_TURNS: u32 = 1000;

/// Length of a pause; a frame waits half of it on average.
const PAUSE_NANOSECONDS: u32 = 1000;

/// Longest wait for an interrupt: the reactor's other work waits as long.
const INTERRUPT_MILLISECONDS: u16 = 1;

/// What an lcore does when there is nothing to do.
#[derive(Debug, Default)]
pub enum Idle {
    /// It polls on.
    #[default]
    Poll,
    /// It rests, in some way.
    Rest(Rest),
}

/// A way to rest, and the number of turns without work.
#[derive(Debug)]
pub struct Rest {
    by: RestBy,
    /// The lcore's number of busy turns at the last check.
    busy_turns: u64,
    empty_turns: u32,
}

/// A way to rest.
#[derive(Debug)]
pub enum RestBy {
    /// The CPU's own, for a microsecond at a time, without a system call: TPAUSE where it has that, else PAUSE.
    Pause,
    /// Sleeping so long; the kernel adds its timer slack, commonly 50 us.
    Sleep(Duration),
    /// Sleeping until an rx queue interrupts, at most 1 ms at a time.
    Interrupt(RxInterrupts),
}

impl Idle {
    /// Resting in this way.
    #[must_use]
    pub fn resting(by: RestBy) -> Self {
        Self::Rest(Rest { by, busy_turns: 0, empty_turns: 0 })
    }

    /// Counts a turn without work, by the lcore's number of busy ones; whether there were enough of them in a row.
    pub(crate) fn is_due(&mut self, busy_turns: u64) -> bool {
        match self {
            Self::Poll => false,
            Self::Rest(rest) => rest.is_due(busy_turns),
        }
    }

    /// Arms the interrupts, if it rests by them. Whether it does: then a turn must follow before [`Idle::rest`].
    pub(crate) fn arm(&mut self) -> bool {
        let Self::Rest(Rest { by: RestBy::Interrupt(interrupts), .. }) = self else { return false };
        interrupts.arm();
        true
    }

    /// Rests, unless that turn was `busy`.
    pub(crate) fn rest(&mut self, busy: bool) {
        let Self::Rest(rest) = self else { return };
        match &mut rest.by {
            RestBy::Pause => dpdk::pause(PAUSE_NANOSECONDS),
            RestBy::Sleep(time) => std::thread::sleep(*time),
            RestBy::Interrupt(interrupts) => {
                if !busy {
                    interrupts.wait(INTERRUPT_MILLISECONDS);
                }
                interrupts.disarm();
            }
        }
    }
}

impl Rest {
    /// Counts a turn without work; true if there were enough of them in a row.
    fn is_due(&mut self, busy_turns: u64) -> bool {
        if self.busy_turns != busy_turns {
            (self.busy_turns, self.empty_turns) = (busy_turns, 0);
        }
        self.empty_turns = self.empty_turns.saturating_add(1);
        self.empty_turns > EMPTY_TURNS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_is_due_after_many_turns_without_work() {
        let mut rest = Rest { by: RestBy::Pause, busy_turns: 0, empty_turns: 0 };
        assert!((0..EMPTY_TURNS).all(|_| !rest.is_due(7)), "not at once");
        assert!(rest.is_due(7) && rest.is_due(7), "then after each turn");
        assert!(!rest.is_due(8), "work begins the count anew");
        assert!((1..EMPTY_TURNS).all(|_| !rest.is_due(8)));
        assert!(rest.is_due(8));
    }
}
