//! Step three, admit: what is to be done with a request for this export.

mod features;

use aoe_wire::{
    ATA_LEN, AoeError, CONFIG_LEN, ConfigCommand, KeyedCommand, MAX_CONFIG_STRING, MaskCommand, MaskError,
    ReserveCommand, SECTOR_BYTES,
};
use ata::{AddressWidth, AtaCommand, Registers};

use crate::claims::Verdict;
use crate::drop_reason::DropReason;
use crate::export::{Export, ExportState};
use crate::ports::PortLimits;
use crate::reply::Reply;
use crate::request::{Request, RequestKind};

/// Where sector data starts in a frame, for reads and writes alike: a multiple of 4, not of 512.
pub const PAYLOAD_OFFSET: usize = ATA_LEN;

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Nothing but counting it.
    Drop(DropReason),
    /// Answer now.
    Reply(Reply),
    /// Ask the bdev, and answer with [`Reply::completed`] when it is done.
    Submit(BdevIo),
    /// The request may change the export's claims: bring it to whoever keeps them, who calls
    /// [`Claims::apply`](crate::Claims::apply), and answer with [`Reply::verdict`] when the change is stored and
    /// every lcore has it.
    Consult,
}

/// What a bdev is asked to do. Its tag is a byte of its own, so that it takes one compare to know a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BdevOp {
    /// Fill the frame's payload from the disk.
    Read,
    /// Store the frame's payload on the disk.
    Write,
    /// Bring all acknowledged writes to stable storage.
    Flush,
    /// Give up the sectors of the [`Ranges`](ata::Ranges) in the frame's payload, all of which lie within the disk;
    /// `sectors` is the length of that payload in sectors.
    Trim,
    /// Put a page about the drive's [`Health`](ata::Health) into the frame's payload, or judge it.
    Health(HealthUse),
}

/// What a drive's health is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthUse {
    /// The page of SMART READ DATA.
    Data,
    /// The page of SMART READ THRESHOLDS.
    Thresholds,
    /// Whether the drive expects to fail: [`IoOutcome::Ok`] or [`IoOutcome::Failing`].
    Status,
}

/// An I/O that passed every check: it lies within the disk, within what the port can carry, and, for a write,
/// its data is all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BdevIo {
    /// What to do.
    pub op: BdevOp,
    /// First sector (512 bytes); 0 for a flush.
    pub lba: u64,
    /// Number of sectors (512 bytes each), 1 to 16; 0 for a flush. For the others the length of the payload.
    pub sectors: u16,
    /// Width of the address registers, in which the reply tells how far it came.
    pub width: AddressWidth,
}

impl BdevIo {
    /// Bytes of payload, at [`PAYLOAD_OFFSET`] of the frame; 0 for a flush.
    #[inline]
    #[must_use]
    pub fn data_len(&self) -> usize {
        usize::from(self.sectors) * SECTOR_BYTES
    }
}

/// How the bdev's work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoOutcome {
    /// Done in full.
    Ok,
    /// Done, and the drive says that it may fail; for [`HealthUse::Status`] only.
    Failing,
    /// The medium failed under this I/O.
    MediaError,
    /// The device failed, or was removed.
    DeviceFault,
    /// The bdev has no such sectors, for instance because it shrank.
    OutOfRange,
    /// The bdev refused or gave up.
    Aborted,
}

impl Export {
    /// Decides on a request that was routed here.
    ///
    /// `frame_head` is the frame's first contiguous bytes, at least [`Request::contiguous_len`] of them;
    /// `frame_len` the length of the whole frame, without FCS; `limits` those of the port it came in by.
    ///
    /// A failed disk command always becomes ATA error registers. An AoE error says only that the protocol's
    /// command or argument is not accepted.
    #[inline(always)]
    #[must_use]
    pub fn admit(
        &self,
        request: &Request,
        frame_head: &[u8],
        frame_len: usize,
        limits: PortLimits,
    ) -> Disposition {
        if let Some(guard) = &self.guard
            && let Some(stopped) = guard.stops(*request)
        {
            return stopped;
        }
        let online = self.state == ExportState::Online;
        // Two compares and a call: all kinds in one match would put a jump table in the way of every request.
        match request.kind {
            RequestKind::Ata(AtaCommand::Read { lba, sectors, width }) if online => {
                self.admit_io(BdevIo { op: BdevOp::Read, lba, sectors, width }, limits)
            }
            RequestKind::Ata(AtaCommand::Write { lba, sectors, width }) if online => {
                let io = BdevIo { op: BdevOp::Write, lba, sectors, width };
                if self.read_only || frame_len < PAYLOAD_OFFSET + io.data_len() {
                    return Disposition::Reply(Reply::registers(Registers::ABORTED));
                }
                self.admit_io(io, limits)
            }
            _ => self.admit_other(*request, frame_head, frame_len, limits),
        }
    }

    /// All but reads and writes of a disk that is there.
    #[inline(never)]
    fn admit_other(
        &self,
        request: Request,
        frame_head: &[u8],
        frame_len: usize,
        limits: PortLimits,
    ) -> Disposition {
        match request.kind {
            RequestKind::Ata(command) => self.admit_ata(command, frame_head, frame_len, limits),
            RequestKind::Config { command, string_len } => {
                self.admit_config(command, usize::from(string_len), frame_head, frame_len)
            }
            RequestKind::Mask { .. } | RequestKind::Reserve { .. } | RequestKind::Keyed { .. } => {
                self.admit_claim(&request, frame_head, frame_len, limits)
            }
            RequestKind::Other(_) => Disposition::Reply(Reply::refused(AoeError::UnknownCommand)),
        }
    }

