//! Step three and a half, initiator state: the state that initiators set on an export, and how their requests change it.
//!
//! The state manager holds the [`InitiatorState`] of an export and calls [`InitiatorState::apply`] for each request that
//! [`Export::admit`](crate::Export::admit) deferred ([`Disposition::Defer`](crate::Disposition::Defer)), one at a time.
//! Each lcore holds a copy, published by [`Export::publish`](crate::Export::publish), from which it answers requests that
//! change nothing. Nothing here does I/O or knows the time.
//!
//! The protocol leaves some cases open:
//! - a test-and-replace is malformed, and dropped, if one of its lengths is above 1024 or reaches beyond the frame, as for
//!   the other config commands;
//! - directives before a failing one stay in effect, as the count in the answer states;
//! - a mask edit with fewer directives than its count is AoE error 2 and changes nothing; the reserved byte of a directive
//!   is ignored, that of the message drops it;
//! - see [`Reservation`] for the keyed commands.

mod applied;
mod config_string;
mod error;
mod mask;
mod reservation;

use aoe_wire::{
    AoeCommand, AoeError, AtaArgs, ConfigCommand, ConfigRepr, Header, MAX_CONFIG_STRING, MacAddr, MaskArgs,
    MaskCommand, MaskError, ReserveArgs, ReserveCommand, mac_list, test_and_replace,
};

use crate::drop_reason::DropReason;

pub use aoe_wire::Key;
pub use applied::{Applied, StateReply};
pub use config_string::{ConfigString, ConfigStringTooLong};
pub use error::InitiatorStateError;
pub use mask::MaskList;
pub use reservation::{Registration, Reservation, ReservationType};

/// The state that initiators set on an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitiatorState {
    /// The config string, by which initiators mark an export as theirs.
    pub config: ConfigString,
    /// The only initiators that are answered; everybody when empty.
    pub mask: MaskList,
    /// The initiators that may use the disk.
    pub reservation: Reservation,
    /// Whether the write cache is enabled, as SET FEATURES 02h and 82h leave it. A new drive has it on.
    pub write_cache: bool,
    /// Whether SMART is enabled, as its D8h and D9h leave it. A new drive has it on.
    pub smart: bool,
}

impl Default for InitiatorState {
    fn default() -> Self {
        Self {
            config: ConfigString::EMPTY,
            mask: MaskList::default(),
            reservation: Reservation::default(),
            write_cache: true,
            smart: true,
        }
    }
}

impl InitiatorState {
    /// SET FEATURES, the ATA opcode by which the write cache is set.
    pub const SET_FEATURES: u8 = 0xef;

    /// SMART, the ATA opcode by which SMART is turned on and off.
    pub const SMART: u8 = 0xb0;

    /// Carries out the request in `frame`: whole, from its Ethernet header on, without FCS and in one piece. Requests that
    /// change nothing are answered too. The headers must have passed
    /// [`Request::parse`](crate::Request::parse).
    pub fn apply(&mut self, frame: &[u8]) -> Applied {
        let Ok((header, argument)) = Header::view(frame) else {
            return Applied::unchanged(StateReply::Drop(DropReason::TooShort));
        };
        let sender = header.ethernet.source;
        match header.command() {
            AoeCommand::Ata => self.apply_ata(argument),
            AoeCommand::Config => self.apply_config(argument),
            AoeCommand::MacMask => self.apply_mask(argument),
            AoeCommand::Reserve => self.apply_reserve(sender, argument),
            AoeCommand::KeyedReserve => self.reservation.apply_keyed(sender, argument),
            AoeCommand::Unknown(_) => Applied::unchanged(StateReply::Refused(AoeError::UnknownCommand)),
        }
    }

    fn apply_ata(&mut self, argument: &[u8]) -> Applied {
        let Ok((args, _)) = AtaArgs::view(argument) else {
            return Applied::unchanged(StateReply::Drop(DropReason::TooShort));
        };
        let (setting, wanted) = match (args.command_status, args.feature_error) {
            (Self::SET_FEATURES, 0x02) => (&mut self.write_cache, true),
            (Self::SET_FEATURES, 0x82) => (&mut self.write_cache, false),
            (Self::SMART, 0xd8) => (&mut self.smart, true),
            (Self::SMART, 0xd9) => (&mut self.smart, false),
            _ => return Applied::unchanged(StateReply::Aborted),
        };
        let changed = *setting != wanted;
        *setting = wanted;
        Applied { reply: StateReply::Done, changed }
    }

