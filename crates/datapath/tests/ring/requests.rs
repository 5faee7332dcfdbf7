//! Requests and their replies, and frames without a reply.

use std::cell::Cell;
use std::rc::Rc;

use aoe_target::DropReason;
use ring_lab::frames::{self, DATA, check_reply, pattern, status, tag};

use crate::script::{Scenario, Step, chain, exchange, silence};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("a_query_is_answered_by_each_export_it_means", queries),
    ("identify_tells_the_size", identify),
    ("what_was_written_is_read_back", || round_trip(1)),
    ("the_same_through_a_file", || round_trip(2)),
    ("a_write_in_segments_arrives_whole", segments),
    ("frames_that_are_no_requests_are_counted_by_reason", drops),
];

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
