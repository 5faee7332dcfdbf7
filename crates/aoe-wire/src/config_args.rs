//! The third step for command 1: the argument of query/config, by which targets are found and claimed.

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::layout::{CONFIG_LEN, HEADER_LEN, TooShort, VERSION};
use crate::open_enum::open_enum;

open_enum! {
    /// The sub-command of a query/config message, the low nibble at offset 29.
    ConfigCommand {
        /// Tell the config string; always answered.
        Read = 0,
        /// Answer only if the string sent equals the target's.
        Test = 1,
        /// Answer only if the string sent is a prefix of the target's.
        PrefixTest = 2,
        /// Set the string if there is none yet.
        Set = 3,
        /// Set the string whatever it was.
        ForceSet = 4,
        /// Replace the string if the old one sent matches (Coraid's own extension).
        TestAndReplace = 5,
    }
}

/// View of the 8 fixed argument bytes of a query/config message, offsets 24 to 31; the string follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ConfigArgs {
    buffer_count: U16,
    firmware: U16,
    sectors: u8,
    version_command: u8,
    string_len: U16,
}

const _: () = assert!(HEADER_LEN + size_of::<ConfigArgs>() == CONFIG_LEN);

impl ConfigArgs {
    /// Lays the view over `argument`, the bytes after the AoE header; the second half is the string and
    /// whatever trails it.
    ///
    /// # Errors
    /// [`TooShort`], counted in bytes of the whole frame, when fewer than 8 bytes are there.
    #[inline]
    pub fn view(argument: &[u8]) -> Result<(&Self, &[u8]), TooShort> {
        Self::ref_from_prefix(argument)
            .map_err(|_| TooShort { need: CONFIG_LEN, have: HEADER_LEN + argument.len() })
    }

    /// As [`ConfigArgs::view`], for writing.
    ///
    /// # Errors
    /// [`TooShort`], counted in bytes of the whole frame, when fewer than 8 bytes are there.
    #[inline]
    pub fn view_mut(argument: &mut [u8]) -> Result<(&mut Self, &mut [u8]), TooShort> {
        let have = HEADER_LEN + argument.len();
        Self::mut_from_prefix(argument).map_err(|_| TooShort { need: CONFIG_LEN, have })
    }

    /// Messages the target can hold, offset 24. Linux opens its window at half of it.
    #[inline]
    #[must_use]
    pub fn buffer_count(&self) -> u16 {
        self.buffer_count.get()
    }

    /// Sets the buffer count.
    #[inline]
    pub fn set_buffer_count(&mut self, messages: u16) {
        self.buffer_count.set(messages);
    }

    /// Firmware version of the target, offset 26.
    #[inline]
    #[must_use]
    pub fn firmware(&self) -> u16 {
        self.firmware.get()
    }

    /// Sets the firmware version.
    #[inline]
    pub fn set_firmware(&mut self, version: u16) {
        self.firmware.set(version);
    }

    /// Most sectors per ATA message, offset 28; 0 means 2.
    #[inline]
    #[must_use]
    pub fn sectors(&self) -> u8 {
        self.sectors
    }

    /// Sets the most sectors per ATA message.
    #[inline]
    pub fn set_sectors(&mut self, sectors: u8) {
        self.sectors = sectors;
    }

    /// Protocol version of the target, the high nibble at offset 29.
    #[inline]
    #[must_use]
    pub fn version(&self) -> u8 {
        self.version_command >> 4
    }

    /// The sub-command, the low nibble at offset 29.
    #[inline]
    #[must_use]
    pub fn command(&self) -> ConfigCommand {
        ConfigCommand::from(self.version_command & 0x0f)
    }

    /// Sets the command and version 1.
    #[inline]
    pub fn set_command(&mut self, command: ConfigCommand) {
        self.version_command = VERSION << 4 | u8::from(command) & 0x0f;
    }

    /// Bytes of config string that follow, offset 30. Not checked against the frame or the limit of 1024.
    #[inline]
    #[must_use]
    pub fn string_len(&self) -> u16 {
        self.string_len.get()
    }

    /// Sets the length of the config string.
    #[inline]
    pub fn set_string_len(&mut self, bytes: u16) {
        self.string_len.set(bytes);
    }
}

