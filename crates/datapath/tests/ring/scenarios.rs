//! What is asked of the data path, one scenario a promise.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::rc::Rc;

use aoe_target::{DropReason, ExportId, ShelfSlot};
use dpdk::Mbuf;

use crate::features;
use crate::frames::{self, DATA, check_reply, pattern, status, tag};
use crate::{Bench, MBUFS, RING, Step, blocks, lanes, spreads, vlans};

impl Bench {
    fn mbuf(&self, bytes: &[u8]) -> Mbuf {
        let mut frame = self.outside.alloc().expect("a mbuf for the initiator");
        assert!(frame.resize(bytes.len()));
        frame.data_mut().copy_from_slice(bytes);
        frame
    }

    /// Sends a frame in one segment; false if the ring is full.
    pub(crate) fn send(&self, bytes: &[u8]) -> bool {
        self.peer.send(self.mbuf(bytes)).is_ok()
    }

    /// Sends a frame in segments that end at `cuts`.
    pub(crate) fn send_segments(&self, bytes: &[u8], cuts: &[usize]) {
        let mut start = 0;
        let mut whole: Option<Mbuf> = None;
        for end in cuts.iter().copied().chain([bytes.len()]) {
            let segment = self.mbuf(&bytes[start..end]);
            start = end;
            match &mut whole {
                None => whole = Some(segment),
                Some(head) => head.chain(segment).expect("few segments"),
            }
        }
        self.peer.send(whole.expect("a first segment")).expect("room in the ring");
    }

    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.lcore.snapshot().lanes.iter().map(|lane| lane.drops.get(reason)).sum()
    }
}

/// Sends `requests`, waits for `replies` frames, and checks them by tag.
pub(crate) fn exchange(
    requests: impl FnOnce(&mut Bench) + 'static,
    replies: usize,
    check: impl FnOnce(&mut Bench, Vec<Vec<u8>>) + 'static,
) -> Step {
    let (mut requests, mut check) = (Some(requests), Some(check));
    let mut got = Vec::new();
    Box::new(move |bench, arrived| {
        if let Some(requests) = requests.take() {
            requests(bench);
        }
        got.extend(arrived);
        assert!(got.len() <= replies, "{} replies where {replies} were due", got.len());
        if got.len() < replies {
            return false;
        }
        let mut got = std::mem::take(&mut got);
        got.sort_by_key(|frame| tag(frame));
        if let Some(check) = check.take() {
            check(bench, got);
        }
        true
    })
}

/// One step after the other.
pub(crate) fn chain(steps: Vec<Step>) -> Step {
    let mut steps = steps.into_iter().peekable();
    Box::new(move |bench, arrived| {
        let Some(step) = steps.peek_mut() else { return true };
        if step(bench, arrived) {
            steps.next();
        }
        steps.peek().is_none()
    })
}

/// Some turns in which nothing may arrive.
pub(crate) fn silence(turns: u32) -> Step {
    let mut left = turns;
    Box::new(move |_, arrived| {
        assert!(arrived.is_empty(), "an answer where none was due: {arrived:x?}");
        left -= 1;
        left == 0
    })
}

/// Every scenario, in the order they run.
pub(crate) fn all() -> Vec<(&'static str, Step)> {
    vec![
        ("a_query_is_answered_by_each_export_it_means", queries()),
        ("identify_tells_the_size", identify()),
        ("what_was_written_is_read_back", round_trip(1)),
        ("the_same_through_a_file", round_trip(2)),
        ("a_file_has_on_disk_what_was_flushed", flushed_file()),
        ("a_write_in_segments_arrives_whole", segments()),
        ("failed_io_is_an_ata_error", ata_errors()),
        ("frames_that_are_none_are_counted_by_reason", drops()),
        ("what_comes_tagged_leaves_tagged_and_vlans_are_apart", vlans::all()),
        ("a_burst_beyond_spdks_memory_waits_and_is_carried_out", chain(vec![burst(), burst_is_on_disk()])),
        ("replies_wait_for_room_in_the_tx_ring", tx_full()),
        ("a_removed_export_answers_what_it_has_first", removal()),
        ("an_offline_export_faults_at_once", offline()),
        ("advertisements_go_to_everybody", advertisements()),
        ("every_place_in_a_large_block_is_read_and_written", chain(vec![blocks::every_place(), silence(10)])),
        ("neighbours_in_a_large_block_keep_their_updates", chain(vec![blocks::neighbours(), silence(10)])),
        (
            "more_unaligned_requests_than_buffers_are_all_answered",
            chain(vec![blocks::more_than_buffers(), silence(10)]),
        ),
        ("trim_zeroes_its_ranges_and_no_other_sector", features::trim()),
        ("trim_beyond_the_end_does_nothing", features::trim_beyond()),
        ("a_write_with_the_cache_off_is_flushed_before_its_answer", features::cache_off()),
        ("a_write_through_disk_flushes_each_write_where_that_makes_it_last", features::write_through()),
        ("disks_without_the_features_abort", features::not_offered()),
        ("the_rx_budget_bounds_a_turn", lanes::budget()),
        ("replies_leave_in_the_turn_that_makes_them", lanes::at_once()),
        ("coalesced_replies_wait_neither_while_idle_nor_when_full", lanes::coalesced()),
        ("requests_are_spread_by_hash_and_none_is_lost_in_a_ring", spreads::by_hash()),
        ("each_lcore_gets_about_half_by_hash", spreads::by_hash_in_halves()),
        ("each_lcore_answers_under_its_own_address", spreads::by_address()),
        ("every_mbuf_comes_back", conservation()),
    ]
}

