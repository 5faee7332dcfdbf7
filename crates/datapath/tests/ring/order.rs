//! Requests on the same sectors, in the order of their arrival, and copies of requests in flight.
//!
//! A bdev makes no progress within one step: what a step sends and turns stays in flight until the next one. So these tests
//! know what was in flight when the next frame came, without a clock.
//!
//! What initiators accept as the answer to a request that they sent more than once:
//!
//! | Initiator | A retransmission's tag | It takes the reply |
//! | --- | --- | --- |
//! | Linux (aoe.ko) | new each time | with the newest tag only; others are ignored |
//! | iPXE | the same | with that tag |
//! | WinAoE | the same | with that tag |
//! | Plan 9 | new each time | with the newest tag |
//!
//! All of them ignore a second reply.

use std::cell::Cell;
use std::rc::Rc;

use aoe_target::{DropReason, ExportCounters, ExportId};
use ring_lab::export;
use ring_lab::frames::{self, DATA, INITIATOR, check_reply, pattern, status, tag};

use crate::bench::Bench;
use crate::features::{self, TRIMS, trim_frame};
use crate::script::{Scenario, Step, chain, exchange, once, silence};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("a_read_behind_a_write_waits_and_gets_its_data", read_behind_write),
    ("a_write_behind_a_read_waits", write_behind_read),
    ("an_overlapping_write_waits_for_the_flush_of_the_one_before", behind_a_flush),
    ("trim_and_writes_on_its_sectors_wait_for_each_other", trim),
    ("requests_on_other_sectors_do_not_wait", others),
    ("copies_take_no_bdev_io_and_the_newest_is_answered_first", copies),
    ("copies_of_a_read_get_its_data", copies_of_a_read),
    ("copies_with_the_same_tag_are_answered_once", same_tag),
    ("a_copy_with_other_data_is_a_write_of_its_own", other_data),
    ("the_same_write_of_two_initiators_is_two_writes", two_initiators),
    ("a_write_after_an_acknowledged_one_stays_whatever_copies_came", copy_then_write),
    ("requests_that_wait_are_answered_when_their_export_is_removed", removed),
    ("requests_that_wait_fail_when_their_export_goes_offline", offline),
    ("requests_that_wait_are_answered_by_a_stopping_lcore", stopping),
];

const SLOT: u8 = 1;
const ID: ExportId = ExportId(0);

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

/// Sends `requests` in one step, after which the bdev has `in_flight` of them; then waits for `replies`, which are checked
/// in the order in which they came.
fn in_one_step(
    requests: impl FnOnce() -> Vec<Vec<u8>> + 'static,
    in_flight: u32,
    replies: usize,
    check: impl FnOnce(&mut Bench, Vec<Vec<u8>>) + 'static,
) -> Step {
    let (mut requests, mut check) = (Some(requests), Some(check));
    let mut got = Vec::new();
    Box::new(move |bench, arrived| {
        if let Some(requests) = requests.take() {
            take_in(bench, &requests());
            assert_eq!(bench.lcore.in_flight(), in_flight, "at the bdev");
        }
        got.extend(arrived);
        assert!(got.len() <= replies, "{} replies where {replies} were due", got.len());
        if got.len() == replies
            && let Some(check) = check.take()
        {
            check(bench, std::mem::take(&mut got));
        }
        check.is_none()
    })
}

fn tags(replies: &[Vec<u8>]) -> Vec<u32> {
    replies.iter().map(|reply| tag(reply)).collect()
}

fn all_good(replies: &[Vec<u8>]) {
    assert!(replies.iter().all(|reply| status(reply) == (0x40, 0)), "{replies:x?}");
}

/// What the sectors from `lba` on hold.
fn holds(slot: u8, lba: u64, data: Vec<u8>) -> Step {
    let sectors = u8::try_from(data.len() / 512).expect("few sectors");
    exchange(
        move |bench| assert!(bench.send(&frames::read(slot, 0x7777, lba, sectors))),
        1,
        move |_, replies| assert_eq!(replies[0][DATA..], data),
    )
}

fn from(last: u8, mut frame: Vec<u8>) -> Vec<u8> {
    frame[11] = last;
    frame
}

fn read_behind_write() -> Step {
    in_one_step(
        || vec![frames::write(SLOT, 1, 100, &pattern(1, 16)), frames::read(SLOT, 2, 115, 4)],
        1,
        2,
        |bench, replies| {
            all_good(&replies);
            assert_eq!(tags(&replies), [1, 2]);
            assert_eq!(replies[1][DATA..DATA + 512], pattern(1, 16)[15 * 512..]);
            assert_eq!(counters(bench).order_waits, 1);
        },
    )
}

fn write_behind_read() -> Step {
    chain(vec![
        in_one_step(
            || vec![frames::read(SLOT, 1, 100, 16), frames::write(SLOT, 2, 99, &pattern(1, 2))],
            1,
            2,
            |bench, replies| {
                all_good(&replies);
                assert_eq!(tags(&replies), [1, 2]);
                assert_eq!(replies[0][DATA..], vec![0; 16 * 512], "as it was before");
                assert_eq!(counters(bench).order_waits, 1);
            },
        ),
        holds(SLOT, 99, pattern(1, 2)),
    ])
}

