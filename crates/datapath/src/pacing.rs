//! How much an lcore takes in per turn, and when replies leave.
//!
//! Rule 1, the rx budget: a turn stops receiving once the frames it took and the data of the requests it submitted
//! exceed [`RX_BUDGET`] bytes. A turn works in steps (submit all, complete all, send all), so the budget keeps what
//! a step leaves in the core's own cache for the next one, and bounds the time that completions and other ports wait.
//!
//! Rule 2, the tx flush: replies leave at the end of the turn that made them. A queue whose PMD makes a system call
//! for each tx burst holds them, but only while it is neither idle nor full: while the turn submitted requests of this
//! queue, and the replies do not fill a burst. A NIC's queue is never held: its burst costs one doorbell.
//!
//! Rule 3, the yield: while the kernel has I/O of this process, a turn ends with sched_yield(2), because the kernel's work items
//! on this CPU get it no other way ([`spdk::kernel_io_in_flight`]). It costs 0.4 us. A turn that received frames does so only
//! when the last yield is [`YIELD_MICROS`] ago, so that an lcore with frames in all of its turns loses a fiftieth. Work items
//! take microseconds. After a yield that took longer than [`LONG_YIELD_MICROS`], another program has the CPU, for milliseconds
//! each time. Then the lcore does not yield for [`REST`] times as long, and loses a ninth of its time to that program by its
//! yields.

use dpdk::{BURST, tsc};

/// Bytes that one turn takes in: half of a common L1 data cache (48 to 64 KiB), and a small part of L2.
pub const RX_BUDGET: usize = 32 * 1024;

/// What a frame counts beside its request's data: its mbuf, headers and the state of its I/O.
pub(crate) const FRAME_BYTES: usize = 512;

/// Frames taken from a queue with one call. The budget is checked between two calls, so a turn exceeds it by less than
/// the data of this many requests. Vector PMDs take multiples of 4 or 8.
pub const RX_BURST: usize = 8;

/// Replies that are worth a system call.
const TX_FULL: usize = 3 * BURST / 4;

/// Shortest time between two yields of turns that receive frames.
const YIELD_MICROS: u64 = 20;

/// Longest yield to the kernel's work items.
const LONG_YIELD_MICROS: u64 = 200;

/// Time without a yield after a longer one, in lengths of that one.
const REST: u64 = 8;

/// One turn's rx budget, and the rule for tx.
#[derive(Debug, Default)]
pub(crate) struct Pacing {
    /// Bytes left of the budget; below 0 if the last burst exceeded it.
    left: isize,
}

impl Pacing {
    /// Starts a turn with a whole budget.
    #[inline]
    pub(crate) fn start_turn(&mut self) {
        self.left = RX_BUDGET.cast_signed();
    }

    /// Whether this turn may receive another burst.
    #[inline]
    pub(crate) fn may_receive(&self) -> bool {
        self.left > 0
    }

    /// Counts received frames.
    #[inline]
    pub(crate) fn received(&mut self, frames: usize) {
        self.left -= (frames * FRAME_BYTES).cast_signed();
    }

    /// Counts the data of a submitted request.
    #[inline]
    pub(crate) fn submitted(&mut self, bytes: usize) {
        self.left -= bytes.cast_signed();
    }
}

/// An lcore's yields. Times are the TSC's.
#[derive(Debug)]
pub(crate) struct Yields {
    /// The end of the last one.
    last: u64,
    /// Time from `last` on in which there is none.
    rest: u64,
    /// [`YIELD_MICROS`] and [`LONG_YIELD_MICROS`] in ticks.
    period: u64,
    long: u64,
}

impl Yields {
    pub(crate) fn new(hz: u64) -> Self {
        let ticks = |micros| hz / 1_000_000 * micros;
        Self { last: 0, rest: 0, period: ticks(YIELD_MICROS), long: ticks(LONG_YIELD_MICROS) }
    }

    /// Gives the CPU to the kernel's work items, if it is time. `received`: the turn that ends received frames.
    #[cold]
    pub(crate) fn turn_ended(&mut self, received: bool) {
        let now = tsc::now();
        if self.is_due(received, now) {
            std::thread::yield_now();
            self.yielded(now, tsc::now());
        }
    }

    fn is_due(&self, received: bool, now: u64) -> bool {
        let since = now.wrapping_sub(self.last);
        since >= self.rest && (!received || since >= self.period)
    }

    fn yielded(&mut self, from: u64, to: u64) {
        let took = to.wrapping_sub(from);
        self.last = to;
        self.rest = if took > self.long { REST * took } else { 0 };
    }
}

/// Whether a coalescing queue holds `replies` for another turn. `submitted`: this turn submitted requests of the queue,
/// whose replies may join these.
#[inline]
pub(crate) fn holds(replies: usize, submitted: bool) -> bool {
    submitted && replies < TX_FULL
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests of `bytes` bytes that a turn takes from a queue with no end of them.
    fn taken(bytes: usize) -> usize {
        let mut pacing = Pacing::default();
        pacing.start_turn();
        let mut requests = 0;
        while pacing.may_receive() {
            pacing.received(RX_BURST);
            (0..RX_BURST).for_each(|_| pacing.submitted(bytes));
            requests += RX_BURST;
        }
        requests
    }

    #[test]
    fn the_budget_bounds_a_turn() {
        for bytes in [0, 512, 1024, 1536, 2048, 4096, 8192, 8704] {
            let requests = taken(bytes);
            let all = requests * (bytes + FRAME_BYTES);
            assert!(all >= RX_BUDGET, "{bytes}: {requests}");
            assert!(all < RX_BUDGET + RX_BURST * (bytes + FRAME_BYTES), "{bytes}: {requests}");
        }
    }

    #[test]
    fn turns_with_frames_yield_from_time_to_time_and_those_without_do_always() {
        let mut yields = Yields::new(1_000_000_000);
        let period = 1000 * YIELD_MICROS;
        let start = u64::MAX - period / 2;
        yields.yielded(start - 400, start);
        assert!(yields.is_due(false, start + 1));
        assert!(!yields.is_due(true, start.wrapping_add(period - 1)), "across the counter's wrap");
        assert!(yields.is_due(true, start.wrapping_add(period)));
    }

    #[test]
    fn a_cpu_that_another_program_has_is_yielded_seldom() {
        let mut yields = Yields::new(1_000_000_000);
        let long = 1000 * LONG_YIELD_MICROS;
        yields.yielded(0, long);
        assert!(yields.is_due(false, long + 1), "a work item may take so long");
        yields.yielded(0, 4_000_000);
        let rest = 4_000_000 * (1 + REST);
        assert!(!yields.is_due(false, rest - 1) && yields.is_due(false, rest));
        yields.yielded(rest, rest + 400);
        assert!(yields.is_due(false, rest + 401), "the other one has gone");
    }

    #[test]
    fn a_turn_without_budget_receives_nothing() {
        assert!(!Pacing::default().may_receive());
    }

    #[test]
    fn replies_are_held_neither_by_an_idle_queue_nor_by_a_full_one() {
        for replies in 1..=2 * BURST {
            assert!(!holds(replies, false), "idle: nothing would join {replies} replies");
        }
        assert!(holds(1, true));
        assert!(!holds(BURST, true), "full");
    }
}
