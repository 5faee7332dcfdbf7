//! Step four, reply: the answer, written over the request that asked for it.

use aoe_wire::{
    ATA_LEN, AoeCommand, AoeError, AtaArgs, CONFIG_LEN, ConfigCommand, ConfigRepr, HEADER_LEN, Header,
    HeaderRepr, KEYED_STATUS_LEN, MASK_LEN, MIN_FRAME, MacAddr, MaskError, RESERVE_LEN, Tag,
};
use ata::{AddressWidth, IDENTIFY_BYTES, Lba, Registers, SectorCount, write_identify};

use crate::drop_reason::DropReason;
use crate::export::Export;
use crate::initiator_state::StateReply;
use crate::io::{BdevIo, BdevOp, IoOutcome};
use crate::ports::PortLimits;

mod state;

/// The firmware version in query/config answers: our own version, major in the high byte, minor in the low.
pub const FIRMWARE_VERSION: u16 =
    version_byte(env!("CARGO_PKG_VERSION_MAJOR")) << 8 | version_byte(env!("CARGO_PKG_VERSION_MINOR"));

/// A part of the version, 0 to 255; a larger one fails the build.
const fn version_byte(digits: &str) -> u16 {
    match u8::from_str_radix(digits, 10) {
        Ok(part) => part as u16,
        Err(_) => panic!("a part of the package version does not fit a byte"),
    }
}

/// LBA registers 1 and 2 of SMART RETURN STATUS: 4Fh and C2h, no threshold exceeded.
const SMART_HEALTHY: u64 = 0x00c2_4f00;
/// As before: F4h and 2Ch, the drive may fail.
const SMART_FAILING: u64 = 0x002c_f400;

/// An answer. Command, tag and initiator's address stay in the request's frame, over which [`Reply::emit`] writes the
/// reply; all else is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An AoE error and nothing else.
    Refused(AoeError),
    /// The query/config answer; the length is that of the config string.
    Config { command: ConfigCommand, error: Option<AoeError>, string_len: u16 },
    /// The answer about initiator state: a list of `entries`, as many as the port's frames have room for, and the bytes up
    /// to its end.
    State { reply: StateReply, error: Option<AoeError>, entries: u16, unpadded: u16 },
    /// ATA registers, before so many sectors of data.
    Registers { registers: Registers, next: Option<Next>, data: SectorCount },
    /// ATA registers and the IDENTIFY page.
    Identify,
}

/// The sector after an I/O, in the registers that the command used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Next {
    lba: Lba,
    width: AddressWidth,
}

impl Reply {
    /// A refusal of the protocol's command or argument.
    #[inline]
    #[must_use]
    pub(crate) const fn refused(error: AoeError) -> Self {
        Self { kind: Kind::Refused(error) }
    }

    /// The query/config answer of `export`.
    #[inline]
    #[must_use]
    pub(crate) fn config(export: &Export, command: ConfigCommand, error: Option<AoeError>) -> Self {
        Self { kind: Kind::Config { command, error, string_len: export.initiator_state().config.len() } }
    }

    /// The answer to a request about initiator state, with the state of `export` published last. Make it when it is to be
    /// sent. `limits` are those of the port the request came in by: lists are cut to its frame size, and their count
    /// states the number sent.
    ///
    /// # Errors
    /// The drop reason, if the answer is silence.
    pub fn state(export: &Export, reply: StateReply, limits: PortLimits) -> Result<Self, DropReason> {
        let reservation = &export.initiator_state().reservation;
        let (fixed, each, entries) = match reply {
            StateReply::Config(command, error) => return Ok(Self::config(export, command, error)),
            StateReply::Done => return Ok(Self::registers(Registers::SUCCESS)),
            StateReply::Aborted => return Ok(Self::registers(Registers::ABORTED)),
            StateReply::Refused(error) => return Ok(Self::refused(error)),
            StateReply::Drop(reason) => return Err(reason),
            StateReply::Mask(_, MaskError::None, _) => {
                (MASK_LEN, 8, export.initiator_state().mask.as_slice().len())
            }
            StateReply::Mask(_, _, completed) => (MASK_LEN, 8, usize::from(completed)),
            StateReply::Reserve(..) => (RESERVE_LEN, 6, reservation.holders().take(255).count()),
            StateReply::Keyed(..) => (KEYED_STATUS_LEN, 8, reservation.shown_keys().count()),
        };
        let fit = entries.min(limits.max_frame().saturating_sub(fixed) / each);
        // No list has more than 255 entries, so this does not saturate.
        let entries = u16::try_from(fit).unwrap_or(u16::MAX);
        let unpadded = u16::try_from(fixed + each * fit).unwrap_or(u16::MAX);
        let error = match reply {
            StateReply::Reserve(_, error) | StateReply::Keyed(_, error) => error,
            _ => None,
        };
        Ok(Self { kind: Kind::State { reply, error, entries, unpadded } })
    }

