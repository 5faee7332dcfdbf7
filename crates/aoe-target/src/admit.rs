//! Step three, admission: drop, reply, submit or defer a request for this export.

mod features;

use aoe_wire::{
    AoeError, CONFIG_LEN, ConfigCommand, KeyedCommand, MAX_CONFIG_STRING, MacAddr, MaskCommand, MaskError,
    ReserveCommand,
};
use ata::{AddressWidth, AtaCommand, Lba, Registers, SectorCount, Transfer};

use crate::acl::Acl;
use crate::drop_reason::DropReason;
use crate::export::{Export, ExportState};
use crate::initiator_state::StateReply;
use crate::io::{BdevIo, BdevOp, IoOutcome, PAYLOAD_OFFSET};
use crate::ports::PortLimits;
use crate::reply::Reply;
use crate::request::{Request, RequestKind};

/// The decision on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Count it and send nothing.
    Drop(DropReason),
    /// Reply now.
    Reply(Reply),
    /// Submit to the bdev; [`Reply::completed`] makes the reply.
    Submit(BdevIo),
    /// The request may change the initiator state: defer it to the state manager, which calls
    /// [`InitiatorState::apply`](crate::InitiatorState::apply), and answer with [`Reply::state`] when the change is stored
    /// and every lcore has it.
    Defer,
}

/// The decision on a read or write that is not submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Count it and send nothing.
    Drop(DropReason),
    /// Reply now.
    Reply(Reply),
}

impl From<Refusal> for Disposition {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Drop(reason) => Self::Drop(reason),
            Refusal::Reply(reply) => Self::Reply(reply),
        }
    }
}

impl Export {
    /// Decides on a request that was routed here.
    ///
    /// `frame_head` is the frame's first contiguous bytes, at least [`Request::contiguous_len`] of them;
    /// `frame_len` the length of the whole frame, without FCS; `limits` those of the port it came in by.
    ///
    /// A failed disk command always becomes ATA error registers. An AoE error means only that the protocol's command or
    /// argument is not accepted.
    #[inline(always)]
    #[must_use]
    pub fn admit(
        &self,
        request: &Request,
        frame_head: &[u8],
        frame_len: usize,
        limits: PortLimits,
    ) -> Disposition {
        if let Some(transfer) = request.transfer() {
            return match self.admit_transfer(request.source, transfer, frame_len, limits) {
                Ok(io) => Disposition::Submit(io),
                Err(refusal) => refusal.into(),
            };
        }
        if let Some(acl) = self.acl()
            && let Some(refusal) = refused_by(acl, request.source, request.command())
        {
            return refusal.into();
        }
        match request.kind {
            RequestKind::Ata(taskfile) => self.admit_ata(taskfile.decode(), frame_head, frame_len, limits),
            _ => self.admit_message(*request, frame_head, frame_len, limits),
        }
    }

    /// [`Export::admit`] of a read or write that `source` asks for.
    ///
    /// # Errors
    /// The refusal.
    #[inline(always)]
    pub fn admit_transfer(
        &self,
        source: MacAddr,
        transfer: Transfer,
        frame_len: usize,
        limits: PortLimits,
    ) -> Result<BdevIo, Refusal> {
        if let Some(acl) = self.acl()
            && let Some(refusal) = refused_by(acl, source, Some(transfer.into()))
        {
            return Err(refusal);
        }
        let io = BdevIo::of(transfer);
        let is_abortable = io.sectors > limits.max_transfer()
            || transfer.is_write && (self.is_read_only() || frame_len < PAYLOAD_OFFSET + io.data_len());
        let is_inside = io.lba.fits(io.sectors, self.sectors());
        let is_online = self.state() == ExportState::Online;
        if is_abortable || !is_inside || !is_online {
            return Err(failed(self.state(), is_abortable));
        }
        Ok(io)
    }

    /// Checks again what may have changed since a request of `source` was admitted that had to wait: the ACL, the bdev and its
    /// size.
    ///
    /// # Errors
    /// The outcome that it is to be answered with.
    #[cold]
    pub fn recheck(&self, io: &BdevIo, source: MacAddr) -> Result<(), IoOutcome> {
        let changes = !matches!(io.op, BdevOp::Read | BdevOp::Flush);
        if self.acl().is_some_and(|acl| !acl.still_admits(source, changes)) {
            return Err(IoOutcome::Aborted);
        }
        if self.state() == ExportState::Offline {
            return Err(IoOutcome::DeviceFault);
        }
        // SPDK checks the ranges of a TRIM.
        let is_inside = io.lba.fits(io.sectors, self.sectors());
        if matches!(io.op, BdevOp::Read | BdevOp::Write) && !is_inside {
            return Err(IoOutcome::OutOfRange);
        }
        Ok(())
    }

    /// A message that is not an ATA command.
    #[cold]
    fn admit_message(
        &self,
        request: Request,
        frame_head: &[u8],
        frame_len: usize,
        limits: PortLimits,
    ) -> Disposition {
        match request.kind {
            RequestKind::Config { command, string_len } => {
                self.admit_config(command, usize::from(string_len), frame_head, frame_len)
            }
            RequestKind::Mask { .. } | RequestKind::Reserve { .. } | RequestKind::Keyed { .. } => {
                self.admit_state(request, frame_head, frame_len, limits)
            }
            // `admit` has the first.
            RequestKind::Ata(_) | RequestKind::Other(_) => {
                Disposition::Reply(Reply::refused(AoeError::UnknownCommand))
            }
        }
    }

