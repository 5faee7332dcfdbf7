//! Step three and a half, claims: what initiators keep on a target, and how their requests change it.
//!
//! One authority holds the [`Claims`] of an export and calls [`Claims::apply`] for every request that
//! [`Export::admit`](crate::Export::admit) answered with [`Disposition::Consult`](crate::Disposition::Consult),
//! one at a time. Each lcore holds a copy, published by [`Export::publish`](crate::Export::publish), from which
//! it answers what only asks. Nothing here does I/O or knows the time.
//!
//! Where the protocol is silent:
//! - a test-and-replace counts as malformed, and is dropped, if any of its lengths is above 1024 or reaches
//!   beyond the frame, as for the other config commands;
//! - directives done before a failing one stay done, as the count that is answered says;
//! - a mask edit with fewer directives than it claims is AoE error 2 and changes nothing; a directive's own
//!   reserved byte is ignored, that of the message drops it;
//! - see [`Reservation`] for the keyed commands.

mod mask;
mod reservation;

use aoe_wire::{
    AoeCommand, AoeError, AtaArgs, ConfigCommand, ConfigRepr, Header, KeyedCommand, MAX_CONFIG_STRING,
    MacAddr, MaskArgs, MaskCommand, MaskError, ReserveArgs, ReserveCommand, mac_list, test_and_replace,
};

use crate::drop_reason::DropReason;
use crate::export::ConfigString;

pub use aoe_wire::Key;
pub use mask::MaskList;
pub use reservation::{Registration, Reservation, ReservationType};

/// What initiators keep on an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The string that marks the target as somebody's.
    pub config: ConfigString,
    /// Whom the target listens to; everybody when empty.
    pub mask: MaskList,
    /// Who may use the disk.
    pub reservation: Reservation,
    /// Whether the write cache is enabled, as SET FEATURES 02h and 82h leave it. A new drive has it on.
    pub write_cache: bool,
    /// Whether SMART is enabled, as its D8h and D9h leave it. A new drive has it on.
    pub smart: bool,
}

impl Default for Claims {
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

/// Stored claims that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimsError {
    /// More than 255 addresses in a list; carries their number.
    TooManyAddresses(usize),
    /// More than 255 registered keys; carries their number.
    TooManyKeys(usize),
    /// An address is in the mask list twice.
    DuplicateAddress(MacAddr),
    /// A key is registered twice, is reserved (all zeroes, all ones), or has no addresses.
    BadRegistration(Key),
    /// The reservation's type is above 5.
    BadType(u8),
    /// The key that holds the reservation is not registered.
    UnknownOwner(Key),
    /// Reserved by addresses while keys are registered.
    Mixed,
}

impl std::fmt::Display for ClaimsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooManyAddresses(have) => write!(f, "list of {have} addresses: at most 255 are allowed"),
            Self::TooManyKeys(have) => write!(f, "{have} registered keys: at most 255 are allowed"),
            Self::DuplicateAddress(mac) => write!(f, "mask list: {mac} is listed twice, once is allowed"),
            Self::BadRegistration(Key(key)) => write!(
                f,
                "registration of key {:016x}: a key is neither 0 nor all ones, is registered once, and has 1 \
                 to 255 addresses",
                u64::from_be_bytes(*key)
            ),
            Self::BadType(code) => write!(f, "reservation type {code}: expected 0 to 5"),
            Self::UnknownOwner(Key(key)) => {
                write!(f, "owner key {:016x}: expected a registered key", u64::from_be_bytes(*key))
            }
            Self::Mixed => f.write_str("reserved by addresses and by keys: only one of them is allowed"),
        }
    }
}

impl std::error::Error for ClaimsError {}

/// What to answer to a request about claims; [`Reply::verdict`](crate::Reply::verdict) makes a reply of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The config answer, with the string as it is then.
    Config(ConfigCommand, Option<AoeError>),
    /// The mask answer: the list, or why an edit stopped and the number of directives done before.
    Mask(MaskCommand, MaskError, u8),
    /// The reserve answer with the list.
    Reserve(ReserveCommand, Option<AoeError>),
    /// The keyed answer with registrations and reservation.
    Keyed(KeyedCommand, Option<AoeError>),
    /// The ATA command is done.
    Done,
    /// The ATA command is aborted.
    Aborted,
    /// An AoE error and nothing else.
    Refused(AoeError),
    /// Silence, counted under this name.
    Drop(DropReason),
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What to answer.
    pub verdict: Verdict,
    /// Whether the claims differ from what they were: only then is there something to store and to publish.
    pub changed: bool,
}