    /// An ATA answer without data. The LBA registers stay as the request filled them in.
    #[inline]
    #[must_use]
    pub(crate) const fn registers(registers: Registers) -> Self {
        Self { kind: Kind::Registers { registers, next: None, data: SectorCount(0) } }
    }

    /// The answer to IDENTIFY DEVICE.
    #[inline]
    #[must_use]
    pub(crate) const fn identify() -> Self {
        Self { kind: Kind::Identify }
    }

    /// The answer to a read or write that the bdev has carried out: [`Reply::completed`] with nothing left to decide.
    #[inline(always)]
    #[must_use]
    pub fn transferred(is_write: bool, io: &BdevIo) -> Self {
        let next = Some(Next { lba: io.lba.end(io.sectors), width: io.width });
        let data = if is_write { SectorCount(0) } else { io.sectors };
        Self { kind: Kind::Registers { registers: Registers::SUCCESS, next, data } }
    }

    /// The answer of a bdev that failed.
    #[must_use]
    pub const fn device_fault() -> Self {
        Self::registers(Registers::DEVICE_FAULT)
    }

    /// The answer when the bdev is done with `io`. A successful read's data is already in the frame.
    #[must_use]
    pub fn completed(io: &BdevIo, outcome: IoOutcome) -> Self {
        match (outcome, io.op) {
            (IoOutcome::Ok, BdevOp::Read) => Self::transferred(false, io),
            (IoOutcome::Ok, BdevOp::Write) => Self::transferred(true, io),
            (outcome, op) => {
                let (registers, next, data) = completed_rarely(op, outcome);
                Self { kind: Kind::Registers { registers, next, data } }
            }
        }
    }

    /// Bytes of the reply frame, without FCS, padding to 60 included.
    #[inline(always)]
    #[must_use]
    pub fn frame_len(&self) -> usize {
        let unpadded = match self.kind {
            Kind::Registers { data, .. } => ATA_LEN + data.bytes(),
            Kind::Identify => ATA_LEN + IDENTIFY_BYTES,
            Kind::Refused(_) => HEADER_LEN,
            Kind::Config { string_len, .. } => CONFIG_LEN + usize::from(string_len),
            Kind::State { unpadded, .. } => usize::from(unpadded),
        };
        unpadded.max(MIN_FRAME)
    }

    /// Bytes from the start of the frame that [`Reply::emit`] needs in one piece, and writes: all of
    /// [`Reply::frame_len`] but the data of a read, which may lie in further segments.
    #[inline(always)]
    #[must_use]
    pub fn emit_len(&self) -> usize {
        match self.kind {
            Kind::Registers { data: SectorCount(1..), .. } => ATA_LEN,
            _ => self.frame_len(),
        }
    }

    /// The AoE error, if the reply is one.
    #[inline]
    #[must_use]
    pub const fn aoe_error(&self) -> Option<AoeError> {
        match self.kind {
            Kind::Refused(error) => Some(error),
            Kind::Config { error, .. } | Kind::State { error, .. } => error,
            Kind::Registers { .. } | Kind::Identify => None,
        }
    }

    /// True when the reply reports a failed ATA command.
    #[inline]
    #[must_use]
    pub const fn is_ata_error(&self) -> bool {
        matches!(self.kind, Kind::Registers { registers, .. } if registers.is_error())
    }

    /// Writes the reply over the request in `frame`, which holds at least [`Reply::emit_len`] bytes from the
    /// start of the frame. `port_mac` is the address of the port the request came in by, `export` the one that
    /// answers, `limits` those of the port. Returns [`Reply::frame_len`], the length to send.
    ///
    /// Of the request only the first 36 bytes are read: that much of it, copied to a fresh buffer, makes a
    /// further answer to a wildcard. Writes the first `emit_len()` bytes and nothing else; padding is zero, so
    /// that no stale byte of the buffer leaves the machine. `None`, with nothing written, when `frame` is
    /// shorter than that: count it as [`DropReason::NoRoom`].
    #[inline(always)]
    #[must_use]
    pub fn emit(
        &self,
        frame: &mut [u8],
        port_mac: MacAddr,
        export: &Export,
        limits: PortLimits,
    ) -> Option<usize> {
        let reply = self.as_of(export);
        let frame = frame.get_mut(..reply.emit_len())?;
        let (header, argument) = Header::view_mut(frame).ok()?;
        header.turn_into_reply(port_mac, export.address(), self.aoe_error());
        match self.kind {
            Kind::Registers { registers, next, .. } => {
                let padding = write_registers(argument, registers, next)?;
                // Before data there is none; else it has one length, which takes two stores and no call.
                if let Ok(padding) = <&mut [u8; MIN_FRAME - ATA_LEN]>::try_from(padding) {
                    *padding = [0; MIN_FRAME - ATA_LEN];
                }
            }
            Kind::Identify => write_identify_page(argument, export, limits)?,
            Kind::Refused(_) => argument.fill(0),
            Kind::Config { command, .. } => write_config(argument, command, export, limits)?,
            Kind::State { reply, entries, .. } => {
                state::write(argument, reply, usize::from(entries), export.initiator_state())?;
            }
        }
        Some(reply.frame_len())
    }

