//! The throttle with a clock that tests turn by hand.

use std::collections::{BTreeMap, VecDeque};

use aoe_wire::MacAddr;
use proptest::prelude::*;

use super::*;
use crate::export::ExportId;

const HZ: u64 = 1_000_000;
const EXPORT: ExportId = ExportId(3);
/// As many as an initiator may have waiting.
const MOST: u32 = 16;

/// A request, by its number.
type Request = u32;

fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}

fn limit(iops: Option<u64>, bandwidth: Option<u64>) -> Limit {
    Limit { iops, bandwidth }
}

/// Initiators that always have [`MOST`] requests waiting, and the requests of each that were started.
struct Flood {
    throttle: Throttle<Request>,
    now: u64,
    started: BTreeMap<u8, u64>,
}

impl Flood {
    fn new(limits: Limits) -> Self {
        let mut throttle = Throttle::new(1000, 7);
        throttle.set(EXPORT, limits, HZ, 0);
        Self { throttle, now: 0, started: BTreeMap::new() }
    }

    fn send(&mut self, initiator: u8, bytes: u64) {
        if self.throttle.start(EXPORT, mac(initiator), bytes, self.now) {
            *self.started.entry(initiator).or_default() += 1;
            return;
        }
        let held = Held { export: EXPORT, initiator: mac(initiator), request: 0 };
        // One beyond what may wait is dropped, as a target does.
        self.throttle.hold(held, bytes, MOST, self.now).unwrap_or_default();
    }

    /// So many seconds in which each initiator sends requests of its size, as many as it can.
    fn run(&mut self, seconds: u64, initiators: &[(u8, u64)]) {
        let end = self.now + seconds * HZ;
        while self.now < end {
            self.now += HZ / 1000;
            for (initiator, bytes) in initiators {
                (0..MOST).for_each(|_| self.send(*initiator, *bytes));
            }
            self.throttle.begin_pass(self.now);
            while let Some(held) = self.throttle.pop() {
                *self.started.entry(held.initiator.0[5]).or_default() += 1;
            }
        }
    }

    fn of(&self, initiator: u8) -> u64 {
        self.started.get(&initiator).copied().unwrap_or_default()
    }
}

#[test]
fn an_exports_rate_is_used_up_and_not_exceeded() {
    for (iops, initiators) in [(1000, 1u8), (1000, 7), (10, 3), (33, 1)] {
        let mut flood = Flood::new(Limits { export: limit(Some(iops), None), ..Limits::default() });
        let all: Vec<(u8, u64)> = (1..=initiators).map(|number| (number, 512)).collect();
        flood.run(10, &all);
        let sum: u64 = flood.started.values().sum();
        let burst = iops.div_ceil(10) + 1;
        assert!((10 * iops..=10 * iops + burst).contains(&sum), "{sum} of {iops} a second");
    }
}

#[test]
fn initiators_have_equal_parts_whatever_they_send() {
    let mut flood = Flood::new(Limits { export: limit(None, Some(1 << 20)), ..Limits::default() });
    // One sends large requests, the other small ones.
    flood.run(20, &[(1, 8192), (2, 1024)]);
    let (large, small) = (flood.of(1) * 8192, flood.of(2) * 1024);
    let sum = large + small;
    assert!((20 << 20..(20 << 20) + (1 << 20) / 10 + 2 * 8192).contains(&sum), "{sum}");
    assert!(large.abs_diff(small) < sum / 20, "{large} and {small} bytes");
}

#[test]
fn by_requests_a_second_a_large_one_is_worth_a_small_one() {
    let mut flood = Flood::new(Limits { export: limit(Some(500), None), ..Limits::default() });
    flood.run(20, &[(1, 8192), (2, 1024), (3, 512)]);
    for initiator in 1..=3 {
        let started = flood.of(initiator);
        assert!((3300..3400).contains(&started), "{initiator}: {started}");
    }
}

#[test]
fn an_initiator_that_asks_for_less_than_its_part_gets_it_all() {
    let mut flood = Flood::new(Limits { export: limit(Some(1000), None), ..Limits::default() });
    let mut asked = 0;
    for _ in 0..1000 {
        flood.run(0, &[]);
        // 100 a second beside two that flood.
        flood.send(9, 512);
        asked += 1;
        for _ in 0..10 {
            flood.now += HZ / 1000;
            for initiator in [1, 2] {
                (0..4).for_each(|_| flood.send(initiator, 4096));
            }
            flood.throttle.begin_pass(flood.now);
            while let Some(held) = flood.throttle.pop() {
                *flood.started.entry(held.initiator.0[5]).or_default() += 1;
            }
        }
    }
    assert!(asked - flood.of(9) <= 1, "{} of {asked}", flood.of(9));
    // One of them has had the burst.
    assert!(flood.of(1).abs_diff(flood.of(2)) <= 101);
}

