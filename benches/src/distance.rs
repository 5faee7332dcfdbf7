//! How far the two cores are from each other: the time of a cache line's round trip between them. Virtual CPUs are sometimes
//! hyperthreads of one core and sometimes not, which changes rates over shared memory several times.

use anyhow::Result;
use aoe_initiator::cpu::pin_to_cpu;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Round trips of a batch, and batches, of which the median counts: half a millisecond in all.
const TRIPS: u32 = 100;
const BATCHES: usize = 11;
/// Below this, the two cores are near each other.
pub(crate) const NEAR_NS: f64 = 200.0;

/// Nanoseconds of a round trip.
pub(crate) fn round_trip_ns(cpus: [usize; 2]) -> Result<f64> {
    let line = AtomicU32::new(0);
    // Without a pause instruction, which may take longer than the trip, and may trap in a VM.
    let wait_for = |number| while line.load(Ordering::Acquire) != number {};
    let last = 2 * TRIPS * u32::try_from(BATCHES)?;
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| {
            let pinned = pin_to_cpu(cpus[1]);
            for number in (1..last).step_by(2) {
                wait_for(number);
                line.store(number + 1, Ordering::Release);
            }
            pinned
        });
        let asks = scope.spawn(|| {
            let pinned = pin_to_cpu(cpus[0]);
            let mut batches = [0.0; BATCHES];
            let mut number = 0;
            for batch in &mut batches {
                let begun = Instant::now();
                for _ in 0..TRIPS {
                    line.store(number + 1, Ordering::Release);
                    number += 2;
                    wait_for(number);
                }
                *batch = begun.elapsed().as_secs_f64() * 1e9 / f64::from(TRIPS);
            }
            batches.sort_by(f64::total_cmp);
            pinned.map(|()| batches[BATCHES / 2])
        });
        // They panic on no path.
        let (Ok(answered), Ok(asked)) = (answers.join(), asks.join()) else { std::process::abort() };
        answered?;
        Ok(asked?)
    })
}
