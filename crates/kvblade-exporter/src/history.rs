//! The last hour in samples, for the status page: the newest snapshot, the one before, and one point of sums for each sample.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::answers::Counts;
use crate::latency::{Latency, Quantiles};
use crate::snapshot::{Export, Snapshot};
use crate::target::Answer;

/// Time between two samples.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// Points of an hour.
pub(crate) const POINTS: usize = 720;
const _: () = assert!(POINTS as u64 * INTERVAL.as_secs() == 3600);

/// What the page shows.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The newest answer, and the sample before it if that one was an answer too.
    newest: Option<Arc<Snapshot>>,
    before: Option<Arc<Snapshot>>,
    /// Why the last sample brought no answer, and when that began.
    failure: Option<(String, SystemTime)>,
    points: VecDeque<Point>,
}

/// Sums over all exports, ports and lcores, between two samples.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    /// When the second one was taken.
    pub(crate) taken: SystemTime,
    /// `None` if one of the two is missing.
    pub(crate) rates: Option<Rates>,
}

/// Numbers a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) read_bytes: f64,
    pub(crate) written_bytes: f64,
    pub(crate) reads: f64,
    pub(crate) writes: f64,
    /// Share of the turns in which the busiest lcore had work, 0 to 1.
    pub(crate) busy: f64,
    /// How long the requests of exports that are timed took, if there were any.
    pub(crate) read_times: Option<Quantiles>,
    pub(crate) write_times: Option<Quantiles>,
}

impl History {
    /// Takes over a sample. Returns a line for the log if the target has stopped or begun to answer.
    pub(crate) fn push(&mut self, answer: Answer, now: SystemTime) -> Option<String> {
        let line = match (&answer, &self.failure) {
            (Err(sentence), None) => Some(sentence.clone()),
            (Ok(_), Some(_)) => Some("kvblade-dpdk answers again".to_owned()),
            _ => None,
        };
        let was_down = self.failure.is_some();
        let point = match answer {
            Ok(snapshot) => {
                self.failure = None;
                self.before = self.newest.replace(snapshot).filter(|_| !was_down);
                let rates = self.pair().map(|(before, newest)| Rates::between(before, newest));
                Point { taken: now, rates }
            }
            Err(sentence) => {
                let since = self.failure.take().map_or(now, |(_, since)| since);
                self.failure = Some((sentence, since));
                self.before = None;
                Point { taken: now, rates: None }
            }
        };
        self.points.push_back(point);
        if self.points.len() > POINTS {
            self.points.pop_front();
        }
        line
    }

    /// The newest answer, which is old if there is a failure.
    pub(crate) fn newest(&self) -> Option<&Snapshot> {
        self.newest.as_deref()
    }

    /// The two newest answers, if there is no failure and none between them.
    pub(crate) fn pair(&self) -> Option<(&Snapshot, &Snapshot)> {
        self.before.as_deref().zip(self.newest.as_deref())
    }

    /// Why the target does not answer, and since when.
    pub(crate) fn failure(&self) -> Option<(&str, SystemTime)> {
        self.failure.as_ref().map(|(sentence, since)| (sentence.as_str(), *since))
    }

    /// The points, oldest first.
    pub(crate) fn points(&self) -> impl Iterator<Item = &Point> {
        self.points.iter()
    }
}

impl Rates {
    fn between(before: &Snapshot, newest: &Snapshot) -> Self {
        let (mut sum, mut times) = (Self::default(), Latency::default());
        for (id, export) in &newest.exports {
            let rates = Self::of_export(before.exports.get(id), export, seconds(before, newest));
            sum.read_bytes += rates.read_bytes;
            sum.written_bytes += rates.written_bytes;
            sum.reads += rates.reads;
            sum.writes += rates.writes;
            if let Some(latency) = times_since(before.exports.get(id), export) {
                times.add(&latency);
            }
        }
        (sum.read_times, sum.write_times) = (times.reads.quantiles(), times.writes.quantiles());
        sum.busy = busy_shares(before, newest).into_values().fold(0.0, f64::max);
        sum
    }

    /// Of one export; its `busy` has no meaning.
    pub(crate) fn of_export(before: Option<&Export>, newest: &Export, seconds: f64) -> Self {
        let none = Counts::new();
        let earlier = before.map_or(&none, |export| &export.counts);
        let rate = |name: &str| real(grown(earlier, &newest.counts, name)) / seconds;
        let times = times_since(before, newest);
        Self {
            read_bytes: rate("read_bytes"),
            written_bytes: rate("written_bytes"),
            reads: rate("reads"),
            writes: rate("writes"),
            busy: 0.0,
            read_times: times.as_ref().and_then(|times| times.reads.quantiles()),
            write_times: times.and_then(|times| times.writes.quantiles()),
        }
    }
}

