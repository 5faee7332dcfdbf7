//! The third step for command 0: the ATA registers an AoE message carries.

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::layout::{ATA_LEN, HEADER_LEN, TooShort};

/// AFlags, at offset 24.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(transparent)]
pub struct AtaFlags(pub u8);

impl AtaFlags {
    /// E: the LBA bytes hold 48 bits.
    pub const LBA48: u8 = 0x40;
    /// D: bit 4 of the device/head register.
    pub const DEVICE: u8 = 0x10;
    /// A: the target may answer a write before it is on the medium.
    pub const ASYNC: u8 = 0x02;
    /// W: the request carries data towards the device.
    pub const WRITE: u8 = 0x01;
    /// The bits that have a meaning; the others are sent as zero.
    pub const DEFINED: u8 = Self::LBA48 | Self::DEVICE | Self::ASYNC | Self::WRITE;
}

/// View of the 12 argument bytes of an ATA message, offsets 24 to 35 of the frame.
///
/// Two bytes change their meaning with the direction: offset 25 is the feature of a request and the error of a
/// response, offset 27 the command of a request and the status of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AtaArgs {
    /// Offset 24.
    pub flags: AtaFlags,
    /// Feature or error, offset 25.
    pub feature_error: u8,
    /// Sector count, offset 26; eight bits also for 48-bit commands.
    pub count: u8,
    /// Command or status, offset 27.
    pub command_status: u8,
    /// LBA, least significant byte first, offset 28. For 28-bit commands the high nibble of the fourth byte
    /// belongs to the device register.
    pub lba: [u8; 6],
    reserved: U16,
}

const _: () = assert!(HEADER_LEN + size_of::<AtaArgs>() == ATA_LEN);

impl AtaArgs {
    /// Lays the view over `argument`, the bytes after the AoE header; the second half is the data.
    ///
    /// # Errors
    /// [`TooShort`], counted in bytes of the whole frame, when fewer than 12 bytes are there.
    #[inline]
    pub fn view(argument: &[u8]) -> Result<(&Self, &[u8]), TooShort> {
        Self::ref_from_prefix(argument)
            .map_err(|_| TooShort { need: ATA_LEN, have: HEADER_LEN + argument.len() })
    }

    /// As [`AtaArgs::view`], for writing.
    ///
    /// # Errors
    /// [`TooShort`], counted in bytes of the whole frame, when fewer than 12 bytes are there.
    #[inline]
    pub fn view_mut(argument: &mut [u8]) -> Result<(&mut Self, &mut [u8]), TooShort> {
        let have = HEADER_LEN + argument.len();
        Self::mut_from_prefix(argument).map_err(|_| TooShort { need: ATA_LEN, have })
    }

    /// The LBA of a 28-bit command.
    #[inline]
    #[must_use]
    pub fn lba28(&self) -> u64 {
        let [a, b, c, d, ..] = self.lba;
        u64::from_le_bytes([a, b, c, d & 0x0f, 0, 0, 0, 0])
    }

    /// The LBA of a 48-bit command.
    #[inline]
    #[must_use]
    pub fn lba48(&self) -> u64 {
        let [a, b, c, d, e, f] = self.lba;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// Sets the 28 bits of the LBA from the low 28 bits of `lba`; the device nibble and the two upper bytes
    /// stay.
    #[inline]
    pub fn set_lba28(&mut self, lba: u64) {
        let [a, b, c, d, ..] = lba.to_le_bytes();
        let device = self.lba[3] & 0xf0;
        self.lba[..4].copy_from_slice(&[a, b, c, device | d & 0x0f]);
    }

    /// Sets all six LBA bytes from the low 48 bits of `lba`.
    #[inline]
    pub fn set_lba48(&mut self, lba: u64) {
        // Two copies of a power of two: six bytes by name become six stores.
        let bytes = lba.to_le_bytes();
        self.lba[..4].copy_from_slice(&bytes[..4]);
        self.lba[4..].copy_from_slice(&bytes[4..6]);
    }

    /// Zeroes what the protocol reserves: the undefined AFlags and offsets 34 and 35.
    #[inline]
    pub fn clear_reserved(&mut self) {
        self.flags.0 &= AtaFlags::DEFINED;
        self.reserved = U16::ZERO;
    }
}

/// The argument of an ATA message as a value. For names of two meanings see [`AtaArgs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AtaRepr {
    /// AFlags.
    pub flags: AtaFlags,
    /// Feature (request) or error (response).
    pub feature_error: u8,
    /// Sectors.
    pub count: u8,
    /// Command (request) or status (response).
    pub command_status: u8,
    /// LBA bytes, least significant first.
    pub lba: [u8; 6],
}

