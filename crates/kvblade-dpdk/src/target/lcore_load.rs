//! The load of lcores: samples of the time in which each had work, taken once a second, and the CPUs that each runs on.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use control::BUSY_SECONDS_MAX;
use spdk::ThreadTime;

/// Least time between two samples that are kept: the watchdog may look more often.
const APART: Duration = Duration::from_millis(900);

/// Samples are kept so long: a second more than the longest period, as they come late.
const KEPT: Duration = Duration::from_secs(BUSY_SECONDS_MAX + 1);

/// The lcores by their numbers.
#[derive(Default)]
pub(super) struct LcoreLoad(BTreeMap<u32, Known>);

/// What is known of an lcore.
#[derive(Default)]
struct Known {
    cpus: Vec<u32>,
    /// Oldest first.
    samples: VecDeque<(Instant, ThreadTime)>,
}

impl LcoreLoad {
    /// An lcore runs on these CPUs.
    pub(super) fn note_cpus(&mut self, core: u32, cpus: Vec<u32>) {
        self.0.entry(core).or_default().cpus = cpus;
    }

    /// The CPUs that an lcore runs on.
    pub(super) fn cpus(&self, core: u32) -> Vec<u32> {
        self.0.get(&core).map(|known| known.cpus.clone()).unwrap_or_default()
    }

    /// An lcore has had work for so long until now.
    pub(super) fn note(&mut self, core: u32, now: Instant, time: ThreadTime) {
        let samples = &mut self.0.entry(core).or_default().samples;
        if samples.back().is_some_and(|(last, _)| now.duration_since(*last) < APART) {
            return;
        }
        samples.push_back((now, time));
        while samples.front().is_some_and(|(first, _)| now.duration_since(*first) > KEPT) {
            samples.pop_front();
        }
    }

    /// The part of its time in which an lcore had work, over the last `seconds` or as long as there are samples, with the period
    /// that it is of. `None` before there are two samples.
    pub(super) fn busy(&self, core: u32, seconds: u64) -> Option<(f64, Duration)> {
        let samples = &self.0.get(&core)?.samples;
        let (last, now) = samples.back()?;
        // A sample comes a little later than a whole number of seconds after another one.
        let period = Duration::from_secs(seconds) + APART / 2;
        let within = |(at, _): &&(Instant, ThreadTime)| at < last && last.duration_since(*at) <= period;
        let (first, then) = samples.iter().find(within)?;
        let busy = now.busy.saturating_sub(then.busy);
        let all = busy.saturating_add(now.idle.saturating_sub(then.idle));
        (all > 0).then(|| (share(busy, all), last.duration_since(*first)))
    }
}

/// A part of a whole. Ticks of a minute have fewer bits than an f64 holds exactly.
#[allow(clippy::cast_precision_loss, reason = "a share has four decimals")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Busy for a tenth of the first ten seconds, then for a half.
    fn load(start: Instant, seconds: u32) -> LcoreLoad {
        let mut load = LcoreLoad::default();
        let mut time = ThreadTime::default();
        for second in 0..=seconds {
            load.note(2, start + SECOND * second, time);
            let busy = if second < 10 { 100 } else { 500 };
            time = ThreadTime { busy: time.busy + busy, idle: time.idle + 1000 - busy };
        }
        load
    }

    fn percent(busy: Option<(f64, Duration)>) -> Option<(u64, u64)> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
        busy.map(|(share, period)| ((share * 100.0).round() as u64, period.as_secs()))
    }

    #[test]
    fn the_busy_share_is_of_the_period_that_is_wanted() {
        let load = load(Instant::now(), 20);
        assert_eq!(percent(load.busy(2, 1)), Some((50, 1)));
        assert_eq!(percent(load.busy(2, 10)), Some((50, 10)));
        assert_eq!(percent(load.busy(2, 20)), Some((30, 20)));
        assert_eq!(percent(load.busy(2, 60)), Some((30, 20)), "as long as there are samples");
        assert_eq!(load.busy(3, 10), None, "no such lcore");
    }

    #[test]
    fn one_sample_has_no_share_and_old_ones_are_not_kept() {
        let start = Instant::now();
        assert_eq!(load(start, 0).busy(2, 10), None);
        let load = load(start, 200);
        assert!(load.0[&2].samples.len() <= 62);
        assert_eq!(percent(load.busy(2, 60)), Some((50, 60)));
    }

    #[test]
    fn samples_that_come_too_often_are_left_out() {
        let (mut load, start) = (LcoreLoad::default(), Instant::now());
        for tenth in 0..=20 {
            load.note(2, start + SECOND / 10 * tenth, ThreadTime::default());
        }
        assert!(load.0[&2].samples.len() <= 3);
    }
}
