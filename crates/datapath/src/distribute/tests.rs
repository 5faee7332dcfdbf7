use super::*;

/// How much more than its even share a queue may get of many requests; and of the first few hundred.
const FAR: f64 = 1.05;
const NEAR: f64 = 1.25;

fn frame(initiator: u32, tag: u32, tagged: bool) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1];
    // Machines of one maker that were bought together.
    frame.extend([0x00, 0x25, 0x90]);
    frame.extend(&(0x1a_2b00 + initiator).to_be_bytes()[1..]);
    if tagged {
        frame.extend([0x81, 0, 0, 7]);
    }
    frame.extend([0x88, 0xa2, 0x10, 0, 0, 1, 1, 0]);
    frame.extend(tag.to_be_bytes());
    frame
}

/// The tag of an initiator's `nth` request.
type Tag = fn(u32) -> u32;

/// Tags as the initiators in use make them.
const TAGS: [(&str, Tag); 5] = [
    // drivers/block/aoe/aoecmd.c, newtag: a number in the upper half, bit 31 clear, the clock in the lower. At
    // 4000 requests a tick of 4 ms, and at one.
    ("Linux under load", |nth| (nth & 0x7fff) << 16 | (nth / 4000) & 0xffff),
    ("Linux", |nth| (nth & 0x7fff) << 16 | nth & 0xffff),
    // 0x18ae0000 and a number.
    ("iPXE", |nth| 0x18ae_0000 | nth & 0xffff),
    // A number, in the byte order of its CPU.
    ("WinAoE", u32::swap_bytes),
    ("a number", |nth| nth),
];

/// The largest queue's share, as a multiple of the even one.
fn imbalance(queues: usize, initiators: u32, requests: u32, tag: Tag) -> f64 {
    let mut load = vec![0u32; queues];
    for initiator in 0..initiators {
        let mut bytes = frame(initiator, 0, false);
        let at = bytes.len() - 4;
        for nth in 0..requests {
            bytes[at..].copy_from_slice(&tag(nth).to_be_bytes());
            load[queue_of(&bytes, queues).expect("long enough")] += 1;
        }
    }
    let (most, all) = (*load.iter().max().expect("a queue"), load.iter().sum::<u32>());
    f64::from(most) * queues as f64 / f64::from(all)
}

#[test]
fn every_queue_gets_its_share_from_1_10_and_100_initiators() {
    for (name, tag) in TAGS {
        for queues in [2usize, 3, 4, 8, 16, 24] {
            for (initiators, requests) in [(1, 20_000), (10, 4_000), (100, 1_000)] {
                let far = imbalance(queues, initiators, requests, tag);
                println!("{name}: {queues} queues, {initiators} initiators: {far:.3}");
                assert!(far <= FAR, "{name}: {queues} queues, {initiators} initiators: {far:.3}");
                let few = u32::try_from(64 * queues).expect("few") / initiators.min(10);
                let near = imbalance(queues, initiators, few, tag);
                assert!(near <= NEAR, "{name}: {queues} queues, {initiators} initiators, soon: {near:.3}");
            }
        }
    }
}

#[test]
fn a_tag_of_a_vlan_changes_nothing_and_short_frames_are_nobodys() {
    for nth in 0..100 {
        let (plain, tagged) = (frame(3, nth, false), frame(3, nth, true));
        assert_eq!(queue_of(&plain, 7), queue_of(&tagged, 7));
        assert!(queue_of(&plain, 7).is_some_and(|queue| queue < 7));
        assert_eq!(queue_of(&plain, 1), Some(0));
        for short in 0..plain.len() {
            assert_eq!(queue_of(&plain[..short], 7), None, "{short} bytes");
        }
    }
}

#[test]
fn only_what_changes_nothing_is_asked_of_every_station() {
    let query = |destination: u8, flags: u8, command: u8, config: u8, tagged: bool| {
        let mut bytes = frame(1, 2, tagged);
        bytes[..6].fill(destination);
        let at = bytes.len() - 10;
        (bytes[at], bytes[at + 5]) = (flags, command);
        bytes.extend([0, 0, 0, 0, 0, config, 0, 0]);
        bytes
    };
    for tagged in [false, true] {
        for config in 0..=2 {
            assert!(asks_every_station(&query(0xff, 0x10, 1, 0x10 | config, tagged)), "{config}");
        }
        for (what, bytes) in [
            ("a set", query(0xff, 0x10, 1, 3, tagged)),
            ("a forced set", query(0xff, 0x10, 1, 4, tagged)),
            ("an ATA command", query(0xff, 0x10, 0, 0, tagged)),
            ("a reservation", query(0xff, 0x10, 3, 0, tagged)),
            ("an answer", query(0xff, 0x18, 1, 0, tagged)),
            ("to one station", query(0x02, 0x10, 1, 0, tagged)),
        ] {
            assert!(!asks_every_station(&bytes), "{what}");
        }
        let query = query(0xff, 0x10, 1, 0, tagged);
        assert!((0..query.len() - 2).all(|short| !asks_every_station(&query[..short])));
    }
}
