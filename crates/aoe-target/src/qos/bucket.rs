//! Token buckets with integer arithmetic on ticks of a clock.
//!
//! A bucket counts in parts of a token, of which a tick brings as many as the rate has tokens a second, and a token has as many
//! as a second has ticks. So nothing is rounded: over any time, a bucket gives at most its capacity and what has come in,
//! and a bucket that is emptied again and again gives exactly what has come in.

/// The part of a second whose tokens a bucket holds, beside those of one request.
const BURST_PART: u64 = 10;

/// A rate, as ticks of one clock see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: u64,
    /// Ticks in a second.
    hz: u64,
    /// The most that a bucket holds, in parts of a token.
    capacity: u128,
}

impl Rate {
    /// So many tokens a second, at least 1, by a clock of `hz` ticks a second. A bucket holds those of a tenth of a second, and
    /// beside them `largest`, the most that is taken at once: so one that is emptied ten times a second loses none.
    #[must_use]
    pub fn new(per_second: u64, largest: u64, hz: u64) -> Self {
        let (per_second, hz) = (per_second.max(1), hz.max(1));
        let burst = per_second.div_ceil(BURST_PART).saturating_add(largest);
        Self { per_second, hz, capacity: u128::from(burst) * u128::from(hz) }
    }

    /// Ticks in which so many tokens come in, cut to whole ones.
    #[must_use]
    pub fn ticks_for(&self, tokens: u64) -> u64 {
        let parts = u128::from(tokens) * u128::from(self.hz);
        u64::try_from(parts / u128::from(self.per_second)).unwrap_or(u64::MAX)
    }

    /// So many tokens in parts. More than a bucket holds would never be there, so they count as that.
    fn parts(&self, tokens: u64) -> u128 {
        (u128::from(tokens) * u128::from(self.hz)).min(self.capacity)
    }
}

/// A bucket of a [`Rate`], which is passed to each call: it is the same for many buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Parts of a token.
    level: u128,
    /// The tick up to which they have come in.
    at: u64,
}

impl Bucket {
    /// A bucket that is full.
    #[must_use]
    pub const fn full(rate: &Rate, now: u64) -> Self {
        Self { level: rate.capacity, at: now }
    }

    /// Lets come in what has come since the last call. A clock that goes back brings nothing.
    pub fn refill(&mut self, rate: &Rate, now: u64) {
        let elapsed = now.wrapping_sub(self.at);
        self.at = now;
        if elapsed <= u64::MAX / 2 {
            let gained = u128::from(elapsed) * u128::from(rate.per_second);
            self.level = self.level.saturating_add(gained).min(rate.capacity);
        }
    }

    /// Whether so many tokens are there.
    #[must_use]
    pub fn holds(&self, rate: &Rate, tokens: u64) -> bool {
        self.level >= rate.parts(tokens)
    }

    /// Takes tokens that are there.
    pub fn take(&mut self, rate: &Rate, tokens: u64) {
        debug_assert!(self.holds(rate, tokens));
        self.level = self.level.saturating_sub(rate.parts(tokens));
    }

    /// The tick of the last [`Bucket::refill`].
    #[must_use]
    pub const fn at(&self) -> u64 {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bucket_of_any_rate_and_clock_is_full_after_any_time() {
        for per_second in [0, 1, 7, 1_000_000_007, u64::MAX] {
            for hz in [0, 1, 1000, 2_500_000_000, 10_000_000_000] {
                let rate = Rate::new(per_second, 8192, hz);
                let mut bucket = Bucket::full(&rate, 5);
                let full = bucket;
                assert!(bucket.holds(&rate, 8192));
                bucket.take(&rate, 8192);
                bucket.refill(&rate, 5 + u64::MAX / 2);
                assert!(bucket.holds(&rate, 8192), "a hundred years at {hz} Hz, {per_second} a second");
                assert!(bucket.level <= full.level);
            }
        }
    }

    #[test]
    fn more_than_a_bucket_holds_is_as_much_as_it_holds() {
        let rate = Rate::new(10, 100, 1000);
        assert_eq!(rate.capacity, 101 * 1000);
        let mut bucket = Bucket::full(&rate, 0);
        assert!(bucket.holds(&rate, u64::MAX));
        bucket.take(&rate, u64::MAX);
        assert!(!bucket.holds(&rate, 1));
        assert_eq!(rate.ticks_for(1), 100);
        assert_eq!(rate.ticks_for(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_clock_that_goes_back_brings_nothing_and_stops_nothing() {
        let rate = Rate::new(1000, 1, 1000);
        let mut bucket = Bucket::full(&rate, 1_000_000);
        bucket.take(&rate, 101);
        bucket.refill(&rate, 10);
        assert!(!bucket.holds(&rate, 1));
        bucket.refill(&rate, 20);
        assert!(bucket.holds(&rate, 10) && !bucket.holds(&rate, 11));
    }

    proptest! {
        /// Whatever is asked for at whatever moments, no span of time gives more than its tokens and a burst.
        #[test]
        fn no_span_gives_more_than_its_tokens_and_a_burst(
            per_second in 1u64..5_000_000_000,
            hz in 1u64..5_000_000_000,
            start: u64,
            steps in prop::collection::vec((0u64..1_000_000_000, 1u64..=8192), 1..200),
        ) {
            let rate = Rate::new(per_second, 8192, hz);
            let burst = u128::from(per_second.div_ceil(BURST_PART) + 8192);
            let mut bucket = Bucket::full(&rate, start);
            let (mut elapsed, mut given) = (0u128, Vec::new());
            for (wait, tokens) in steps {
                elapsed += u128::from(wait);
                #[expect(clippy::cast_possible_truncation, reason = "the clock wraps")]
                bucket.refill(&rate, start.wrapping_add(elapsed as u64));
                if bucket.holds(&rate, tokens) {
                    bucket.take(&rate, tokens);
                    given.push((elapsed, u128::from(tokens)));
                }
            }
            for from in 0..given.len() {
                let mut sum = 0;
                for (at, tokens) in &given[from..] {
                    sum += tokens;
                    let time = at - given[from].0;
                    prop_assert!(sum * u128::from(hz) <= time * u128::from(per_second) + burst * u128::from(hz));
                }
            }
        }

        /// Who takes each token as soon as it is there gets every one of them, but for a part of the last request.
        #[test]
        fn a_client_that_always_asks_gets_every_token(
            per_second in 1u64..1_000_000,
            hz in 1000u64..5_000_000_000,
            request in 1u64..=8192,
            waits in prop::collection::vec(0u64..=100, 1..300),
        ) {
            let rate = Rate::new(per_second, 8192, hz);
            let mut bucket = Bucket::full(&rate, 0);
            let (mut now, mut given) = (0u64, 0u128);
            let full = bucket.level / u128::from(hz);
            for wait in std::iter::once(0).chain(waits) {
                // At most a tenth of a second.
                now += hz * wait / 1000;
                bucket.refill(&rate, now);
                while bucket.holds(&rate, request) {
                    bucket.take(&rate, request);
                    given += u128::from(request);
                }
            }
            let due = u128::from(now) * u128::from(per_second) + full * u128::from(hz);
            prop_assert!(given * u128::from(hz) <= due);
            prop_assert!((given + u128::from(request)) * u128::from(hz) > due);
        }
    }
}
