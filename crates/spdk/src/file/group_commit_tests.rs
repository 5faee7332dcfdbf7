//! Random interleavings of lcores that write one file, against a model of its disk; and the same with real threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;

use super::*;

/// The steps of one lcore.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A write completes on this lcore, which stamps it.
    Complete(usize),
    /// The lcore looks whether its writes are answered, and starts an fdatasync if it may.
    Poll(usize),
    /// The fdatasync in flight ends, well or not.
    End(bool),
    /// The operator lets fdatasyncs start again.
    Forget,
}

fn step(failures: bool) -> impl Strategy<Value = Step> {
    let lcores = 0..LCORES;
    prop_oneof![
        4 => lcores.clone().prop_map(Step::Complete),
        4 => lcores.prop_map(Step::Poll),
        3 => (if failures { 0..5_u8 } else { 1..5 }).prop_map(|dice| Step::End(dice != 0)),
        1 => Just(if failures { Step::Forget } else { Step::End(true) }),
    ]
}

const LCORES: usize = 3;

/// The truth, as the disk knows it: it counts the events, and knows which completions an fdatasync came after.
#[derive(Default)]
struct Model {
    now: u64,
    /// Each lcore's writes that wait: when they completed, and their stamp.
    waiting: [Vec<(u64, Stamp)>; LCORES],
    /// The fdatasync in flight: who leads it, and when it was submitted.
    under_way: Option<(Lead, u64)>,
    /// When the last one that succeeded was submitted.
    durable_before: u64,
    /// An fdatasync failed, and nobody has said that it may be forgotten.
    failed: bool,
    /// Writes that completed by then may be lost: the present while `failed`.
    lost_before: u64,
    /// Writes that waited when an fdatasync failed that was to cover them, or during it.
    lost: Vec<u64>,
    submitted: u64,
}

impl Model {
    fn take(&mut self, syncs: &Syncs, step: Step) {
        self.now += 1;
        match step {
            Step::Complete(lcore) => {
                Syncs::order_completions();
                self.waiting[lcore].push((self.now, syncs.stamp()));
            }
            Step::Poll(lcore) => self.poll(syncs, lcore),
            Step::End(good) => {
                let Some((lead, submitted)) = self.under_way.take() else { return };
                if good {
                    self.durable_before = submitted;
                } else {
                    self.failed = true;
                    let durable = self.durable_before;
                    let waiting = self.waiting.iter().flatten().map(|(completed, _)| *completed);
                    self.lost.extend(waiting.filter(|completed| *completed > durable));
                }
                syncs.end(lead, if good { Ok(()) } else { Err(5) });
            }
            Step::Forget => {
                syncs.forget_failure();
                self.lost_before = if self.failed { self.now } else { self.lost_before };
                self.failed = false;
            }
        }
    }

    fn poll(&mut self, syncs: &Syncs, lcore: usize) {
        if self.failed {
            self.lost_before = self.now;
        }
        while let Some((completed, stamp)) = self.waiting[lcore].first().copied() {
            match syncs.outcome(stamp) {
                None => break,
                Some(Ok(())) => {
                    assert!(completed < self.durable_before, "answered before it was durable");
                    assert!(
                        !self.lost.contains(&completed),
                        "answered well after the failure that covered it"
                    );
                }
                Some(Err(errno)) => {
                    assert!(errno == 5 && completed <= self.lost_before, "a failure out of nothing")
                }
            }
            self.waiting[lcore].remove(0);
        }
        if self.waiting[lcore].is_empty() {
            return;
        }
        let may = self.under_way.is_none() && !self.failed;
        let lead = syncs.lead();
        assert_eq!(lead.is_some(), may, "one at a time, and none after a failure");
        if let Some(lead) = lead {
            self.now += 1;
            self.submitted += 1;
            self.under_way = Some((lead, self.now));
        }
    }
}

