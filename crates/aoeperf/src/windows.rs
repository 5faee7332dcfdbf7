//! The rate by windows of a few milliseconds: how steady it was, and what it is while nothing else takes the cores.

/// Windows of a second: long enough for thousands of requests, short enough to fit between what a machine does beside.
const PER_SECOND: u64 = 100;

/// Most windows that are kept: of ten minutes. A run that is longer is judged by these.
const MOST: usize = 60_000;

/// Requests answered in each window of the measured time.
#[derive(Debug)]
pub struct Windows {
    rates: Vec<f64>,
    hz: u64,
    began: u64,
    requests: u64,
}

impl Windows {
    /// None yet, of a run of `seconds`; the clock counts `hz` ticks a second.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 86400 seconds")]
    pub fn new(seconds: f64, hz: u64) -> Self {
        let count = (seconds.ceil() as usize).saturating_mul(PER_SECOND as usize).min(MOST);
        Self { rates: Vec::with_capacity(count), hz, began: 0, requests: 0 }
    }

    /// The first begins at `clock`.
    pub fn begin(&mut self, clock: u64) {
        (self.began, self.requests) = (clock, 0);
    }

    /// Ends a window if it is over at `clock`; `requests` are those answered so far. Allocates nothing.
    #[inline]
    pub fn look(&mut self, clock: u64, requests: impl FnOnce() -> u64) {
        if clock >= self.began + self.hz / PER_SECOND {
            self.end(clock, requests());
        }
    }

    #[cold]
    #[allow(clippy::cast_precision_loss, reason = "counts and ticks are far below 2^53")]
    fn end(&mut self, clock: u64, requests: u64) {
        let ticks = clock - self.began;
        if self.rates.len() < self.rates.capacity() {
            self.rates.push((requests - self.requests) as f64 * self.hz as f64 / ticks as f64);
        }
        (self.began, self.requests) = (clock, requests);
    }

    /// The rates; `None` if the time was shorter than one window.
    pub fn rates(mut self) -> Option<Rates> {
        self.rates.sort_by(f64::total_cmp);
        let last = self.rates.len().checked_sub(1)?;
        let at = |percent: usize| self.rates[last * percent / 100];
        Some(Rates { windows: last + 1, min: at(0), p50: at(50), p90: at(90), max: at(100) })
    }
}

/// Requests a second, by windows of 10 ms of the measured time, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Rates {
    /// The number of windows.
    pub windows: usize,
    /// The lowest.
    pub min: f64,
    /// Half are no higher.
    pub p50: f64,
    /// 90 in 100 are no higher.
    pub p90: f64,
    /// The highest.
    pub max: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_windows_that_ended() {
        // A tick a microsecond: windows of 10,000 ticks, the later one twice as long and half as fast.
        let mut windows = Windows::new(1.0, 1_000_000);
        windows.begin(500);
        windows.look(10_499, || unreachable!("it is not over"));
        windows.look(10_500, || 300);
        windows.look(30_500, || 600);
        windows.look(30_600, || unreachable!("it is not over"));
        let rates = windows.rates().expect("two windows");
        assert_eq!(rates, Rates { windows: 2, min: 15_000.0, p50: 15_000.0, p90: 15_000.0, max: 30_000.0 });
    }

    #[test]
    fn a_short_time_has_none_and_a_long_one_is_bounded() {
        assert_eq!(Windows::new(0.001, 1_000_000).rates(), None);
        let mut windows = Windows::new(86_400.0, 100);
        assert!(windows.rates.capacity() < 2 * MOST);
        windows.begin(0);
        let capacity = windows.rates.capacity();
        (1..=2 * MOST as u64).for_each(|clock| windows.look(clock, || clock));
        assert_eq!(windows.rates.capacity(), capacity);
    }
}