/// A file's write is durable by an fdatasync. Not even in between does the other write reach the bdev.
fn behind_a_flush() -> Step {
    const FILE: u8 = 40;
    let mut sent = false;
    let mut got = Vec::new();
    let writes: Step = Box::new(move |bench, arrived| {
        if !sent {
            sent = true;
            bench.lcore.remove(ExportId(1), || ());
            let file = bench.file.clone();
            let mut disk = export(40, "1.40", &file);
            disk.configure(|settings| settings.write_through = true);
            bench.lcore.turn();
            bench.lcore.add(disk, &file).expect("a free address");
            let writes = [1, 2, 3].map(|nth| frames::write(FILE, nth, 50, &pattern(nth, 8)));
            take_in(bench, &writes.map(|frame| from(9, frame)));
        }
        got.extend(arrived);
        assert!(bench.lcore.in_flight() <= 1, "one write, or its flush");
        if got.len() < 3 {
            return false;
        }
        all_good(&got);
        assert_eq!(tags(&got), [1, 2, 3]);
        let exports = bench.lcore.snapshot().exports;
        let (_, counters) = exports.iter().find(|(id, _)| *id == ExportId(40)).expect("export 1.40");
        assert_eq!(
            (counters.write_flushes, counters.copies, counters.order_waits),
            (3, 2, 0),
            "{counters:?}"
        );
        true
    });
    chain(vec![writes, holds(FILE, 50, pattern(3, 8))])
}

fn trim() -> Step {
    const TRIMMED: u8 = features::SLOT;
    chain(vec![
        once(|bench| {
            let malloc = bench.malloc.clone();
            features::add(bench, &malloc, TRIMS, true);
        }),
        in_one_step(
            || {
                vec![
                    frames::write(TRIMMED, 1, 4000, &pattern(1, 8)),
                    trim_frame(2, &[(4000, 4), (4100, 8)]),
                    frames::read(TRIMMED, 3, 4000, 8),
                    frames::write(TRIMMED, 4, 4100, &pattern(4, 8)),
                    // Outside of all ranges, beside the first.
                    frames::read(TRIMMED, 5, 3990, 10),
                ]
            },
            2,
            5,
            |_, mut replies| {
                all_good(&replies);
                let first: Vec<u32> = tags(&replies[..2]);
                assert!(first.contains(&1) && first.contains(&5), "{first:?}");
                assert_eq!(tag(&replies[2]), 2);
                replies.sort_by_key(|reply| tag(reply));
                let data = &replies[2][DATA..];
                assert_eq!(
                    (&data[..4 * 512], &data[4 * 512..]),
                    (&[0; 4 * 512][..], &pattern(1, 8)[4 * 512..])
                );
            },
        ),
        holds(TRIMMED, 4100, pattern(4, 8)),
    ])
}

fn others() -> Step {
    in_one_step(
        || {
            vec![
                frames::write(SLOT, 1, 100, &pattern(1, 8)),
                // Neighbours, before and behind; the same sectors of another export; reads of the same sectors.
                frames::read(SLOT, 2, 84, 16),
                frames::write(SLOT, 3, 108, &pattern(3, 8)),
                frames::write(2, 4, 100, &pattern(4, 8)),
                frames::read(SLOT, 5, 200, 16),
                frames::read(SLOT, 6, 208, 16),
                frames::flush(SLOT, 7),
            ]
        },
        7,
        7,
        |bench, replies| {
            all_good(&replies);
            let counters = counters(bench);
            assert_eq!((counters.order_waits, counters.copies), (0, 0));
        },
    )
}

fn copies() -> Step {
    chain(vec![
        in_one_step(
            || [1, 2, 3].map(|tag| frames::write(SLOT, tag, 100, &pattern(1, 8))).to_vec(),
            1,
            3,
            |bench, replies| {
                all_good(&replies);
                replies.iter().for_each(|reply| check_reply(reply, 1, SLOT, 0));
                assert_eq!(tags(&replies), [3, 2, 1]);
                let counters = counters(bench);
                assert_eq!((counters.copies, counters.writes, counters.order_waits), (2, 3, 0));
            },
        ),
        holds(SLOT, 100, pattern(1, 8)),
    ])
}

fn copies_of_a_read() -> Step {
    chain(vec![
        exchange(
            |bench| assert!(bench.send(&frames::write(SLOT, 1, 100, &pattern(1, 8)))),
            1,
            |_, replies| all_good(&replies),
        ),
        in_one_step(
            || {
                let mut requests = [2, 3].map(|tag| frames::read(SLOT, tag, 100, 8)).to_vec();
                // Not acknowledged before the copy's answer, so it need not be in it.
                requests.push(frames::write(SLOT, 4, 101, &pattern(4, 1)));
                requests.push(frames::read(SLOT, 5, 100, 8));
                requests
            },
            1,
            4,
            |bench, replies| {
                all_good(&replies);
                assert_eq!(tags(&replies), [5, 3, 2, 4]);
                assert!(replies[..3].iter().all(|reply| reply[DATA..] == pattern(1, 8)));
                assert_eq!(counters(bench).copies, 2);
            },
        ),
        holds(SLOT, 101, pattern(4, 1)),
    ])
}

