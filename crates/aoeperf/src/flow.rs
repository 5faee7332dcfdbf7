//! When a request may go out on a path, and when it is sent again: as Linux's aoe driver does it.
//!
//! The estimate of the round trip is Jacobson's, with gains 1/256 for the average and 1/8 for the deviation, and the
//! timeout is twice the average and eight deviations; the driver's window starts at half of the target's buffer
//! count, grows by one with each reply up to half of where it was at the last timeout and by one a window above, and
//! falls to 1 at a timeout (`drivers/block/aoe/aoecmd.c`, Linux 6).

/// Most requests outstanding on a path in Linux (`aoe_maxout`).
pub const LINUX_MOST: u32 = 64;

const AVERAGE_SHIFT: u32 = 8;
const DEVIATION_SHIFT: u32 = 3;

/// The estimate of a path's round trip, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTrip {
    /// 256 times the average; 0 before the first reply.
    average: i64,
    /// 8 times the deviation.
    deviation: i64,
    /// Timeout before the first reply.
    first: u64,
    /// No timeout is shorter: Linux looks at its timers ten times a second.
    shortest: u64,
}

impl RoundTrip {
    /// Nothing is known: the timeout is `first` ticks, and never less than `shortest`.
    pub fn new(first: u64, shortest: u64) -> Self {
        Self { average: 0, deviation: 0, first, shortest }
    }

    /// Records the round trip of a reply, in ticks.
    #[inline]
    pub fn measured(&mut self, ticks: u64) {
        let ticks = i64::try_from(ticks).unwrap_or(i64::MAX).min(1 << 48);
        if self.average == 0 {
            self.average = (ticks << AVERAGE_SHIFT).max(1);
            self.deviation = (ticks / 2) << DEVIATION_SHIFT;
            return;
        }
        let error = ticks - (self.average >> AVERAGE_SHIFT);
        self.average += error;
        self.deviation += error.abs() - (self.deviation >> DEVIATION_SHIFT);
    }

    /// The retransmission timeout, in ticks.
    pub fn timeout(&self) -> u64 {
        if self.average == 0 {
            return self.first;
        }
        let ticks = 2 * (self.average >> AVERAGE_SHIFT) + 8 * (self.deviation >> DEVIATION_SHIFT);
        u64::try_from(ticks).unwrap_or(0).max(self.shortest)
    }
}

/// The limit of outstanding requests on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    outstanding: u32,
    open: u32,
    most: u32,
    /// Up to here it grows with each reply.
    threshold: u32,
    until_growth: u32,
    /// False for one that is always as large as anybody asks.
    bounded: bool,
}

impl Window {
    /// No bound but the caller's.
    pub fn unbounded() -> Self {
        Self { outstanding: 0, open: 0, most: 0, threshold: 0, until_growth: 0, bounded: false }
    }

    /// As Linux opens it to a target that advertises this buffer count. One of a target that advertises 1 stays
    /// shut in Linux; here it is 1.
    pub fn linux(buffer_count: u16) -> Self {
        let most = u32::from(buffer_count).clamp(1, LINUX_MOST);
        let open = (most / 2).max(1);
        Self { outstanding: 0, open, most, threshold: most / 2, until_growth: most, bounded: true }
    }

    /// Requests outstanding.
    pub fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// The limit; `None` without one.
    pub fn open(&self) -> Option<u32> {
        self.bounded.then_some(self.open)
    }

    /// Whether another request may go out.
    #[inline]
    pub fn has_room(&self) -> bool {
        !self.bounded || self.outstanding < self.open
    }

    /// A request goes out.
    #[inline]
    pub fn sent(&mut self) {
        self.outstanding += 1;
    }

    /// A request was answered.
    #[inline]
    pub fn answered(&mut self) {
        if self.bounded {
            self.grow();
        }
        self.outstanding -= 1;
    }

    fn grow(&mut self) {
        if self.open >= self.most {
            return;
        }
        if self.open < self.threshold {
            self.open += 1;
        } else if self.outstanding == self.open {
            if self.until_growth == 0 {
                self.open += 1;
                self.until_growth = self.open;
            } else {
                self.until_growth -= 1;
            }
        }
    }

    /// A request was given up.
    pub fn given_up(&mut self) {
        self.outstanding -= 1;
    }

    /// A request's timer ran out.
    pub fn timed_out(&mut self) {
        if self.bounded && self.open > 1 {
            self.threshold = self.open / 2;
            self.open = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_the_round_trip_and_its_spread() {
        let mut trip = RoundTrip::new(1000, 10);
        assert_eq!(trip.timeout(), 1000, "nothing is known");
        trip.measured(100);
        assert_eq!(trip.timeout(), 2 * 100 + 8 * 50);
        (0..1000).for_each(|_| trip.measured(100));
        assert!((200..=200 + 8 * 8).contains(&trip.timeout()), "{trip:?}");
        (0..3).for_each(|_| trip.measured(300));
        assert!(trip.timeout() > 500, "{trip:?}");
        (0..5000).for_each(|_| trip.measured(1));
        assert!((10..=80).contains(&trip.timeout()), "never below the shortest: {trip:?}");
    }

    #[test]
    fn linux_opens_half_and_grows_to_the_buffer_count() {
        let mut window = Window::linux(16);
        assert_eq!(window.open(), Some(8));
        let mut replies = 0;
        while window.open() != Some(16) {
            while window.has_room() {
                window.sent();
            }
            window.answered();
            replies += 1;
            assert!(replies < 1000, "{window:?}");
        }
        // One more with each window that was answered in full.
        assert!(replies >= 8 * 9, "{replies}");
        assert_eq!(Window::linux(1000).open(), Some(32), "64 at most on a path");
        assert_eq!(Window::linux(1).open(), Some(1));
    }

    #[test]
    fn a_timeout_shuts_it_to_one_and_half_comes_back_at_once() {
        let mut window = Window::linux(32);
        (0..16).for_each(|_| window.sent());
        assert!(!window.has_room());
        window.timed_out();
        assert_eq!(window.open(), Some(1));
        window.timed_out();
        (0..7).for_each(|_| window.answered());
        assert_eq!((window.open(), window.outstanding()), (Some(8), 9));
        window.answered();
        assert_eq!(window.open(), Some(8), "one by one from half on");
    }

    #[test]
    fn without_a_bound_there_is_always_room() {
        let mut window = Window::unbounded();
        (0..10_000).for_each(|_| window.sent());
        window.timed_out();
        assert!(window.has_room() && window.open().is_none());
        (0..9_999).for_each(|_| window.answered());
        window.given_up();
        assert_eq!(window.outstanding(), 0);
    }
}
