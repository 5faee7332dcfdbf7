//! Scans: a walk over all exports, a slice of them at a time, for calls that need all.
//!
//! An lcore, and the app's thread, which may be on an lcore's CPU, visit [`datapath::ExportSlice::IDS`] exports between two turns at
//! most, however many exports and callers there are: there is one scan at a time. Callers that come while it runs have to
//! wait for the next one, which serves all of them, because they want numbers from after their calls.

use std::mem;
use std::time::{Duration, Instant};

/// Ids of exports that are visited between two turns at most.
pub(super) const IDS: u32 = datapath::ExportSlice::IDS;

/// The scan that runs, and the callers of the next one. `C` is a caller, `R` what the scan has gathered.
pub(super) struct Scans<C, R> {
    number: u64,
    running: Option<Scan<C, R>>,
    waiting: Vec<C>,
}

struct Scan<C, R> {
    callers: Vec<C>,
    gathered: R,
    /// The first id of the slice that is visited.
    first: u32,
    /// Lcores that have not reported on the present step.
    lcores: usize,
    /// When the present step began.
    since: Instant,
}

/// The next step of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Visit [`IDS`] ids from this one on.
    Slice(u32),
    /// All slices are done.
    Rest,
}

impl<C, R> Default for Scans<C, R> {
    fn default() -> Self {
        Self { number: 0, running: None, waiting: Vec::new() }
    }
}

impl<C, R: Default> Scans<C, R> {
    /// Adds a caller. Returns the number of a scan that begins now, if none is running.
    pub(super) fn add(&mut self, caller: C) -> Option<u64> {
        self.waiting.push(caller);
        if self.running.is_some() { None } else { self.begin() }
    }

    fn begin(&mut self) -> Option<u64> {
        if self.waiting.is_empty() {
            return None;
        }
        self.number += 1;
        let callers = mem::take(&mut self.waiting);
        self.running =
            Some(Scan { callers, gathered: R::default(), first: 0, lcores: 0, since: Instant::now() });
        Some(self.number)
    }

    /// The step to take, where ids end with `end`. So many lcores report on it. `None` if that scan does not run.
    pub(super) fn step(&mut self, number: u64, end: u32, lcores: usize) -> Option<Step> {
        let scan = self.current(number)?;
        (scan.lcores, scan.since) = (lcores, Instant::now());
        Some(if scan.first < end { Step::Slice(scan.first) } else { Step::Rest })
    }

    /// An lcore has reported. True if it was the last one.
    pub(super) fn reported(&mut self, number: u64) -> bool {
        let Some(scan) = self.current(number) else { return false };
        scan.lcores = scan.lcores.saturating_sub(1);
        scan.lcores == 0
    }

    /// The slice is done: the next one is that behind it.
    pub(super) fn advance(&mut self, number: u64) {
        if let Some(scan) = self.current(number) {
            scan.first = scan.first.saturating_add(IDS);
        }
    }

    /// The callers of that scan, and what it has gathered so far.
    pub(super) fn gathered(&mut self, number: u64) -> Option<(&[C], &mut R)> {
        self.current(number).map(|scan| (scan.callers.as_slice(), &mut scan.gathered))
    }

    /// Ends a scan: its callers, its result, and the number of the scan that begins now, if callers wait.
    pub(super) fn finish(&mut self, number: u64) -> Option<(Vec<C>, R, Option<u64>)> {
        self.current(number)?;
        let scan = self.running.take()?;
        Some((scan.callers, scan.gathered, self.begin()))
    }

    /// Ends the scan if its present step takes longer than `limit`: its callers, and the number of the scan that begins now, if
    /// callers wait.
    pub(super) fn give_up_late(&mut self, limit: Duration) -> Option<(Vec<C>, Option<u64>)> {
        let scan = self.running.take_if(|scan| scan.since.elapsed() > limit)?;
        Some((scan.callers, self.begin()))
    }

