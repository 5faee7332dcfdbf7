//! Step one, parse: from bytes to a checked request.

use aoe_wire::{
    AoeCommand, AtaArgs, CONFIG_LEN, ConfigCommand, ConfigRepr, ETHERTYPE_AOE, EthernetHeader, Header,
    KEYED_LEN, KEYED_STATUS_LEN, KeyedCommand, MASK_LEN, MAX_CONFIG_STRING, MacAddr, MaskArgs, MaskCommand,
    RESERVE_LEN, ReserveArgs, ReserveCommand, SECTOR_BYTES, ShelfSlot, VERSION,
};
use ata::{AtaCommand, Taskfile, Transfer};

use crate::drop_reason::DropReason;
use crate::io::PAYLOAD_OFFSET;

/// The fields of a request that decide its fate, copied out of its headers. The frame stays in place and later carries the
/// reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The frame's destination address; see [`Request::is_for`].
    pub destination: MacAddr,
    /// The initiator.
    pub source: MacAddr,
    /// The disk meant; a wildcard means several.
    pub address: ShelfSlot,
    /// The command and its arguments.
    pub kind: RequestKind,
}

/// The command of a request, with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// An ATA command, supported or not, by its registers.
    Ata(Taskfile),
    /// Query/config.
    Config {
        /// The sub-command.
        command: ConfigCommand,
        /// The string's length field, in bytes; not yet checked.
        string_len: u16,
    },
    /// MAC mask list.
    Mask {
        /// The sub-command.
        command: MaskCommand,
        /// The message's reserved byte is not zero.
        reserved: bool,
        /// The directive count field; not yet checked.
        count: u8,
    },
    /// Reserve/release.
    Reserve {
        /// The sub-command.
        command: ReserveCommand,
        /// The address count field; not yet checked.
        count: u8,
    },
    /// Keyed reserve/release.
    Keyed {
        /// The sub-command.
        command: KeyedCommand,
        /// The address count field of a register request; not yet checked.
        count: u8,
    },
    /// A command this target does not know.
    Other(AoeCommand),
}

/// Parses a message that is not ATA.
#[cold]
fn parse_other(command: AoeCommand, argument: &[u8]) -> Result<RequestKind, DropReason> {
    Ok(match command {
        AoeCommand::Config => {
            let (args, _) = ConfigRepr::parse(argument).map_err(|_| DropReason::TooShort)?;
            RequestKind::Config { command: args.command, string_len: args.string_len }
        }
        AoeCommand::MacMask => {
            let (args, _) = MaskArgs::view(argument).map_err(|_| DropReason::TooShort)?;
            let (command, reserved) = (args.command.into(), args.reserved != 0);
            RequestKind::Mask { command, reserved, count: args.count }
        }
        AoeCommand::Reserve => {
            let (args, _) = ReserveArgs::view(argument).map_err(|_| DropReason::TooShort)?;
            RequestKind::Reserve { command: args.command.into(), count: args.count }
        }
        AoeCommand::KeyedReserve => {
            let (args, _) = ReserveArgs::view(argument).map_err(|_| DropReason::TooShort)?;
            RequestKind::Keyed { command: args.command.into(), count: args.count }
        }
        other => RequestKind::Other(other),
    })
}

/// The drop reason of a frame that ends inside its headers. A frame of another EtherType is only "not AoE".
#[cold]
fn short(head: &[u8]) -> DropReason {
    match EthernetHeader::view(head) {
        Err(_) => DropReason::Runt,
        Ok((ethernet, _)) if ethernet.ethertype() != ETHERTYPE_AOE => DropReason::NotAoe,
        Ok(_) => DropReason::TooShort,
    }
}

/// The drop reason of a frame whose header is not that of a request.
#[cold]
fn no_request(header: &Header) -> DropReason {
    if header.ethernet.ethertype() != ETHERTYPE_AOE {
        DropReason::NotAoe
    } else if header.version() != VERSION {
        DropReason::BadVersion
    } else {
        DropReason::IsResponse
    }
}

/// Out of line, so that no frame to this target is compared with it.
#[cold]
#[inline(never)]
fn is_broadcast(destination: MacAddr) -> bool {
    destination.is_broadcast()
}

