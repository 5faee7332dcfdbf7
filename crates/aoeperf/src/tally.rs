//! Latencies: recorded in ticks of the time stamp counter, folded into histograms afterwards.
//!
//! Recording is a shift and two additions into a flat array that one cache line or two of serve. A bucket is at most
//! 1/128 wide of its value, so that a latency read from it is within 0.4 %; smallest, largest and sum are exact.

use hdrhistogram::Histogram;

/// Buckets of an octave, as a power of two.
const SUB_BITS: u32 = 7;
const SUB: usize = 1 << SUB_BITS;

/// Octaves above the first `SUB` ticks: latencies up to 2^40 ticks, several minutes.
const OCTAVES: u32 = 40 - SUB_BITS;

/// Latencies of one target's requests, in ticks.
#[derive(Debug, Clone)]
pub struct Tally {
    requests: u64,
    ticks: u64,
    shortest: u64,
    longest: u64,
    buckets: Box<[u64]>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            requests: 0,
            ticks: 0,
            shortest: u64::MAX,
            longest: 0,
            buckets: vec![0; SUB * (OCTAVES as usize + 1)].into(),
        }
    }
}

/// The bucket of a latency.
#[inline]
fn bucket(ticks: u64) -> usize {
    let octave = (u64::BITS - (ticks >> SUB_BITS).leading_zeros()).min(OCTAVES);
    let shift = octave.saturating_sub(1);
    // At most SUB * 2 - 1 for all but latencies beyond the last octave, which the last bucket takes.
    let within = usize::try_from(ticks >> shift).unwrap_or(usize::MAX).min(SUB * 2 - 1);
    if octave == 0 { within } else { shift as usize * SUB + within }
}

/// The middle of a bucket, in ticks.
fn middle(bucket: usize) -> u64 {
    if bucket < SUB * 2 {
        return bucket as u64;
    }
    let shift = bucket / SUB - 1;
    let within = bucket - shift * SUB;
    ((within as u64) << shift) + (1 << shift) / 2
}

impl Tally {
    /// One request that took so long.
    #[inline]
    pub fn record(&mut self, ticks: u64) {
        self.requests += 1;
        self.ticks = self.ticks.wrapping_add(ticks);
        self.shortest = self.shortest.min(ticks);
        self.longest = self.longest.max(ticks);
        // The index is below the length for every latency; the compiler does not see it.
        if let Some(count) = self.buckets.get_mut(bucket(ticks)) {
            *count += 1;
        }
    }

    /// Requests recorded.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        if self.requests > 0 {
            let mut buckets = std::mem::take(&mut self.buckets);
            buckets.fill(0);
            *self = Self { requests: 0, ticks: 0, shortest: u64::MAX, longest: 0, buckets };
        }
    }

    /// Adds another's requests to these.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.ticks = self.ticks.wrapping_add(other.ticks);
        self.shortest = self.shortest.min(other.shortest);
        self.longest = self.longest.max(other.longest);
        for (sum, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += count;
        }
    }

    /// Latencies in microseconds, of a counter that counts `hz` ticks a second; recorded in so many seconds. All zero if
    /// nothing was recorded.
    #[allow(clippy::cast_precision_loss, reason = "counts and ticks are far below 2^53")]
    pub fn latency(&self, hz: u64, seconds: f64) -> Latency {
        if self.requests == 0 {
            return Latency::default();
        }
        let micros = |ticks: f64| ticks * 1e6 / hz as f64;
        let mut histogram = Histogram::<u64>::new(3).expect("three digits are allowed");
        for (bucket, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            let ticks = middle(bucket).clamp(self.shortest, self.longest);
            histogram.record_n(ticks, *count).expect("it grows to any value");
        }
        let at = |quantile: f64| {
            micros(histogram.value_at_quantile(quantile).clamp(self.shortest, self.longest) as f64)
        };
        let slowest =
            |per_second: f64| self.exceeded_by(per_second * seconds).map(|ticks| micros(ticks as f64));
        Latency {
            min: micros(self.shortest as f64),
            mean: micros(self.ticks as f64 / self.requests as f64),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: micros(self.longest as f64),
            slowest_us: Slowest { ten: slowest(10.0), hundred: slowest(100.0), thousand: slowest(1000.0) },
        }
    }

    /// The latency in ticks that exactly this number of requests exceed; `None` if there were not more requests.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates and times are positive"
    )]
    fn exceeded_by(&self, requests: f64) -> Option<u64> {
        let most = requests as u64;
        if most >= self.requests {
            return None;
        }
        let mut longer = 0;
        let found = self.buckets.iter().enumerate().rev().find(|(_, count)| {
            longer += **count;
            longer > most
        });
        found.map(|(bucket, _)| middle(bucket).clamp(self.shortest, self.longest))
    }
}

