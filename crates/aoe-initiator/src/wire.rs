//! The initiator's own AoE codec: requests to bytes, bytes to replies.
//!
//! It shares no code with the target's `aoe-wire`: if both sides used one codec, a field at the wrong offset
//! would agree with itself and every test would pass. Requests are written into a caller's buffer, replies
//! are views over the received bytes. Parsing accepts whatever can be read without guessing;
//! [`Reply::breaches`] then lists which rules for a target the reply breaks, so that a test can demand none
//! and a load run can still talk to an old target.
//!
//! Who uses which part: [`Initiator`](crate::Initiator), [`queue`](crate::queue) and the tests of targets build requests
//! with [`Envelope::frame`], [`AtaRequest::frame`] and [`config_frame`], and read answers with [`Reply::parse`]. A load
//! tool writes and reads through [`AtaRequestMut`] and [`AtaReplyView`]. A program that plays the target reads requests
//! with [`Received::parse`] and answers over them with [`Received::reply`].
//!
//! Offsets are from the first byte of the Ethernet header, frames are untagged. Source: AoEr11, sections 2
//! and 3.

mod address;
mod identity;
mod reply;
mod request;
mod view;

pub use address::{BadShelfSlot, Mac, ShelfSlot};
pub use identity::Identity;
pub use reply::{AtaReply, Body, ConfigReply, Malformed, Reply};
pub use request::{
    AtaRequest, ConfigCommand, Envelope, Received, config_frame, mask_add_frame, reserve_frame,
};
pub use view::{AtaReplyView, AtaRequestMut};

/// Byte 14 of a request, and the high nibble of a config message's version byte: AoE version 1.
const VERSION_1: u8 = 0x10;
/// The R flag, low nibble of byte 14.
const FLAG_RESPONSE: u8 = 0x08;
/// The E flag, as before.
const FLAG_ERROR: u8 = 0x04;
/// Flags that are reserved.
const FLAG_RESERVED: u8 = 0x03;

/// The EtherType of AoE.
pub const ETHERTYPE: u16 = 0x88a2;
/// Bytes before the argument of a command: Ethernet (14) and the common AoE header (10).
pub const HEADER_LEN: usize = 24;
/// Bytes before the data of an ATA message.
pub const ATA_DATA_OFFSET: usize = 36;
/// Bytes before the string of a query/config message.
pub const CONFIG_STRING_OFFSET: usize = 32;
/// The shortest Ethernet frame, without its check sequence; replies are padded to it.
pub const MIN_FRAME: usize = 60;
/// Bytes of an AoE sector, whatever the block size of the disk behind it.
pub const SECTOR: usize = 512;

/// AoE commands, byte 19 of a frame.
pub mod command {
    /// ATA request.
    pub const ATA: u8 = 0;
    /// Query/config.
    pub const CONFIG: u8 = 1;
    /// MAC mask list.
    pub const MASK: u8 = 2;
    /// Reserve/release.
    pub const RESERVE: u8 = 3;
}

/// ATA opcodes an initiator sends.
pub mod opcode {
    /// READ SECTORS, 28-bit address.
    pub const READ: u8 = 0x20;
    /// READ SECTORS EXT, 48-bit address.
    pub const READ_EXT: u8 = 0x24;
    /// WRITE SECTORS, 28-bit address.
    pub const WRITE: u8 = 0x30;
    /// WRITE SECTORS EXT, 48-bit address.
    pub const WRITE_EXT: u8 = 0x34;
    /// CHECK POWER MODE.
    pub const CHECK_POWER_MODE: u8 = 0xe5;
    /// FLUSH CACHE.
    pub const FLUSH: u8 = 0xe7;
    /// FLUSH CACHE EXT.
    pub const FLUSH_EXT: u8 = 0xea;
    /// SET FEATURES.
    pub const SET_FEATURES: u8 = 0xef;
    /// SMART.
    pub const SMART: u8 = 0xb0;
    /// IDENTIFY DEVICE.
    pub const IDENTIFY: u8 = 0xec;
}

/// ATA status and AFlags bits.
pub mod ata {
    /// AFlags: 48-bit address.
    pub const AFLAG_LBA48: u8 = 0x40;
    /// AFlags: the request carries data to the device.
    pub const AFLAG_WRITE: u8 = 0x01;
    /// Status: device ready.
    pub const DRDY: u8 = 0x40;
    /// Status: device fault.
    pub const DF: u8 = 0x20;
    /// Status: error, the error register says which.
    pub const ERR: u8 = 0x01;
    /// The status bits that make Linux and Plan 9 fail a request: BSY, DF, DRQ, ERR.
    pub const FAILURE: u8 = 0xa9;
    /// Error register: command aborted.
    pub const ABRT: u8 = 0x04;
    /// Error register: address beyond the end.
    pub const IDNF: u8 = 0x10;
    /// Error register: uncorrectable media error.
    pub const UNC: u8 = 0x40;
}

#[cfg(test)]
mod tests;
