//! A few milliseconds of both cores: how far apart they are, and how fast each is beside the other.

use super::pair;
use anyhow::Result;
use serde::Serialize;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Round trips of a batch, and batches. The median over the batches leaves out those that were interrupted.
const TRIPS: u32 = 100;
const BATCHES: usize = 21;
/// How long both cores reckon.
const RECKONING: Duration = Duration::from_millis(4);
/// Steps between two looks at the clock.
const STEPS: u32 = 10_000;

/// What two cores were like for a few milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Weather {
    /// Nanoseconds a cache line takes from one core to the other and back.
    pub round_trip_ns: f64,
    /// Steps a second of a loop of multiplications on the target's core, while the other core does the same.
    pub target_speed: f64,
    /// The same on the initiator's core.
    pub initiator_speed: f64,
}

/// Probes both cores, in some 5 ms.
///
/// # Errors
/// If a thread can't be bound to a core.
pub(super) fn probe(target_cpu: usize, initiator_cpu: usize) -> Result<Weather> {
    let line = &Line::default();
    let ((), round_trip_ns) =
        pair::run((target_cpu, move || line.answer()), (initiator_cpu, move || line.ask()))?;
    let (target_speed, initiator_speed) =
        pair::run((target_cpu, || reckon(RECKONING)), (initiator_cpu, || reckon(RECKONING)))?;
    Ok(Weather { round_trip_ns, target_speed, initiator_speed })
}

/// A number that two cores count up in turns, with nothing beside it in its cache line, nor in the next one, which a
/// core fetches with it.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Line {
    /// Round trips in all.
    const ALL: u64 = TRIPS as u64 * BATCHES as u64;

    /// Counts odd numbers, and waits for the even one that answers each. Returns nanoseconds a round trip.
    fn ask(&self) -> f64 {
        let mut batches = [0.0; BATCHES];
        let mut last = 0;
        for batch in &mut batches {
            let begun = Instant::now();
            for _ in 0..TRIPS {
                self.0.store(last + 1, Ordering::Release);
                last += 2;
                self.wait_for(last);
            }
            *batch = begun.elapsed().as_secs_f64() * 1e9 / f64::from(TRIPS);
        }
        batches.sort_by(f64::total_cmp);
        batches[BATCHES / 2]
    }

    fn answer(&self) {
        for trip in 0..Self::ALL {
            self.wait_for(2 * trip + 1);
            self.0.store(2 * trip + 2, Ordering::Release);
        }
    }

    /// Without a pause, which may take longer than what is measured, and may trap in a VM.
    fn wait_for(&self, number: u64) {
        while self.0.load(Ordering::Acquire) != number {}
    }
}

/// Reckons for so long. Returns steps a second, interruptions included.
fn reckon(time: Duration) -> f64 {
    let begun = Instant::now();
    let mut chains = black_box([1, 2, 3, 4, 5, 6, 7, 8]);
    let mut steps = 0.0;
    loop {
        for _ in 0..STEPS {
            chains = chains.map(step);
        }
        chains = black_box(chains);
        steps += f64::from(STEPS);
        let elapsed = begun.elapsed();
        if elapsed >= time {
            return steps / elapsed.as_secs_f64();
        }
    }
}

/// A step of one chain. Eight chains side by side keep a core's multiplier at work all the time, so that a hyperthread
/// which does something beside is felt.
#[inline]
fn step(chain: u64) -> u64 {
    chain.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ 0x5555
}
