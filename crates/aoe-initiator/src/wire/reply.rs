//! Replies: views over what was received, and the rules they have to keep.

use super::{
    ATA_DATA_OFFSET, CONFIG_STRING_OFFSET, ETHERTYPE, FLAG_ERROR, FLAG_RESERVED, FLAG_RESPONSE, HEADER_LEN,
    MIN_FRAME, Mac, ShelfSlot, ata, command,
};

/// The reason for which bytes are no AoE message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than the command's fixed part.
    #[error("a frame of {len} bytes, command {command} needs {needed}")]
    Short {
        /// Bytes received.
        len: usize,
        /// Command byte, 0 if the frame ends before it.
        command: u8,
        /// Bytes the fixed part takes.
        needed: usize,
    },
    /// Another EtherType.
    #[error("EtherType {0:#06x} is not AoE")]
    EtherType(u16),
    /// A config string that says it is longer than the frame.
    #[error("a config string of {length} bytes in a frame with room for {room}")]
    ConfigLength {
        /// The length field.
        length: u16,
        /// Bytes left in the frame.
        room: usize,
    },
}

/// The registers and data of an ATA reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtaReply<'a> {
    /// AFlags.
    pub aflags: u8,
    /// Error register.
    pub error: u8,
    /// Sector count register.
    pub count: u8,
    /// Status register.
    pub status: u8,
    /// The six address registers.
    pub lba: u64,
    /// Two bytes reserved as zero.
    pub reserved: u16,
    /// All that follows, padding included.
    pub data: &'a [u8],
}

impl AtaReply<'_> {
    /// Whether Linux and Plan 9 would take this for a failure.
    pub const fn failed(&self) -> bool {
        self.status & ata::FAILURE != 0
    }
}

/// A query/config reply or advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigReply<'a> {
    /// Messages the target says it can queue.
    pub buffer_count: u16,
    /// Firmware version.
    pub firmware: u16,
    /// Most sectors in one message; 0 means 2.
    pub sector_count: u8,
    /// AoE version of the target, high nibble of byte 29.
    pub version: u8,
    /// Sub-command answered, low nibble of byte 29.
    pub config_command: u8,
    /// The config string.
    pub string: &'a [u8],
}

