use super::*;

fn frame(shelf: u16, slot: u8, initiator: u32, tag: u32, tagged: bool) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1];
    // Machines of one maker that were bought together.
    frame.extend([0x00, 0x25, 0x90]);
    frame.extend(&(0x1a_2b00 + initiator).to_be_bytes()[1..]);
    if tagged {
        frame.extend([0x81, 0, 0, 7]);
    }
    frame.extend([0x88, 0xa2, 0x10, 0]);
    frame.extend(shelf.to_be_bytes());
    frame.extend([slot, 0]);
    frame.extend(tag.to_be_bytes());
    frame
}

#[test]
fn an_export_s_commands_have_one_owner_whoever_sends_them() {
    for nth in 0..100u32 {
        let first = owner_of(&frame(3, 4, 0, 0, false), 7);
        assert!(first.is_some_and(|queue| queue < 7));
        assert_eq!(owner_of(&frame(3, 4, nth, nth.wrapping_mul(0x9e37_79b9), nth % 2 == 0), 7), first);
    }
}

#[test]
fn exports_of_a_shelf_or_of_many_shelves_are_shared_evenly() {
    let shelf = |nth: u32| (1u16, u8::try_from(nth % 255).expect("a slot"));
    let shelves = |nth: u32| (u16::try_from(nth + 1).expect("a shelf"), 0u8);
    let addresses: [fn(u32) -> (u16, u8); 2] = [shelf, shelves];
    for address in addresses {
        for queues in [2usize, 3, 4, 8, 16] {
            for exports in [2 * queues, 4 * queues, 250] {
                let exports = u32::try_from(exports.min(250)).expect("few");
                let mut load = vec![0u32; queues];
                for nth in 0..exports {
                    let (shelf, slot) = address(nth);
                    load[owner_of(&frame(shelf, slot, 0, 0, false), queues).expect("an owner")] += 1;
                }
                let most = *load.iter().max().expect("a queue");
                let even = f64::from(exports) / queues as f64;
                assert!(f64::from(most) <= 1.5 * even + 1.0, "{queues} queues, {exports} exports: {load:?}");
            }
        }
    }
}

#[test]
fn what_is_no_ata_command_to_one_export_has_no_owner() {
    let plain = frame(3, 4, 0, 0, false);
    assert_eq!(owner_of(&plain, 1), Some(0));
    assert!((0..20).all(|short| owner_of(&plain[..short], 7).is_none()));
    assert_eq!(owner_of(&frame(0xffff, 4, 0, 0, false), 7), None);
    assert_eq!(owner_of(&frame(3, 0xff, 0, 0, true), 7), None);
    let mut query = plain.clone();
    query[19] = 1;
    assert_eq!(owner_of(&query, 7), None, "a config query");
    let mut other = plain;
    other[13] = 0;
    assert_eq!(owner_of(&other, 7), None, "not AoE");
}

#[test]
fn only_what_changes_nothing_is_asked_of_every_address() {
    let query = |destination: u8, flags: u8, command: u8, config: u8, tagged: bool| {
        let mut bytes = frame(1, 1, 1, 2, tagged);
        bytes[..6].fill(destination);
        let at = bytes.len() - 10;
        (bytes[at], bytes[at + 5]) = (flags, command);
        bytes.extend([0, 0, 0, 0, 0, config, 0, 0]);
        bytes
    };
    for tagged in [false, true] {
        for config in 0..=2 {
            assert!(asks_every_address(&query(0xff, 0x10, 1, 0x10 | config, tagged)), "{config}");
        }
        for (what, bytes) in [
            ("a set", query(0xff, 0x10, 1, 3, tagged)),
            ("a forced set", query(0xff, 0x10, 1, 4, tagged)),
            ("an ATA command", query(0xff, 0x10, 0, 0, tagged)),
            ("a reservation", query(0xff, 0x10, 3, 0, tagged)),
            ("an answer", query(0xff, 0x18, 1, 0, tagged)),
            ("to one address", query(0x02, 0x10, 1, 0, tagged)),
        ] {
            assert!(!asks_every_address(&bytes), "{what}");
        }
        let query = query(0xff, 0x10, 1, 0, tagged);
        assert!((0..query.len() - 2).all(|short| !asks_every_address(&query[..short])));
    }
}
