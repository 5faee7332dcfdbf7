//! VLANs: who is reached by which tag, and that what came tagged leaves tagged.

use aoe_target::{DropReason, ExportId, ShelfSlot, VlanId};
use ring_lab::frames::{self, DATA, check_reply, pattern, status, tag};

use crate::script::{Scenario, Step, chain, exchange, silence};

pub(crate) const SCENARIOS: &[Scenario] = &[("what_comes_tagged_leaves_tagged_and_vlans_are_apart", all)];

const ID: ExportId = ExportId(9);
/// Priority 3, VLAN 100.
const TCI: u16 = 3 << 13 | 100;

/// The frame with a tag.
fn tagged(frame: &[u8], protocol: u16, tci: u16) -> Vec<u8> {
    [&frame[..12], &protocol.to_be_bytes(), &tci.to_be_bytes(), &frame[12..]].concat()
}

/// The frame without the tag it must have.
fn untagged(frame: &[u8], tci: u16) -> Vec<u8> {
    assert_eq!(frame[12..14], [0x81, 0x00], "no tag: {frame:02x?}");
    assert_eq!(frame[14..16], tci.to_be_bytes());
    [&frame[..12], &frame[16..]].concat()
}

/// 1.9 in VLAN 100 beside the exports outside of any.
fn all() -> Step {
    let data = pattern(77, 16);
    let written = data.clone();
    chain(vec![
        Box::new(|bench, _| {
            let export = ring_lab::export(ID.0, "1.9", &bench.malloc).in_vlan(VlanId::new(100));
            bench.lcore.add(Box::new(export), &bench.malloc).expect("1.9 is free");
            true
        }),
        answered_in_the_vlan(),
        exchange(
            move |bench| {
                // Its payload is in segments of its own.
                let write = tagged(&frames::write(9, 5, 512, &data), 0x8100, TCI);
                bench.send_segments(&write, &[DATA + 4, 2048, 5000]);
            },
            1,
            |_, replies| {
                let reply = untagged(&replies[0], TCI);
                check_reply(&reply, 1, 9, 0);
                assert_eq!(status(&reply), (0x40, 0));
            },
        ),
        exchange(
            |bench| assert!(bench.send(&tagged(&frames::read(9, 6, 512, 16), 0x8100, TCI))),
            1,
            move |_, replies| {
                let reply = untagged(&replies[0], TCI);
                check_reply(&reply, 1, 9, 0);
                assert!(reply[DATA..] == written[..], "what was written is read");
            },
        ),
        a_priority_is_no_vlan(),
        kept_apart(),
        exchange(
            |bench| bench.lcore.advertise(None, ShelfSlot::WILDCARD),
            3,
            |_, mut replies| {
                replies.retain(|reply| reply[12..14] != [0x88, 0xa2]);
                assert_eq!(replies.len(), 1, "one export is in a VLAN");
                let reply = untagged(&replies[0], 100);
                assert_eq!((reply[18], tag(&reply), reply.len()), (9, 0, 60));
            },
        ),
        Box::new(|bench, _| {
            bench.lcore.remove(ID, || ());
            true
        }),
        silence(100),
    ])
}

fn answered_in_the_vlan() -> Step {
    exchange(
        |bench| {
            for request in [frames::query(1, 9, 1), frames::query(0xffff, 0xff, 2), frames::read(9, 3, 0, 1)]
            {
                assert!(bench.send(&tagged(&request, 0x8100, TCI)));
            }
        },
        3,
        |_, replies| {
            let mut replies: Vec<Vec<u8>> = replies.iter().map(|reply| untagged(reply, TCI)).collect();
            replies.sort_by_key(|reply| tag(reply));
            check_reply(&replies[0], 1, 9, 1);
            check_reply(&replies[1], 1, 9, 1);
            check_reply(&replies[2], 1, 9, 0);
        },
    )
}

fn a_priority_is_no_vlan() -> Step {
    exchange(
        |bench| {
            assert!(bench.send(&tagged(&frames::query(1, 1, 1), 0x8100, 5 << 13)));
            assert!(bench.send(&tagged(&frames::read(1, 2, 0, 1), 0x8100, 0)));
        },
        2,
        |_, replies| {
            check_reply(&replies[0], 1, 1, 1);
            check_reply(&replies[1], 1, 1, 0);
        },
    )
}

/// Frames that reach nobody, each with its reason.
fn kept_apart() -> Step {
    let query = |slot| frames::query(1, slot, 1);
    let in_vlan = |slot| tagged(&query(slot), 0x8100, 100);
    let cases = [
        (query(9), DropReason::UnknownShelfSlot),
        (in_vlan(1), DropReason::UnknownShelfSlot),
        (tagged(&query(9), 0x8100, 101), DropReason::UnknownShelfSlot),
        (tagged(&query(1), 0x8100, 4095), DropReason::UnknownShelfSlot),
        (tagged(&query(9), 0x88a8, 100), DropReason::DoubleTagged),
        (tagged(&in_vlan(9), 0x8100, 100), DropReason::DoubleTagged),
        (tagged(&in_vlan(9), 0x88a8, 7), DropReason::DoubleTagged),
        (tagged(&in_vlan(9), 0x8100, 0), DropReason::DoubleTagged),
        (in_vlan(9)[..14].to_vec(), DropReason::Runt),
        (in_vlan(9)[..17].to_vec(), DropReason::Runt),
        (in_vlan(9)[..18].to_vec(), DropReason::TooShort),
        (in_vlan(9)[..35].to_vec(), DropReason::TooShort),
        ([&in_vlan(9)[..16], &[0x08, 0x06, 0, 0]].concat(), DropReason::NotAoe),
    ];
    let reasons: Vec<DropReason> = cases.iter().map(|(_, reason)| *reason).collect();
    let expected = reasons.clone();
    chain(vec![
        Box::new(move |bench, _| {
            let due = |reason: &DropReason| {
                bench.drops(*reason) + reasons.iter().map(|other| u64::from(other == reason)).sum::<u64>()
            };
            DUE.set(reasons.iter().map(due).collect());
            for (frame, _) in &cases {
                assert!(bench.send(frame));
            }
            true
        }),
        silence(100),
        Box::new(move |bench, _| {
            for (reason, due) in expected.iter().zip(DUE.take()) {
                assert_eq!(bench.drops(*reason), due, "{}", reason.name());
            }
            true
        }),
    ])
}

thread_local! {
    /// Drops there are to be, from one step to the next.
    static DUE: std::cell::Cell<Vec<u64>> = const { std::cell::Cell::new(Vec::new()) };
}