    fn apply_config(&mut self, argument: &[u8]) -> Applied {
        let Ok((args, data)) = ConfigRepr::parse(argument) else {
            return Applied::unchanged(StateReply::Drop(DropReason::TooShort));
        };
        let command = args.command;
        let answer = |error| StateReply::Config(command, error);
        if command == ConfigCommand::Read {
            return Applied::unchanged(answer(None));
        }
        let too_long = Applied::unchanged(StateReply::Drop(DropReason::ConfigTooLong));
        let length = usize::from(args.string_len);
        let Some(sent) = data.get(..length).filter(|sent| sent.len() <= MAX_CONFIG_STRING) else {
            return too_long;
        };
        let ours = self.config.as_bytes();
        let new = match command {
            ConfigCommand::Set if ours.is_empty() || ours == sent => sent,
            ConfigCommand::Set => {
                return Applied::unchanged(answer(Some(AoeError::ConfigStringPresent)));
            }
            ConfigCommand::ForceSet => sent,
            ConfigCommand::TestAndReplace => match test_and_replace(data, length) {
                Some((_, new)) if new.len() > MAX_CONFIG_STRING => return too_long,
                Some((old, new)) if old == ours => new,
                Some(_) => return Applied::unchanged(answer(Some(AoeError::ConfigStringPresent))),
                None => return too_long,
            },
            ConfigCommand::Test if ours == sent => return Applied::unchanged(answer(None)),
            ConfigCommand::PrefixTest if ours.starts_with(sent) => {
                return Applied::unchanged(answer(None));
            }
            ConfigCommand::Test | ConfigCommand::PrefixTest => {
                return Applied::unchanged(StateReply::Drop(DropReason::ConfigMismatch));
            }
            ConfigCommand::Read | ConfigCommand::Unknown(_) => {
                return Applied::unchanged(answer(Some(AoeError::BadArgument)));
            }
        };
        let changed = new != ours;
        if changed {
            match ConfigString::new(new) {
                Ok(string) => self.config = string,
                Err(_) => return too_long,
            }
        }
        Applied { reply: answer(None), changed }
    }

    fn apply_mask(&mut self, argument: &[u8]) -> Applied {
        let Ok((args, rest)) = MaskArgs::view(argument) else {
            return Applied::unchanged(StateReply::Drop(DropReason::TooShort));
        };
        if args.reserved != 0 {
            return Applied::unchanged(StateReply::Drop(DropReason::MaskReserved));
        }
        match MaskCommand::from(args.command) {
            MaskCommand::Read => Applied::unchanged(StateReply::Mask(MaskCommand::Read, MaskError::None, 0)),
            MaskCommand::Edit => self.mask.apply(rest, args.count),
            MaskCommand::Unknown(_) => Applied::unchanged(StateReply::Refused(AoeError::BadArgument)),
        }
    }

    fn apply_reserve(&mut self, sender: MacAddr, argument: &[u8]) -> Applied {
        let Ok((args, rest)) = ReserveArgs::view(argument) else {
            return Applied::unchanged(StateReply::Drop(DropReason::TooShort));
        };
        let refused = Applied::unchanged(StateReply::Refused(AoeError::BadArgument));
        let command = ReserveCommand::from(args.command);
        let force = match command {
            ReserveCommand::Read => {
                return Applied::unchanged(StateReply::Reserve(command, None));
            }
            ReserveCommand::Set => false,
            ReserveCommand::ForceSet => true,
            ReserveCommand::Unknown(_) => return refused,
        };
        let Some(macs) = mac_list(rest, args.count) else { return refused };
        match self.reservation.reserve(sender, macs, force) {
            Ok(changed) => Applied { reply: StateReply::Reserve(command, None), changed },
            Err(error) => Applied::unchanged(StateReply::Reserve(command, Some(error))),
        }
    }
}

#[cfg(test)]
mod tests;
