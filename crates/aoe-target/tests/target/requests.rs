//! Requests one by one, each with the answer an initiator relies on.

use aoe_target::{
    BdevIo, BdevOp, Disposition, DropReason, Export, ExportCounters, ExportState, IoOutcome, MacAddr,
    PortLimits, Reply, Request, RequestKind, Shelf, ShelfSlot, Slot,
};
use ata::{AddressWidth, Lba, SectorCount};

use crate::frames::{INITIATOR, PORT, SECTORS, ata, ata_write, config, export, jumbo, request, with_config};

fn parse(frame: &[u8]) -> Result<Request, DropReason> {
    Request::parse(frame, frame.len())
}

fn admit(export: &Export, frame: &[u8]) -> Disposition {
    export.admit(&parse(frame).unwrap(), frame, frame.len(), jumbo())
}

/// Status and error registers of the reply to a frame that must get an immediate ATA answer.
fn registers(export: &Export, frame: &[u8]) -> (u8, u8) {
    let Disposition::Reply(reply) = admit(export, frame) else { panic!("no immediate reply") };
    let bytes = emitted(&reply, export, frame);
    assert_eq!((bytes[14], bytes[15]), (0x18, 0), "never an AoE error for a disk command");
    assert_eq!(reply.is_ata_error(), bytes[27] & 1 != 0);
    (bytes[27], bytes[25])
}

fn emitted(reply: &Reply, export: &Export, frame: &[u8]) -> Vec<u8> {
    let mut buffer = frame.to_vec();
    buffer.resize(frame.len().max(1100), 0xa5);
    let length = reply.emit(&mut buffer, PORT, export, jumbo()).unwrap();
    buffer.truncate(length);
    buffer
}

#[test]
fn parse_copies_out_what_decides() {
    let parsed = parse(&config(2, b"abc")).unwrap();
    assert_eq!(parsed.source, MacAddr(INITIATOR));
    assert_eq!(parsed.destination, PORT);
    assert_eq!(parsed.address, ShelfSlot::new(Shelf(258), Slot(3)));
    let RequestKind::Config { string_len: 3, .. } = parsed.kind else { panic!("{parsed:?}") };
    assert_eq!(parsed.contiguous_len(60), 35);
    assert_eq!(parsed.contiguous_len(34), 34);
    assert_eq!(parse(&ata(0x24, 1, 0)).unwrap().contiguous_len(36), 0);
}

#[test]
fn frames_that_are_no_requests_are_dropped_by_name() {
    let good = ata(0x24, 1, 0);
    let changed = |at: usize, byte: u8| {
        let mut frame = good.clone();
        frame[at] = byte;
        parse(&frame)
    };
    assert_eq!(parse(&good[..13]), Err(DropReason::Runt));
    assert_eq!(parse(&[]), Err(DropReason::Runt));
    assert_eq!(parse(&good[..23]), Err(DropReason::TooShort));
    assert_eq!(parse(&good[..35]), Err(DropReason::TooShort));
    assert_eq!(parse(&config(0, b"")[..31]), Err(DropReason::TooShort));
    assert_eq!(Request::parse(&good[..30], 36), Err(DropReason::TooShort), "a head that is too short");
    assert_eq!(changed(12, 0x08), Err(DropReason::NotAoe));
    assert_eq!(changed(14, 0x00), Err(DropReason::BadVersion));
    assert_eq!(changed(14, 0x20), Err(DropReason::BadVersion));
    assert_eq!(changed(14, 0x18), Err(DropReason::IsResponse));
    assert_eq!(changed(6, 0x53), Err(DropReason::SourceNotUnicast));
    let mut tagged = good[..12].to_vec();
    tagged.extend([0x81, 0x00, 0x00, 0x05]);
    tagged.extend(&good[12..]);
    assert_eq!(parse(&tagged), Err(DropReason::NotAoe), "802.1Q");
}

#[test]
fn of_all_commands_only_config_queries_and_identify_ask_which_disks_there_are() {
    let of = |frames: &mut dyn Iterator<Item = (u8, Vec<u8>)>| -> Vec<u8> {
        frames.filter(|(_, frame)| parse(frame).unwrap().is_discovery()).map(|(number, _)| number).collect()
    };
    assert_eq!(of(&mut (0..=u8::MAX).map(|opcode| (opcode, ata(opcode, 1, 0)))), [0xec]);
    // A config command has four bits.
    assert_eq!(of(&mut (0..16).map(|command| (command, config(command, b"a")))), [0, 1, 2]);
    let mut messages = (2..=u8::MAX).map(|command| {
        let mut frame = ata(0xec, 1, 0);
        frame[19] = command;
        (command, frame)
    });
    assert_eq!(of(&mut messages), Vec::<u8>::new());
}

#[test]
fn short_and_long_frames_are_requests_all_the_same() {
    for trailing in [0, 24, 8704] {
        let mut frame = ata(0xec, 1, 0);
        frame.resize(36 + trailing, 0xee);
        assert_eq!(registers(&export(), &frame), (0x40, 0));
    }
    assert!(matches!(admit(&export(), &config(0, b"")), Disposition::Reply(_)), "32 bytes");
}

