//! The second step: the AoE header with address, command and tag.

use core::fmt;

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::address::{Shelf, ShelfSlot, Slot};
use crate::ethernet::{EthernetHeader, MacAddr};
use crate::layout::{ETHERTYPE_AOE, HEADER_LEN, TooShort, VERSION};
use crate::open_enum::open_enum;

open_enum! {
    /// The command of an AoE message, at offset 19.
    AoeCommand {
        /// Issue an ATA command.
        Ata = 0,
        /// Query or change the config string; discovery.
        Config = 1,
        /// Read or edit the MAC mask list.
        MacMask = 2,
        /// Reserve or release by MAC list.
        Reserve = 3,
        /// Reserve or release by key (AoE 1.2).
        KeyedReserve = 4,
    }
}

open_enum! {
    /// The reason for which a target refused a message, at offset 15; meaningful only when the error flag is set.
    ///
    /// A failed disk I/O is not among these: it is an ordinary reply with ATA error registers. The Linux
    /// initiator drops replies that carry an AoE error and retransmits for minutes.
    AoeError {
        /// The command is not one the target knows.
        UnknownCommand = 1,
        /// An argument of a known command has a value the target does not accept.
        BadArgument = 2,
        /// The target cannot answer for its device now.
        DeviceUnavailable = 3,
        /// A config string is set and differs from the one sent.
        ConfigStringPresent = 4,
        /// The version nibble is not one the target speaks.
        UnsupportedVersion = 5,
        /// The target is reserved by others.
        TargetReserved = 6,
    }
}

/// The initiator's mark on a message, returned byte for byte. Only the initiator interprets it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(transparent)]
pub struct Tag(pub [u8; 4]);

impl Tag {
    /// The tag of a message that answers no request.
    pub const UNSOLICITED: Self = Self([0; 4]);
}

/// The reason for which bytes are not an AoE message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The frame ends inside the part being read.
    TooShort(TooShort),
    /// The EtherType, carried here, is not AoE's.
    NotAoe(u16),
    /// The version nibble, carried here, is not 1.
    BadVersion(u8),
}

impl From<TooShort> for ParseError {
    #[inline]
    fn from(short: TooShort) -> Self {
        Self::TooShort(short)
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort(short) => short.fmt(f),
            Self::NotAoe(ethertype) => write!(f, "EtherType {ethertype:#06x}, AoE is {ETHERTYPE_AOE:#06x}"),
            Self::BadVersion(version) => write!(f, "AoE version {version}, only {VERSION} is spoken"),
        }
    }
}

impl core::error::Error for ParseError {}

/// View of the first [`HEADER_LEN`] bytes of a frame: the Ethernet header and the AoE header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Offset 0.
    pub ethernet: EthernetHeader,
    ver_flags: u8,
    error: u8,
    major: U16,
    minor: u8,
    command: u8,
    /// Offset 20.
    pub tag: Tag,
}

const _: () = assert!(size_of::<Header>() == HEADER_LEN);

impl Header {
    const RESPONSE: u8 = 0x08;
    const ERROR: u8 = 0x04;

    /// Lays the view over the start of `frame`; the second half is what follows it.
    ///
    /// # Errors
    /// [`TooShort`] when `frame` has fewer than [`HEADER_LEN`] bytes.
    #[inline]
    pub fn view(frame: &[u8]) -> Result<(&Self, &[u8]), TooShort> {
        Self::ref_from_prefix(frame).map_err(|_| TooShort { need: HEADER_LEN, have: frame.len() })
    }

    /// As [`Header::view`], for writing. Nothing is judged, so the bytes may be anything before.
    ///
    /// # Errors
    /// [`TooShort`] when `frame` has fewer than [`HEADER_LEN`] bytes.
    #[inline]
    pub fn view_mut(frame: &mut [u8]) -> Result<(&mut Self, &mut [u8]), TooShort> {
        let have = frame.len();
        Self::mut_from_prefix(frame).map_err(|_| TooShort { need: HEADER_LEN, have })
    }

    /// Whether EtherType, version and the response flag are those of a request: the three by one comparison.
    #[inline(always)]
    #[must_use]
    pub fn is_request(&self) -> bool {
        let [ethertype_high, ethertype_low] = ETHERTYPE_AOE.to_be_bytes();
        let wanted = u32::from_ne_bytes([ethertype_high, ethertype_low, VERSION << 4, 0]);
        let looked_at = u32::from_ne_bytes([0xff, 0xff, 0xf0 | Self::RESPONSE, 0]);
        let [high, low] = self.ethernet.ethertype().to_be_bytes();
        u32::from_ne_bytes([high, low, self.ver_flags, self.error]) & looked_at == wanted
    }

