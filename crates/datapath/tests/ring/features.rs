//! What only some disks have: TRIM, the write cache; and that the others say no.

use std::sync::Arc;

use aoe_target::{ExportId, Features, InitiatorState};
use ring_lab::export;
use ring_lab::frames::{self, DATA, pattern, status};
use spdk::Bdev;

use crate::bench::Bench;
use crate::script::{Scenario, Step, chain, exchange, silence};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("trim_zeroes_its_ranges_and_no_other_sector", trim),
    ("trim_beyond_the_end_does_nothing", trim_beyond),
    ("a_write_with_the_cache_off_is_flushed", cache_off),
    ("a_write_through_disk_flushes_each_write_where_that_makes_it_last", write_through),
    ("disks_without_the_features_abort", not_offered),
];

/// The slot of an export that a scenario adds.
pub(crate) const SLOT: u8 = 9;

/// Adds an export of `bdev` with `features`, its write cache on or off.
pub(crate) fn add(bench: &mut Bench, bdev: &Bdev, features: Features, cache_on: bool) {
    let mut disk = export(9, "1.9", bdev);
    disk.configure(|settings| settings.features = features);
    let state = InitiatorState { write_cache: cache_on, ..InitiatorState::default() };
    let disk = disk.with_initiator_state(Arc::new(state));
    bench.lcore.add(Box::new(disk), bdev).expect("a free address");
}

fn remove(bench: &mut Bench) {
    bench.lcore.remove(ExportId(9), || ());
}

/// DATA SET MANAGEMENT with TRIM of these ranges (LBA, sectors), in one block.
pub(crate) fn trim_frame(tag: u32, ranges: &[(u64, u16)]) -> Vec<u8> {
    let mut data = vec![0; 512];
    for (room, (lba, sectors)) in data.chunks_exact_mut(8).zip(ranges) {
        room.copy_from_slice(&(u64::from(*sectors) << 48 | lba).to_le_bytes());
    }
    with_feature(frames::ata(1, SLOT, tag, 0x06, 0, 1, &data), 1)
}

fn with_feature(mut frame: Vec<u8>, feature: u8) -> Vec<u8> {
    frame[25] = feature;
    frame
}

pub(crate) const TRIMS: Features = Features {
    write_cache: None,
    smart: None,
    trim_blocks: 1,
    physical_exponent: 0,
    first_in_physical: 0,
    solid_state: false,
};

fn trim() -> Step {
    chain(vec![
        exchange(
            |bench| {
                let malloc = bench.malloc.clone();
                assert!(malloc.info().unmaps, "a malloc bdev unmaps");
                add(bench, &malloc, TRIMS, true);
                assert!(bench.send(&frames::write(SLOT, 1, 4000, &pattern(5, 16))));
            },
            1,
            |_, replies| assert_eq!(status(&replies[0]), (0x40, 0)),
        ),
        exchange(
            // With unused entries before and between.
            |bench| assert!(bench.send(&trim_frame(2, &[(0, 0), (4001, 2), (0, 0), (4008, 1), (4015, 1)]))),
            1,
            |_, replies| {
                assert_eq!(status(&replies[0]), (0x40, 0));
                assert_eq!(replies[0].len(), 60);
            },
        ),
        exchange(
            |bench| assert!(bench.send(&frames::read(SLOT, 3, 4000, 16))),
            1,
            |bench, replies| {
                let mut expected = pattern(5, 16);
                for sector in [1, 2, 8, 15] {
                    expected[sector * 512..(sector + 1) * 512].fill(0);
                }
                assert!(replies[0][DATA..] == expected, "zeros in the ranges, the rest as written");
                remove(bench);
            },
        ),
        silence(10),
    ])
}