fn same_tag() -> Step {
    chain(vec![
        in_one_step(
            || {
                let write = frames::write(SLOT, 1, 100, &pattern(1, 8));
                let read = frames::read(SLOT, 2, 300, 8);
                vec![write.clone(), write.clone(), read.clone(), write, read.clone(), read]
            },
            2,
            2,
            |bench, mut replies| {
                all_good(&replies);
                replies.sort_by_key(|reply| tag(reply));
                assert_eq!(tags(&replies), [1, 2]);
                assert_eq!(bench.drops(DropReason::CopyInFlight), 4);
                assert_eq!(counters(bench).copies, 4);
            },
        ),
        silence(1000),
    ])
}

fn other_data() -> Step {
    chain(vec![
        in_one_step(
            || {
                vec![
                    frames::write(SLOT, 1, 100, &pattern(1, 8)),
                    frames::write(SLOT, 2, 100, &pattern(2, 8)),
                    frames::write(SLOT, 3, 100, &pattern(1, 8)),
                ]
            },
            1,
            3,
            |_, replies| {
                all_good(&replies);
                // The third is the first again, and not after the second.
                assert_eq!(tags(&replies), [3, 1, 2]);
            },
        ),
        holds(SLOT, 100, pattern(2, 8)),
    ])
}

fn two_initiators() -> Step {
    in_one_step(
        || {
            let write = |tag| frames::write(SLOT, tag, 100, &pattern(1, 8));
            vec![write(1), from(INITIATOR[5] ^ 1, write(2))]
        },
        1,
        2,
        |bench, replies| {
            assert_eq!(tags(&replies), [1, 2]);
            let counters = counters(bench);
            assert_eq!((counters.order_waits, counters.copies), (1, 0));
        },
    )
}

/// C1 on one lcore: write A, A again with a new tag; when one is answered, write B; then read.
fn copy_then_write() -> Step {
    let rounds = (0..50u32).map(|round| {
        let (a, b) = (pattern(2 * round + 1, 8), pattern(2 * round + 2, 8));
        let mut sent = 0;
        let mut got = 0;
        let expected = b.clone();
        let writes: Step = Box::new(move |bench, arrived| {
            all_good(&arrived);
            got += arrived.len();
            if sent == 0 {
                sent = 2;
                take_in(bench, &[1, 2].map(|tag| frames::write(SLOT, tag, 64, &a)));
            }
            if sent == 2 && got > 0 {
                sent = 3;
                take_in(bench, &[frames::write(SLOT, 3, 64, &b)]);
            }
            got == 3
        });
        chain(vec![writes, holds(SLOT, 64, expected)])
    });
    chain(rounds.collect())
}

/// Requests, some of which wait and some of which are copies.
fn waiting() -> Vec<Vec<u8>> {
    vec![
        frames::write(SLOT, 1, 100, &pattern(1, 8)),
        frames::write(SLOT, 2, 104, &pattern(2, 8)),
        frames::read(SLOT, 3, 100, 16),
        frames::read(SLOT, 4, 100, 16),
        frames::write(SLOT, 5, 100, &pattern(1, 8)),
        frames::write(SLOT, 6, 110, &pattern(6, 1)),
    ]
}

fn removed() -> Step {
    let done = Rc::new(Cell::new(false));
    let noted = Rc::clone(&done);
    chain(vec![
        exchange(
            |bench| {
                take_in(bench, &waiting());
                assert_eq!(bench.lcore.in_flight(), 1);
                bench.lcore.remove(ID, move || noted.set(true));
            },
            6,
            |_, replies| {
                all_good(&replies);
                assert_eq!(replies[2][DATA + 4 * 512..DATA + 12 * 512], pattern(2, 8));
            },
        ),
        silence(1000),
        Box::new(move |_, _| done.get()),
    ])
}

fn offline() -> Step {
    exchange(
        |bench| {
            take_in(bench, &waiting());
            bench.lcore.take_offline(ID, || ());
        },
        6,
        |_, replies| {
            // The bdev has the first one, whose copy is the fifth.
            for (nth, reply) in replies.iter().enumerate() {
                let expected = if nth == 0 || nth == 4 { 0x40 } else { 0x61 };
                assert_eq!(status(reply).0, expected, "request {}", nth + 1);
            }
        },
    )
}

fn stopping() -> Step {
    exchange(
        |bench| {
            take_in(bench, &waiting());
            bench.lcore.stop();
        },
        6,
        |bench, replies| {
            all_good(&replies);
            bench.lcore.turn();
            assert!(bench.lcore.is_idle());
        },
    )
}