/// The fixed part of a query/config message as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigRepr {
    /// Messages the target can hold.
    pub buffer_count: u16,
    /// Firmware version of the target.
    pub firmware: u16,
    /// Most sectors per ATA message.
    pub sectors: u8,
    /// The sub-command.
    pub command: ConfigCommand,
    /// Bytes of config string that follow, as claimed by the message.
    pub string_len: u16,
}

impl ConfigRepr {
    /// Reads `argument`, the bytes after the AoE header; the second half is the string and whatever trails
    /// it. The length the message claims is not judged, because a read ignores it.
    ///
    /// # Errors
    /// [`TooShort`], counted in bytes of the whole frame, when fewer than 8 bytes are there.
    #[inline]
    pub fn parse(argument: &[u8]) -> Result<(Self, &[u8]), TooShort> {
        let (args, string) = ConfigArgs::view(argument)?;
        let repr = Self {
            buffer_count: args.buffer_count(),
            firmware: args.firmware(),
            sectors: args.sectors(),
            command: args.command(),
            string_len: args.string_len(),
        };
        Ok((repr, string))
    }

    /// Writes all 8 bytes; returns the rest, where the string goes.
    ///
    /// # Errors
    /// [`TooShort`], counted in bytes of the whole frame, when there is no room; nothing is written then.
    #[inline]
    pub fn emit<'a>(&self, argument: &'a mut [u8]) -> Result<&'a mut [u8], TooShort> {
        let (args, string) = ConfigArgs::view_mut(argument)?;
        args.set_buffer_count(self.buffer_count);
        args.set_firmware(self.firmware);
        args.set_sectors(self.sectors);
        args.set_command(self.command);
        args.set_string_len(self.string_len);
        Ok(string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A config response: 16 buffers, firmware 0x4019, 2 sectors, read, a string of 3.
    const BYTES: [u8; 11] = [
        0x00, 0x10, // buffer count
        0x40, 0x19, // firmware
        0x02, // sectors
        0x10, // version 1, read
        0x00, 0x03, // string length
        b'a', b'b', b'c',
    ];

    fn value() -> ConfigRepr {
        ConfigRepr {
            buffer_count: 16,
            firmware: 0x4019,
            sectors: 2,
            command: ConfigCommand::Read,
            string_len: 3,
        }
    }

    #[test]
    fn deconstruct() {
        let (args, string) = ConfigArgs::view(&BYTES).unwrap();
        assert_eq!(args.buffer_count(), 16);
        assert_eq!(args.firmware(), 0x4019);
        assert_eq!(args.sectors(), 2);
        assert_eq!(args.version(), 1);
        assert_eq!(args.command(), ConfigCommand::Read);
        assert_eq!(args.string_len(), 3);
        assert_eq!(string, b"abc");
    }

    #[test]
    fn construct() {
        let mut bytes = [0xa5; 8];
        let (args, _) = ConfigArgs::view_mut(&mut bytes).unwrap();
        args.set_buffer_count(16);
        args.set_firmware(0x4019);
        args.set_sectors(2);
        args.set_command(ConfigCommand::Read);
        args.set_string_len(3);
        assert_eq!(bytes, BYTES[..8]);
    }

    #[test]
    fn parse() {
        assert_eq!(ConfigRepr::parse(&BYTES), Ok((value(), &b"abc"[..])));
        assert_eq!(ConfigRepr::parse(&BYTES[..7]), Err(TooShort { need: 32, have: 31 }));
    }

    #[test]
    fn emit() {
        let mut bytes = [0xa5; 9];
        assert_eq!(value().emit(&mut bytes).unwrap(), [0xa5]);
        assert_eq!(bytes[..8], BYTES[..8]);
        assert_eq!(value().emit(&mut bytes[..7]), Err(TooShort { need: 32, have: 31 }));
    }

    #[test]
    fn command_is_the_low_nibble_only() {
        for nibble in 0..=15u8 {
            let mut bytes = [0; 8];
            bytes[5] = 0xf0 | nibble;
            let (args, _) = ConfigArgs::view_mut(&mut bytes).unwrap();
            assert_eq!(u8::from(args.command()), nibble);
            args.set_command(args.command());
            assert_eq!(bytes[5], 0x10 | nibble);
        }
    }
}
