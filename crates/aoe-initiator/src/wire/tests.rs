use super::*;
use proptest::prelude::*;

const NEAR: Mac = Mac([0x02, 0, 0, 0, 0, 0x0a]);
const FAR: Mac = Mac([0x02, 0, 0, 0, 0, 0x0b]);

const fn envelope() -> Envelope {
    Envelope { dst: FAR, src: NEAR, address: ShelfSlot::new(0x0102, 3), tag: 0x1122_3344 }
}

/// A read of 8 sectors at LBA 0x0605_0403_0201, byte for byte.
const READ_FRAME: [u8; 36] = [
    0x02, 0, 0, 0, 0, 0x0b, // destination
    0x02, 0, 0, 0, 0, 0x0a, // source
    0x88, 0xa2, // EtherType
    0x10, 0x00, // version 1, no flags; error
    0x01, 0x02, 0x03, // shelf, slot
    0x00, // command: ATA
    0x11, 0x22, 0x33, 0x44, // tag
    0x40, 0x00, 0x08, 0x24, // AFlags: LBA48; feature; 8 sectors; READ SECTORS EXT
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, // LBA, least significant byte first
    0x00, 0x00, // reserved
];

#[test]
fn a_read_request_is_these_bytes() {
    assert_eq!(AtaRequest::read(0x0605_0403_0201, 8).frame(&envelope(), &[]), READ_FRAME);
}

#[test]
fn a_28_bit_write_has_the_device_bits_and_its_data() {
    let data = [0xd7; SECTOR];
    let frame = AtaRequest::write28(0x0abc_def1, 1).frame(&envelope(), &data);
    assert_eq!(frame[24..36], [0x01, 0, 1, 0x30, 0xf1, 0xde, 0xbc, 0xea, 0, 0, 0, 0]);
    assert_eq!(frame[36..], data);
}

#[test]
fn a_config_request_is_these_bytes() {
    let frame = config_frame(&envelope(), ConfigCommand::Prefix, b"ab");
    assert_eq!(frame[..19], READ_FRAME[..19]);
    assert_eq!(frame[19..], [1, 0x11, 0x22, 0x33, 0x44, 0, 0, 0, 0, 0, 0x12, 0, 2, b'a', b'b']);
}

fn ata_reply() -> Vec<u8> {
    let mut frame = READ_FRAME.to_vec();
    frame[14] = 0x18;
    frame[27] = 0x40;
    frame.resize(MIN_FRAME, 0);
    frame
}

#[test]
fn an_ata_reply_is_read_field_by_field() {
    let frame = ata_reply();
    let reply = Reply::parse(&frame).unwrap();
    assert_eq!((reply.dst, reply.src), (FAR, NEAR));
    assert_eq!((reply.version, reply.flags, reply.error), (1, 8, 0));
    assert_eq!((reply.address, reply.command, reply.tag), (ShelfSlot::new(0x0102, 3), 0, 0x1122_3344));
    let Body::Ata(ata) = reply.body else { panic!("{reply:?}") };
    assert_eq!((ata.aflags, ata.error, ata.count, ata.status), (0x40, 0, 8, 0x40));
    assert_eq!((ata.lba, ata.reserved, ata.data.len()), (0x0605_0403_0201, 0, 24));
    assert!(!ata.failed());
    assert!(reply.breaches().is_empty(), "{:?}", reply.breaches());
}

#[test]
fn each_failure_bit_makes_a_reply_a_failure() {
    for bit in 0..8 {
        let mut frame = ata_reply();
        frame[27] = 1 << bit;
        let Body::Ata(ata) = Reply::parse(&frame).unwrap().body else { panic!() };
        assert_eq!(ata.failed(), [0, 3, 5, 7].contains(&bit), "bit {bit}");
    }
}

#[test]
fn what_a_config_reply_says() {
    let mut frame = config_frame(&envelope(), ConfigCommand::Read, b"name");
    frame[14] = 0x18;
    frame[24..29].copy_from_slice(&[0x01, 0x02, 0x40, 0x19, 16]);
    frame.resize(MIN_FRAME, 0);
    let reply = Reply::parse(&frame).unwrap();
    let Body::Config(config) = reply.body else { panic!("{reply:?}") };
    assert_eq!((config.buffer_count, config.firmware, config.sector_count), (0x0102, 0x4019, 16));
    assert_eq!((config.version, config.config_command, config.string), (1, 0, &b"name"[..]));
    assert!(reply.breaches().is_empty(), "{:?}", reply.breaches());
}

