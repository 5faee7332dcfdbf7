//! Deadlines: until when each request must be answered, whatever its bdev does.
//!
//! Time goes by in ticks of a second. A request's deadline is a place on a wheel of 256 ticks, which counts the requests due
//! there: that costs an increment when the request starts and a decrement when it ends. Only at a tick at which requests
//! are due does anybody look for them. A deadline is never early, and at most a tick late.

use std::time::Duration;

/// The time that a bdev has for a request. Less than the 180 s for which Linux's aoe driver sends a request again, and less
/// than the wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeout(u8);

impl Timeout {
    /// So many seconds.
    pub(crate) fn seconds(seconds: u8) -> Self {
        // A tick may be over in a moment, so one more is needed; a deadline 255 ticks ahead is that of the tick before.
        Self(seconds.clamp(1, 250) + 1)
    }
}

/// A tick of the wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick(u8);

/// An lcore's wheel.
#[derive(Debug)]
pub(crate) struct Deadlines {
    now: u8,
    due: [u32; 256],
    /// The TSC at which the next tick begins.
    next: u64,
    /// Ticks of the TSC in one of the wheel.
    period: u64,
}

impl Deadlines {
    /// A wheel whose first tick begins at `tsc`; `hz` is the TSC's frequency.
    pub(crate) fn new(tsc: u64, hz: u64) -> Self {
        let period = hz.max(1);
        Self { now: 0, due: [0; 256], next: tsc.wrapping_add(period), period }
    }

    /// The deadline of a request that starts now.
    #[inline(always)]
    pub(crate) fn after(&self, timeout: Timeout) -> Tick {
        Tick(self.now.wrapping_add(timeout.0))
    }

    /// Starts a request with this deadline.
    #[inline(always)]
    pub(crate) fn start(&mut self, deadline: Tick) {
        self.due[usize::from(deadline.0)] += 1;
    }

    /// Takes note that a request has ended that was not past its deadline.
    #[inline(always)]
    pub(crate) fn end(&mut self, deadline: Tick) {
        self.due[usize::from(deadline.0)] -= 1;
    }

    /// Puts a request off that is due, to the next tick.
    pub(crate) fn put_off(&mut self, deadline: Tick) -> Tick {
        self.end(deadline);
        let next = self.after(Timeout(1));
        self.start(next);
        next
    }

    /// Lets time go by until `tsc`. Returns a tick at which requests are due.
    ///
    /// One tick at most, however long ago the last call was: while the lcore stood still, so did its bdevs.
    #[inline]
    pub(crate) fn advance(&mut self, tsc: u64) -> Option<Tick> {
        // Across the counter's wrap.
        if tsc.wrapping_sub(self.next) > u64::MAX / 2 {
            return None;
        }
        self.next = tsc.wrapping_add(self.period);
        self.now = self.now.wrapping_add(1);
        (self.due[usize::from(self.now)] > 0).then_some(Tick(self.now))
    }

