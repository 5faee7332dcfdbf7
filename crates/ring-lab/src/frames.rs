//! Requests to the target on the ring, and checks of its replies, by the initiator's codec.

use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::{
    ATA_DATA_OFFSET, AtaRequest, Body, ConfigCommand, Envelope, Mac, Reply, SECTOR, ata, config_frame, opcode,
};

/// The target's MAC address.
pub const TARGET: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The initiator's MAC address.
pub const INITIATOR: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Offset of an ATA request's data.
pub const DATA: usize = ATA_DATA_OFFSET;

fn envelope(dst: [u8; 6], shelf: u16, slot: u8, tag: u32) -> Envelope {
    Envelope { dst: Mac(dst), src: Mac(INITIATOR), address: ShelfSlot::new(shelf, slot), tag }
}

/// An ATA request with 48-bit addresses.
pub fn ata(shelf: u16, slot: u8, tag: u32, opcode: u8, lba: u64, count: u8, data: &[u8]) -> Vec<u8> {
    let write = if data.is_empty() { 0 } else { ata::AFLAG_WRITE };
    let request = AtaRequest { aflags: ata::AFLAG_LBA48 | write, feature: 0, count, opcode, lba };
    request.frame(&envelope(TARGET, shelf, slot, tag), data)
}

/// A READ SECTOR(S) EXT of shelf 1.
pub fn read(slot: u8, tag: u32, lba: u64, count: u8) -> Vec<u8> {
    ata(1, slot, tag, opcode::READ_EXT, lba, count, &[])
}

/// A WRITE SECTOR(S) EXT of shelf 1: whole sectors, at most 16.
///
/// # Panics
/// If they are more.
pub fn write(slot: u8, tag: u32, lba: u64, data: &[u8]) -> Vec<u8> {
    let count = u8::try_from(data.len() / SECTOR).expect("at most 16 sectors");
    ata(1, slot, tag, opcode::WRITE_EXT, lba, count, data)
}

/// A FLUSH CACHE EXT of shelf 1.
pub fn flush(slot: u8, tag: u32) -> Vec<u8> {
    ata(1, slot, tag, opcode::FLUSH_EXT, 0, 0, &[])
}

/// A query/config read, sent to everybody.
pub fn query(shelf: u16, slot: u8, tag: u32) -> Vec<u8> {
    config_frame(&envelope([0xff; 6], shelf, slot, tag), ConfigCommand::Read, &[])
}

/// `sectors` sectors that are all different, and different for each seed.
pub fn pattern(seed: u32, sectors: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut bytes = Vec::with_capacity(sectors * 512);
    while bytes.len() < sectors * 512 {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

fn parsed(frame: &[u8]) -> Reply<'_> {
    Reply::parse(frame).unwrap_or_else(|error| panic!("{error}: {frame:02x?}"))
}

/// The AoE tag of a frame, with or without a VLAN tag.
///
/// # Panics
/// If it is no AoE frame.
pub fn tag(frame: &[u8]) -> u32 {
    const VLAN: [u8; 2] = [0x81, 0x00];
    if frame[12..14] == VLAN { parsed(&[&frame[..12], &frame[16..]].concat()).tag } else { parsed(frame).tag }
}

/// A reply's status and error registers.
///
/// # Panics
/// If it is no reply to an ATA command.
pub fn status(frame: &[u8]) -> (u8, u8) {
    match parsed(frame).body {
        Body::Ata(reply) => (reply.status, reply.error),
        other => panic!("no ATA reply: {other:?}"),
    }
}

/// Checks the rules for every reply without an AoE error.
///
/// # Panics
/// If the reply breaks one.
pub fn check_reply(frame: &[u8], shelf: u16, slot: u8, command: u8) {
    let reply = parsed(frame);
    assert_eq!(reply.breaches(), Vec::<String>::new(), "{reply:?}");
    assert!(!reply.is_error(), "{reply:?}");
    assert_eq!((reply.dst, reply.src), (Mac(INITIATOR), Mac(TARGET)), "{reply:?}");
    assert_eq!((reply.address, reply.command), (ShelfSlot::new(shelf, slot), command), "{reply:?}");
}