    /// The reply with the length of the config string as it is now: between admission and emission the string
    /// may have changed.
    #[inline(always)]
    fn as_of(&self, export: &Export) -> Self {
        match self.kind {
            Kind::Config { command, error, .. } => Self::config(export, command, error),
            _ => *self,
        }
    }
}

/// The registers, LBA registers and sectors of data after what is no read or write, or has failed.
#[cold]
fn completed_rarely(op: BdevOp, outcome: IoOutcome) -> (Registers, Option<Next>, SectorCount) {
    // SMART RETURN STATUS has its verdict in LBA registers 1 and 2.
    const NONE: SectorCount = SectorCount(0);
    let status = |lba| (Registers::SUCCESS, Some(Next { lba: Lba(lba), width: AddressWidth::Lba28 }), NONE);
    match (outcome, op) {
        (IoOutcome::Ok, BdevOp::Read | BdevOp::Write | BdevOp::Flush | BdevOp::Trim) => {
            (Registers::SUCCESS, None, NONE)
        }
        (IoOutcome::Ok, BdevOp::SmartStatus) => status(SMART_HEALTHY),
        (IoOutcome::Failing, _) => status(SMART_FAILING),
        (IoOutcome::Ok, BdevOp::SmartData | BdevOp::SmartThresholds) => {
            (Registers::SUCCESS, None, SectorCount(1))
        }
        (IoOutcome::MediaError, BdevOp::Read) => (Registers::UNCORRECTABLE, None, NONE),
        (IoOutcome::MediaError | IoOutcome::DeviceFault, _) => (Registers::DEVICE_FAULT, None, NONE),
        (IoOutcome::OutOfRange, _) => (Registers::NOT_FOUND, None, NONE),
        (IoOutcome::Aborted, _) => (Registers::ABORTED, None, NONE),
    }
}

/// Fills in the registers; returns what follows them.
#[inline(always)]
fn write_registers(argument: &mut [u8], registers: Registers, next: Option<Next>) -> Option<&mut [u8]> {
    let (args, rest) = AtaArgs::view_mut(argument).ok()?;
    args.clear_reserved();
    args.feature_error = registers.error;
    args.command_status = registers.status;
    if let Some(count) = registers.count {
        args.count = count;
    }
    match next {
        Some(Next { lba, width: AddressWidth::Lba48 }) => args.set_lba48(lba.0),
        // The step past the last 28-bit address wraps to 0.
        Some(Next { lba, width: AddressWidth::Lba28 }) => args.set_lba28(lba.0),
        None => {}
    }
    Some(rest)
}

/// Fills in the registers and the page of IDENTIFY DEVICE.
#[cold]
fn write_identify_page(argument: &mut [u8], export: &Export, limits: PortLimits) -> Option<()> {
    let page = write_registers(argument, Registers::SUCCESS, None)?;
    let features = export.features_on(limits);
    write_identify(page.first_chunk_mut()?, export.sectors(), export.identity(), &features);
    Some(())
}

/// Fills in the whole argument of a query/config answer: fixed part, string, zero padding. `argument` decides
/// how much of the string there is room for.
#[cold]
fn write_config(
    argument: &mut [u8],
    command: ConfigCommand,
    export: &Export,
    limits: PortLimits,
) -> Option<()> {
    let string = export.initiator_state().config.as_bytes();
    let fixed = ConfigRepr {
        buffer_count: export.buffer_count(),
        firmware: FIRMWARE_VERSION,
        sectors: limits.max_sectors(),
        command,
        string_len: export.initiator_state().config.len(),
    };
    let room = fixed.emit(argument).ok()?;
    let (text, padding) = room.split_at_mut_checked(string.len())?;
    text.copy_from_slice(string);
    padding.fill(0);
    Some(())
}

/// Writes an unsolicited query/config answer of `export` into `frame`, from `port_mac` to `destination`, one of
/// [`Export::advertisement_destinations`], tag 0. Sent when an export appears, when a link comes up, and when
/// the config string changed, so that initiators need not ask. Returns the length to
/// send; `None` when `frame` is shorter than that, at most 1056 bytes.
#[must_use]
pub fn emit_advertisement(
    frame: &mut [u8],
    port_mac: MacAddr,
    destination: MacAddr,
    export: &Export,
    limits: PortLimits,
) -> Option<usize> {
    let reply = Reply::config(export, ConfigCommand::Read, None);
    let frame = frame.get_mut(..reply.frame_len())?;
    let header = HeaderRepr {
        destination,
        source: port_mac,
        response: true,
        error: None,
        address: export.address(),
        command: AoeCommand::Config,
        tag: Tag::UNSOLICITED,
    };
    let argument = header.emit(frame).ok()?;
    write_config(argument, ConfigCommand::Read, export, limits)?;
    Some(reply.frame_len())
}
