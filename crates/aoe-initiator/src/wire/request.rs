//! Requests: an envelope, then the registers of a command.

use super::{ETHERTYPE, HEADER_LEN, Mac, SECTOR, ShelfSlot, ata, command, opcode};
use std::fmt;

/// Byte 14 of a request, and the high nibble of a config message's version byte.
const VERSION_1: u8 = 0x10;

/// Who a request goes to, who it is from, and the tag its reply will carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Destination station.
    pub dst: Mac,
    /// This initiator's station.
    pub src: Mac,
    /// Export, wildcards allowed.
    pub address: ShelfSlot,
    /// Returned unchanged by the target.
    pub tag: u32,
}

impl Envelope {
    /// Writes the 24 bytes in front of a command's argument.
    pub fn emit(&self, command: u8, header: &mut [u8; HEADER_LEN]) {
        header[0..6].copy_from_slice(&self.dst.0);
        header[6..12].copy_from_slice(&self.src.0);
        header[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
        header[14] = VERSION_1;
        header[15] = 0;
        header[16..18].copy_from_slice(&self.address.shelf.to_be_bytes());
        header[18] = self.address.slot;
        header[19] = command;
        header[20..24].copy_from_slice(&self.tag.to_be_bytes());
    }

    /// A whole frame: header, then `argument` as it is. Not padded.
    pub fn frame(&self, command: u8, argument: &[u8]) -> Vec<u8> {
        let mut header = [0; HEADER_LEN];
        self.emit(command, &mut header);
        let mut frame = Vec::with_capacity(HEADER_LEN + argument.len());
        frame.extend_from_slice(&header);
        frame.extend_from_slice(argument);
        frame
    }
}

/// The registers of an ATA request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtaRequest {
    /// AFlags, see [`ata`].
    pub aflags: u8,
    /// Feature register.
    pub feature: u8,
    /// Sectors to move.
    pub count: u8,
    /// Opcode, see [`opcode`].
    pub opcode: u8,
    /// First sector; the low 48 bits are sent.
    pub lba: u64,
}

impl AtaRequest {
    /// READ SECTORS EXT.
    pub const fn read(lba: u64, count: u8) -> Self {
        Self { aflags: ata::AFLAG_LBA48, feature: 0, count, opcode: opcode::READ_EXT, lba }
    }

    /// WRITE SECTORS EXT.
    pub const fn write(lba: u64, count: u8) -> Self {
        Self {
            aflags: ata::AFLAG_LBA48 | ata::AFLAG_WRITE,
            feature: 0,
            count,
            opcode: opcode::WRITE_EXT,
            lba,
        }
    }

    /// READ SECTORS, the device register's LBA bits set as Linux and iPXE do.
    pub const fn read28(lba: u32, count: u8) -> Self {
        Self { aflags: 0, feature: 0, count, opcode: opcode::READ, lba: Self::device_bits(lba) }
    }

    /// WRITE SECTORS, the device register's LBA bits set as Linux and iPXE do.
    pub const fn write28(lba: u32, count: u8) -> Self {
        Self {
            aflags: ata::AFLAG_WRITE,
            feature: 0,
            count,
            opcode: opcode::WRITE,
            lba: Self::device_bits(lba),
        }
    }

    /// A command without data and address: FLUSH CACHE, CHECK POWER MODE.
    pub const fn bare(opcode: u8) -> Self {
        Self { aflags: 0, feature: 0, count: 0, opcode, lba: 0 }
    }

    /// IDENTIFY DEVICE.
    pub const fn identify() -> Self {
        Self { aflags: 0, feature: 0, count: 1, opcode: opcode::IDENTIFY, lba: 0 }
    }

    /// Bytes of data the request carries.
    pub const fn bytes_out(&self) -> usize {
        if self.aflags & ata::AFLAG_WRITE != 0 { self.count as usize * SECTOR } else { 0 }
    }

    /// Bytes of data a successful reply must have.
    pub const fn bytes_in(&self) -> usize {
        match self.opcode {
            opcode::IDENTIFY => SECTOR,
            opcode::READ | opcode::READ_EXT => self.count as usize * SECTOR,
            _ => 0,
        }
    }

    const fn device_bits(lba: u32) -> u64 {
        (lba as u64 & 0x0fff_ffff) | 0xe000_0000
    }

    /// Writes the 12 register bytes.
    pub fn emit(&self, registers: &mut [u8; 12]) {
        registers[0] = self.aflags;
        registers[1] = self.feature;
        registers[2] = self.count;
        registers[3] = self.opcode;
        registers[4..10].copy_from_slice(&self.lba.to_le_bytes()[..6]);
        registers[10..12].fill(0);
    }

    /// A whole frame with `data` after the registers. Not padded.
    pub fn frame(&self, envelope: &Envelope, data: &[u8]) -> Vec<u8> {
        let mut registers = [0; 12];
        self.emit(&mut registers);
        let mut frame = envelope.frame(command::ATA, &registers);
        frame.extend_from_slice(data);
        frame
    }
}

impl fmt::Display for AtaRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.opcode {
            opcode::READ => "READ SECTORS",
            opcode::READ_EXT => "READ SECTORS EXT",
            opcode::WRITE => "WRITE SECTORS",
            opcode::WRITE_EXT => "WRITE SECTORS EXT",
            opcode::CHECK_POWER_MODE => return f.write_str("CHECK POWER MODE"),
            opcode::FLUSH => return f.write_str("FLUSH CACHE"),
            opcode::FLUSH_EXT => return f.write_str("FLUSH CACHE EXT"),
            opcode::IDENTIFY => return f.write_str("IDENTIFY DEVICE"),
            other => return write!(f, "ATA command {other:#04x}"),
        };
        write!(f, "{name} of {} at LBA {}", self.count, self.lba)
    }
}

/// The query/config sub-commands, byte 29, low nibble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ConfigCommand {
    /// Read the string and the counts.
    Read = 0,
    /// Answer only if the string is this one.
    Test = 1,
    /// Answer only if this is a prefix of the string.
    Prefix = 2,
    /// Set if empty or the same.
    Set = 3,
    /// Set whatever was there.
    ForceSet = 4,
}

/// A query/config frame with `string`. Not padded.
///
/// # Panics
/// If `string` is longer than 65535 bytes, the most its length field can say.
pub fn config_frame(envelope: &Envelope, config_command: ConfigCommand, string: &[u8]) -> Vec<u8> {
    let length = u16::try_from(string.len()).expect("a config string's length fits in 16 bits");
    let mut argument = vec![0, 0, 0, 0, 0, VERSION_1 | config_command as u8];
    argument.extend_from_slice(&length.to_be_bytes());
    argument.extend_from_slice(string);
    envelope.frame(command::CONFIG, &argument)
}
