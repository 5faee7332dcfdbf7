//! What the protocol says about a frame, worked out from its bytes with no help from the code under test.

use crate::frames::PORT;

/// A disk and its port, as the protocol sees them.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) shelf: u16,
    pub(crate) slot: u8,
    pub(crate) sectors: u64,
    pub(crate) read_only: bool,
    pub(crate) offline: bool,
    pub(crate) buffers: u16,
    pub(crate) config: Vec<u8>,
    pub(crate) max_sectors: u8,
    pub(crate) page: Vec<u8>,
}

/// What becomes of a frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expected {
    /// Silence, counted under this name.
    Drop(&'static str),
    /// This frame.
    Reply(Vec<u8>),
    /// An I/O: `r`, `w` or `f`, first sector, sectors.
    Submit(char, u64, usize),
    /// Deferred to the state manager.
    Defer,
}

/// The header of an answer to `frame`, with the flags and error given.
fn header(frame: &[u8], disk: &Disk, flags: u8, error: u8) -> Vec<u8> {
    let mut reply = frame[6..12].to_vec();
    reply.extend(PORT.0);
    reply.extend([0x88, 0xa2, flags, error]);
    reply.extend(disk.shelf.to_be_bytes());
    reply.push(disk.slot);
    reply.extend(&frame[19..24]);
    reply
}

fn padded(mut reply: Vec<u8>) -> Vec<u8> {
    while reply.len() < 60 {
        reply.push(0);
    }
    reply
}

/// An ATA answer without data: status, error, and count if it differs from the request's.
pub(crate) fn registers(frame: &[u8], disk: &Disk, status: u8, error: u8, count: Option<u8>) -> Vec<u8> {
    let mut reply = header(frame, disk, 0x18, 0);
    reply.extend([frame[24] & 0x53, error, count.unwrap_or(frame[26]), status]);
    reply.extend(&frame[28..34]);
    reply.extend([0, 0]);
    reply
}

pub(crate) fn reply(frame: &[u8], disk: &Disk) -> Expected {
    if frame.len() < 14 {
        return Expected::Drop("runt");
    }
    if frame[12..14] != [0x88, 0xa2] {
        return Expected::Drop("not_aoe");
    }
    if frame.len() < 24 {
        return Expected::Drop("too_short");
    }
    if frame[14] & 0xf0 != 0x10 {
        return Expected::Drop("bad_version");
    }
    if frame[14] & 0x08 != 0 {
        return Expected::Drop("is_response");
    }
    if frame[6] & 1 != 0 {
        return Expected::Drop("source_not_unicast");
    }
    match frame[19] {
        0 if frame.len() < 36 => Expected::Drop("too_short"),
        1 if frame.len() < 32 => Expected::Drop("too_short"),
        2 if frame.len() < 28 => Expected::Drop("too_short"),
        3 | 4 if frame.len() < 26 => Expected::Drop("too_short"),
        0 => ata(frame, disk),
        1 => config(frame, disk),
        2..=4 => state(frame, disk),
        _ => Expected::Reply(padded(header(frame, disk, 0x1c, 1))),
    }
}

fn ata(frame: &[u8], disk: &Disk) -> Expected {
    let answer = |status, error, count| Expected::Reply(padded(registers(frame, disk, status, error, count)));
    if disk.offline {
        return answer(0x61, 0x04, None);
    }
    let abort = answer(0x41, 0x04, None);
    let lba: u128 = frame[28..34].iter().rev().fold(0, |lba, byte| lba << 8 | u128::from(*byte));
    let count = frame[26];
    let (operation, lba) = match frame[27] {
        0x20 | 0xc8 => ('r', lba & 0x0fff_ffff),
        0x24 | 0x25 => ('r', lba),
        0x30 | 0xca => ('w', lba & 0x0fff_ffff),
        0x34 | 0x35 => ('w', lba),
        0xe7 | 0xea => return Expected::Submit('f', 0, 0),
        0xe5 => return answer(0x40, 0, Some(0xff)),
        0xe0..=0xe3 | 0xe6 => return answer(0x40, 0, Some(0)),
        // SMART, TRIM and the write cache are for disks that have them, which this one is not.
        0xec if count == 1 => {
            let mut reply = registers(frame, disk, 0x40, 0, Some(0));
            reply.extend(&disk.page);
            return Expected::Reply(reply);
        }
        _ => return abort,
    };
    let bytes = usize::from(count) * 512;
    if count == 0
        || count > disk.max_sectors
        || operation == 'w' && (disk.read_only || frame.len() < 36 + bytes)
    {
        return abort;
    }
    if lba + u128::from(count) > u128::from(disk.sectors) {
        return answer(0x41, 0x10, None);
    }
    Expected::Submit(operation, u64::try_from(lba).unwrap(), usize::from(count))
}

fn config(frame: &[u8], disk: &Disk) -> Expected {
    let command = frame[29] & 0x0f;
    let length = usize::from(frame[30]) << 8 | usize::from(frame[31]);
    let answer = |flags, error| {
        let mut reply = header(frame, disk, flags, error);
        reply.extend(disk.buffers.max(2).to_be_bytes());
        // Our version, 0.1.
        reply.extend([0, 1, disk.max_sectors, 0x10 | command]);
        reply.extend(u16::try_from(disk.config.len()).unwrap().to_be_bytes());
        reply.extend(&disk.config);
        Expected::Reply(padded(reply))
    };
    if command == 0 {
        return answer(0x18, 0);
    }
    if length > 1024 || 32 + length > frame.len() {
        return Expected::Drop("config_too_long");
    }
    let asked = &frame[32..32 + length];
    match command {
        1 if asked == disk.config => answer(0x18, 0),
        2 if asked.len() <= disk.config.len() && *asked == disk.config[..asked.len()] => answer(0x18, 0),
        1 | 2 => Expected::Drop("config_mismatch"),
        3..=5 => Expected::Defer,
        _ => answer(0x1c, 2),
    }
}

/// Commands 2, 3 and 4 of a disk on which nobody has a claim but its config string.
fn state(frame: &[u8], disk: &Disk) -> Expected {
    let (command, changes, fixed) = match frame[19] {
        2 if frame[24] != 0 => return Expected::Drop("mask_reserved"),
        2 => (frame[25], 1..=1, 4),
        3 => (frame[24], 1..=2, 2),
        _ => (frame[24], 1..=4, 20),
    };
    if changes.contains(&command) {
        return Expected::Defer;
    }
    if command != 0 {
        return Expected::Reply(padded(header(frame, disk, 0x1c, 2)));
    }
    let mut reply = header(frame, disk, 0x18, 0);
    reply.resize(24 + fixed, 0);
    Expected::Reply(padded(reply))
}
