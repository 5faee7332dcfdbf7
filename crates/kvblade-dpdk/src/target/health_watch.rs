//! The drops that earlier calls of `aoe_get_health` have seen.

use std::time::{Duration, Instant};

use control::health::Drops;

/// Drops of longer ago than this are another call's matter.
const WINDOW: Duration = Duration::from_secs(60);

/// The drops that earlier calls have seen.
#[derive(Default)]
pub(super) struct HealthWatch {
    /// The older is the one that is compared with.
    seen: Option<(Instant, Drops)>,
    newer: Option<(Instant, Drops)>,
}

impl HealthWatch {
    /// Takes what a call sees now. Returns what it compares with, and the seconds since then.
    pub(super) fn compare(&mut self, now: Instant, drops: &Drops) -> Option<(Drops, u64)> {
        let age = |seen: &Option<(Instant, Drops)>| seen.as_ref().map(|(at, _)| now.duration_since(*at));
        if age(&self.newer).is_some_and(|age| age >= WINDOW) {
            self.seen = self.newer.take();
        }
        if self.newer.is_none() {
            self.newer = Some((now, drops.clone()));
        }
        self.seen.as_ref().map(|(at, drops)| (drops.clone(), now.duration_since(*at).as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use aoe_target::DropReason;

    use super::*;

    #[test]
    fn drops_are_compared_with_a_call_at_least_a_window_ago() {
        let (mut watch, start) = (HealthWatch::default(), Instant::now());
        let drops = |count| Drops::from([((0, DropReason::NoMbuf), count)]);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(watch.compare(at(0), &drops(1)), None, "all since the start");
        assert_eq!(watch.compare(at(59), &drops(2)), None);
        assert_eq!(watch.compare(at(60), &drops(3)), Some((drops(1), 60)));
        assert_eq!(watch.compare(at(100), &drops(4)), Some((drops(1), 100)));
        assert_eq!(watch.compare(at(121), &drops(5)), Some((drops(3), 61)));
    }
}
