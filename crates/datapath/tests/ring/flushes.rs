//! FLUSH and write-through: what a reply says of stable media.
//!
//! The bdev EE_r1 fails its first flushes. So a reply that reports success although the flush failed was made without it.

use ring_lab::frames::{pattern, status};
use ring_lab::{export, frames};

use crate::bench::Bench;
use crate::script::{Scenario, Step, chain, exchange, once};

/// Flushes that fail at first.
pub(crate) const FAILURES: u32 = 3;

const SLOT: u8 = 30;

/// Status and error of a device fault or an abort.
fn is_error(reply: &[u8]) -> bool {
    status(reply).0 & 1 == 1
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("a_flush_is_answered_with_its_outcome", flushes),
    ("a_write_through_write_is_answered_with_its_flush_s_outcome", write_through),
    ("a_file_is_read_back_after_a_flush", flushed_file),
];

/// Exports EE_r1.
fn add(bench: &mut Bench, write_through: bool) {
    let bdev = ring_lab::open("EE_r1");
    let mut disk = export(30, "1.30", &bdev);
    disk.configure(|settings| settings.write_through = write_through);
    disk.configure(|settings| settings.features.write_cache = Some(true));
    bench.lcore.add(disk, &bdev).expect("a free address");
}

fn flushes() -> Step {
    let flush = |expected: fn(&[u8]) -> bool| {
        exchange(
            |bench| assert!(bench.send(&frames::flush(SLOT, 1))),
            1,
            move |_, replies| assert!(expected(&replies[0]), "{:x?}", status(&replies[0])),
        )
    };
    let mut steps: Vec<Step> = vec![once(|bench| add(bench, false))];
    steps.extend((0..FAILURES).map(|_| flush(is_error)));
    steps.push(flush(|reply| status(reply) == (0x40, 0)));
    chain(steps)
}

fn write_through() -> Step {
    let write = |tag: u32, expected: fn(&[u8]) -> bool| {
        exchange(
            move |bench| assert!(bench.send(&frames::write(SLOT, tag, 8, &pattern(tag, 1)))),
            1,
            move |_, replies| assert!(expected(&replies[0]), "write {tag}: {:x?}", status(&replies[0])),
        )
    };
    let mut steps: Vec<Step> = vec![once(|bench| add(bench, true))];
    steps.extend((0..FAILURES).map(|tag| write(tag, is_error)));
    steps.push(write(FAILURES, |reply| status(reply) == (0x40, 0)));
    chain(steps)
}

/// That a flush of a file reaches the kernel as an fdatasync is shown by `spdk/tests/app`, which sees the system call.
fn flushed_file() -> Step {
    chain(vec![
        exchange(
            |bench| assert!(bench.send(&frames::write(2, 1, 1000, &pattern(200, 16)))),
            1,
            |_, replies| assert_eq!(status(&replies[0]), (0x40, 0)),
        ),
        exchange(
            |bench| assert!(bench.send(&frames::flush(2, 5)) && bench.send(&frames::flush(1, 6))),
            2,
            |_, replies| assert!(replies.iter().all(|reply| status(reply) == (0x40, 0)), "{replies:x?}"),
        ),
        exchange(
            |bench| assert!(bench.send(&frames::read(2, 7, 1000, 16))),
            1,
            |_, replies| assert_eq!(replies[0][frames::DATA..], pattern(200, 16)),
        ),
    ])
}
