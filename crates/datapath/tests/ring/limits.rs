//! Limits on rates: what is beyond them waits, in order, and leaves when the export does.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use aoe_target::qos::{Limit, Limits};
use aoe_target::{DropReason, DropsOfInitiator, ExportCounters, ExportId, MacAddr};
use ring_lab::frames::{self, DATA, INITIATOR, pattern, status, tag};

use crate::bench::Bench;
use crate::script::{Scenario, Step, chain, exchange, once, silence};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("two_initiators_have_equal_parts_of_an_exports_rate_and_no_more", fair),
    ("a_limit_on_one_initiator_leaves_the_other_alone_and_what_is_too_much_is_dropped", bounded),
    ("what_waits_for_a_rate_keeps_its_place_among_requests_for_the_same_sectors", order),
    ("limits_that_are_lifted_let_what_waits_start", lifted),
    ("what_waits_for_a_rate_is_answered_when_its_export_is_removed", removed),
    ("what_waits_for_a_rate_fails_when_its_export_goes_offline", offline),
    ("what_waits_for_a_rate_is_answered_by_a_stopping_lcore", stopping),
    ("what_waits_for_a_rate_too_long_is_dropped", too_long),
];

const ID: ExportId = ExportId(0);
const SLOT: u8 = 1;
/// As many as the export advertises.
const BUFFERS: u32 = 16;
/// The requests that a limit of one a second lets through at once.
const BURST: u32 = 2;

const GREEDY: u8 = 0x11;
const OTHER: u8 = 0x12;

fn from(last: u8, mut frame: Vec<u8>) -> Vec<u8> {
    frame[11] = last;
    frame
}

fn of_initiator(iops: u64) -> Limits {
    Limits { initiator: Limit { iops: Some(iops), bandwidth: None }, ..Limits::default() }
}

fn counters(bench: &Bench) -> ExportCounters {
    let exports = bench.lcore.snapshot().exports;
    exports.into_iter().find(|(id, _)| *id == ID).expect("export 1.1").1
}

/// Sends frames and has the lcore take all of them in, within this step.
fn take_in(bench: &mut Bench, requests: &[Vec<u8>]) {
    let before = bench.received();
    assert!(requests.iter().all(|frame| bench.send(frame)));
    while bench.received() < before + requests.len() as u64 {
        bench.lcore.turn();
    }
}

/// Has the limit of one request a second an initiator, and the first initiator's tokens used up.
fn used_up() -> Step {
    exchange(
        |bench| {
            bench.lcore.limit(ID, of_initiator(1));
            let reads: Vec<_> =
                (0..BURST).map(|tag| frames::read(SLOT, 900 + tag, u64::from(tag), 1)).collect();
            take_in(bench, &reads);
        },
        BURST as usize,
        |bench, _| assert_eq!(counters(bench).rate_waits, 0),
    )
}

/// As many reads of one initiator as may wait, from sector 200 on.
fn fill(bench: &mut Bench) {
    let reads: Vec<_> = (0..BUFFERS).map(|tag| frames::read(SLOT, tag, 200 + u64::from(tag), 1)).collect();
    take_in(bench, &reads);
    assert_eq!(counters(bench).rate_waits, u64::from(BUFFERS));
    assert_eq!(bench.lcore.in_flight(), 0, "none is at the bdev");
    assert_eq!(bench.drops(DropReason::RateLimited), 0);
}