#[test]
fn each_initiator_has_its_own_limit_and_all_have_that_of_the_export() {
    let limits = Limits { export: limit(Some(250), None), initiator: limit(Some(100), None) };
    let mut flood = Flood::new(limits);
    flood.run(10, &[(1, 512)]);
    assert!((1000..=1011).contains(&flood.of(1)), "{}", flood.of(1));
    flood.run(10, &[(1, 512), (2, 512)]);
    assert!((1000..=1011).contains(&flood.of(2)), "{}", flood.of(2));
    let before = flood.started.clone();
    flood.run(10, &[(1, 512), (2, 512), (3, 512)]);
    let since: u64 = flood.started.values().sum::<u64>() - before.values().sum::<u64>();
    assert!((2500..=2526).contains(&since), "{since}");
}

#[test]
fn a_bandwidth_of_an_initiator_is_kept() {
    let mut flood = Flood::new(Limits { initiator: limit(None, Some(100_000)), ..Limits::default() });
    flood.run(30, &[(1, 8192), (2, 512)]);
    for (initiator, bytes) in [(1, 8192), (2, 512)] {
        let got = flood.of(initiator) * bytes;
        // The part of a request that has come in is not given yet.
        assert!((3_000_000 - bytes..=3_010_000 + 8192).contains(&got), "{initiator}: {got}");
    }
}

#[test]
fn an_export_without_limits_starts_everything_and_new_limits_hold_at_once() {
    let mut flood = Flood::new(Limits::default());
    assert!(!flood.throttle.limits(EXPORT));
    flood.run(1, &[(1, 512)]);
    assert_eq!(flood.of(1), 1000 * u64::from(MOST));
    let before = flood.of(1);
    flood.throttle.set(EXPORT, Limits { export: limit(Some(100), None), ..Limits::default() }, HZ, flood.now);
    flood.run(10, &[(1, 512)]);
    assert!((1000..=1011).contains(&(flood.of(1) - before)));
    let before = flood.of(1);
    flood.throttle.set(
        EXPORT,
        Limits { export: limit(Some(1000), None), ..Limits::default() },
        HZ,
        flood.now,
    );
    flood.run(10, &[(1, 512)]);
    assert!((9990..=10101).contains(&(flood.of(1) - before)), "{}", flood.of(1) - before);
}

#[test]
fn limits_that_are_lifted_let_all_start_and_are_forgotten() {
    let mut flood = Flood::new(Limits { export: limit(Some(10), None), ..Limits::default() });
    flood.run(1, &[(1, 512), (2, 512)]);
    assert_eq!(flood.throttle.waiting(), 2 * MOST);
    flood.throttle.set(EXPORT, Limits::default(), HZ, flood.now);
    assert!(flood.throttle.limits(EXPORT), "until none waits");
    assert!(!flood.throttle.start(EXPORT, mac(1), 512, flood.now), "not before those that wait");
    flood.throttle.begin_pass(flood.now);
    let started = std::iter::from_fn(|| flood.throttle.pop()).count();
    assert_eq!(started, 2 * MOST as usize);
    assert_eq!((flood.throttle.waiting(), flood.throttle.limits(EXPORT)), (0, false));
}

#[test]
fn an_initiator_has_as_many_waiting_as_it_may_and_they_start_in_order() {
    let mut throttle: Throttle<Request> = Throttle::new(10, 7);
    throttle.set(EXPORT, Limits { initiator: limit(Some(10), None), ..Limits::default() }, HZ, 0);
    let mut started = 0;
    while throttle.start(EXPORT, mac(1), 512, 0) {
        started += 1;
    }
    assert_eq!(started, 2, "the burst");
    let mut hold = |request| {
        let held = Held { export: EXPORT, initiator: mac(1), request };
        throttle.hold(held, 512, 3, 0)
    };
    assert_eq!([1, 2, 3, 4].map(&mut hold), [Ok(()), Ok(()), Ok(()), Err(4)]);
    assert!(throttle.start(EXPORT, mac(2), 512, 0), "another initiator has tokens of its own");
    let mut order = Vec::new();
    for now in 1..=10 {
        throttle.begin_pass(now * HZ / 10);
        order.extend(std::iter::from_fn(|| throttle.pop()).map(|held| held.request));
        assert!(order.len() as u64 <= now);
    }
    assert_eq!(order, [1, 2, 3]);
}