impl AtaRepr {
    /// Reads `argument`, the bytes after the AoE header; the second half is the data. Reserved bytes are
    /// ignored.
    ///
    /// # Errors
    /// [`TooShort`], counted in bytes of the whole frame, when fewer than 12 bytes are there.
    #[inline]
    pub fn parse(argument: &[u8]) -> Result<(Self, &[u8]), TooShort> {
        let (args, data) = AtaArgs::view(argument)?;
        let repr = Self {
            flags: args.flags,
            feature_error: args.feature_error,
            count: args.count,
            command_status: args.command_status,
            lba: args.lba,
        };
        Ok((repr, data))
    }

    /// Writes all 12 bytes, reserved ones as zero; returns the rest, where the data goes.
    ///
    /// # Errors
    /// [`TooShort`], counted in bytes of the whole frame, when there is no room; nothing is written then.
    #[inline]
    pub fn emit<'a>(&self, argument: &'a mut [u8]) -> Result<&'a mut [u8], TooShort> {
        let (args, data) = AtaArgs::view_mut(argument)?;
        *args = AtaArgs {
            flags: self.flags,
            feature_error: self.feature_error,
            count: self.count,
            command_status: self.command_status,
            lba: self.lba,
            reserved: U16::ZERO,
        };
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WRITE SECTORS EXT, two sectors at 0x060504030201.
    const BYTES: [u8; 12] = [
        0x41, // LBA48, write
        0x0f, // feature
        0x02, // two sectors
        0x34, // WRITE SECTORS EXT
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, // LBA
        0x00, 0x00, // reserved
    ];

    fn value() -> AtaRepr {
        AtaRepr {
            flags: AtaFlags(AtaFlags::LBA48 | AtaFlags::WRITE),
            feature_error: 0x0f,
            count: 2,
            command_status: 0x34,
            lba: [1, 2, 3, 4, 5, 6],
        }
    }

    #[test]
    fn deconstruct() {
        let (args, rest) = AtaArgs::view(&BYTES).unwrap();
        assert!(rest.is_empty());
        assert_eq!(args.flags, AtaFlags(0x41));
        assert_eq!(args.feature_error, 0x0f);
        assert_eq!(args.count, 2);
        assert_eq!(args.command_status, 0x34);
        assert_eq!(args.lba48(), 0x0605_0403_0201);
        assert_eq!(args.lba28(), 0x0403_0201);
    }

    #[test]
    fn construct() {
        let mut bytes = [0xa5; 12];
        let (args, _) = AtaArgs::view_mut(&mut bytes).unwrap();
        args.flags = AtaFlags(0x41);
        args.feature_error = 0x0f;
        args.count = 2;
        args.command_status = 0x34;
        args.set_lba48(0xffff_0605_0403_0201);
        args.clear_reserved();
        assert_eq!(bytes, BYTES);
    }

    #[test]
    fn parse() {
        assert_eq!(AtaRepr::parse(&BYTES), Ok((value(), &[][..])));
        assert_eq!(AtaRepr::parse(&BYTES[..11]), Err(TooShort { need: 36, have: 35 }));
    }

    #[test]
    fn emit() {
        let mut bytes = [0xa5; 13];
        assert_eq!(value().emit(&mut bytes).unwrap(), [0xa5]);
        assert_eq!(bytes[..12], BYTES);
        assert_eq!(value().emit(&mut bytes[..11]), Err(TooShort { need: 36, have: 35 }));
    }

    #[test]
    fn lba28_leaves_the_device_nibble() {
        let mut bytes = BYTES;
        bytes[7] = 0xe0;
        let (args, _) = AtaArgs::view_mut(&mut bytes).unwrap();
        assert_eq!(args.lba28(), 0x0003_0201);
        args.set_lba28(0xfabc_def1);
        assert_eq!(args.lba, [0xf1, 0xde, 0xbc, 0xea, 0x05, 0x06]);
        assert_eq!(args.lba28(), 0x0abc_def1);
    }

    #[test]
    fn clear_reserved_touches_nothing_defined() {
        let mut bytes = [0xff; 12];
        AtaArgs::view_mut(&mut bytes).unwrap().0.clear_reserved();
        assert_eq!(bytes, [0x53, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0]);
    }
}