    /// The protocol version, the high nibble at offset 14.
    #[inline]
    #[must_use]
    pub fn version(&self) -> u8 {
        self.ver_flags >> 4
    }

    /// True when the message is an answer (or an advertisement), flag R at offset 14.
    #[inline]
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.ver_flags & Self::RESPONSE != 0
    }

    /// The refusal, if flag E at offset 14 is set.
    #[inline]
    #[must_use]
    pub fn error(&self) -> Option<AoeError> {
        (self.ver_flags & Self::ERROR != 0).then(|| AoeError::from(self.error))
    }

    /// Sets version 1, the flags and the error byte; reserved flag bits become zero.
    #[inline]
    pub fn set_kind(&mut self, response: bool, error: Option<AoeError>) {
        let response = if response { Self::RESPONSE } else { 0 };
        let (flag, code) = error.map_or((0, 0), |error| (Self::ERROR, u8::from(error)));
        self.ver_flags = VERSION << 4 | response | flag;
        self.error = code;
    }

    /// Shelf and slot, at offset 16; either may be a wildcard in a request.
    #[inline]
    #[must_use]
    pub fn address(&self) -> ShelfSlot {
        ShelfSlot::new(Shelf(self.major.get()), Slot(self.minor))
    }

    /// Sets shelf and slot.
    #[inline]
    pub fn set_address(&mut self, address: ShelfSlot) {
        self.major.set(address.shelf.0);
        self.minor = address.slot.0;
    }

    /// The command, at offset 19.
    #[inline]
    #[must_use]
    pub fn command(&self) -> AoeCommand {
        AoeCommand::from(self.command)
    }

    /// Sets the command.
    #[inline]
    pub fn set_command(&mut self, command: AoeCommand) {
        self.command = command.into();
    }

    /// Makes the header of a request the header of its reply: back to the sender, from `own` (the address of
    /// the port the request came in by), response flag, refusal if any, and the answering target's own
    /// `address` in place of wildcards. Command and tag stay as they are.
    #[inline]
    pub fn turn_into_reply(&mut self, own: MacAddr, address: ShelfSlot, error: Option<AoeError>) {
        self.ethernet.turn_back(own);
        self.set_kind(true, error);
        self.set_address(address);
    }
}

/// The two headers of a message as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderRepr {
    /// Ethernet destination.
    pub destination: MacAddr,
    /// Ethernet source.
    pub source: MacAddr,
    /// An answer or advertisement, not a request.
    pub response: bool,
    /// The refusal, when the error flag is set.
    pub error: Option<AoeError>,
    /// Shelf and slot, wildcards possible.
    pub address: ShelfSlot,
    /// The command.
    pub command: AoeCommand,
    /// The initiator's mark.
    pub tag: Tag,
}

