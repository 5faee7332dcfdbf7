//! Histograms of times: how long reads, writes and flushes take, from their arrival to their answer.
//!
//! Buckets are log-linear: eight for each power of two, so a bucket is at most an eighth wide of its value. Times are in ticks of
//! the clock that the lcore reads. One lcore writes a histogram; the reader adds those of all.

/// Buckets for each power of two.
const PARTS: u64 = 1 << PART_BITS;
const PART_BITS: u32 = 3;

/// Bits of the longest time that is told apart; longer ones are in the last bucket.
const BITS: u32 = 48;

/// Number of buckets.
const BUCKETS: usize = ((BITS - PART_BITS + 1) << PART_BITS) as usize;

/// The times of one kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    count: u64,
    sum: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], count: 0, sum: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts a request that has taken so many ticks.
    pub fn record(&mut self, ticks: u64) {
        self.buckets[index_of(ticks)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(ticks);
        self.max = self.max.max(ticks);
    }

    /// Adds the times of another lcore.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// Number of requests.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Sum of their times, in ticks.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// The longest time, in ticks.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// The time, in ticks, that so many of a million requests do not exceed: the end of its bucket, or the longest time if
    /// that is less. 0 without requests.
    #[must_use]
    pub fn quantile(&self, of_a_million: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(of_a_million)).div_ceil(1_000_000).max(1);
        let mut seen = 0_u128;
        for (end, count) in self.buckets() {
            seen += u128::from(count);
            if seen >= rank {
                return end.min(self.max);
            }
        }
        self.max
    }

    /// The buckets that have requests: the time at which each ends, in ticks, and the number of requests that took less and
    /// are in no earlier one.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buckets
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(index, count)| (end_of(index), *count))
    }
}

/// The bucket of a time.
fn index_of(ticks: u64) -> usize {
    let ticks = ticks.min((1 << BITS) - 1);
    let index = if ticks < PARTS {
        ticks
    } else {
        let shift = ticks.ilog2() - PART_BITS;
        let part = (ticks >> shift) & (PARTS - 1);
        ((u64::from(shift) + 1) << PART_BITS) + part
    };
    usize::try_from(index).unwrap_or(BUCKETS - 1)
}

/// The time at which a bucket ends.
fn end_of(index: usize) -> u64 {
    let index = index as u64;
    if index < PARTS {
        return index + 1;
    }
    let (shift, part) = ((index >> PART_BITS) - 1, index & (PARTS - 1));
    (PARTS + part + 1) << shift
}

/// The times of an export's requests, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histograms {
    /// READ commands.
    pub reads: Histogram,
    /// WRITE commands.
    pub writes: Histogram,
    /// FLUSH CACHE commands.
    pub flushes: Histogram,
}

impl Histograms {
    /// Those of the kind of an ATA command, by its opcode; `None` for other commands.
    pub fn of_opcode(&mut self, opcode: u8) -> Option<&mut Histogram> {
        match opcode {
            0x20 | 0x24 => Some(&mut self.reads),
            0x30 | 0x34 => Some(&mut self.writes),
            0xe7 | 0xea => Some(&mut self.flushes),
            _ => None,
        }
    }

    /// Adds the times of another lcore.
    pub fn merge(&mut self, other: &Self) {
        self.reads.merge(&other.reads);
        self.writes.merge(&other.writes);
        self.flushes.merge(&other.flushes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_are_those_of_the_times() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(500_000), histogram.max()), (0, 0));
        (1..=1000).for_each(|ticks| histogram.record(ticks * 1000));
        assert_eq!((histogram.count(), histogram.sum(), histogram.max()), (1000, 500_500_000, 1_000_000));
        for (of_a_million, exact) in [(500_000, 500_000), (900_000, 900_000), (990_000, 990_000)] {
            let found = histogram.quantile(of_a_million);
            assert!(found >= exact && found <= exact + exact / 8 + 1, "{of_a_million}: {found}");
        }
        assert_eq!(histogram.quantile(1_000_000), 1_000_000);
        histogram.record(u64::MAX);
        assert_eq!(histogram.buckets().map(|(_, count)| count).sum::<u64>(), 1001);
    }

    proptest! {
        /// Each time is in a bucket that ends after it, and begins at most an eighth before its end.
        #[test]
        fn buckets_follow_each_other_and_are_narrow(ticks in 0_u64..1 << BITS) {
            let index = index_of(ticks);
            prop_assert!(index < BUCKETS);
            let begin = if index == 0 { 0 } else { end_of(index - 1) };
            let end = end_of(index);
            prop_assert!(begin <= ticks && ticks < end);
            prop_assert!(end - begin <= 1 + ticks / PARTS);
        }

        #[test]
        fn lcores_add_up(times in prop::collection::vec((0_u64..1 << 40, 0_u8..3), 0..200)) {
            let (mut all, mut lcores) = (Histograms::default(), [Histograms::default(), Histograms::default()]);
            for (number, (ticks, kind)) in times.into_iter().enumerate() {
                let opcode = [0x24, 0x34, 0xe7][usize::from(kind)];
                for histograms in [&mut all, &mut lcores[number % 2]] {
                    histograms.of_opcode(opcode).unwrap().record(ticks);
                }
            }
            let [mut one, other] = lcores;
            one.merge(&other);
            prop_assert_eq!(one, all);
        }
    }
}
