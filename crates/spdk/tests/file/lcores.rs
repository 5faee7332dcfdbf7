//! Two lcores that write one file: each answers its writes, and they share the fdatasyncs.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use spdk::{IoKind, Poller, Thread, app};

use crate::bench::Bench;
use crate::modes::{Shared, described};
use crate::step::{Step, chain, once, open, until};

thread_local! {
    static WORK: RefCell<Option<(Poller, Bench)>> = const { RefCell::new(None) };
}

/// Rounds of writes of each lcore.
const ROUNDS: u8 = 20;
/// Writes of a round.
const WRITES: u64 = 200;

pub(crate) fn all() -> Vec<(&'static str, Step)> {
    vec![("lcores_share_a_file_and_its_fdatasyncs", two())]
}

/// Starts to write every second place, and counts itself in `done` when all has been read back.
fn start(bench: Bench, first: u64, done: Arc<AtomicU32>) {
    let mut round = 0;
    let submit = move |bench: &Bench, kind, round| {
        (0..WRITES).for_each(|place| bench.submit(kind, first + 2 * place, round));
    };
    submit(&bench, IoKind::Write, 0);
    let poller = Poller::register(Duration::ZERO, move || {
        WORK.with_borrow(|work| {
            let Some((_, bench)) = work else { return false };
            if !bench.ended() || round > ROUNDS {
                return bench.in_flight() > 0;
            }
            assert_eq!(bench.take_failed(), []);
            round += 1;
            match round {
                0..ROUNDS => submit(bench, IoKind::Write, round),
                ROUNDS => submit(bench, IoKind::Read, ROUNDS - 1),
                _ => _ = done.fetch_add(1, Ordering::Release),
            }
            true
        })
    });
    WORK.set(Some((poller.expect("memory"), bench)));
}

fn two() -> Step {
    let shared = Shared::new("shared");
    let opened = shared.clone();
    let done = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&done);
    let cores = app::cores();
    let threads = RefCell::new(Vec::new());
    let started = std::rc::Rc::new(threads);
    let ended = std::rc::Rc::clone(&started);
    let count = u32::try_from(cores.len().min(2)).expect("two at most");
    let writes = u64::from(count) * u64::from(ROUNDS) * WRITES;
    chain(vec![
        shared.create("shared", json!({ "sync": "group" })),
        once(move || {
            drop(opened.bench.take());
            for (index, core) in (0..).zip(cores.iter().take(2)) {
                let thread = Thread::pinned("writer", *core).expect("memory");
                let bdev = open("shared", true, |_| ()).expect("there");
                let done = Arc::clone(&done);
                let sent = thread.send(move || {
                    start(Bench::open(&bdev, if index == 0 { "even" } else { "odd" }), index, done);
                });
                sent.expect("room");
                started.borrow_mut().push(thread);
            }
        }),
        until(move || counted.load(Ordering::Acquire) == count),
        described("shared", move |file| {
            let number = |key: &str| file[key].as_u64().expect("a number");
            assert_eq!((number("synced"), number("failures")), (writes, 0), "{file}");
            assert!(number("fdatasyncs") < writes, "{file}");
        }),
        once(move || {
            for thread in ended.borrow_mut().drain(..) {
                thread.send(|| drop(WORK.take())).expect("room");
                thread.exit().expect("room");
            }
        }),
        shared.delete("shared"),
    ])
}