impl Applied {
    /// An answer that left everything as it was.
    const fn unchanged(verdict: Verdict) -> Self {
        Self { verdict, changed: false }
    }
}

impl Claims {
    /// SET FEATURES, the ATA opcode by which the write cache is set.
    pub const SET_FEATURES: u8 = 0xef;

    /// SMART, the ATA opcode by which SMART is turned on and off.
    pub const SMART: u8 = 0xb0;

    /// Does what `frame`, a whole request from its Ethernet header on, without FCS and in one piece, asks for.
    /// Requests that only ask are answered too. Headers count as judged by
    /// [`Request::parse`](crate::Request::parse).
    pub fn apply(&mut self, frame: &[u8]) -> Applied {
        let Ok((header, argument)) = Header::view(frame) else {
            return Applied::unchanged(Verdict::Drop(DropReason::TooShort));
        };
        let sender = header.ethernet.source;
        match header.command() {
            AoeCommand::Ata => self.apply_ata(argument),
            AoeCommand::Config => self.apply_config(argument),
            AoeCommand::MacMask => self.apply_mask(argument),
            AoeCommand::Reserve => self.apply_reserve(sender, argument),
            AoeCommand::KeyedReserve => self.reservation.apply_keyed(sender, argument),
            AoeCommand::Unknown(_) => Applied::unchanged(Verdict::Refused(AoeError::UnknownCommand)),
        }
    }

    fn apply_ata(&mut self, argument: &[u8]) -> Applied {
        let Ok((args, _)) = AtaArgs::view(argument) else {
            return Applied::unchanged(Verdict::Drop(DropReason::TooShort));
        };
        let (setting, wanted) = match (args.command_status, args.feature_error) {
            (Self::SET_FEATURES, 0x02) => (&mut self.write_cache, true),
            (Self::SET_FEATURES, 0x82) => (&mut self.write_cache, false),
            (Self::SMART, 0xd8) => (&mut self.smart, true),
            (Self::SMART, 0xd9) => (&mut self.smart, false),
            _ => return Applied::unchanged(Verdict::Aborted),
        };
        let changed = *setting != wanted;
        *setting = wanted;
        Applied { verdict: Verdict::Done, changed }
    }

    fn apply_config(&mut self, argument: &[u8]) -> Applied {
        let Ok((args, data)) = ConfigRepr::parse(argument) else {
            return Applied::unchanged(Verdict::Drop(DropReason::TooShort));
        };
        let command = args.command;
        let answer = |error| Verdict::Config(command, error);
        if command == ConfigCommand::Read {
            return Applied::unchanged(answer(None));
        }
        let too_long = Applied::unchanged(Verdict::Drop(DropReason::ConfigTooLong));
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
                return Applied::unchanged(Verdict::Drop(DropReason::ConfigMismatch));
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
        Applied { verdict: answer(None), changed }
    }

    fn apply_mask(&mut self, argument: &[u8]) -> Applied {
        let Ok((args, rest)) = MaskArgs::view(argument) else {
            return Applied::unchanged(Verdict::Drop(DropReason::TooShort));
        };
        if args.reserved != 0 {
            return Applied::unchanged(Verdict::Drop(DropReason::MaskReserved));
        }
        match MaskCommand::from(args.command) {
            MaskCommand::Read => Applied::unchanged(Verdict::Mask(MaskCommand::Read, MaskError::None, 0)),
            MaskCommand::Edit => self.mask.apply(rest, args.count),
            MaskCommand::Unknown(_) => Applied::unchanged(Verdict::Refused(AoeError::BadArgument)),
        }
    }

    fn apply_reserve(&mut self, sender: MacAddr, argument: &[u8]) -> Applied {
        let Ok((args, rest)) = ReserveArgs::view(argument) else {
            return Applied::unchanged(Verdict::Drop(DropReason::TooShort));
        };
        let refused = Applied::unchanged(Verdict::Refused(AoeError::BadArgument));
        let command = ReserveCommand::from(args.command);
        let force = match command {
            ReserveCommand::Read => {
                return Applied::unchanged(Verdict::Reserve(command, None));
            }
            ReserveCommand::Set => false,
            ReserveCommand::ForceSet => true,
            ReserveCommand::Unknown(_) => return refused,
        };
        let Some(macs) = mac_list(rest, args.count) else { return refused };
        match self.reservation.reserve(sender, macs, force) {
            Ok(changed) => Applied { verdict: Verdict::Reserve(command, None), changed },
            Err(error) => Applied::unchanged(Verdict::Reserve(command, Some(error))),
        }
    }
}

#[cfg(test)]
mod tests;
