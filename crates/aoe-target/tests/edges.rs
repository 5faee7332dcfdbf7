//! The arithmetic of lengths and addresses, tried at every edge there is against plain sums in 128 bits.

use aoe_initiator::wire::{Envelope, Mac};
use aoe_target::{
    BdevIo, BdevOp, Disposition, DropReason, Export, ExportId, Identity, IoOutcome, MacAddr, PortLimits,
    Ports, Reply, Request, Shelf, ShelfSlot, Slot,
};

const PORT: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// MTUs whose frames carry 1, 2, 8 and 16 sectors.
const MTUS: [(u16, u8); 4] = [(548, 1), (1500, 2), (4200, 8), (9000, 16)];

/// Opcode, whether it writes, bits of its addresses.
const IO: [(u8, bool, u32); 8] = [
    (0x20, false, 28),
    (0x24, false, 48),
    (0x30, true, 28),
    (0x34, true, 48),
    (0xc8, false, 28),
    (0x25, false, 48),
    (0xca, true, 28),
    (0x35, true, 48),
];

fn export(sectors: u64) -> Export {
    let identity = Identity::new("s", "m", "f").unwrap();
    Export::new(ExportId(0), ShelfSlot::new(Shelf(1), Slot(2)), Ports::All, sectors, identity)
}

/// A request to 1.2, zero but for its header, of `length` bytes.
fn frame(command: u8, length: usize) -> Vec<u8> {
    let address = aoe_initiator::ShelfSlot::new(1, 2);
    let envelope = Envelope { dst: Mac(PORT.0), src: Mac([2, 0, 0, 0, 0, 2]), address, tag: 0x0102_0304 };
    let mut frame = envelope.frame(command, &[]);
    frame.resize(length, 0);
    frame
}

fn set_ata(frame: &mut [u8], opcode: u8, count: u8, lba: u64) {
    frame[26..28].copy_from_slice(&[count, opcode]);
    frame[28..34].copy_from_slice(&lba.to_le_bytes()[..6]);
}

fn admit(export: &Export, limits: PortLimits, frame: &[u8], length: usize) -> Disposition {
    let head = &frame[..length];
    match Request::parse(head, length) {
        Ok(request) => export.admit(&request, head, length, limits),
        Err(reason) => Disposition::Drop(reason),
    }
}

/// Status and error registers of an immediate answer, `None` for an I/O.
fn registers(
    disposition: Disposition,
    frame: &[u8],
    export: &Export,
    limits: PortLimits,
) -> Option<(u8, u8)> {
    let Disposition::Reply(reply) = disposition else { return None };
    let mut answer = frame[..36].to_vec();
    answer.resize(reply.frame_len(), 0xa5);
    reply.emit(&mut answer, PORT, export, limits).unwrap();
    Some((answer[27], answer[25]))
}

/// What failed: opcode, count, address, capacity, most sectors. Shown only then.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "for its Debug")]
struct Case(u8, u8, u64, u64, u8);