fn queries() -> Step {
    chain(vec![
        exchange(
            |bench| assert!(bench.send(&frames::query(1, 2, 7))),
            1,
            |_, replies| {
                check_reply(&replies[0], 1, 2, 1);
                assert_eq!(replies[0].len(), 60);
                assert_eq!(tag(&replies[0]), 7);
                assert_eq!(u16::from_be_bytes([replies[0][24], replies[0][25]]), 16, "buffer count");
                assert_eq!(replies[0][28], 16, "sectors in a frame of MTU 9000");
                assert_eq!(replies[0][29], 0x10, "version 1, read");
            },
        ),
        exchange(
            |bench| assert!(bench.send(&frames::query(0xffff, 0xff, 8))),
            2,
            |_, replies| {
                let mut slots: Vec<u8> = replies.iter().map(|frame| frame[18]).collect();
                slots.sort_unstable();
                assert_eq!(slots, [1, 2]);
                assert!(replies.iter().all(|frame| frame[16..18] == [0, 1]));
            },
        ),
    ])
}

fn identify() -> Step {
    exchange(
        |bench| assert!(bench.send(&frames::ata(1, 1, 9, 0xec, 0, 1, &[]))),
        1,
        |_, replies| {
            check_reply(&replies[0], 1, 1, 0);
            assert_eq!(replies[0].len(), DATA + 512);
            assert_eq!(status(&replies[0]).0, 0x40);
            let word = |index: usize| {
                u16::from_le_bytes([replies[0][DATA + 2 * index], replies[0][DATA + 2 * index + 1]])
            };
            assert_eq!((word(100), word(101)), (16384, 0), "sectors of the malloc bdev");
        },
    )
}

fn round_trip(slot: u8) -> Step {
    let seed = u32::from(slot) * 100;
    chain(vec![
        exchange(
            move |bench| {
                assert!(bench.send(&frames::write(slot, 1, 1000, &pattern(seed, 16))));
                assert!(bench.send(&frames::write(slot, 2, 1016, &pattern(seed + 1, 1))));
            },
            2,
            move |_, replies| {
                for reply in &replies {
                    check_reply(reply, 1, slot, 0);
                    assert_eq!(status(reply), (0x40, 0));
                    assert_eq!(reply.len(), 60, "no data in the answer to a write");
                }
            },
        ),
        exchange(
            move |bench| {
                assert!(bench.send(&frames::read(slot, 3, 1000, 16)));
                assert!(bench.send(&frames::read(slot, 4, 1015, 2)));
            },
            2,
            move |_, replies| {
                assert_eq!(replies[0].len(), DATA + 16 * 512);
                assert_eq!(replies[0][DATA..], pattern(seed, 16));
                let mut expected = pattern(seed, 16)[15 * 512..].to_vec();
                expected.extend(pattern(seed + 1, 1));
                assert_eq!(replies[1][DATA..], expected);
                check_reply(&replies[1], 1, slot, 0);
            },
        ),
    ])
}

fn flushed_file() -> Step {
    exchange(
        |bench| assert!(bench.send(&frames::flush(2, 5)) && bench.send(&frames::flush(1, 6))),
        2,
        |bench, replies| {
            assert!(replies.iter().all(|reply| status(reply) == (0x40, 0)), "both flushes succeed");
            let mut file = std::fs::File::open(&bench.path).expect("the file behind 1.2");
            let mut bytes = vec![0; 16 * 512];
            file.seek(SeekFrom::Start(1000 * 512)).expect("seek");
            file.read_exact(&mut bytes).expect("read");
            assert_eq!(bytes, pattern(200, 16));
        },
    )
}

fn segments() -> Step {
    let data = pattern(77, 16);
    let expected = data.clone();
    chain(vec![
        exchange(
            move |bench| {
                let frame = frames::write(1, 1, 0, &data);
                // Inside the data, at its start, and inside the headers, as a PMD with small rooms might cut.
                bench.send_segments(&frame, &[100, 2048, 4096]);
                bench.send_segments(&frames::write(1, 2, 16, &data), &[DATA]);
                bench.send_segments(&frames::write(1, 3, 32, &data), &[20, 40]);
            },
            3,
            |_, replies| assert!(replies.iter().all(|reply| status(reply) == (0x40, 0)), "{replies:x?}"),
        ),
        exchange(
            |bench| {
                for (index, tag) in (4..7).enumerate() {
                    assert!(bench.send(&frames::read(1, tag, 16 * index as u64, 16)));
                }
            },
            3,
            move |_, replies| {
                for reply in &replies {
                    assert!(reply[DATA..] == expected, "data of the write with tag {}", tag(reply) - 3);
                }
            },
        ),
    ])
}

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

