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
fn an_ata_command_to_one_export_is_recognised() {
    let plain = frame(3, 4, 0, 0, false);
    assert!(is_for_one_export(&plain) && is_for_one_export(&frame(3, 4, 0, 0, true)));
    assert!((0..20).all(|short| !is_for_one_export(&plain[..short])));
    assert!(!is_for_one_export(&frame(0xffff, 4, 0, 0, false)));
    assert!(!is_for_one_export(&frame(3, 0xff, 0, 0, true)));
    let mut query = plain.clone();
    query[19] = 1;
    assert!(!is_for_one_export(&query), "a config query");
    let mut other = plain;
    other[13] = 0;
    assert!(!is_for_one_export(&other), "not AoE");
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
