//! Requests as bytes, written here by the protocol's tables and not by the code under test.

/// The target's station address.
pub const TARGET: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The initiator's.
pub const INITIATOR: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Offset of an ATA request's data.
pub const DATA: usize = 36;

/// An AoE header from the initiator to the target, of version 1.
pub fn header(shelf: u16, slot: u8, command: u8, tag: u32) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(TARGET);
    frame.extend(INITIATOR);
    frame.extend([0x88, 0xa2, 0x10, 0]);
    frame.extend(shelf.to_be_bytes());
    frame.extend([slot, command]);
    frame.extend(tag.to_be_bytes());
    frame
}

/// An ATA request with 48-bit addresses.
pub fn ata(shelf: u16, slot: u8, tag: u32, command: u8, lba: u64, count: u8, data: &[u8]) -> Vec<u8> {
    let mut frame = header(shelf, slot, 0, tag);
    let flags = if data.is_empty() { 0x40 } else { 0x41 };
    frame.extend([flags, 0, count, command]);
    frame.extend(&lba.to_le_bytes()[..6]);
    frame.extend([0, 0]);
    frame.extend(data);
    frame
}

/// A READ SECTOR(S) EXT of shelf 1.
pub fn read(slot: u8, tag: u32, lba: u64, count: u8) -> Vec<u8> {
    ata(1, slot, tag, 0x24, lba, count, &[])
}

/// A WRITE SECTOR(S) EXT of shelf 1: whole sectors, at most 16.
///
/// # Panics
/// If they are more.
pub fn write(slot: u8, tag: u32, lba: u64, data: &[u8]) -> Vec<u8> {
    let count = u8::try_from(data.len() / 512).expect("at most 16 sectors");
    ata(1, slot, tag, 0x34, lba, count, data)
}

/// A FLUSH CACHE EXT of shelf 1.
pub fn flush(slot: u8, tag: u32) -> Vec<u8> {
    ata(1, slot, tag, 0xea, 0, 0, &[])
}

/// A query/config read without a string.
pub fn query(shelf: u16, slot: u8, tag: u32) -> Vec<u8> {
    let mut frame = header(shelf, slot, 1, tag);
    frame[..6].fill(0xff);
    frame.extend([0; 8]);
    frame
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

/// A frame's tag.
///
/// # Panics
/// If the frame ends before it.
pub fn tag(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[20..24].try_into().expect("four bytes"))
}

/// A reply's status and error registers.
///
/// # Panics
/// If it is none to an ATA command.
pub fn status(frame: &[u8]) -> (u8, u8) {
    (frame[27], frame[25])
}

/// Checks what every reply has in common.
///
/// # Panics
/// If it has not.
pub fn check_reply(frame: &[u8], shelf: u16, slot: u8, command: u8) {
    assert!(frame.len() >= 60, "padded to the least an Ethernet frame has: {}", frame.len());
    assert_eq!(&frame[..6], INITIATOR, "to the initiator");
    assert_eq!(&frame[6..12], TARGET, "from the port");
    assert_eq!(&frame[12..14], [0x88, 0xa2]);
    assert_eq!(frame[14], 0x18, "version 1, response, no error");
    assert_eq!(&frame[16..18], shelf.to_be_bytes());
    assert_eq!((frame[18], frame[19]), (slot, command));
}