#[test]
fn every_rule_broken_is_named() {
    let cases: [(usize, u8, &str); 7] = [
        (14, 0x10, "R flag"),
        (14, 0x08, "version nibble 0"),
        (14, 0x1a, "reserved flag bits"),
        (15, 1, "error byte 1 without"),
        (16, 0xff, ""),
        (18, 0xff, "wildcard address"),
        (34, 1, "reserved ATA bytes"),
    ];
    for (at, value, named) in cases {
        let mut frame = ata_reply();
        frame[at] = value;
        let breaches = Reply::parse(&frame).unwrap().breaches();
        if named.is_empty() {
            assert!(breaches.is_empty(), "shelf 0xff02 is no wildcard: {breaches:?}");
        } else {
            assert!(breaches.len() == 1 && breaches[0].contains(named), "byte {at}: {breaches:?}");
        }
    }
    let short = &ata_reply()[..36];
    assert_eq!(Reply::parse(short).unwrap().breaches(), ["36 bytes, replies are padded to 60"]);
}

#[test]
fn what_is_too_short_or_foreign_is_refused() {
    let frame = ata_reply();
    assert_eq!(Reply::parse(&frame[..23]), Err(Malformed::Short { len: 23, command: 0, needed: HEADER_LEN }));
    assert_eq!(Reply::parse(&frame[..35]), Err(Malformed::Short { len: 35, command: 0, needed: 36 }));
    let mut other = frame.clone();
    other[13] = 0xa3;
    assert_eq!(Reply::parse(&other), Err(Malformed::EtherType(0x88a3)));
    let mut config = config_frame(&envelope(), ConfigCommand::Read, b"ab");
    config.pop();
    assert_eq!(Reply::parse(&config), Err(Malformed::ConfigLength { length: 2, room: 1 }));
}

#[test]
fn an_error_reply_may_be_as_short_as_the_header() {
    let mut frame = ata_reply();
    frame.truncate(HEADER_LEN);
    frame[14] = 0x1c;
    frame[15] = 2;
    let reply = Reply::parse(&frame).unwrap();
    assert!(reply.is_error() && reply.error == 2 && reply.body == Body::Other(&[]));
}

#[test]
fn identify_is_read_as_linux_reads_it() {
    let mut page = [0u8; SECTOR];
    let mut word = |index: usize, value: u16| page[index * 2..][..2].copy_from_slice(&value.to_le_bytes());
    word(83, 0x7400);
    word(60, 0xffff);
    word(61, 0x0fff);
    word(100, 0x5678);
    word(101, 0x1234);
    word(102, 0x0001);
    for (index, pair) in [(10, *b"S1"), (27, *b"kv"), (28, *b"bl")] {
        word(index, u16::from_be_bytes(pair));
    }
    let identity = Identity::parse(&page);
    assert!(identity.lba48 && identity.flush && identity.flush_ext);
    assert_eq!(identity.sectors, 0x1_1234_5678);
    assert_eq!(identity.sectors28, 0x0fff_ffff);
    assert!(identity.serial.starts_with("S1") && identity.model.starts_with("kvbl"));
    page[83 * 2 + 1] = 0;
    assert_eq!(Identity::parse(&page).sectors, 0x0fff_ffff);
}

#[test]
fn addresses_are_read_and_refused_by_name() {
    assert_eq!("65534.254".parse::<ShelfSlot>().unwrap(), ShelfSlot::new(65534, 254));
    for bad in ["", "1", "1.", ".1", "65535.1", "1.255", "1.1.1", "-1.1", "1.x"] {
        let error = bad.parse::<ShelfSlot>().unwrap_err().to_string();
        assert!(error.contains(&format!("{bad:?}")) && error.contains("SHELF.SLOT"), "{error}");
    }
}

