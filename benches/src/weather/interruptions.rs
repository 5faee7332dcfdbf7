//! How often a core is taken away from a thread that does nothing but look at the clock.

use super::pair;
use anyhow::Result;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Gaps in a core's time, a second of it. Each number counts those that the next ones count, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Interruptions {
    /// The core.
    pub cpu: usize,
    /// Longer than 1 us.
    pub over_1_us: f64,
    /// Longer than 5 us.
    pub over_5_us: f64,
    /// Longer than 20 us.
    pub over_20_us: f64,
    /// Longer than 50 us.
    pub over_50_us: f64,
}

/// Counts those of both cores at the same time, for so long.
///
/// # Errors
/// If a thread can't be bound to a core.
pub(super) fn count(first_cpu: usize, second_cpu: usize, time: Duration) -> Result<[Interruptions; 2]> {
    let (first, second) = pair::run((first_cpu, || watch(time)), (second_cpu, || watch(time)))?;
    Ok([first.of_a_second(first_cpu, time), second.of_a_second(second_cpu, time)])
}

/// Gaps longer than each of [`LIMITS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps(pub(super) [u32; LIMITS.len()]);

/// Microseconds.
const LIMITS: [u64; 4] = [1, 5, 20, 50];

impl Gaps {
    pub(super) fn note(&mut self, gap: Duration) {
        for (count, limit) in self.0.iter_mut().zip(LIMITS) {
            *count += u32::from(gap > Duration::from_micros(limit));
        }
    }

    pub(super) fn of_a_second(self, cpu: usize, time: Duration) -> Interruptions {
        let [over_1_us, over_5_us, over_20_us, over_50_us] =
            self.0.map(|count| f64::from(count) / time.as_secs_f64());
        Interruptions { cpu, over_1_us, over_5_us, over_20_us, over_50_us }
    }
}

fn watch(time: Duration) -> Gaps {
    let mut gaps = Gaps::default();
    let begun = Instant::now();
    let mut last = begun;
    while last - begun < time {
        let now = Instant::now();
        let gap = now - last;
        if gap > Duration::from_micros(LIMITS[0]) {
            gaps.note(gap);
        }
        last = now;
    }
    gaps
}
