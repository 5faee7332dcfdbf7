use super::*;
use crate::sector::Random;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};

const TIMING: Retransmit = Retransmit {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(1),
    give_up: Duration::from_secs(10),
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn expiries(window: &mut Window, now: Instant) -> Vec<Expiry> {
    let mut found = Vec::new();
    window.expire(now, |expiry| found.push(expiry));
    found
}

#[test]
fn a_window_takes_its_size_and_no_more() {
    let now = Instant::now();
    let mut window = Window::new(4, TIMING, now);
    let tags: HashSet<u32> = std::iter::from_fn(|| window.begin(now)).map(|issued| issued.tag).collect();
    assert_eq!(tags.len(), 4);
    assert!(tags.iter().all(|tag| tag >> 31 == 0 && *tag != 0), "{tags:x?}");
    assert!(!window.has_room() && window.outstanding() == 4);
    for tag in tags {
        assert!(matches!(window.arrive(tag, now), Arrival::Completes { .. }));
    }
    assert_eq!(window.outstanding(), 0);
}

#[test]
fn sizes_outside_the_tag_space_are_clamped() {
    let now = Instant::now();
    assert_eq!(Window::new(0, TIMING, now).size(), 1);
    assert_eq!(Window::new(1000, TIMING, now).size(), MAX_WINDOW);
}

#[test]
fn the_latency_is_from_the_first_copy() {
    let begun = Instant::now();
    let mut window = Window::new(1, TIMING, begun);
    let issued = window.begin(begun).unwrap();
    assert_eq!(expiries(&mut window, begun + ms(200)), [Expiry::Resend(issued.slot)]);
    let arrival = window.arrive(issued.tag, begun + ms(250));
    assert_eq!(arrival, Arrival::Completes { slot: issued.slot, latency: ms(250), copies: 2 });
    assert_eq!(window.arrive(issued.tag, begun + ms(260)), Arrival::Duplicate);
}

#[test]
fn waits_double_up_to_the_longest_and_end_in_giving_up() {
    let begun = Instant::now();
    let mut window = Window::new(1, TIMING, begun);
    let issued = window.begin(begun).unwrap();
    let mut sent_again = Vec::new();
    let gave_up = (1..=20_000).find(|at| {
        expiries(&mut window, begun + ms(*at)).iter().any(|expiry| match expiry {
            Expiry::Resend(slot) => {
                assert_eq!(*slot, issued.slot);
                sent_again.push(*at);
                false
            }
            Expiry::GaveUp { slot, copies } => {
                assert_eq!((*slot, *copies as usize), (issued.slot, sent_again.len() + 1));
                true
            }
        })
    });
    assert_eq!(sent_again[..4], [200, 600, 1400, 2400]);
    assert_eq!(gave_up, Some(10_000));
    assert_eq!(window.outstanding(), 0);
    assert_eq!(window.arrive(issued.tag, begun + ms(10_001)), Arrival::Duplicate);
}

#[test]
fn tags_never_given_are_unexpected() {
    let now = Instant::now();
    let mut window = Window::new(4, TIMING, now);
    let issued = window.begin(now).unwrap();
    for tag in [0, issued.tag | 1 << 31, issued.tag + (1 << 8), 0x7fff_ffff, issued.tag | 0xff] {
        assert_eq!(window.arrive(tag, now), Arrival::Unexpected, "{tag:#x}");
    }
    assert_eq!(window.counters().unexpected, 5);
    assert!(matches!(window.arrive(issued.tag, now), Arrival::Completes { .. }));
}

/// A link that loses, repeats and delays frames, with a target that answers each copy it gets. Time is counted in
/// milliseconds and moves by itself.
fn run_over_bad_link(depth: usize, requests: u64, loss: u64, repeat: u64, delay: u64, seed: u64) -> Counters {
    let begun = Instant::now();
    let mut random = Random::new(seed);
    let mut window = Window::new(depth, TIMING, begun);
    let mut tags = vec![0u32; depth];
    let mut in_flight: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    let mut completed: HashSet<u32> = HashSet::new();
    let mut given_up = 0;
    let mut at = 0;
    let mut replies_sent = 0;
    let mut replies_received = 0;
    loop {
        let now = begun + ms(at);
        let mut copies = Vec::new();
        while window.counters().requests < requests {
            let Some(issued) = window.begin(now) else { break };
            tags[issued.slot] = issued.tag;
            copies.push(issued.tag);
        }
        window.expire(now, |expiry| match expiry {
            Expiry::Resend(slot) => copies.push(tags[slot]),
            Expiry::GaveUp { .. } => given_up += 1,
        });
        for tag in copies {
            let times = 1 + u64::from(random.below(100) < repeat);
            for _ in 0..times {
                if random.below(100) >= loss {
                    in_flight.entry(at + 1 + random.below(delay)).or_default().push(tag);
                    replies_sent += 1;
                }
            }
        }
        for tag in in_flight.remove(&at).unwrap_or_default() {
            replies_received += 1;
            if let Arrival::Completes { slot, .. } = window.arrive(tag, now) {
                assert_eq!(tags[slot], tag);
                assert!(completed.insert(tag), "tag {tag:#x} completed twice");
            }
        }
        assert!(window.outstanding() <= depth);
        if window.outstanding() == 0 && window.counters().requests == requests && in_flight.is_empty() {
            break;
        }
        at += 1;
    }
    let counters = *window.counters();
    assert_eq!(replies_sent, replies_received);
    assert_eq!(counters.completed, completed.len() as u64);
    assert_eq!(counters.given_up, given_up);
    assert_eq!(counters.completed + counters.given_up, requests);
    assert_eq!(counters.completed + counters.duplicates, replies_received);
    assert_eq!(counters.unexpected, 0);
    counters
}

#[test]
fn a_good_link_needs_no_retransmit() {
    let counters = run_over_bad_link(32, 1000, 0, 0, 50, 1);
    assert_eq!((counters.completed, counters.retransmits, counters.duplicates), (1000, 0, 0));
}

#[test]
fn a_link_that_loses_half_is_made_up_for() {
    let counters = run_over_bad_link(32, 1000, 50, 0, 50, 2);
    assert_eq!(counters.completed + counters.given_up, 1000);
    assert!(counters.retransmits > 500, "{counters:?}");
    // Eleven copies all lost is once in two thousand.
    assert!(counters.given_up < 10, "{counters:?}");
}

#[test]
fn a_dead_link_ends_every_request() {
    let counters = run_over_bad_link(8, 16, 100, 0, 1, 3);
    assert_eq!((counters.completed, counters.given_up), (0, 16));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_request_ends_once_on_any_link(
        depth in 1usize..=64, loss in 0u64..=90, repeat in 0u64..=100, delay in 1u64..2000, seed: u64,
    ) {
        run_over_bad_link(depth, 200, loss, repeat, delay, seed);
    }
}