proptest! {
    #[test]
    fn no_write_is_answered_before_an_fdatasync_that_was_submitted_after_it(steps in prop::collection::vec(step(true), 0..200)) {
        let (syncs, mut model) = (Syncs::new(), Model::default());
        for step in steps {
            model.take(&syncs, step);
        }
    }

    #[test]
    fn two_more_fdatasyncs_answer_every_write(steps in prop::collection::vec(step(false), 0..200)) {
        let (syncs, mut model) = (Syncs::new(), Model::default());
        for step in steps {
            model.take(&syncs, step);
        }
        let before = model.submitted;
        // The one that may be in flight, one more for all the others, and a look at it.
        for _ in 0..3 {
            (0..LCORES).for_each(|lcore| model.take(&syncs, Step::Poll(lcore)));
            model.take(&syncs, Step::End(true));
        }
        prop_assert!(model.waiting.iter().all(Vec::is_empty));
        prop_assert!(model.submitted - before <= 2, "writes share fdatasyncs: {}", model.submitted - before);
    }

    #[test]
    fn a_failure_fails_every_write_that_waits_and_lasts(steps in prop::collection::vec(step(false), 0..100)) {
        let (syncs, mut model) = (Syncs::new(), Model::default());
        for step in steps {
            model.take(&syncs, step);
        }
        for step in [Step::Complete(0), Step::Poll(0), Step::End(true), Step::Poll(0), Step::Complete(0), Step::Poll(0)] {
            model.take(&syncs, step);
        }
        prop_assert!(model.under_way.is_some());
        model.take(&syncs, Step::End(false));
        for lcore in 0..LCORES {
            model.take(&syncs, Step::Complete(lcore));
            model.take(&syncs, Step::Poll(lcore));
            prop_assert!(model.waiting[lcore].is_empty(), "nobody waits for an fdatasync that never comes");
        }
        prop_assert_eq!(syncs.failure(), Some(5));
        model.take(&syncs, Step::Forget);
        prop_assert_eq!(syncs.failure(), None);
        for step in [Step::Complete(1), Step::Poll(1), Step::End(true), Step::Poll(1)] {
            model.take(&syncs, step);
        }
        prop_assert!(model.waiting[1].is_empty(), "it goes on");
    }
}

/// Threads in the place of lcores. The model of the disk: each thread's writes are on it when its counter says so, and an
/// fdatasync makes durable what the counters say when it is submitted.
#[test]
fn threads_that_share_a_file_are_answered_by_each_others_fdatasyncs() {
    const THREADS: usize = 4;
    const WRITES: u64 = 5_000;
    let syncs = Syncs::new();
    let completed = [const { AtomicU64::new(0) }; THREADS];
    let durable = [const { AtomicU64::new(0) }; THREADS];
    let under_way = AtomicBool::new(false);
    let lcore = |own: usize| {
        let mut led = 0_u64;
        for write in 1..=WRITES {
            // The kernel's own stores are no stronger.
            completed[own].store(write, Ordering::Relaxed);
            Syncs::order_completions();
            let stamp = syncs.stamp();
            while syncs.outcome(stamp).is_none() {
                let Some(lead) = syncs.lead() else {
                    thread::yield_now();
                    continue;
                };
                assert!(!under_way.swap(true, Ordering::Relaxed), "two at once");
                for (completed, durable) in completed.iter().zip(&durable) {
                    durable.store(completed.load(Ordering::Relaxed), Ordering::Relaxed);
                }
                under_way.store(false, Ordering::Relaxed);
                led += 1;
                syncs.end(lead, Ok(()));
            }
            assert_eq!(syncs.outcome(stamp), Some(Ok(())));
            assert!(durable[own].load(Ordering::Relaxed) >= write, "answered before it was durable");
        }
        led
    };
    let led: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|own| scope.spawn(move || lcore(own))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert!((1..=WRITES * 4).contains(&led), "no more than one for each write: {led}");
}