impl Request {
    /// Parses a frame. `head` is its first contiguous bytes: at least 64, or all of it if it is shorter.
    /// `frame_len` is the length of the whole frame in bytes, without FCS.
    ///
    /// Frames may be shorter than 60 bytes, and longer than their content.
    ///
    /// # Errors
    /// The [`DropReason`] of a frame that is malformed or no request.
    #[inline(always)]
    pub fn parse(head: &[u8], frame_len: usize) -> Result<Self, DropReason> {
        let head = &head[..head.len().min(frame_len)];
        let Ok((header, argument)) = Header::view(head) else { return Err(short(head)) };
        let ethernet = &header.ethernet;
        if !header.is_request() {
            return Err(no_request(header));
        }
        if ethernet.source.is_multicast() {
            return Err(DropReason::SourceNotUnicast);
        }
        let of = |kind| Self {
            destination: ethernet.destination,
            source: ethernet.source,
            address: header.address(),
            kind,
        };
        if header.command() != AoeCommand::Ata {
            return parse_other(header.command(), argument).map(of);
        }
        let (args, _) = AtaArgs::view(argument).map_err(|_| DropReason::TooShort)?;
        let taskfile = Taskfile {
            command: args.command_status,
            feature: args.feature_error,
            count: args.count,
            lba: args.lba48(),
        };
        Ok(of(RequestKind::Ata(taskfile)))
    }

    /// Whether the frame was sent to the MAC address `own` or to everybody. A promiscuous port also sees frames
    /// for others, whose own target may have the same shelf and slot; those are [`DropReason::NotOurMac`].
    #[inline(always)]
    #[must_use]
    pub fn is_for(&self, own: MacAddr) -> bool {
        self.destination.number() == own.number() || is_broadcast(self.destination)
    }

    /// The read or write of sectors that this asks for; `None` for any other command.
    #[inline(always)]
    #[must_use]
    pub fn transfer(&self) -> Option<Transfer> {
        match self.kind {
            RequestKind::Ata(taskfile) => taskfile.transfer(),
            _ => None,
        }
    }

    /// Whether the request only asks which disks there are: a config query or IDENTIFY. No other may go to a wildcard address:
    /// one write would reach every export.
    #[must_use]
    pub fn is_discovery(&self) -> bool {
        match self.kind {
            RequestKind::Ata(taskfile) => taskfile.decode() == AtaCommand::Identify,
            RequestKind::Config { command, .. } => {
                matches!(command, ConfigCommand::Read | ConfigCommand::Test | ConfigCommand::PrefixTest)
            }
            RequestKind::Mask { .. }
            | RequestKind::Reserve { .. }
            | RequestKind::Keyed { .. }
            | RequestKind::Other(_) => false,
        }
    }

    /// The ATA command; `None` for any other message.
    #[must_use]
    pub fn command(&self) -> Option<AtaCommand> {
        match self.kind {
            RequestKind::Ata(taskfile) => Some(taskfile.decode()),
            _ => None,
        }
    }

    /// Bytes from the start of the frame that [`Export::admit`](crate::Export::admit) and
    /// [`InitiatorState::apply`](crate::InitiatorState::apply) want in one piece: 0 unless a config string is to be compared or
    /// stored, a list is to be run, or TRIM's ranges are to be read. Bounded by `frame_len`.
    #[inline]
    #[must_use]
    pub fn contiguous_len(&self, frame_len: usize) -> usize {
        let needed = match self.kind {
            RequestKind::Ata(taskfile) => match taskfile.decode() {
                AtaCommand::Trim { blocks } => PAYLOAD_OFFSET + usize::from(blocks) * SECTOR_BYTES,
                _ => return 0,
            },
            RequestKind::Other(_) => return 0,
            RequestKind::Config { command: ConfigCommand::Read | ConfigCommand::Unknown(_), .. } => return 0,
            RequestKind::Config { command, string_len } => {
                let string = usize::from(string_len).min(MAX_CONFIG_STRING);
                let second = if command == ConfigCommand::TestAndReplace { 2 + MAX_CONFIG_STRING } else { 0 };
                CONFIG_LEN + string + second
            }
            RequestKind::Mask { count, .. } => MASK_LEN + 8 * usize::from(count),
            RequestKind::Reserve { count, .. } => RESERVE_LEN + 6 * usize::from(count),
            RequestKind::Keyed { command: KeyedCommand::Register, count } => {
                KEYED_LEN + 6 * usize::from(count)
            }
            RequestKind::Keyed { .. } => KEYED_STATUS_LEN,
        };
        frame_len.min(needed)
    }
}