fn trim_beyond() -> Step {
    chain(vec![
        exchange(
            |bench| {
                let malloc = bench.malloc.clone();
                add(bench, &malloc, TRIMS, true);
                assert!(bench.send(&frames::write(SLOT, 1, 5000, &pattern(6, 1))));
            },
            1,
            |_, replies| assert_eq!(status(&replies[0]), (0x40, 0)),
        ),
        exchange(
            |bench| {
                let end = bench.malloc.blocks();
                assert!(bench.send(&trim_frame(2, &[(5000, 1), (end - 1, 2)])));
            },
            1,
            |_, replies| assert_eq!(status(&replies[0]), (0x41, 0x10), "IDNF"),
        ),
        exchange(
            |bench| assert!(bench.send(&frames::read(SLOT, 3, 5000, 1))),
            1,
            |bench, replies| {
                assert_eq!(replies[0][DATA..], pattern(6, 1), "the range within the disk is as it was");
                remove(bench);
            },
        ),
        silence(10),
    ])
}

fn cache_off() -> Step {
    let flushes = |bench: &Bench| {
        let exports = bench.lcore.snapshot().exports;
        exports.iter().find(|(id, _)| *id == ExportId(9)).map(|(_, counters)| counters.write_flushes)
    };
    let round = move |cache_on: bool, want: u64| {
        exchange(
            move |bench| {
                let file = bench.file.clone();
                assert!(file.info().write_cache, "an aio bdev has a volatile cache");
                add(bench, &file, Features { write_cache: Some(true), ..Features::default() }, cache_on);
                for tag in 1..=3u32 {
                    let lba = u64::from(tag);
                    assert!(bench.send(&frames::write(SLOT, tag, lba, &pattern(tag, 1))));
                }
            },
            3,
            move |bench, replies| {
                assert!(replies.iter().all(|reply| status(reply) == (0x40, 0)), "{replies:x?}");
                assert_eq!(flushes(bench), Some(want));
                remove(bench);
            },
        )
    };
    let pause = || silence(10);
    chain(vec![pause(), round(false, 3), pause(), round(true, 0), pause()])
}

/// Writes to a write-through export of one bdev, and how many flushes that took.
fn write_through() -> Step {
    let round = |bdev: fn(&Bench) -> Bdev, cache_on: bool, want: u64| {
        exchange(
            move |bench| {
                let bdev = bdev(bench);
                let mut disk = export(9, "1.9", &bdev);
                disk.configure(|settings| settings.write_through = true);
                disk.configure(|settings| settings.features.write_cache = Some(true));
                // What a write-back time before may have left.
                let state = InitiatorState { write_cache: cache_on, ..InitiatorState::default() };
                let disk = disk.with_initiator_state(Arc::new(state));
                bench.lcore.add(Box::new(disk), &bdev).expect("a free address");
                for tag in 1..=3u32 {
                    assert!(bench.send(&frames::write(SLOT, tag, u64::from(tag), &pattern(tag, 1))));
                }
            },
            3,
            move |bench, replies| {
                assert!(replies.iter().all(|reply| status(reply) == (0x40, 0)), "{replies:x?}");
                let exports = bench.lcore.snapshot().exports;
                let (_, counters) = exports.iter().find(|(id, _)| *id == ExportId(9)).expect("it is there");
                assert_eq!((counters.writes, counters.write_flushes, counters.fua_writes), (3, want, 0));
                remove(bench);
            },
        )
    };
    let pause = || silence(10);
    chain(vec![
        round(|bench| bench.file.clone(), true, 3),
        pause(),
        round(|bench| bench.file.clone(), false, 3),
        pause(),
        round(|_| ring_lab::open("s0"), true, 3),
        pause(),
        // Nothing would last longer.
        round(|bench| bench.malloc.clone(), true, 0),
        pause(),
    ])
}

fn not_offered() -> Step {
    let refused = exchange(
        |bench| {
            let file = bench.file.clone();
            assert!(!file.info().health, "no NVMe drive");
            add(bench, &file, Features::default(), true);
            let smart = frames::ata(1, SLOT, 2, 0xb0, 0x00c2_4f00, 1, &[]);
            let cache = frames::ata(1, SLOT, 3, 0xef, 0, 0, &[]);
            assert!(bench.send(&trim_frame(1, &[(0, 1)])));
            assert!(bench.send(&with_feature(smart, 0xd0)));
            assert!(bench.send(&with_feature(cache, 0x82)));
        },
        3,
        |bench, replies| {
            assert!(replies.iter().all(|reply| status(reply) == (0x41, 0x04)), "{replies:x?}");
            remove(bench);
        },
    );
    chain(vec![refused, silence(10)])
}