/// Latencies in microseconds, from the moment a request is built to the poll that brings its reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Latency {
    /// Shortest.
    pub min: f64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Half are no longer.
    pub p50: f64,
    /// 90 in 100 are no longer.
    pub p90: f64,
    /// 99 in 100 are no longer.
    pub p99: f64,
    /// 999 in 1000 are no longer.
    pub p99_9: f64,
    /// 9999 in 10,000 are no longer.
    pub p99_99: f64,
    /// Longest.
    pub max: f64,
    /// The slowest of each second.
    pub slowest_us: Slowest,
}

/// Latencies in microseconds that a fixed number of requests a second exceed, whatever the rate. Percentiles of loads
/// with different rates are different numbers of requests in a second: what the machine does beside, a number of times
/// a second, is at one percentile of a slow load and at another of a fast one, but at the same place here.
///
/// `None`, and not in the JSON, where there were no more requests than that.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Slowest {
    /// 10 of each second are longer.
    #[serde(rename = "10", skip_serializing_if = "Option::is_none")]
    pub ten: Option<f64>,
    /// 100 of each second are longer.
    #[serde(rename = "100", skip_serializing_if = "Option::is_none")]
    pub hundred: Option<f64>,
    /// 1,000 of each second are longer.
    #[serde(rename = "1000", skip_serializing_if = "Option::is_none")]
    pub thousand: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_within_half_a_percent_of_what_falls_into_it() {
        let mut last = 0;
        for ticks in (0..4096).chain((12..40).flat_map(|bit| {
            let base = 1u64 << bit;
            [base - 1, base, base + base / 3, base + base / 2 + 1]
        })) {
            let found = middle(bucket(ticks));
            assert!(found.abs_diff(ticks) * 250 <= ticks, "{ticks} became {found}");
            assert!(bucket(ticks) >= last || ticks < 5000, "{ticks}");
            last = bucket(ticks);
        }
    }

    #[test]
    fn what_is_beyond_the_last_bucket_is_in_it() {
        let mut tally = Tally::default();
        for ticks in [1 << 40, 1 << 50, u64::MAX] {
            assert!(bucket(ticks) < tally.buckets.len(), "{ticks}");
            tally.record(ticks);
        }
        assert_eq!(tally.requests(), 3);
        assert_eq!(tally.buckets.iter().sum::<u64>(), 3);
    }

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut tally = Tally::default();
        // 1 to 100 us at a tick a nanosecond.
        (1..=100).for_each(|micros| tally.record(micros * 1000));
        let mut other = Tally::default();
        other.add(&tally);
        let latency = other.latency(1_000_000_000, 1.0);
        for (found, wanted) in [
            (latency.min, 1.0),
            (latency.mean, 50.5),
            (latency.p50, 50.0),
            (latency.p90, 90.0),
            (latency.p99, 99.0),
            (latency.p99_9, 100.0),
            (latency.max, 100.0),
        ] {
            assert!((found - wanted).abs() <= wanted * 0.005, "{latency:?}");
        }
        tally.clear();
        assert_eq!((tally.requests(), tally.latency(1_000, 1.0)), (0, Latency::default()));
    }

    #[test]
    fn the_slowest_of_a_second_are_a_number_and_not_a_share() {
        // In two seconds, at a tick a nanosecond: 40 of 50 us, 160 of 20 us, and very many of 1 or 2 us.
        let slowest = |fast: u64| {
            let mut tally = Tally::default();
            (0..40).for_each(|_| tally.record(50_000));
            (0..160).for_each(|_| tally.record(20_000));
            (0..fast).for_each(|number| tally.record(1000 + number % 2 * 1000));
            tally.latency(1_000_000_000, 2.0).slowest_us
        };
        let near = |found: Option<f64>, wanted: f64| {
            found.is_some_and(|found| (found - wanted).abs() <= wanted * 0.005)
        };
        // 10 a second are 20, all of 50 us; 100 are 200, all that are slow; 1,000 are 1,800 of the fast ones.
        let of_few = slowest(4000);
        assert!(near(of_few.ten, 50.0) && near(of_few.hundred, 2.0), "{of_few:?}");
        assert!(near(of_few.thousand, 2.0), "{of_few:?}");
        // All but two of these 2,002 are longer than the one that is looked for.
        assert!(near(slowest(1802).thousand, 1.0));
        let of_many = slowest(100_000);
        assert!(near(of_many.ten, 50.0) && near(of_many.hundred, 2.0), "{of_many:?}");
        // 2,000 in two seconds are no more than 1,000 a second.
        assert_eq!(slowest(1800).thousand, None);
        assert_eq!(serde_json::to_value(slowest(0)).unwrap().as_object().unwrap().len(), 1);
    }
}