    fn current(&mut self, number: u64) -> Option<&mut Scan<C, R>> {
        self.running.as_mut().filter(|_| number == self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target with so many exports, and what has been visited in each of its turns.
    struct Bench {
        scans: Scans<&'static str, Vec<u32>>,
        exports: u32,
        visits: Vec<u32>,
    }

    impl Bench {
        /// Takes a step as the target does, on two lcores. What it ends.
        fn turn(&mut self, number: u64) -> Option<(Vec<&'static str>, Vec<u32>, Option<u64>)> {
            let Some(Step::Slice(first)) = self.scans.step(number, self.exports, 2) else {
                return self.scans.finish(number);
            };
            assert!(!self.scans.reported(number), "another lcore has not reported");
            assert!(self.scans.reported(number));
            let ids = first..self.exports.min(first + IDS);
            self.visits.push(ids.end - ids.start);
            self.scans.gathered(number).unwrap().1.extend(ids);
            self.scans.advance(number);
            None
        }

        fn run(&mut self, number: u64) -> (Vec<&'static str>, Vec<u32>, Option<u64>) {
            loop {
                if let Some(ended) = self.turn(number) {
                    return ended;
                }
            }
        }
    }

    #[test]
    fn ten_thousand_exports_are_visited_a_bounded_number_in_each_turn() {
        let mut bench = Bench { scans: Scans::default(), exports: 10_000, visits: Vec::new() };
        let number = bench.scans.add("a").unwrap();
        let (callers, gathered, next) = bench.run(number);
        assert_eq!((callers, next), (vec!["a"], None));
        assert_eq!(gathered, (0..10_000).collect::<Vec<_>>(), "each of them once");
        assert_eq!(bench.visits.len(), 10_000usize.div_ceil(IDS as usize));
        assert!(bench.visits.iter().all(|visited| *visited <= IDS));
    }

    #[test]
    fn callers_that_come_meanwhile_share_the_next_scan_and_add_no_work_to_a_turn() {
        let mut bench = Bench { scans: Scans::default(), exports: 100, visits: Vec::new() };
        let first = bench.scans.add("a").unwrap();
        assert!(bench.turn(first).is_none());
        for caller in ["b", "c", "d"] {
            assert_eq!(bench.scans.add(caller), None, "one scan at a time");
        }
        let (callers, _, next) = bench.run(first);
        assert_eq!(callers, ["a"], "the others want numbers from after their calls");
        let next = next.expect("others wait");
        assert!(bench.turn(first).is_none(), "a late message of the first scan does nothing");
        let (callers, gathered, last) = bench.run(next);
        assert_eq!((callers, gathered.len(), last), (vec!["b", "c", "d"], 100, None));
        assert_eq!(bench.visits.len(), 2 * 100usize.div_ceil(IDS as usize));
        assert!(bench.scans.add("e").is_some());
    }

    #[test]
    fn a_scan_of_which_a_step_is_late_ends_and_its_late_report_does_nothing() {
        let mut scans: Scans<&str, Vec<u32>> = Scans::default();
        let late = scans.add("a").unwrap();
        assert_eq!(scans.step(late, 100, 1), Some(Step::Slice(0)));
        assert_eq!(scans.add("b"), None);
        assert!(scans.give_up_late(Duration::from_secs(3600)).is_none());
        let (callers, next) = scans.give_up_late(Duration::ZERO).expect("any time is longer");
        let next = next.expect("b waits");
        assert_eq!(callers, ["a"]);
        assert_eq!(scans.step(next, 100, 1), Some(Step::Slice(0)));
        assert!(!scans.reported(late), "the report is the late one");
        assert!(scans.reported(next));
    }

    #[test]
    fn without_exports_there_is_no_slice() {
        let mut scans: Scans<&str, Vec<u32>> = Scans::default();
        let number = scans.add("a").unwrap();
        assert_eq!(scans.step(number, 0, 1), Some(Step::Rest));
    }
}