#[test]
fn what_is_due_leaves_and_the_others_keep_their_turns() {
    let mut throttle: Throttle<Request> = Throttle::new(100, 7);
    let limits = Limits { export: limit(Some(10), None), ..Limits::default() };
    for export in [1, 2] {
        throttle.set(ExportId(export), limits, HZ, 0);
        while throttle.start(ExportId(export), mac(1), 0, 0) {}
    }
    for request in 0..12u32 {
        let (export, initiator) = (ExportId(1 + request % 2), mac((request % 3) as u8));
        assert_eq!(throttle.hold(Held { export, initiator, request }, 0, MOST, 0), Ok(()));
    }
    let mut due = Vec::new();
    throttle.expire(|request| *request < 6, |held| due.push(held.request));
    due.sort_unstable();
    assert_eq!(due, [0, 1, 2, 3, 4, 5]);
    let mut sources = 0;
    throttle.for_each_waiting(ExportId(1), |_| sources += 1);
    assert_eq!((sources, throttle.waiting()), (3, 6));
    throttle.expire(|request| *request >= 6, |held| due.push(held.request));
    assert_eq!((due.len(), throttle.waiting()), (12, 0));
    throttle.begin_pass(HZ);
    assert_eq!(throttle.pop(), None);
}

#[test]
fn more_initiators_than_places_are_served_and_the_exports_limit_is_kept() {
    let mut throttle: Throttle<Request> = Throttle::new(8, 7);
    let limits = Limits { export: limit(Some(100), None), initiator: limit(Some(10), None) };
    throttle.set(EXPORT, limits, HZ, 0);
    let mut started = 0u64;
    for step in 0..10_000u64 {
        let now = step * HZ / 1000;
        let [.., high, low] = step.to_be_bytes();
        let source = MacAddr([2, 0, 0, 0, high, low]);
        started += u64::from(throttle.start(EXPORT, source, 512, now));
    }
    assert!((900..=1011).contains(&started), "{started}");
}

proptest! {
    /// Whatever comes, in whatever order: each request starts or leaves once, those of an initiator in order, as many as the
    /// limits allow, and as soon as they do.
    #[test]
    fn each_request_leaves_once_and_in_order(
        export_iops in prop::option::of(10u64..2000),
        initiator_iops in prop::option::of(10u64..2000),
        bandwidth in prop::option::of(10_000u64..10_000_000),
        steps in prop::collection::vec((0u8..12, 0u8..5, 0u64..3000, 1u64..=16), 1..400),
    ) {
        let limits = Limits { export: limit(export_iops, bandwidth), initiator: limit(initiator_iops, None) };
        let mut throttle: Throttle<Request> = Throttle::new(40, 1);
        throttle.set(EXPORT, limits, HZ, 0);
        let mut model: BTreeMap<u8, VecDeque<u32>> = BTreeMap::new();
        let (mut now, mut next, mut started, mut bytes_started) = (0, 0u32, 0u64, 0u64);
        let mut sizes: BTreeMap<u32, u64> = BTreeMap::new();
        for (what, initiator, wait, sectors) in steps {
            now += wait;
            if what < 9 {
                next += 1;
                let bytes = sectors * 512;
                sizes.insert(next, bytes);
                let waits = model.entry(initiator).or_default();
                if throttle.start(EXPORT, mac(initiator), bytes, now) {
                    prop_assert!(waits.is_empty(), "before an earlier one");
                    started += 1;
                    bytes_started += bytes;
                    continue;
                }
                let held = Held { export: EXPORT, initiator: mac(initiator), request: next };
                match throttle.hold(held, bytes, MOST, now) {
                    Ok(()) => waits.push_back(next),
                    Err(_) => prop_assert!(waits.len() == MOST as usize || throttle.waiting() == 40),
                }
            } else if what < 11 {
                throttle.begin_pass(now);
                while let Some(held) = throttle.pop() {
                    let waits = model.get_mut(&held.initiator.0[5]).expect("it was held");
                    prop_assert_eq!(waits.pop_front(), Some(held.request));
                    started += 1;
                    bytes_started += sizes[&held.request];
                }
            } else {
                let limit = next.saturating_sub(20);
                throttle.expire(|request| *request <= limit, |held| {
                    let waits = model.get_mut(&held.initiator.0[5]).expect("it was held");
                    assert_eq!(waits.pop_front(), Some(held.request));
                });
                prop_assert!(model.values().flatten().all(|request| *request > limit));
            }
            let left = model.values().map(VecDeque::len).sum::<usize>();
            prop_assert_eq!(throttle.waiting() as usize, left);
            if let Some(iops) = export_iops {
                prop_assert!(started * HZ <= now * iops + (iops.div_ceil(10) + 1) * HZ);
            }
            if let Some(bandwidth) = bandwidth {
                let burst = bandwidth.div_ceil(10) + LARGEST_REQUEST;
                prop_assert!(bytes_started * HZ <= now * bandwidth + burst * HZ);
            }
        }
        // In time, all start.
        for _ in 0..10_000 {
            if throttle.waiting() == 0 {
                break;
            }
            now += HZ / 100;
            throttle.begin_pass(now);
            while let Some(held) = throttle.pop() {
                let waits = model.get_mut(&held.initiator.0[5]).expect("it was held");
                prop_assert_eq!(waits.pop_front(), Some(held.request));
            }
        }
        prop_assert_eq!(throttle.waiting(), 0);
    }
}