#[test]
fn frames_for_other_stations_are_told_apart() {
    let mut frame = ata(0xec, 1, 0);
    assert!(parse(&frame).unwrap().is_for(PORT));
    assert!(!parse(&frame).unwrap().is_for(MacAddr([2, 0, 0, 0, 0, 9])));
    frame[..6].fill(0xff);
    assert!(parse(&frame).unwrap().is_for(PORT));
    frame[..6].copy_from_slice(&[0x01, 0x00, 0x5e, 0, 0, 1]);
    assert!(!parse(&frame).unwrap().is_for(PORT), "another multicast group");
}

fn io(op: BdevOp, lba: u64, sectors: u16, width: AddressWidth) -> BdevIo {
    BdevIo { op, lba: Lba(lba), sectors: SectorCount(sectors), width }
}

#[test]
fn reads_and_writes_are_submitted() {
    let long = |op, lba, sectors| Disposition::Submit(io(op, lba, sectors, AddressWidth::Lba48));
    let short = |op, lba, sectors| Disposition::Submit(io(op, lba, sectors, AddressWidth::Lba28));
    assert_eq!(admit(&export(), &ata(0x24, 16, SECTORS - 16)), long(BdevOp::Read, SECTORS - 16, 16));
    assert_eq!(admit(&export(), &ata(0x20, 1, 0xe000_0005)), short(BdevOp::Read, 5, 1));
    assert_eq!(admit(&export(), &ata_write(0x34, 2, 7, 2)), long(BdevOp::Write, 7, 2));
    assert_eq!(admit(&export(), &ata_write(0x30, 2, 7, 3)), short(BdevOp::Write, 7, 2));
    for flush in [0xe7, 0xea] {
        assert_eq!(admit(&export(), &ata(flush, 0, 0)), long(BdevOp::Flush, 0, 0));
    }
    let io = io(BdevOp::Write, 7, 16, AddressWidth::Lba48);
    assert_eq!((io.data_len(), aoe_target::PAYLOAD_OFFSET), (8192, 36));
}

#[test]
fn the_end_of_the_disk_is_not_passed() {
    for (lba, count) in [(SECTORS, 1), (SECTORS - 1, 2), (SECTORS - 15, 16), ((1 << 48) - 1, 16)] {
        assert_eq!(registers(&export(), &ata(0x24, count, lba)), (0x41, 0x10), "{count} at {lba}");
        assert_eq!(registers(&export(), &ata_write(0x34, count, lba, 16)), (0x41, 0x10), "{count} at {lba}");
    }
    let mut endless = export();
    endless.resize(u64::MAX);
    assert!(matches!(admit(&endless, &ata(0x24, 16, (1 << 48) - 1)), Disposition::Submit(_)));
}

#[test]
fn what_cannot_be_done_is_aborted() {
    assert_eq!(registers(&export(), &ata(0x24, 0, 0)), (0x41, 0x04), "no sectors");
    assert_eq!(registers(&export(), &ata(0x24, 17, 0)), (0x41, 0x04), "more than the port carries");
    assert_eq!(registers(&export(), &ata_write(0x34, 17, 0, 17)), (0x41, 0x04), "the same for a write");
    assert_eq!(registers(&export(), &ata(0xec, 0, 0)), (0x41, 0x04), "IDENTIFY of nothing");
    assert_eq!(registers(&export(), &ata(0xb0, 1, 0)), (0x41, 0x04), "SMART");
    let short = ata_write(0x34, 2, 0, 2);
    assert_eq!(registers(&export(), &short[..short.len() - 1]), (0x41, 0x04), "a byte of data is missing");
    let mut protected = export();
    protected.configure(|settings| settings.read_only = true);
    assert_eq!(registers(&protected, &ata_write(0x34, 1, 0, 1)), (0x41, 0x04), "read only");
    assert!(matches!(admit(&protected, &ata(0x24, 1, 0)), Disposition::Submit(_)));
    let ethernet = PortLimits::for_mtu(1500).unwrap();
    let frame = ata(0x24, 3, 0);
    let small = export().admit(&parse(&frame).unwrap(), &frame, frame.len(), ethernet);
    assert!(matches!(small, Disposition::Reply(reply) if reply.is_ata_error()), "two sectors at MTU 1500");
}

#[test]
fn a_disk_that_is_gone_says_so_at_once() {
    let mut gone = export();
    gone.set_state(ExportState::Offline);
    let commands =
        [ata(0x24, 1, 0), ata_write(0x34, 1, 0, 1), ata(0xe7, 0, 0), ata(0xec, 1, 0), ata(0xe5, 0, 0)];
    for frame in commands {
        assert_eq!(registers(&gone, &frame), (0x61, 0x04), "opcode {:#04x}", frame[27]);
    }
    assert!(
        matches!(admit(&gone, &config(0, b"")), Disposition::Reply(reply) if reply.aoe_error().is_none())
    );
}