fn drops() -> Step {
    let before = Rc::new(Cell::new(0));
    let noted = Rc::clone(&before);
    chain(vec![
        Box::new(move |bench, _| {
            noted.set(bench.drops(DropReason::UnknownShelfSlot));
            assert!(bench.send(&frames::read(9, 1, 0, 1)), "slot 9 is not ours");
            let mut response = frames::read(1, 2, 0, 1);
            response[14] |= 0x08;
            assert!(bench.send(&response));
            assert!(bench.send(&frames::read(1, 3, 0, 1)[..30]));
            let mut foreign = frames::read(1, 4, 0, 1);
            foreign[13] = 0xa3;
            assert!(bench.send(&foreign));
            assert!(bench.send(&[0xff; 13]));
            let mut other = frames::read(1, 5, 0, 1);
            other[5] = 0x77;
            assert!(bench.send(&other));
            true
        }),
        silence(1000),
        Box::new(move |bench, _| {
            assert_eq!(bench.drops(DropReason::UnknownShelfSlot), before.get() + 1);
            for reason in [
                DropReason::IsResponse,
                DropReason::TooShort,
                DropReason::NotAoe,
                DropReason::Runt,
                DropReason::NotOurMac,
            ] {
                assert_eq!(bench.drops(reason), 1, "{}", reason.name());
            }
            true
        }),
    ])
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
            assert!(waits >= u64::from(snapshot.under_way) - 200, "{waits} of {} wait", snapshot.under_way);
            assert!(waits > 0, "{} requests in flight fit SPDK's memory", snapshot.under_way);
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
        let waiting: usize = bench.lcore.snapshot().lanes.iter().map(|lane| lane.tx_waiting).sum();
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

fn removal() -> Step {
    let done = Rc::new(Cell::new(false));
    let noted = Rc::clone(&done);
    chain(vec![
        exchange(
            |bench| {
                for tag in 0..40 {
                    assert!(bench.send(&frames::write(2, tag, u64::from(tag) * 16, &pattern(tag, 16))));
                }
                // One burst is now with the kernel, before any of it can have ended here.
                bench.lcore.turn();
                bench.lcore.turn();
                assert!(bench.lcore.under_way() > 0, "the file's writes are under way");
                bench.lcore.remove(ExportId(1), move || noted.set(true));
                assert!(bench.send(&frames::read(2, 99, 0, 1)), "comes too late");
            },
            40,
            |_, replies| assert!(replies.iter().all(|reply| status(reply) == (0x40, 0))),
        ),
        silence(1000),
        Box::new(move |bench, _| {
            assert!(done.get(), "the last answer ends the removal");
            assert_eq!(bench.lcore.snapshot().exports.len(), 1);
            let (malloc, file) = (bench.malloc.clone(), bench.file.clone());
            // And in again, under the same number.
            bench.lcore.add(crate::export(1, "1.2", &file), &file).expect("its place is free");
            let taken = bench.lcore.add(crate::export(2, "1.2", &malloc), &malloc);
            assert!(taken.is_err(), "an address is served once");
            true
        }),
    ])
}

fn offline() -> Step {
    exchange(
        |bench| {
            bench.lcore.take_offline(ExportId(1));
            assert!(bench.send(&frames::read(2, 1, 0, 1)));
            assert!(bench.send(&frames::write(2, 2, 0, &pattern(1, 1))));
            assert!(bench.send(&frames::query(1, 2, 3)));
            assert!(bench.send(&frames::read(1, 4, 0, 1)));
        },
        4,
        |_, replies| {
            assert_eq!(status(&replies[0]).0, 0x61, "device fault");
            assert_eq!(status(&replies[1]).0, 0x61);
            check_reply(&replies[2], 1, 2, 1);
            assert_eq!(status(&replies[3]), (0x40, 0), "the other export goes on");
        },
    )
}

fn advertisements() -> Step {
    exchange(
        |bench| bench.lcore.advertise(None, ShelfSlot::WILDCARD),
        2,
        |_, replies| {
            for reply in &replies {
                assert_eq!(reply[..6], [0xff; 6]);
                assert_eq!(reply[6..12], frames::TARGET);
                assert_eq!((reply[14], reply[19], tag(reply)), (0x18, 1, 0));
                assert_eq!(reply.len(), 60);
            }
        },
    )
}

fn conservation() -> Step {
    chain(vec![
        silence(1000),
        Box::new(|bench, _| {
            assert_eq!(bench.lcore.under_way(), 0);
            assert_eq!(bench.pool.available(), MBUFS, "of the lane's pool");
            assert_eq!(bench.outside.available(), bench.outside.size(), "of the initiator's");
            true
        }),
    ])
}
