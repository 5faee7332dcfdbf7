//! Requests: an envelope, then the registers of a command.

use super::{
    ATA_DATA_OFFSET, ETHERTYPE, FLAG_ERROR, FLAG_RESPONSE, HEADER_LEN, Mac, SECTOR, ShelfSlot, VERSION_1,
    ata, command, opcode,
};
use std::fmt;

/// Destination, source and export of a request, and the tag that its reply will carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Destination MAC address.
    pub dst: Mac,
    /// This initiator's MAC address.
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
    /// Set if the string is the one sent first; the new one follows it with a length of its own.
    TestAndReplace = 5,
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

/// A reserve/release frame: `command` 0 reads, 1 sets, 2 forces the list of `macs`. Not padded.
///
/// # Panics
/// If there are more than 255 addresses, the most its count can hold.
pub fn reserve_frame(envelope: &Envelope, command: u8, macs: &[Mac]) -> Vec<u8> {
    let count = u8::try_from(macs.len()).expect("a list's length fits in 8 bits");
    let mut argument = vec![command, count];
    argument.extend(macs.iter().flat_map(|mac| mac.0));
    envelope.frame(command::RESERVE, &argument)
}

/// A MAC mask frame that adds one address to the list. Not padded.
pub fn mask_add_frame(envelope: &Envelope, mac: Mac) -> Vec<u8> {
    const EDIT: u8 = 1;
    const ADD: u8 = 1;
    let mut argument = vec![0, EDIT, 0, 1, 0, ADD];
    argument.extend(mac.0);
    envelope.frame(command::MASK, &argument)
}

/// An ATA request as a target receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// Destination, source, export and tag.
    pub envelope: Envelope,
    /// The registers; of a 28-bit command with the device register's bits.
    pub request: AtaRequest,
    /// All that follows, padding included.
    pub data: &'a [u8],
}

impl<'a> Received<'a> {
    /// Reads an ATA request of version 1; `None` for every other kind of frame.
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let (head, data) = frame.split_first_chunk::<ATA_DATA_OFFSET>()?;
        let is_request = head[12..14] == ETHERTYPE.to_be_bytes() && head[14] == VERSION_1;
        if !is_request || head[19] != command::ATA {
            return None;
        }
        Some(Self {
            envelope: Envelope {
                dst: Mac([head[0], head[1], head[2], head[3], head[4], head[5]]),
                src: Mac([head[6], head[7], head[8], head[9], head[10], head[11]]),
                address: ShelfSlot { shelf: u16::from_be_bytes([head[16], head[17]]), slot: head[18] },
                tag: u32::from_be_bytes([head[20], head[21], head[22], head[23]]),
            },
            request: AtaRequest {
                aflags: head[24],
                feature: head[25],
                count: head[26],
                opcode: head[27],
                lba: u64::from_le_bytes([head[28], head[29], head[30], head[31], head[32], head[33], 0, 0]),
            },
            data,
        })
    }

    /// A reply with these status and error registers and `data`; with an AoE error if `aoe_error` is not 0. Not padded.
    pub fn reply(&self, aoe_error: u8, (status, error): (u8, u8), data: &[u8]) -> Vec<u8> {
        let Envelope { dst, src, address, tag } = self.envelope;
        let registers = AtaRequest { feature: error, opcode: status, ..self.request };
        let mut frame = registers.frame(&Envelope { dst: src, src: dst, address, tag }, data);
        frame[14] |= FLAG_RESPONSE | if aoe_error == 0 { 0 } else { FLAG_ERROR };
        frame[15] = aoe_error;
        frame
    }
}
