//! What else the machine does to the two cores: the weather of a sample.
//!
//! A virtual CPU is not a core. Its host moves it, now beside the other one and now to the far end of the chip, lets
//! somebody else's work run on the core's other hyperthread, and takes it away for a while, hundreds of times a second.
//! None of this is the target's doing, and each is more than the differences that are looked for. So the two cores are
//! probed before each sample, which waits for fair weather, though not for long, and after it; and each sample says
//! what its weather was.

mod interruptions;
mod pair;
mod probe;

pub use interruptions::Interruptions;
pub use probe::Weather;

use crate::sample::Sample;
use anyhow::{Result, ensure};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Probes that a run begins with, and the time between two of them: a few seconds, in which most of what a host does
/// is seen once.
const FIRST_PROBES: u32 = 40;
const BETWEEN_FIRST: Duration = Duration::from_millis(70);
/// The time between two probes while fair weather is waited for.
const BETWEEN: Duration = Duration::from_millis(30);
/// How long gaps in a core's time are counted.
const COUNTING: Duration = Duration::from_secs(1);

/// In fair weather, both cores are at least this fast, as a share of the best that was seen.
const FAIR_SPEED: f64 = 0.85;
/// In fair weather, a cache line's round trip takes at most so many times the best that was seen.
const FAIR_ROUND_TRIP: f64 = 1.8;

/// Looks at two cores throughout a run, and knows the best of them that it saw.
#[derive(Debug)]
pub struct Watch {
    target_cpu: usize,
    initiator_cpu: usize,
    patience: Duration,
    interruptions: Vec<Interruptions>,
    seen: Vec<Weather>,
}

impl Watch {
    /// Of these cores. No sample waits for longer than `patience`; with none, no sample waits, but the cores are probed
    /// all the same.
    pub const fn new(target_cpu: usize, initiator_cpu: usize, patience: Duration) -> Self {
        Self { target_cpu, initiator_cpu, patience, interruptions: Vec::new(), seen: Vec::new() }
    }

    /// The first time, counts the interruptions of both cores, and probes them for a few seconds. For when nothing else
    /// of the run takes them.
    ///
    /// # Errors
    /// If a thread can't be bound to a core; if `stop` is set.
    pub fn begin(&mut self, stop: &AtomicBool) -> Result<()> {
        if !self.seen.is_empty() {
            return Ok(());
        }
        eprintln!("looking at cores {} and {}", self.target_cpu, self.initiator_cpu);
        self.interruptions = interruptions::count(self.target_cpu, self.initiator_cpu, COUNTING)?.into();
        for _ in 0..FIRST_PROBES {
            ensure!(!stop.load(Ordering::Relaxed), "interrupted");
            self.probe()?;
            std::thread::sleep(BETWEEN_FIRST);
        }
        Ok(())
    }

    /// Probes until the weather is fair or patience is over. Returns the last probe, which a sample may follow.
    ///
    /// # Errors
    /// As [`Watch::begin`]'s.
    pub fn wait_until_fair(&mut self, stop: &AtomicBool) -> Result<Weather> {
        self.begin(stop)?;
        let begun = Instant::now();
        loop {
            ensure!(!stop.load(Ordering::Relaxed), "interrupted");
            let weather = self.probe()?;
            if self.is_fair(&weather) || begun.elapsed() >= self.patience {
                return Ok(weather);
            }
            std::thread::sleep(BETWEEN);
        }
    }

    /// Probes once.
    ///
    /// # Errors
    /// If a thread can't be bound to a core.
    pub fn probe(&mut self) -> Result<Weather> {
        let weather = probe::probe(self.target_cpu, self.initiator_cpu)?;
        self.seen.push(weather);
        Ok(weather)
    }

    /// The best of each that was seen; `None` before the first probe. The round trip is the shortest of those while both
    /// cores were fast: it is shortest of all where they are one core's two hyperthreads, and then both are slow.
    pub fn best(&self) -> Option<Weather> {
        best(&self.seen)
    }

    /// Whether the weather is fair, by all that was seen so far.
    pub fn is_fair(&self, weather: &Weather) -> bool {
        self.best().is_some_and(|best| is_fair(weather, &best))
    }

    /// Says of each sample whether its weather was fair, before and after, by all that was seen in the run.
    pub fn judge<'a>(&self, samples: impl IntoIterator<Item = &'a mut Sample>) {
        let Some(best) = self.best() else { return };
        let fair = |weather: Option<Weather>| weather.is_some_and(|weather| is_fair(&weather, &best));
        for sample in samples {
            sample.fair = fair(sample.weather_before) && fair(sample.weather_after);
        }
    }

    /// Those of both cores, counted once; none before.
    pub fn interruptions(&self) -> &[Interruptions] {
        &self.interruptions
    }
}

fn best(seen: &[Weather]) -> Option<Weather> {
    let highest = |speed: fn(&Weather) -> f64| seen.iter().map(speed).reduce(f64::max);
    let target_speed = highest(|weather| weather.target_speed)?;
    let initiator_speed = highest(|weather| weather.initiator_speed)?;
    let shortest = |weather: Weather| {
        let fast = seen.iter().filter(|seen| are_fast(seen, &weather));
        fast.map(|weather| weather.round_trip_ns).reduce(f64::min)
    };
    let mut best = Weather { round_trip_ns: f64::INFINITY, target_speed, initiator_speed };
    // Never were both fast at once: then any round trip will do.
    best.round_trip_ns = shortest(best).unwrap_or(f64::INFINITY);
    Some(best)
}

fn are_fast(weather: &Weather, best: &Weather) -> bool {
    weather.target_speed >= FAIR_SPEED * best.target_speed
        && weather.initiator_speed >= FAIR_SPEED * best.initiator_speed
}

fn is_fair(weather: &Weather, best: &Weather) -> bool {
    are_fast(weather, best) && weather.round_trip_ns <= FAIR_ROUND_TRIP * best.round_trip_ns
}

#[cfg(test)]
mod tests;