/// One initiator sends without end, the other keeps to what was advertised.
fn fair() -> Step {
    const RATE: u64 = 2000;
    const AT_ONCE: u64 = RATE / 10 + 1;
    const ALL: u64 = 4 * AT_ONCE;
    let begun = Cell::new(None);
    let mut next = 0;
    let mut answered: BTreeMap<u8, u64> = BTreeMap::new();
    Box::new(move |bench, arrived| {
        let mut send = |bench: &mut Bench, initiator| {
            next += 1;
            bench.send(&from(initiator, frames::read(SLOT, next, u64::from(next % 10_000), 1)))
        };
        if begun.get().is_none() {
            let limits = Limits { export: Limit { iops: Some(RATE), bandwidth: None }, ..Limits::default() };
            begun.set(Some(Instant::now()));
            bench.lcore.limit(ID, limits);
            (0..BUFFERS).for_each(|_| assert!(send(bench, OTHER)));
        }
        for reply in arrived {
            assert_eq!(status(&reply), (0x40, 0));
            *answered.entry(reply[5]).or_default() += 1;
            assert!(reply[5] == GREEDY || send(bench, OTHER));
        }
        let sum: u64 = answered.values().sum();
        let elapsed = begun.get().expect("it has begun").elapsed();
        let due = u64::try_from(elapsed.as_micros()).expect("a short test") * RATE / 1_000_000;
        assert!(sum <= due + AT_ONCE + 1, "{sum} in {elapsed:?}");
        if sum < ALL {
            (0..4).for_each(|_| assert!(send(bench, GREEDY)));
            return false;
        }
        // But for those that came at once, each has half of the answers.
        assert!(answered[&OTHER].abs_diff(answered[&GREEDY]) <= AT_ONCE, "{answered:?}");
        assert!(bench.drops(DropReason::RateLimited) > 0);
        let (entries, _) = bench.lcore.initiator_drops();
        assert!(entries.iter().all(|entry| entry.initiator.0[5] == GREEDY), "{entries:?}");
        bench.lcore.limit(ID, Limits::default());
        true
    })
}

fn bounded() -> Step {
    chain(vec![
        used_up(),
        once(|bench| {
            fill(bench);
            take_in(bench, &[frames::read(SLOT, 99, 300, 1)]);
            assert_eq!(bench.drops(DropReason::RateLimited), 1);
            assert_eq!(counters(bench).rate_limited, 1);
            let (entries, others) = bench.lcore.initiator_drops();
            let [entry] = &entries[..] else { panic!("one initiator: {entries:?}") };
            assert_eq!((entry.export.id, entry.initiator), (ID, MacAddr(INITIATOR)));
            assert_eq!(entry.drops, DropsOfInitiator { export_full: 0, rate_limited: 1 });
            assert_eq!(others, DropsOfInitiator::default());
        }),
        exchange(
            |bench| take_in(bench, &[from(OTHER, frames::read(SLOT, 100, 0, 1))]),
            1,
            |_, replies| assert_eq!((tag(&replies[0]), replies[0][5]), (100, OTHER)),
        ),
        lift(BUFFERS as usize),
    ])
}

/// Lifts the limits, upon which so many requests are answered in the order of their arrival.
fn lift(replies: usize) -> Step {
    let mut lifted = false;
    let mut got = Vec::new();
    Box::new(move |bench, arrived| {
        if !std::mem::replace(&mut lifted, true) {
            bench.lcore.limit(ID, Limits::default());
        }
        got.extend(arrived);
        assert!(got.iter().all(|reply| status(reply) == (0x40, 0)));
        assert!(got.iter().map(|reply| tag(reply)).is_sorted());
        got.len() == replies
    })
}

fn lifted() -> Step {
    chain(vec![used_up(), once(fill), silence(100), lift(BUFFERS as usize), silence(100)])
}

/// A write waits for its rate. Another initiator's write to its sectors, which could start, stays behind it; a copy of it takes
/// no bdev I/O.
fn order() -> Step {
    let mut got = Vec::new();
    chain(vec![
        used_up(),
        once(|bench| {
            take_in(
                bench,
                &[
                    frames::write(SLOT, 1, 100, &pattern(1, 2)),
                    from(OTHER, frames::write(SLOT, 2, 101, &pattern(2, 2))),
                    frames::write(SLOT, 3, 100, &pattern(1, 2)),
                    from(OTHER, frames::read(SLOT, 4, 100, 3)),
                ],
            );
            assert_eq!(bench.lcore.in_flight(), 0, "none may start");
            let counters = counters(bench);
            assert_eq!((counters.rate_waits, counters.copies, counters.order_waits), (1, 1, 2));
            bench.lcore.limit(ID, Limits::default());
        }),
        Box::new(move |bench, arrived| {
            got.extend(arrived);
            if got.len() < 4 {
                return false;
            }
            let tags: Vec<u32> = got.iter().map(|reply| tag(reply)).collect();
            assert_eq!(tags, [3, 1, 2, 4], "the newest copy first, and the other initiator after that");
            assert!(got.iter().all(|reply| status(reply) == (0x40, 0)));
            let expected = [&pattern(1, 2)[..512], &pattern(2, 2)[..]].concat();
            assert_eq!(got[3][DATA..], expected);
            assert_eq!(counters(bench).written_bytes, 3 * 1024, "the copy's reply is counted like others");
            true
        }),
    ])
}