    /// A command that is neither read nor write.
    #[cold]
    fn admit_ata(
        &self,
        command: AtaCommand,
        frame_head: &[u8],
        frame_len: usize,
        limits: PortLimits,
    ) -> Disposition {
        match command {
            _ if self.state() == ExportState::Offline => {
                Disposition::Reply(Reply::registers(Registers::DEVICE_FAULT))
            }
            _ if self.state() == ExportState::Held => Disposition::Drop(DropReason::ExportHeld),
            AtaCommand::Flush => Disposition::Submit(BdevIo {
                op: BdevOp::Flush,
                lba: Lba(0),
                sectors: SectorCount(0),
                width: AddressWidth::Lba48,
            }),
            AtaCommand::Identify => Disposition::Reply(Reply::identify()),
            AtaCommand::CheckPowerMode => Disposition::Reply(Reply::registers(Registers::ACTIVE)),
            AtaCommand::Trim { blocks } => self.admit_trim(blocks, frame_head, frame_len, limits),
            AtaCommand::Smart(smart) => self.admit_smart(smart),
            AtaCommand::SetWriteCache(on) => self.admit_write_cache(on),
            AtaCommand::PowerMode => Disposition::Reply(Reply::registers(Registers::SUCCESS)),
            // `admit_transfer` has the first two.
            AtaCommand::Read { .. }
            | AtaCommand::Write { .. }
            | AtaCommand::BadCount(..)
            | AtaCommand::Unsupported(_) => Disposition::Reply(Reply::registers(Registers::ABORTED)),
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
        // Only the fixed part of a read counts; initiators send it with meaningless lengths and bytes.
        if command == ConfigCommand::Read {
            return answer;
        }
        if string_len > MAX_CONFIG_STRING || string_len > frame_len.saturating_sub(CONFIG_LEN) {
            return Disposition::Drop(DropReason::ConfigTooLong);
        }
        let ours = self.initiator_state().config.as_bytes();
        let holds: fn(&[u8], &[u8]) -> bool = match command {
            ConfigCommand::Test => |ours, asked| ours == asked,
            ConfigCommand::PrefixTest => |ours, asked| ours.starts_with(asked),
            ConfigCommand::Set | ConfigCommand::ForceSet | ConfigCommand::TestAndReplace => {
                let second = if command == ConfigCommand::TestAndReplace { 2 + MAX_CONFIG_STRING } else { 0 };
                let whole = frame_head.len() >= frame_len.min(CONFIG_LEN + string_len + second);
                return defer(whole);
            }
            _ => return Disposition::Reply(Reply::config(self, command, Some(AoeError::BadArgument))),
        };
        match frame_head.get(CONFIG_LEN..CONFIG_LEN + string_len) {
            Some(asked) if holds(ours, asked) => answer,
            Some(_) => Disposition::Drop(DropReason::ConfigMismatch),
            None => Disposition::Drop(DropReason::ConfigSplit),
        }
    }

    /// MAC mask list and reservations: reads are answered from the state published last, changes are deferred.
    fn admit_state(
        &self,
        request: Request,
        frame_head: &[u8],
        frame_len: usize,
        limits: PortLimits,
    ) -> Disposition {
        let reply = match request.kind {
            RequestKind::Mask { reserved: true, .. } => return Disposition::Drop(DropReason::MaskReserved),
            RequestKind::Mask { command: command @ MaskCommand::Read, .. } => {
                StateReply::Mask(command, MaskError::None, 0)
            }
            RequestKind::Reserve { command: command @ ReserveCommand::Read, .. } => {
                StateReply::Reserve(command, None)
            }
            RequestKind::Keyed { command: command @ KeyedCommand::Status, .. } => {
                StateReply::Keyed(command, None)
            }
            RequestKind::Mask { command: MaskCommand::Unknown(_), .. }
            | RequestKind::Reserve { command: ReserveCommand::Unknown(_), .. }
            | RequestKind::Keyed { command: KeyedCommand::Unknown(_), .. } => {
                StateReply::Refused(AoeError::BadArgument)
            }
            _ => return defer(frame_head.len() >= request.contiguous_len(frame_len)),
        };
        match Reply::state(self, reply, limits) {
            Ok(reply) => Disposition::Reply(reply),
            Err(reason) => Disposition::Drop(reason),
        }
    }
}

/// Defers a request, which must have all that it carries in one piece.
const fn defer(whole: bool) -> Disposition {
    if whole { Disposition::Defer } else { Disposition::Drop(DropReason::ConfigSplit) }
}

/// A read or write that fails: a disk that is gone comes first, a range beyond its end last. While the export is held, its
/// options may be other ones soon, so nothing is decided by them.
#[cold]
#[inline(never)]
fn failed(state: ExportState, is_abortable: bool) -> Refusal {
    Refusal::Reply(Reply::registers(match (state, is_abortable) {
        (ExportState::Held, _) => return Refusal::Drop(DropReason::ExportHeld),
        (ExportState::Offline, _) => Registers::DEVICE_FAULT,
        (ExportState::Online, true) => Registers::ABORTED,
        (ExportState::Online, false) => Registers::NOT_FOUND,
    }))
}

/// The refusal of a request by the ACL; `None` lets the request pass. `command` is that of an ATA request. Out of line because
/// most exports have no ACL.
#[cold]
#[inline(never)]
fn refused_by(acl: &Acl, source: MacAddr, command: Option<AtaCommand>) -> Option<Refusal> {
    if let Err(reason) = acl.check_sender(source) {
        return Some(Refusal::Drop(reason));
    }
    let allowed = command.is_none_or(|command| acl.allows(source, command));
    (!allowed).then(|| Refusal::Reply(Reply::refused(AoeError::TargetReserved)))
}