/// How long an export's requests took between two samples, if it is timed.
fn times_since(before: Option<&Export>, newest: &Export) -> Option<Latency> {
    let latency = newest.latency.as_ref()?;
    Some(match before.and_then(|before| before.latency.as_ref()) {
        Some(before) => latency.since(before),
        None => latency.clone(),
    })
}

/// Seconds between two snapshots, never 0.
pub(crate) fn seconds(before: &Snapshot, newest: &Snapshot) -> f64 {
    newest.instant.saturating_duration_since(before.instant).as_secs_f64().max(0.001)
}

/// By how much a counter has grown. One that is lower than before has begun anew.
pub(crate) fn grown(before: &Counts, newest: &Counts, name: &str) -> u64 {
    let now = newest.get(name).copied().unwrap_or_default();
    now.checked_sub(before.get(name).copied().unwrap_or_default()).unwrap_or(now)
}

/// Share of its turns in which each lcore had work.
pub(crate) fn busy_shares(before: &Snapshot, newest: &Snapshot) -> BTreeMap<u32, f64> {
    let share = |(lcore, counts): (&u32, &Counts)| {
        let earlier = before.lcores.get(lcore)?;
        let turns = grown(earlier, counts, "turns");
        let busy = grown(earlier, counts, "busy_turns");
        (turns > 0).then(|| (*lcore, (real(busy) / real(turns)).min(1.0)))
    };
    newest.lcores.iter().filter_map(share).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a rate that people read")]
const fn real(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::example;

    fn at(reads: u64, earlier: &Snapshot, seconds: u64) -> Answer {
        let mut snapshot = example(reads);
        snapshot.instant = earlier.instant + Duration::from_secs(seconds);
        Ok(Arc::new(snapshot))
    }

    #[test]
    fn rates_are_those_between_two_samples_and_a_failure_leaves_a_gap() {
        let mut history = History::default();
        let now = SystemTime::UNIX_EPOCH;
        let first = example(100);
        assert_eq!(history.push(at(100, &first, 0), now), None);
        assert_eq!(history.push(at(600, &first, 5), now), None);
        let rates = history.points().last().unwrap().rates.unwrap();
        assert!(
            (rates.reads - 100.0).abs() < 1e-9 && (rates.read_bytes - 409_600.0).abs() < 1e-6,
            "{rates:?}"
        );
        assert_eq!(rates.read_times, Some(Quantiles { p50: 1e-4, p99: 1e-4 }));
        assert_eq!(rates.write_times, None, "none were written");
        // All of the 500 turns between them were busy.
        assert!((rates.busy - 1.0).abs() < 1e-9 && rates.writes.abs() < 1e-9, "{rates:?}");

        let later = now + INTERVAL;
        assert_eq!(history.push(Err("silent".into()), later), Some("silent".into()));
        assert_eq!(history.push(Err("silent".into()), later + INTERVAL), None);
        assert_eq!(history.failure(), Some(("silent", later)), "since the first one");
        assert!(history.pair().is_none() && history.newest().is_some());
        assert!(history.push(at(700, &first, 20), now).unwrap().contains("answers again"));
        assert_eq!(history.failure(), None);
        assert!(history.pair().is_none(), "there is a failure between them");
        let gaps: Vec<bool> = history.points().map(|point| point.rates.is_none()).collect();
        assert_eq!(gaps, [true, false, true, true, true]);
    }

    #[test]
    fn a_counter_that_began_anew_has_grown_by_what_it_is() {
        let counts = |number: u64| Counts::from([("reads".to_owned(), number)]);
        assert_eq!(grown(&counts(5), &counts(7), "reads"), 2);
        assert_eq!(grown(&counts(7), &counts(5), "reads"), 5);
        assert_eq!(grown(&counts(7), &counts(5), "writes"), 0);
    }

    #[test]
    fn there_are_no_more_points_than_those_of_an_hour() {
        let mut history = History::default();
        (0..POINTS + 3).for_each(|_| drop(history.push(Err("silent".into()), SystemTime::UNIX_EPOCH)));
        assert_eq!(history.points().count(), POINTS);
    }
}