    /// The time between two moments of the TSC.
    pub(crate) fn between(&self, earlier: u64, later: u64) -> Duration {
        let ticks = later.wrapping_sub(earlier);
        let seconds = ticks / self.period;
        // A remainder is less than a period, so this is below 10^9.
        let nanoseconds = u128::from(ticks % self.period) * 1_000_000_000 / u128::from(self.period);
        Duration::new(seconds, u32::try_from(nanoseconds).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HZ: u64 = 1000;

    fn begin(deadlines: &mut Deadlines, timeout: Timeout) -> Tick {
        let deadline = deadlines.after(timeout);
        deadlines.start(deadline);
        deadline
    }

    #[test]
    fn a_request_is_due_when_its_time_is_over_and_at_most_a_tick_later() {
        for seconds in [1, 60, 120, 250] {
            for begun in [0, 1, 499, 999] {
                // Near the counter's wrap.
                let start = u64::MAX - 30 * HZ;
                let mut deadlines = Deadlines::new(start, HZ);
                let begun = start.wrapping_add(begun);
                assert_eq!(deadlines.advance(begun), None);
                let deadline = begin(&mut deadlines, Timeout::seconds(seconds));
                let step = HZ / 10;
                let due = (1u64..).map(|n| begun.wrapping_add(n * step)).find(|tsc| {
                    deadlines.advance(*tsc).inspect(|tick| assert_eq!(*tick, deadline)).is_some()
                });
                let after = due.expect("it is due some time").wrapping_sub(begun);
                let timeout = u64::from(seconds) * HZ;
                // Each tick is up to a step longer here.
                assert!(
                    (timeout..=timeout + HZ + (u64::from(seconds) + 2) * step).contains(&after),
                    "{seconds}: {after}"
                );
            }
        }
    }

    #[test]
    fn what_has_ended_is_not_due() {
        let mut deadlines = Deadlines::new(0, HZ);
        let deadline = begin(&mut deadlines, Timeout::seconds(1));
        deadlines.end(deadline);
        assert!((0..300).all(|second| deadlines.advance(second * HZ).is_none()));
    }

    #[test]
    fn a_standstill_of_the_lcore_is_one_tick() {
        let mut deadlines = Deadlines::new(0, HZ);
        begin(&mut deadlines, Timeout::seconds(2));
        assert_eq!(deadlines.advance(1_000_000 * HZ), None);
        assert_eq!(deadlines.advance(1_000_000 * HZ + 1), None, "the tick has just begun");
    }

    #[test]
    fn a_request_that_is_put_off_is_due_at_the_next_tick() {
        let mut deadlines = Deadlines::new(0, HZ);
        let first = begin(&mut deadlines, Timeout::seconds(1));
        assert_eq!(deadlines.advance(HZ), None);
        assert_eq!(deadlines.advance(2 * HZ), Some(first));
        let second = deadlines.put_off(first);
        assert_eq!(deadlines.advance(3 * HZ), Some(second));
        deadlines.end(second);
        assert!((4..300).all(|second| deadlines.advance(second * HZ).is_none()));
    }

    #[test]
    fn time_is_told_in_seconds_and_parts() {
        let deadlines = Deadlines::new(0, HZ);
        assert_eq!(deadlines.between(u64::MAX - 999, 1500), Duration::from_millis(2500));
    }

    proptest! {
        /// Every request that does not end is due, once, at its deadline, whatever the others do.
        #[test]
        fn each_request_is_due_once(requests in prop::collection::vec((1u8..=120, any::<bool>(), 0u64..3), 1..200)) {
            let mut deadlines = Deadlines::new(0, HZ);
            let (mut second, mut open) = (0, Vec::new());
            let mut due = 0;
            let pass = |deadlines: &mut Deadlines, second: &mut u64, open: &mut Vec<(Tick, u64)>| {
                *second += 1;
                let Some(tick) = deadlines.advance(*second * HZ) else { return Ok(0) };
                let (now, rest): (Vec<_>, Vec<_>) = open.drain(..).partition(|(deadline, _)| *deadline == tick);
                *open = rest;
                prop_assert!(!now.is_empty());
                for (deadline, at) in &now {
                    prop_assert_eq!(*at, *second);
                    deadlines.end(*deadline);
                }
                Ok(now.len())
            };
            let mut started = 0;
            for (seconds, ends, wait) in requests {
                let deadline = begin(&mut deadlines, Timeout::seconds(seconds));
                if ends {
                    deadlines.end(deadline);
                } else {
                    started += 1;
                    open.push((deadline, second + u64::from(seconds) + 1));
                }
                for _ in 0..wait {
                    due += pass(&mut deadlines, &mut second, &mut open)?;
                }
            }
            for _ in 0..122 {
                due += pass(&mut deadlines, &mut second, &mut open)?;
            }
            prop_assert_eq!(due, started);
        }
    }
}
