//! Aborts of requests that nobody waits for: they come back when their bdev has ended them, and a channel stays until the aborts
//! have ended, too.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Value, json};
use spdk::{Abort, CurrentThread, IoKind, Outcome};

use crate::bdevs::{Bench, writable};
use crate::step::{Step, asks, chain, once, turns, until};

const DELAYS: [&str; 4] = ["avg_read", "p99_read", "avg_write", "p99_write"];

/// An hour, in microseconds.
const HOUR: u64 = 3_600_000_000;

pub(crate) fn all() -> Vec<(&'static str, Step)> {
    vec![
        ("a_bdev_that_can_abort_gives_requests_back", with_late(512, given_back)),
        ("an_abort_finds_the_io_of_sectors_within_a_block", with_late(4096, given_back)),
        ("an_abort_that_fails_changes_nothing", failed()),
        ("a_channel_that_is_dropped_closes_when_its_aborts_have_ended", with_late(512, dropped)),
    ]
}

fn succeeds(method: &'static str, params: Value) -> Step {
    asks(method, params, |answer| assert!(answer.get("error").is_none(), "{answer}"))
}

/// Runs a test on the bdev "late", which answers after an hour. Both of its bdevs are deleted after it: SPDK answers that when their
/// channels and descriptors are closed.
fn with_late(block_size: u32, test: fn() -> Step) -> Step {
    let mut delayed = json!({ "name": "late", "base_bdev_name": "below" });
    for delay in DELAYS {
        // Modules that examine a new bdev read it.
        delayed[format!("{delay}_latency")] = 0.into();
    }
    let below = json!({ "name": "below", "num_blocks": 2048, "block_size": block_size });
    let mut steps = vec![
        succeeds("bdev_malloc_create", below),
        writable("below"),
        succeeds("bdev_delay_create", delayed),
        writable("late"),
    ];
    steps.extend(DELAYS.map(|delay| {
        let params = json!({ "delay_bdev_name": "late", "latency_type": delay, "latency_us": HOUR });
        succeeds("bdev_delay_update_latency", params)
    }));
    steps.push(test());
    steps.push(succeeds("bdev_delay_delete", json!({ "name": "late" })));
    steps.push(succeeds("bdev_malloc_delete", json!({ "name": "below" })));
    chain(steps)
}

/// Has all requests in flight aborted.
fn abort_all(bench: &mut Bench) -> Vec<Abort> {
    let mut answers = Vec::new();
    CurrentThread::with(|thread| {
        bench.queue.for_each_in_flight(|request| answers.push(request.abort(thread)));
    });
    answers
}

/// The requests that have ended, by tag.
fn outcomes(bench: &Bench) -> Vec<(u32, Outcome)> {
    let mut ended: Vec<_> = bench.ended().into_iter().map(|(tag, outcome, _)| (tag, outcome)).collect();
    ended.sort_by_key(|(tag, _)| *tag);
    ended
}

/// Opens a bench on which two reads and a write of a sector are in flight, and hands it to `look` when the bdev below has carried
/// out its part: that one fails aborts.
fn three_in_flight(look: impl FnOnce(Bench) + 'static) -> Step {
    let bench = Rc::new(RefCell::new(None));
    let made = Rc::clone(&bench);
    chain(vec![
        once(move || {
            let bench = Bench::open("late", true);
            assert!(bench.bdev.info().aborts);
            bench.submit(IoKind::Read, 7, 1, &[0; 512], 1);
            bench.submit(IoKind::Write, 9, 1, &[0x5a; 512], 2);
            bench.submit(IoKind::Read, 17, 1, &[0; 512], 3);
            made.replace(Some(bench));
        }),
        turns(1000),
        once(move || {
            let bench = bench.take().expect("made above");
            assert_eq!(outcomes(&bench), []);
            look(bench);
        }),
    ])
}

fn given_back() -> Step {
    let bench = Rc::new(RefCell::new(None::<Bench>));
    let (made, ended, aborted) = (Rc::clone(&bench), Rc::new(RefCell::new(Vec::new())), Rc::clone(&bench));
    let all = Rc::clone(&ended);
    chain(vec![
        three_in_flight(move |mut state| {
            assert_eq!(abort_all(&mut state), [Abort::Asked; 3]);
            assert!(state.channel.in_flight() >= 3, "the aborts count");
            made.replace(Some(state));
        }),
        until(move || {
            let mut place = aborted.borrow_mut();
            let Some(state) = place.as_mut() else { return false };
            all.borrow_mut().extend(outcomes(state));
            if all.borrow().len() < 3 || state.channel.in_flight() > 0 {
                return false;
            }
            assert_eq!(abort_all(state), [], "nothing is in flight");
            assert_eq!(state.pool.available(), state.pool.size(), "every mbuf is back");
            true
        }),
        once(move || {
            drop(bench.take());
            let ended = ended.take();
            assert_eq!(ended, [(1, Outcome::Aborted), (2, Outcome::Aborted), (3, Outcome::Aborted)]);
        }),
    ])
}

/// A malloc bdev takes an abort, and fails it.
fn failed() -> Step {
    let mut bench = None;
    let mut ended = Vec::new();
    Box::new(move || {
        let state = bench.get_or_insert_with(|| {
            let mut made = Bench::open("m3", true);
            made.submit(IoKind::Write, 3, 1, &[0x3c; 512], 1);
            assert_eq!(abort_all(&mut made), [Abort::Asked]);
            made
        });
        ended.extend(outcomes(state));
        if ended.is_empty() || state.channel.in_flight() > 0 {
            return false;
        }
        assert_eq!(ended, [(1, Outcome::Done)]);
        bench = None;
        true
    })
}

/// The requests come back before their aborts have ended.
fn dropped() -> Step {
    three_in_flight(|mut bench| {
        assert_eq!(abort_all(&mut bench), [Abort::Asked; 3]);
        assert_eq!(abort_all(&mut bench), [Abort::Impossible; 3], "they have ended and wait to be taken");
        assert_eq!(outcomes(&bench).len(), 3);
        assert_eq!((bench.queue.in_flight(), bench.channel.in_flight()), (0, 3));
    })
}