/// Addresses around the ends of disks and of address registers.
fn edges(capacity: u64) -> Vec<u64> {
    let mut edges = Vec::new();
    for around in [0, capacity, 1 << 28, 1 << 32, 1 << 48] {
        for off in [-256i64, -255, -17, -16, -2, -1, 0, 1, 16] {
            edges.extend(around.checked_add_signed(off).filter(|lba| *lba < 1 << 48));
        }
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}

#[test]
fn reads_and_writes_at_every_count_and_edge() {
    let known: Vec<_> =
        IO.into_iter().filter(|io| ata::OPCODES.iter().any(|listed| listed.code == io.0)).collect();
    assert!(known.len() >= 4);
    let (mut submitted, mut refused) = (0u32, 0u32);
    let mut frame = frame(0, 36 + 255 * 512);
    let length = frame.len();
    for capacity in [0, 1, 16, 1000, (1 << 28) - 1, 1 << 28, (1 << 48) - 1, 1 << 48, u64::MAX] {
        let export = export(capacity);
        for (mtu, most) in MTUS {
            let limits = PortLimits::for_mtu(mtu).unwrap();
            for lba in edges(capacity) {
                for (opcode, writes, bits) in known.iter().copied() {
                    let first = u128::from(lba) % (1u128 << bits);
                    for count in 0..=255u8 {
                        set_ata(&mut frame, opcode, count, lba);
                        let got = admit(&export, limits, &frame, length);
                        let case = Case(opcode, count, lba, capacity, most);
                        if count == 0 || count > most {
                            refused += 1;
                            assert_eq!(
                                registers(got, &frame, &export, limits),
                                Some((0x41, 0x04)),
                                "{case:?}"
                            );
                        } else if first + u128::from(count) > u128::from(capacity) {
                            refused += 1;
                            assert_eq!(
                                registers(got, &frame, &export, limits),
                                Some((0x41, 0x10)),
                                "{case:?}"
                            );
                        } else {
                            submitted += 1;
                            let Disposition::Submit(BdevIo { op, lba, sectors, .. }) = got else {
                                panic!("{case:?}: {got:?}")
                            };
                            let op_due = if writes { BdevOp::Write } else { BdevOp::Read };
                            assert_eq!(
                                (op, u128::from(lba.0), sectors.0),
                                (op_due, first, u16::from(count)),
                                "{case:?}"
                            );
                        }
                    }
                }
            }
        }
    }
    assert!(submitted > 10_000 && refused > 100_000, "{submitted} and {refused}");
}

#[test]
fn no_other_opcode_reads_or_writes() {
    let export = export(1000);
    let limits = PortLimits::for_mtu(9000).unwrap();
    let mut frame = frame(0, 36 + 16 * 512);
    let length = frame.len();
    for opcode in (0..=255).filter(|opcode| IO.iter().all(|io| io.0 != *opcode)) {
        for feature in 0..=255 {
            frame[25] = feature;
            for count in [0, 1, 2, 16, 17, 255] {
                set_ata(&mut frame, opcode, count, 0);
                if let Disposition::Submit(io) = admit(&export, limits, &frame, length) {
                    assert!(!matches!(io.op, BdevOp::Read | BdevOp::Write), "{opcode:#x}: {io:?}");
                }
            }
        }
    }
}

#[test]
fn frames_of_every_length() {
    let export = export(1000);
    let limits = PortLimits::for_mtu(9000).unwrap();
    for (command, least) in
        [(0u8, 36), (1, 32), (2, 28), (3, 26), (4, 26), (5, 24), (0x7f, 24), (0xf0, 24), (0xff, 24)]
    {
        let frame = frame(command, 9100);
        for length in 0..=9100 {
            let got = admit(&export, limits, &frame, length);
            let due = if length < 14 {
                Some(DropReason::Runt)
            } else if length < least {
                Some(DropReason::TooShort)
            } else {
                None
            };
            match due {
                Some(reason) => assert_eq!(got, Disposition::Drop(reason), "{length} bytes of {command}"),
                None => assert!(!matches!(got, Disposition::Drop(_)), "{length} bytes of {command}: {got:?}"),
            }
        }
    }
}

#[test]
fn writes_of_every_length_need_all_of_their_data() {
    let export = export(1000);
    let limits = PortLimits::for_mtu(9000).unwrap();
    let mut frame = frame(0, 9100);
    for count in 1..=16u8 {
        set_ata(&mut frame, 0x34, count, 7);
        for length in 36..=9100 {
            let got = admit(&export, limits, &frame, length);
            let whole = length >= 36 + 512 * usize::from(count);
            assert_eq!(matches!(got, Disposition::Submit(_)), whole, "{count} sectors in {length} bytes");
        }
    }
}

#[test]
fn replies_declare_what_they_write() {
    let export = export(u64::MAX);
    let limits = PortLimits::for_mtu(9000).unwrap();
    let mut frame = frame(0, 9100);
    for (opcode, writes, bits) in IO.into_iter().take(4) {
        for lba in [0, 1, (1 << 28) - 16, (1 << 28) - 1, (1 << 48) - 16, (1 << 48) - 1] {
            for count in 1..=16u8 {
                set_ata(&mut frame, opcode, count, lba);
                let Disposition::Submit(io) = admit(&export, limits, &frame, 9100) else {
                    panic!("{opcode}")
                };
                let reply = Reply::completed(&io, IoOutcome::Ok);
                let data = if writes { 0 } else { 512 * usize::from(count) };
                assert_eq!(reply.frame_len(), (36 + data).max(60));
                let mut answer = vec![0xa5; 9100];
                answer[..36].copy_from_slice(&frame[..36]);
                let length = reply.emit(&mut answer, PORT, &export, limits).unwrap();
                assert_eq!(length, reply.frame_len());
                assert!(answer[reply.emit_len()..].iter().all(|byte| *byte == 0xa5), "{opcode:#x} {count}");
                let next = (u128::from(lba) % (1 << bits) + u128::from(count)) % (1 << bits);
                let told = answer[28..34].iter().rev().fold(0, |all, byte| all << 8 | u128::from(*byte));
                // Above its 28 bits a command leaves what was asked.
                assert_eq!(told % (1 << bits), next, "{opcode:#x} {count} at {lba:#x}");
            }
        }
    }
}