proptest! {
    /// Whatever arrives, parsing it returns; and what it returns is what is in the frame.
    #[test]
    fn any_bytes_can_be_parsed(mut frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        if frame.len() >= 14 {
            frame[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
        }
        if let Ok(reply) = Reply::parse(&frame) {
            prop_assert_eq!(reply.tag.to_be_bytes(), &frame[20..24]);
            prop_assert_eq!(reply.command, frame[19]);
            // The result is arbitrary; the call must not panic.
            let _ = reply.breaches();
        }
    }

    /// A request that comes back as it is reads as what was asked.
    #[test]
    fn a_request_reads_back(lba in 0u64..1 << 48, count: u8, tag: u32, shelf: u16, slot: u8) {
        let envelope = Envelope { address: ShelfSlot { shelf, slot }, tag, ..envelope() };
        let frame = AtaRequest::read(lba, count).frame(&envelope, &[]);
        let reply = Reply::parse(&frame).unwrap();
        prop_assert_eq!((reply.address, reply.tag), (envelope.address, tag));
        let Body::Ata(ata) = reply.body else { panic!() };
        prop_assert_eq!((ata.lba, ata.count), (lba, count));
    }
}

#[test]
fn a_request_written_through_the_view_is_what_the_codec_writes() {
    let mut head = AtaRequestMut::template(&Envelope { src: Mac([0; 6]), tag: 0, ..envelope() });
    let mut view = AtaRequestMut::new(&mut head);
    view.set_src(NEAR);
    view.set_tag(0x1122_3344);
    view.set_request(&AtaRequest::read(0x0605_0403_0201, 8));
    assert_eq!(head, READ_FRAME);
}

#[test]
fn the_reply_view_takes_only_ata_replies_without_an_error() {
    let mut frame = READ_FRAME;
    assert!(AtaReplyView::of(&frame).is_none(), "a request");
    frame[14] |= 0x08;
    let view = AtaReplyView::of(&frame).expect("a reply");
    assert_eq!((view.tag(), view.address(), view.dst()), (0x1122_3344, ShelfSlot::new(0x0102, 3), FAR));
    assert_eq!((view.status(), view.error()), (frame[27], frame[25]));
    for (at, value) in [(12, 0x08), (14, 0x1c), (14, 0x28), (15, 1), (19, 1)] {
        let mut other = frame;
        other[at] = value;
        assert!(AtaReplyView::of(&other).is_none(), "byte {at} {value:#x}");
    }
    assert!(AtaReplyView::of(&frame[..35]).is_none(), "cut off");
}

#[test]
fn a_received_request_is_what_was_sent_and_its_reply_keeps_the_rules() {
    let write = AtaRequest::write(0x0605_0403_0201, 1).frame(&envelope(), &[7; SECTOR]);
    let received = Received::parse(&write).expect("a request");
    assert_eq!((received.envelope, received.request), (envelope(), AtaRequest::write(0x0605_0403_0201, 1)));
    assert_eq!(received.data, [7; SECTOR]);
    let mut answer = received.reply(0, (ata::DRDY, 0), &[]);
    assert!(Received::parse(&answer).is_none(), "a reply is no request");
    answer.resize(MIN_FRAME, 0);
    let reply = Reply::parse(&answer).expect("a reply");
    assert_eq!(reply.breaches(), Vec::<String>::new());
    assert_eq!((reply.dst, reply.src, reply.tag), (NEAR, FAR, envelope().tag));
    let refused = received.reply(6, (ata::DRDY, 0), &[]);
    let reply = Reply::parse(&refused).expect("a reply");
    assert!(reply.is_error() && reply.error == 6);
}

#[test]
fn reservations_and_masks_are_these_bytes() {
    let reserve = reserve_frame(&envelope(), 2, &[NEAR, FAR]);
    assert_eq!(reserve[19..26], [3, 0x11, 0x22, 0x33, 0x44, 2, 2]);
    assert_eq!(reserve[26..], [NEAR.0, FAR.0].concat());
    let mask = mask_add_frame(&envelope(), NEAR);
    assert_eq!(mask[19..30], [2, 0x11, 0x22, 0x33, 0x44, 0, 1, 0, 1, 0, 1]);
    assert_eq!(mask[30..], NEAR.0);
}