impl HeaderRepr {
    /// Reads the headers of `frame`; the second half is the argument, to the end of `frame`.
    ///
    /// # Errors
    /// [`ParseError`] when the frame is short, of another EtherType, or of another AoE version.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<(Self, &[u8]), ParseError> {
        let (header, argument) = Header::view(frame)?;
        if header.ethernet.ethertype() != ETHERTYPE_AOE {
            return Err(ParseError::NotAoe(header.ethernet.ethertype()));
        }
        if header.version() != VERSION {
            return Err(ParseError::BadVersion(header.version()));
        }
        let repr = Self {
            destination: header.ethernet.destination,
            source: header.ethernet.source,
            response: header.is_response(),
            error: header.error(),
            address: header.address(),
            command: header.command(),
            tag: header.tag,
        };
        Ok((repr, argument))
    }

    /// Writes all [`HEADER_LEN`] bytes; returns the rest of `frame`, where the argument goes.
    ///
    /// # Errors
    /// [`TooShort`] when `frame` has fewer than [`HEADER_LEN`] bytes; nothing is written then.
    #[inline]
    pub fn emit<'a>(&self, frame: &'a mut [u8]) -> Result<&'a mut [u8], TooShort> {
        let (header, argument) = Header::view_mut(frame)?;
        header.ethernet = EthernetHeader::aoe(self.destination, self.source);
        header.set_kind(self.response, self.error);
        header.set_address(self.address);
        header.set_command(self.command);
        header.tag = self.tag;
        Ok(argument)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: MacAddr = MacAddr([0x52, 0x54, 0x00, 0xab, 0xcd, 0xef]);
    const OWN: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x01]);

    /// A refusal by 258.3: unknown command.
    const BYTES: [u8; HEADER_LEN] = [
        0x52, 0x54, 0x00, 0xab, 0xcd, 0xef, // destination
        0x02, 0x00, 0x00, 0x00, 0x00, 0x01, // source
        0x88, 0xa2, // EtherType
        0x1c, // version 1, response, error
        0x01, // unknown command
        0x01, 0x02, // shelf 258
        0x03, // slot 3
        0x07, // command 7
        0xde, 0xad, 0xbe, 0xef, // tag
    ];

    fn value() -> HeaderRepr {
        HeaderRepr {
            destination: SOURCE,
            source: OWN,
            response: true,
            error: Some(AoeError::UnknownCommand),
            address: ShelfSlot::new(Shelf(258), Slot(3)),
            command: AoeCommand::Unknown(7),
            tag: Tag([0xde, 0xad, 0xbe, 0xef]),
        }
    }

    #[test]
    fn deconstruct() {
        let (header, rest) = Header::view(&BYTES).unwrap();
        assert!(rest.is_empty());
        assert_eq!(header.ethernet.destination, SOURCE);
        assert_eq!(header.ethernet.source, OWN);
        assert_eq!(header.ethernet.ethertype(), ETHERTYPE_AOE);
        assert_eq!(header.version(), 1);
        assert!(header.is_response());
        assert_eq!(header.error(), Some(AoeError::UnknownCommand));
        assert_eq!(header.address(), ShelfSlot::new(Shelf(258), Slot(3)));
        assert_eq!(header.command(), AoeCommand::Unknown(7));
        assert_eq!(header.tag, Tag([0xde, 0xad, 0xbe, 0xef]));
    }

    #[test]
    fn construct() {
        let mut bytes = [0xa5; HEADER_LEN];
        let (header, _) = Header::view_mut(&mut bytes).unwrap();
        header.ethernet.destination = SOURCE;
        header.ethernet.source = OWN;
        header.ethernet.set_ethertype(ETHERTYPE_AOE);
        header.set_kind(true, Some(AoeError::UnknownCommand));
        header.set_address(ShelfSlot::new(Shelf(258), Slot(3)));
        header.set_command(AoeCommand::Unknown(7));
        header.tag = Tag([0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(bytes, BYTES);
    }

    #[test]
    fn parse() {
        assert_eq!(HeaderRepr::parse(&BYTES), Ok((value(), &[][..])));
    }

    #[test]
    fn emit() {
        let mut bytes = [0xa5; HEADER_LEN + 2];
        assert_eq!(value().emit(&mut bytes).unwrap(), [0xa5, 0xa5]);
        assert_eq!(bytes[..HEADER_LEN], BYTES);
    }

    #[test]
    fn parse_judges() {
        let short = TooShort { need: 24, have: 23 };
        assert_eq!(HeaderRepr::parse(&BYTES[..23]), Err(ParseError::TooShort(short)));
        let mut tagged = BYTES;
        tagged[12..14].copy_from_slice(&[0x81, 0x00]);
        assert_eq!(HeaderRepr::parse(&tagged), Err(ParseError::NotAoe(0x8100)));
        for version in [0u8, 2, 15] {
            let mut bytes = BYTES;
            bytes[14] = version << 4 | 0x08;
            assert_eq!(HeaderRepr::parse(&bytes), Err(ParseError::BadVersion(version)));
        }
    }

    #[test]
    fn emit_into_too_little_writes_nothing() {
        let mut bytes = [0xa5; HEADER_LEN - 1];
        assert_eq!(value().emit(&mut bytes), Err(TooShort { need: 24, have: 23 }));
        assert_eq!(bytes, [0xa5; HEADER_LEN - 1]);
    }

    #[test]
    fn reply_keeps_command_and_tag_and_clears_what_is_reserved() {
        let mut bytes = BYTES;
        bytes[14] = 0x13; // both reserved flag bits set
        bytes[15] = 0x77; // junk in the error byte
        bytes[16..19].copy_from_slice(&[0xff, 0xff, 0xff]);
        let (header, _) = Header::view_mut(&mut bytes).unwrap();
        header.turn_into_reply(SOURCE, ShelfSlot::new(Shelf(1), Slot(2)), None);
        assert_eq!(header.ethernet.destination, OWN);
        assert_eq!(header.ethernet.source, SOURCE);
        assert_eq!(bytes[14..20], [0x18, 0x00, 0x00, 0x01, 0x02, 0x07]);
        assert_eq!(bytes[20..], BYTES[20..]);
    }

    #[test]
    fn error_byte_without_the_flag_is_no_error() {
        let mut bytes = BYTES;
        bytes[14] = 0x18;
        assert_eq!(Header::view(&bytes).unwrap().0.error(), None);
    }

    #[test]
    fn codes_survive() {
        for code in 0..=u8::MAX {
            assert_eq!(u8::from(AoeCommand::from(code)), code);
            assert_eq!(u8::from(AoeError::from(code)), code);
        }
        assert_eq!(AoeCommand::from(0xf0), AoeCommand::Unknown(0xf0));
        assert_eq!(u8::from(AoeError::TargetReserved), 6);
    }
}