fn removed() -> Step {
    let done = Rc::new(Cell::new(false));
    let noted = Rc::clone(&done);
    chain(vec![
        used_up(),
        exchange(
            move |bench| {
                fill(bench);
                bench.lcore.remove(ID, move || noted.set(true));
            },
            BUFFERS as usize,
            |_, replies| assert!(replies.iter().all(|reply| status(reply) == (0x40, 0))),
        ),
        silence(100),
        once(move |bench| {
            assert!(done.get(), "the last answer ends the removal");
            // Another export of that number has no limits.
            let malloc = bench.malloc.clone();
            bench.lcore.add(ring_lab::export(ID.0, "1.1", &malloc), &malloc).expect("its place is free");
            let reads: Vec<_> = (0..2 * BUFFERS).map(|tag| frames::read(SLOT, tag, 0, 1)).collect();
            take_in(bench, &reads);
            assert_eq!(counters(bench).rate_waits, 0);
        }),
        Box::new(|bench, _| bench.lcore.in_flight() == 0),
    ])
}

fn offline() -> Step {
    let done = Rc::new(Cell::new(false));
    let noted = Rc::clone(&done);
    chain(vec![
        used_up(),
        exchange(
            move |bench| {
                fill(bench);
                bench.lcore.take_offline(ID, move || noted.set(true));
            },
            BUFFERS as usize,
            |_, replies| assert!(replies.iter().all(|reply| status(reply) == (0x61, 0x04)), "device faults"),
        ),
        silence(100),
        once(move |_| assert!(done.get())),
    ])
}

fn stopping() -> Step {
    chain(vec![
        used_up(),
        exchange(
            |bench| {
                fill(bench);
                bench.lcore.stop();
                assert!(!bench.lcore.is_idle());
            },
            BUFFERS as usize,
            |_, replies| assert!(replies.iter().all(|reply| status(reply) == (0x40, 0))),
        ),
        Box::new(|bench, _| bench.lcore.is_idle()),
    ])
}

/// The export's disk has a second for a request, and so a request has no more for its rate. It is dropped then.
fn too_long() -> Step {
    let mut answered = 0;
    chain(vec![
        once(|bench| bench.lcore.remove(ID, || ())),
        silence(10),
        once(|bench| {
            let malloc = bench.malloc.clone();
            let mut export = ring_lab::export(ID.0, "1.1", &malloc);
            export.configure(|settings| settings.io_timeout = 1);
            bench.lcore.add(export, &malloc).expect("its place is free");
            let rate = Limit { iops: Some(1), bandwidth: None };
            bench.lcore.limit(ID, Limits { export: rate, ..Limits::default() });
        }),
        exchange(
            |bench| {
                let mut requests: Vec<_> =
                    (0..BURST).map(|tag| frames::read(SLOT, 900 + tag, u64::from(tag), 1)).collect();
                requests.extend((0..BUFFERS).map(|tag| frames::read(SLOT, tag, 200 + u64::from(tag), 1)));
                take_in(bench, &requests);
            },
            BURST as usize,
            |_, _| (),
        ),
        // As many as seconds go by until they are dropped start.
        Box::new(move |bench, arrived| {
            assert!(arrived.iter().all(|reply| status(reply) == (0x40, 0)));
            answered += arrived.len() as u64;
            answered + counters(bench).rate_limited == u64::from(BUFFERS)
        }),
        Box::new(|bench, _| {
            assert!(counters(bench).rate_limited > 0);
            assert_eq!(bench.drops(DropReason::RateLimited), counters(bench).rate_limited);
            let (entries, _) = bench.lcore.initiator_drops();
            assert_eq!(entries[0].drops.rate_limited, counters(bench).rate_limited);
            assert_eq!(counters(bench).timeouts, 0, "nothing is wrong with the disk");
            bench.lcore.limit(ID, Limits::default());
            true
        }),
        Box::new(|bench, _| bench.lcore.in_flight() == 0),
    ])
}
