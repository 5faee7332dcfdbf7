//! Replies written over requests: what initiators read, and what must not be touched.

use aoe_target::reply::FIRMWARE_VERSION;
use aoe_target::{
    BdevIo, BdevOp, Disposition, Export, IoOutcome, MacAddr, Reply, Request, emit_advertisement,
};
use ata::{AddressWidth, Lba, SectorCount};
use proptest::prelude::*;

use crate::frames::{INITIATOR, PORT, ata, ata_write, config, export, jumbo, with_config};

fn immediate(export: &Export, frame: &[u8]) -> Reply {
    let request = Request::parse(frame, frame.len()).unwrap();
    match export.admit(&request, frame, frame.len(), jumbo()) {
        Disposition::Reply(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn submitted(frame: &[u8]) -> BdevIo {
    let request = Request::parse(frame, frame.len()).unwrap();
    match export().admit(&request, frame, frame.len(), jumbo()) {
        Disposition::Submit(io) => io,
        other => panic!("{other:?}"),
    }
}

/// The reply to `frame` in a buffer of stale bytes, and how long it is.
fn emitted(reply: Reply, export: &Export, frame: &[u8], room: usize) -> (Vec<u8>, usize) {
    let mut buffer = vec![0xa5; room.max(frame.len())];
    buffer[..frame.len()].copy_from_slice(frame);
    let length = reply.emit(&mut buffer, PORT, export, jumbo()).unwrap();
    (buffer, length)
}

#[test]
fn a_finished_read_byte_by_byte() {
    let frame = ata(0x24, 2, 0x0102);
    let reply = Reply::completed(&submitted(&frame), IoOutcome::Ok);
    let mut buffer = vec![0xa5; 36 + 1024];
    buffer[..36].copy_from_slice(&frame);
    buffer[36..].fill(0xd7); // as the bdev left it
    assert_eq!((reply.frame_len(), reply.emit_len()), (1060, 36));
    assert_eq!(reply.emit(&mut buffer, PORT, &export(), jumbo()), Some(1060));
    let mut expected = INITIATOR.to_vec();
    expected.extend(PORT.0);
    expected.extend([0x88, 0xa2, 0x18, 0x00, 0x01, 0x02, 0x03, 0x00, 0xc0, 0xff, 0xee, 0x01]);
    expected.extend([0x40, 0x00, 0x00, 0x40]); // LBA48; no error, no sectors left, DRDY
    expected.extend([0x04, 0x01, 0, 0, 0, 0, 0, 0]); // two sectors on
    assert_eq!(buffer[..36], expected);
    assert!(buffer[36..].iter().all(|byte| *byte == 0xd7), "data is not touched");
}

#[test]
fn the_header_of_a_read_may_stand_alone() {
    // The data may lie in further segments of the mbuf.
    let reply = Reply::completed(&submitted(&ata(0x24, 16, 0)), IoOutcome::Ok);
    let mut head = ata(0x24, 16, 0);
    assert_eq!(reply.emit(&mut head, PORT, &export(), jumbo()), Some(36 + 8192));
}

#[test]
fn a_finished_write_is_60_bytes_of_which_24_are_zero() {
    let frame = ata_write(0x34, 2, 5, 2);
    let reply = Reply::completed(&submitted(&frame), IoOutcome::Ok);
    let (buffer, length) = emitted(reply, &export(), &frame, 0);
    assert_eq!(length, 60);
    assert_eq!(buffer[24..36], [0x40, 0, 0, 0x40, 7, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(buffer[36..60], [0; 24], "no byte of the request's data goes out");
    assert_eq!(buffer[60..], frame[60..]);
}

#[test]
fn a_28_bit_reply_keeps_the_device_nibble() {
    let frame = ata(0x20, 1, 0xe000_00ff);
    let (buffer, _) = emitted(Reply::completed(&submitted(&frame), IoOutcome::Ok), &export(), &frame, 600);
    assert_eq!(buffer[28..34], [0x00, 0x01, 0x00, 0xe0, 0, 0]);
    // At the very end of the 28-bit range the address wraps; nobody reads it.
    let io = BdevIo {
        op: BdevOp::Read,
        lba: Lba(0x0fff_ffff),
        sectors: SectorCount(1),
        width: AddressWidth::Lba28,
    };
    let frame = ata(0x20, 1, 0xefff_ffff);
    let (buffer, _) = emitted(Reply::completed(&io, IoOutcome::Ok), &export(), &frame, 600);
    assert_eq!(buffer[28..34], [0, 0, 0, 0xe0, 0, 0]);
}

#[test]
fn outcomes_become_registers() {
    let (read, write, flush) = (ata(0x24, 2, 9), ata_write(0x34, 2, 9, 2), ata(0xea, 0, 9));
    let outcome = |frame: &[u8], outcome| {
        let reply = Reply::completed(&submitted(frame), outcome);
        assert_eq!(reply.is_ata_error(), outcome != IoOutcome::Ok);
        assert_eq!(reply.aoe_error(), None);
        let (buffer, length) = emitted(reply, &export(), frame, 2000);
        if outcome != IoOutcome::Ok {
            assert_eq!(length, 60, "a failure carries no data");
            assert_eq!(buffer[26], frame[26], "no sector is done");
            assert_eq!(buffer[28..34], frame[28..34], "the address stays");
        }
        (buffer[27], buffer[25])
    };
    for frame in [&read, &write, &flush] {
        assert_eq!(outcome(frame, IoOutcome::Ok), (0x40, 0));
        assert_eq!(outcome(frame, IoOutcome::DeviceFault), (0x61, 0x04));
        assert_eq!(outcome(frame, IoOutcome::OutOfRange), (0x41, 0x10));
        assert_eq!(outcome(frame, IoOutcome::Aborted), (0x41, 0x04));
    }
    assert_eq!(outcome(&read, IoOutcome::MediaError), (0x41, 0x40));
    assert_eq!(outcome(&write, IoOutcome::MediaError), (0x61, 0x04));
    assert_eq!(outcome(&flush, IoOutcome::MediaError), (0x61, 0x04));
    let (buffer, length) =
        emitted(Reply::completed(&submitted(&flush), IoOutcome::Ok), &export(), &flush, 60);
    assert_eq!((length, buffer[26], &buffer[28..34]), (60, 0, &flush[28..34]));
}

#[test]
fn wildcards_are_replaced_by_the_own_address() {
    let mut frame = ata(0xec, 1, 0);
    frame[..6].fill(0xff);
    frame[16..19].fill(0xff);
    let (buffer, length) = emitted(immediate(&export(), &frame), &export(), &frame, 548);
    assert_eq!(length, 548);
    assert_eq!(buffer[..6], INITIATOR);
    assert_eq!(buffer[6..12], PORT.0, "not the broadcast address it was sent to");
    assert_eq!(buffer[16..19], [1, 2, 3]);
}

#[test]
fn an_advertisement_byte_by_byte() {
    let mut named = export();
    named = with_config(named, b"kv");
    named.configure(|settings| settings.buffer_count = 1);
    let mut buffer = vec![0xa5; 64];
    assert_eq!(emit_advertisement(&mut buffer, PORT, MacAddr::BROADCAST, &named, jumbo()), Some(60));
    let mut expected = vec![0xff; 6];
    expected.extend(PORT.0);
    expected.extend([0x88, 0xa2, 0x18, 0x00, 0x01, 0x02, 0x03, 0x01, 0, 0, 0, 0]);
    expected.extend([0, 2]); // buffer count: with 1 Linux would send nothing
    expected.extend(FIRMWARE_VERSION.to_be_bytes());
    expected.extend([16, 0x10, 0, 2, b'k', b'v']);
    expected.resize(60, 0);
    expected.resize(64, 0xa5);
    assert_eq!(buffer, expected);
    named = with_config(named, &[7; 1024]);
    let mut buffer = vec![0xa5; 1056];
    assert_eq!(emit_advertisement(&mut buffer, PORT, MacAddr::BROADCAST, &named, jumbo()), Some(1056));
    assert_eq!(emit_advertisement(&mut buffer[..1055], PORT, MacAddr::BROADCAST, &named, jumbo()), None);
}

#[test]
fn a_string_that_changed_since_admission_is_told_as_it_is() {
    let frame = config(0, b"");
    let reply = immediate(&export(), &frame);
    let mut renamed = export();
    renamed = with_config(renamed, &[7; 100]);
    let (buffer, length) = emitted(reply, &renamed, &frame, 132);
    assert_eq!((length, &buffer[30..32], &buffer[32..]), (132, &[0, 100][..], &[7; 100][..]));
}

proptest! {
    #[test]
    fn emit_touches_only_declared_bytes(
        opcode in prop::sample::select(vec![0x20u8, 0x24, 0x30, 0x34, 0xea, 0xe5, 0xec, 0xb0]),
        outcome in prop::sample::select(vec![
            IoOutcome::Ok, IoOutcome::MediaError, IoOutcome::DeviceFault, IoOutcome::OutOfRange, IoOutcome::Aborted,
        ]),
        count in 0..20u8,
        own: [u8; 6],
        room in 0..1200usize,
    ) {
        let frame = ata_write(opcode, count, 3, usize::from(count));
        let request = Request::parse(&frame, frame.len()).unwrap();
        let reply = match export().admit(&request, &frame, frame.len(), jumbo()) {
            Disposition::Reply(reply) => reply,
            Disposition::Submit(io) => Reply::completed(&io, outcome),
            Disposition::Defer => panic!("no ATA command here changes state"),
            Disposition::Drop(reason) => panic!("{reason:?}"),
        };
        let mut buffer = frame.clone();
        buffer.resize(room.max(36), 0xa5);
        let before = buffer.clone();
        let length = reply.emit(&mut buffer, MacAddr(own), &export(), jumbo());
        if before.len() < reply.emit_len() {
            prop_assert_eq!(length, None);
            prop_assert_eq!(buffer, before, "a reply without room writes nothing");
        } else {
            prop_assert_eq!(length, Some(reply.frame_len()));
            prop_assert!(reply.frame_len() >= 60);
            prop_assert_eq!(&buffer[reply.emit_len()..], &before[reply.emit_len()..]);
            prop_assert_eq!(&buffer[12..14], &before[12..14]);
            prop_assert_eq!(&buffer[19..24], &before[19..24], "command and tag");
            if reply.emit_len() == 60 {
                prop_assert!(buffer[36..60].iter().all(|byte| *byte == 0), "padding is zero");
            }
        }
    }
}