#[test]
fn config_is_told_and_tested_at_once_and_set_by_its_keeper() {
    let mut named = export();
    named = with_config(named, b"kvblade");
    let answered = |frame: &[u8]| match admit(&named, frame) {
        Disposition::Reply(reply) => {
            let bytes = emitted(&reply, &named, frame);
            assert_eq!(bytes[30..39], *b"\x00\x07kvblade", "every answer tells the string");
            assert_eq!(bytes[29], 0x10 | frame[29] & 0x0f);
            Ok(bytes[14..16].to_vec())
        }
        Disposition::Drop(reason) => Err(reason),
        Disposition::Defer => Ok(b"defer".to_vec()),
        Disposition::Submit(_) => panic!("config is no I/O"),
    };
    let (fine, bad_argument) = (Ok(vec![0x18, 0]), Ok(vec![0x1c, 2]));
    assert_eq!(answered(&config(0, b"")), fine);
    let mut junk = config(0, b"");
    junk[30..32].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(answered(&junk), fine, "a read ignores length and data");
    assert_eq!(answered(&config(1, b"kvblade")), fine);
    assert_eq!(answered(&config(1, b"kvblad")), Err(DropReason::ConfigMismatch));
    assert_eq!(answered(&config(1, b"kvblades")), Err(DropReason::ConfigMismatch));
    assert_eq!(answered(&config(2, b"kv")), fine);
    assert_eq!(answered(&config(2, b"")), fine);
    assert_eq!(answered(&config(2, b"vk")), Err(DropReason::ConfigMismatch));
    assert_eq!(answered(&config(2, b"kvblades")), Err(DropReason::ConfigMismatch));
    for command in 3..=5 {
        assert_eq!(answered(&config(command, b"x")), Ok(b"defer".to_vec()), "command {command}");
    }
    for command in 6..=15 {
        assert_eq!(answered(&config(command, b"x")), bad_argument, "command {command}");
    }
    for command in 1..=15 {
        assert_eq!(answered(&config(command, &[7; 1025])), Err(DropReason::ConfigTooLong));
        let mut beyond = config(command, b"kvblade");
        beyond.pop();
        assert_eq!(answered(&beyond), Err(DropReason::ConfigTooLong));
    }
    let test = config(1, b"kvblade");
    let split = named.admit(&parse(&test).unwrap(), &test[..38], test.len(), jumbo());
    assert_eq!(split, Disposition::Drop(DropReason::ConfigSplit));
}

#[test]
fn other_commands_are_not_known() {
    for command in 5..=255 {
        let frame = request(command, &[0; 8]);
        let Disposition::Reply(reply) = admit(&export(), &frame) else { panic!("command {command}") };
        let bytes = emitted(&reply, &export(), &frame);
        assert_eq!(bytes[14..24], [0x1c, 1, 1, 2, 3, command, 0xc0, 0xff, 0xee, 0x01]);
        assert_eq!(bytes[24..], [0; 36]);
    }
}

#[test]
fn everything_is_counted_once() {
    let mut counters = ExportCounters::default();
    let mut gone = export();
    gone.set_state(ExportState::Offline);
    let mut count = |export: &Export, frame: &[u8]| {
        let disposition = admit(export, frame);
        counters.admitted(&parse(frame).unwrap(), &disposition);
        if let Disposition::Submit(io) = disposition {
            counters.completed(&io, IoOutcome::Ok);
            counters.completed(&io, IoOutcome::MediaError);
        }
    };
    count(&export(), &ata(0x24, 3, 0));
    count(&export(), &ata_write(0x34, 2, 0, 2));
    count(&export(), &ata(0xea, 0, 0));
    count(&export(), &ata(0xec, 1, 0));
    count(&export(), &ata(0xe5, 0, 0));
    count(&export(), &ata(0xb0, 0, 0));
    count(&export(), &ata(0xec, 2, 0));
    count(&export(), &config(0, b""));
    count(&export(), &config(1, b"other"));
    count(&export(), &config(3, b"mine"));
    count(&export(), &request(9, b""));
    count(&gone, &ata(0x24, 1, 0));
    let expected = [
        ("reads", 2),
        ("writes", 1),
        ("read_bytes", 1536),
        ("written_bytes", 1024),
        ("flushes", 1),
        ("write_flushes", 0),
        ("fua_writes", 0),
        ("identifies", 1),
        ("power_checks", 1),
        ("trims", 0),
        ("health_checks", 0),
        ("settings", 0),
        ("unsupported", 2),
        ("configs", 2),
        ("masks", 0),
        ("reserves", 0),
        ("unknown_commands", 1),
        ("order_waits", 0),
        ("copies", 0),
        ("ata_errors", 6),
        ("aoe_errors", 1),
        ("export_full", 0),
        ("rate_waits", 0),
        ("rate_limited", 0),
        ("timeouts", 0),
        ("late_completions", 0),
        ("aborts", 0),
    ];
    assert_eq!(counters.fields(), expected);
    let mut sum = counters;
    sum.merge(&counters);
    assert_eq!(sum.fields(), expected.map(|(name, value)| (name, value * 2)));
}