/// The part after the common header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Command 0.
    Ata(AtaReply<'a>),
    /// Command 1.
    Config(ConfigReply<'a>),
    /// Any other command, or an error reply to one: the bytes after the header.
    Other(&'a [u8]),
}

/// A received AoE frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// Destination MAC address.
    pub dst: Mac,
    /// The target's MAC address.
    pub src: Mac,
    /// Version nibble.
    pub version: u8,
    /// Flag nibble as received.
    pub flags: u8,
    /// AoE error code; meaningful when [`Reply::is_error`].
    pub error: u8,
    /// Export that answers.
    pub address: ShelfSlot,
    /// Command byte.
    pub command: u8,
    /// The request's tag; 0 in an advertisement.
    pub tag: u32,
    /// The argument.
    pub body: Body<'a>,
    /// Length of the frame.
    pub frame_len: usize,
}

impl<'a> Reply<'a> {
    /// Reads a frame. An error reply (E set) that is too short for its command's fixed part has
    /// [`Body::Other`].
    ///
    /// # Errors
    /// [`Malformed`] if the frame is too short, of another EtherType, or its config length points past its
    /// end.
    pub fn parse(frame: &'a [u8]) -> Result<Self, Malformed> {
        let len = frame.len();
        let Some((header, argument)) = frame.split_first_chunk::<HEADER_LEN>() else {
            return Err(Malformed::Short { len, command: 0, needed: HEADER_LEN });
        };
        let ethertype = u16::from_be_bytes([header[12], header[13]]);
        if ethertype != ETHERTYPE {
            return Err(Malformed::EtherType(ethertype));
        }
        let flags = header[14] & 0x0f;
        let command = header[19];
        let body = match Self::parse_body(command, argument, len) {
            Err(Malformed::Short { .. }) if flags & FLAG_ERROR != 0 => Body::Other(argument),
            body => body?,
        };
        Ok(Self {
            dst: Mac([header[0], header[1], header[2], header[3], header[4], header[5]]),
            src: Mac([header[6], header[7], header[8], header[9], header[10], header[11]]),
            version: header[14] >> 4,
            flags,
            error: header[15],
            address: ShelfSlot { shelf: u16::from_be_bytes([header[16], header[17]]), slot: header[18] },
            command,
            tag: u32::from_be_bytes([header[20], header[21], header[22], header[23]]),
            body,
            frame_len: len,
        })
    }

    fn parse_body(command: u8, argument: &'a [u8], len: usize) -> Result<Body<'a>, Malformed> {
        match command {
            command::ATA => {
                let Some((r, data)) = argument.split_first_chunk::<12>() else {
                    return Err(Malformed::Short { len, command, needed: ATA_DATA_OFFSET });
                };
                Ok(Body::Ata(AtaReply {
                    aflags: r[0],
                    error: r[1],
                    count: r[2],
                    status: r[3],
                    lba: u64::from_le_bytes([r[4], r[5], r[6], r[7], r[8], r[9], 0, 0]),
                    reserved: u16::from_be_bytes([r[10], r[11]]),
                    data,
                }))
            }
            command::CONFIG => {
                let Some((r, rest)) = argument.split_first_chunk::<8>() else {
                    return Err(Malformed::Short { len, command, needed: CONFIG_STRING_OFFSET });
                };
                let length = u16::from_be_bytes([r[6], r[7]]);
                let string = rest
                    .get(..usize::from(length))
                    .ok_or(Malformed::ConfigLength { length, room: rest.len() })?;
                Ok(Body::Config(ConfigReply {
                    buffer_count: u16::from_be_bytes([r[0], r[1]]),
                    firmware: u16::from_be_bytes([r[2], r[3]]),
                    sector_count: r[4],
                    version: r[5] >> 4,
                    config_command: r[5] & 0x0f,
                    string,
                }))
            }
            _ => Ok(Body::Other(argument)),
        }
    }

    /// Whether the R flag is set. Without it the frame is another initiator's request.
    pub const fn is_response(&self) -> bool {
        self.flags & FLAG_RESPONSE != 0
    }

    /// Whether the E flag is set.
    pub const fn is_error(&self) -> bool {
        self.flags & FLAG_ERROR != 0
    }

    /// The rules for a target's replies this one breaks, in words. Empty for a correct reply.
    pub fn breaches(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut rule = |broken: bool, text: String| {
            if broken {
                found.push(text);
            }
        };
        rule(!self.is_response(), "the R flag is not set".into());
        rule(self.version != 1, format!("version nibble {}, must be 1", self.version));
        rule(
            self.flags & FLAG_RESERVED != 0,
            format!("reserved flag bits {:#x}", self.flags & FLAG_RESERVED),
        );
        rule(
            !self.is_error() && self.error != 0,
            format!("error byte {} without the E flag, must be 0", self.error),
        );
        rule(
            self.is_error() && !(1..=6).contains(&self.error),
            format!("error code {}, AoE has 1 to 6", self.error),
        );
        rule(
            self.address.shelf == ShelfSlot::ANY.shelf || self.address.slot == ShelfSlot::ANY.slot,
            format!("wildcard address {} in a reply", self.address),
        );
        rule(self.src == Mac::BROADCAST, "sent from the broadcast address".into());
        rule(
            self.frame_len < MIN_FRAME,
            format!("{} bytes, replies are padded to {MIN_FRAME}", self.frame_len),
        );
        match &self.body {
            Body::Ata(reply) => {
                rule(reply.reserved != 0, format!("reserved ATA bytes {:#06x}, must be 0", reply.reserved));
            }
            Body::Config(config) => {
                rule(config.version != 1, format!("config version {}, must be 1", config.version));
                rule(
                    config.buffer_count < 2,
                    format!("buffer count {}, Linux needs at least 2", config.buffer_count),
                );
                rule(
                    config.sector_count > 16,
                    format!("{} sectors, Linux misaligns above 16", config.sector_count),
                );
                rule(config.string.len() > 1024, format!("config string of {} bytes", config.string.len()));
            }
            Body::Other(_) => {}
        }
        found
    }
}
