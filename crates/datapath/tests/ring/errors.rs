//! Failed I/O, and I/O that has to wait.

use std::collections::BTreeMap;

use ring_lab::frames::{self, DATA, pattern, status, tag};

use crate::bench::RING;
use crate::script::{Scenario, Step, chain, exchange};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("failed_io_is_an_ata_error", ata_errors),
    ("a_burst_beyond_spdks_memory_waits_and_is_carried_out", || chain(vec![burst(), burst_is_on_disk()])),
    ("replies_wait_for_room_in_the_tx_ring", tx_full),
];

fn ata_errors() -> Step {
    exchange(
        |bench| {
            assert!(bench.send(&frames::read(1, 1, 16384, 1)));
            assert!(bench.send(&frames::read(1, 2, 16383, 2)));
            assert!(bench.send(&frames::read(1, 3, 0, 17)));
            let mut short = frames::write(1, 4, 0, &pattern(1, 4));
            short.truncate(DATA + 3 * 512);
            assert!(bench.send(&short));
            assert!(bench.send(&frames::ata(1, 1, 5, 0x06, 0, 1, &[])));
        },
        5,
        |_, replies| {
            let found: Vec<_> = replies.iter().map(|reply| status(reply)).collect();
            assert_eq!(found, [(0x41, 0x10), (0x41, 0x10), (0x41, 0x04), (0x41, 0x04), (0x41, 0x04)]);
            assert!(replies.iter().all(|reply| reply[14] == 0x18), "never an AoE error");
        },
    )
}

/// Many more requests than SPDK has I/Os for, all at once.
fn burst() -> Step {
    const REQUESTS: u32 = 1000;
    let mut sent = 0;
    let mut answered = BTreeMap::new();
    Box::new(move |bench, arrived| {
        // A bdev completes only when SPDK polls, which it does between two calls of this. SPDK 26.01's malloc bdev then
        // completes all at once (20.07's completed 8), so the memory is exceeded within one call or never.
        let waits_before = bench.lcore.snapshot().bdev_waits;
        let mut idle = 0;
        while sent < REQUESTS && idle < RING {
            let lba = u64::from(sent) * 8 % 8192;
            let slot = if sent % 2 == 0 { 1 } else { 2 };
            if bench.send(&frames::write(slot, sent, lba, &pattern(sent, 8))) {
                (sent, idle) = (sent + 1, 0);
            } else {
                bench.lcore.turn();
                idle += 1;
            }
        }
        for _ in 0..RING {
            bench.lcore.turn();
        }
        let snapshot = bench.lcore.snapshot();
        if answered.is_empty() && arrived.is_empty() {
            // SPDK has 200 I/Os at most, some of which other threads keep in their caches.
            let waits = snapshot.bdev_waits - waits_before;
            assert!(waits >= u64::from(snapshot.in_flight) - 200, "{waits} of {} wait", snapshot.in_flight);
            assert!(waits > 0, "{} requests in flight fit SPDK's memory", snapshot.in_flight);
        }
        for reply in arrived {
            assert_eq!(status(&reply), (0x40, 0));
            assert!(answered.insert(tag(&reply), ()).is_none(), "answered twice: {}", tag(&reply));
        }
        answered.len() == REQUESTS as usize
    })
}

/// Requests 990 to 999 of [`burst`] were among those that waited: their data was written all the same.
fn burst_is_on_disk() -> Step {
    const LAST: std::ops::Range<u32> = 990..1000;
    exchange(
        |bench| {
            for sent in LAST {
                let slot = if sent % 2 == 0 { 1 } else { 2 };
                assert!(bench.send(&frames::read(slot, sent, u64::from(sent) * 8 % 8192, 8)));
            }
        },
        LAST.len(),
        |_, replies| {
            for (sent, reply) in LAST.zip(replies) {
                assert_eq!(status(&reply), (0x40, 0));
                assert_eq!(reply[DATA..], pattern(sent, 8), "request {sent}");
            }
        },
    )
}

/// A peer that does not take its replies for a while.
fn tx_full() -> Step {
    const REQUESTS: u32 = 300;
    let mut sent = 0;
    let mut turns = 0;
    let mut answered = BTreeMap::new();
    let mut held = Vec::new();
    Box::new(move |bench, arrived| {
        // What the harness took from the ring counts as taken late: it takes RING frames at most in a turn,
        // and the lcore makes far more.
        while sent < REQUESTS && bench.send(&frames::query(1, 1, sent)) {
            sent += 1;
        }
        for _ in 0..8 {
            bench.lcore.turn();
            while sent < REQUESTS && bench.send(&frames::query(1, 1, sent)) {
                sent += 1;
            }
        }
        let waiting: usize = bench.lcore.snapshot().queues.iter().map(|queue| queue.tx_waiting).sum();
        held.push(waiting);
        turns += 1;
        for reply in arrived {
            assert!(answered.insert(tag(&reply), ()).is_none(), "answered twice: {}", tag(&reply));
        }
        if answered.len() < REQUESTS as usize {
            return false;
        }
        let most = held.iter().max().copied().unwrap_or(0);
        assert!(most > 0, "the ring of {RING} was never full in {turns} rounds");
        true
    })
}