    fn admit_ata(
        &self,
        command: AtaCommand,
        frame_head: &[u8],
        frame_len: usize,
        limits: PortLimits,
    ) -> Disposition {
        match command {
            _ if self.state == ExportState::Offline => {
                Disposition::Reply(Reply::registers(Registers::DEVICE_FAULT))
            }
            AtaCommand::Flush => Disposition::Submit(BdevIo {
                op: BdevOp::Flush,
                lba: 0,
                sectors: 0,
                width: AddressWidth::Lba48,
            }),
            AtaCommand::Identify => Disposition::Reply(Reply::identify()),
            AtaCommand::CheckPowerMode => Disposition::Reply(Reply::registers(Registers::ACTIVE)),
            AtaCommand::Trim { blocks } => self.admit_trim(blocks, frame_head, frame_len, limits),
            AtaCommand::Smart(smart) => self.admit_smart(smart),
            AtaCommand::SetWriteCache(on) => self.admit_write_cache(on),
            AtaCommand::PowerMode => Disposition::Reply(Reply::registers(Registers::SUCCESS)),
            // `admit` has the first two; were one here, it would not be done.
            AtaCommand::Read { .. }
            | AtaCommand::Write { .. }
            | AtaCommand::BadCount(..)
            | AtaCommand::Unsupported(_) => Disposition::Reply(Reply::registers(Registers::ABORTED)),
        }
    }

    /// The checks a read and a write share: first what the port can carry, then the end of the disk.
    #[inline]
    fn admit_io(&self, io: BdevIo, limits: PortLimits) -> Disposition {
        if io.sectors > u16::from(limits.max_sectors()) {
            return Disposition::Reply(Reply::registers(Registers::ABORTED));
        }
        match io.lba.checked_add(u64::from(io.sectors)) {
            Some(end) if end <= self.sectors => Disposition::Submit(io),
            _ => Disposition::Reply(Reply::registers(Registers::NOT_FOUND)),
        }
    }

    fn admit_config(
        &self,
        command: ConfigCommand,
        string_len: usize,
        frame_head: &[u8],
        frame_len: usize,
    ) -> Disposition {
        let answer = Disposition::Reply(Reply::config(self, command, None));
        // A read means the fixed part only; initiators send it with lengths and bytes of no meaning.
        if command == ConfigCommand::Read {
            return answer;
        }
        if string_len > MAX_CONFIG_STRING || string_len > frame_len.saturating_sub(CONFIG_LEN) {
            return Disposition::Drop(DropReason::ConfigTooLong);
        }
        let ours = self.claims.config.as_bytes();
        let holds: fn(&[u8], &[u8]) -> bool = match command {
            ConfigCommand::Test => |ours, asked| ours == asked,
            ConfigCommand::PrefixTest => |ours, asked| ours.starts_with(asked),
            ConfigCommand::Set | ConfigCommand::ForceSet | ConfigCommand::TestAndReplace => {
                let second = if command == ConfigCommand::TestAndReplace { 2 + MAX_CONFIG_STRING } else { 0 };
                let whole = frame_head.len() >= frame_len.min(CONFIG_LEN + string_len + second);
                return consult(whole);
            }
            _ => return Disposition::Reply(Reply::config(self, command, Some(AoeError::BadArgument))),
        };
        match frame_head.get(CONFIG_LEN..CONFIG_LEN + string_len) {
            Some(asked) if holds(ours, asked) => answer,
            Some(_) => Disposition::Drop(DropReason::ConfigMismatch),
            None => Disposition::Drop(DropReason::ConfigSplit),
        }
    }

    /// MAC mask list and reservations: told from what was published last, changed by who keeps them.
    #[cold]
    fn admit_claim(
        &self,
        request: &Request,
        frame_head: &[u8],
        frame_len: usize,
        limits: PortLimits,
    ) -> Disposition {
        let verdict = match request.kind {
            RequestKind::Mask { reserved: true, .. } => return Disposition::Drop(DropReason::MaskReserved),
            RequestKind::Mask { command: command @ MaskCommand::Read, .. } => {
                Verdict::Mask(command, MaskError::None, 0)
            }
            RequestKind::Reserve { command: command @ ReserveCommand::Read, .. } => {
                Verdict::Reserve(command, None)
            }
            RequestKind::Keyed { command: command @ KeyedCommand::Status, .. } => {
                Verdict::Keyed(command, None)
            }
            RequestKind::Mask { command: MaskCommand::Unknown(_), .. }
            | RequestKind::Reserve { command: ReserveCommand::Unknown(_), .. }
            | RequestKind::Keyed { command: KeyedCommand::Unknown(_), .. } => {
                Verdict::Refused(AoeError::BadArgument)
            }
            _ => return consult(frame_head.len() >= request.contiguous_len(frame_len)),
        };
        match Reply::verdict(self, verdict, limits) {
            Ok(reply) => Disposition::Reply(reply),
            Err(reason) => Disposition::Drop(reason),
        }
    }
}

/// A request that may change claims needs all of what it carries in one piece.
const fn consult(whole: bool) -> Disposition {
    if whole { Disposition::Consult } else { Disposition::Drop(DropReason::ConfigSplit) }
}
