//! Reservations: the initiators that may use the disk, by a list of addresses (command 3) or by keys (command 4).

use aoe_wire::{AoeError, Key, KeyedArgs, KeyedCommand, KeyedReplaceArgs, MacAddr, mac_list};

use super::applied::{Applied, StateReply};
use super::error::InitiatorStateError;
use crate::drop_reason::DropReason;

/// The rights of owner, registrants and others while a key holds the reservation: the RType of command 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum ReservationType {
    /// The owner reads and writes, nobody else does anything.
    #[default]
    OwnerExclusive = 0,
    /// The owner writes, everybody reads.
    OwnerWrite = 1,
    /// Every registrant reads and writes, until the owner goes.
    RegistrantsExclusive = 2,
    /// Every registrant writes and everybody reads, until the owner goes.
    RegistrantsWrite = 3,
    /// As 2, until the last registrant goes.
    AllExclusive = 4,
    /// As 3, until the last registrant goes.
    AllWrite = 5,
}

impl ReservationType {
    const ALL: [Self; 6] = [
        Self::OwnerExclusive,
        Self::OwnerWrite,
        Self::RegistrantsExclusive,
        Self::RegistrantsWrite,
        Self::AllExclusive,
        Self::AllWrite,
    ];

    /// Whether initiators that may not write may still read.
    #[must_use]
    pub const fn others_read(self) -> bool {
        matches!(self, Self::OwnerWrite | Self::RegistrantsWrite | Self::AllWrite)
    }

    const fn is_owners(self) -> bool {
        matches!(self, Self::OwnerExclusive | Self::OwnerWrite)
    }

    const fn outlives_owner(self) -> bool {
        matches!(self, Self::AllExclusive | Self::AllWrite)
    }
}

impl TryFrom<u8> for ReservationType {
    type Error = InitiatorStateError;

    fn try_from(code: u8) -> Result<Self, InitiatorStateError> {
        Self::ALL.get(usize::from(code)).copied().ok_or(InitiatorStateError::BadType(code))
    }
}

/// A key and the addresses it speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The key; neither [`Key::NONE`] nor [`Key::PLAIN`].
    pub key: Key,
    /// 1 to 255 addresses.
    pub macs: Vec<MacAddr>,
}

/// The initiators that may use the disk. Command 3 reserves it for a list of addresses, which command 4 shows as key ff..ff
/// of type 0; command 4 reserves it for registered keys. One device has only one of both: while keys are registered a plain
/// set is refused with error 6, and while addresses hold it every keyed change is. A plain force set always
/// works, and forgets the keys.
///
/// The specification leaves the rest of command 4 open. This target follows SCSI's persistent reservations:
/// - anybody may register a new key; a known key may be given other addresses only by a sender who has it, else
///   error 6. Registering with no addresses takes the key back, and releases what it holds (types 4 and 5 pass
///   to the next key). Keys 0 and ff..ff, and a 256th key, are error 2;
/// - set needs a sender who has the key, and no reservation but the key's own, whose type it may change; else
///   error 6. A type above 5 is error 2;
/// - replace needs a sender who has the new key, and a target that holds the reservation, else error 6. The
///   target's registration goes with it, unless the no-pre-empt flag is set;
/// - reset needs a sender with a registered key, or that nobody holds the reservation, else error 6;
/// - the generation counts successful register, replace and reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reservation {
    macs: Vec<MacAddr>,
    registrations: Vec<Registration>,
    kind: ReservationType,
    generation: u32,
    owner: Option<Key>,
}

impl Reservation {
    /// Most keys.
    pub const MAX_KEYS: usize = 255;

    /// A reservation from its parts, as they were stored: the addresses that hold it (command 3), the
    /// registrations, the type, the generation, and the key that holds it (command 4).
    ///
    /// # Errors
    /// [`InitiatorStateError`] names what cannot be.
    pub fn from_parts(
        macs: Vec<MacAddr>,
        registrations: Vec<Registration>,
        kind: ReservationType,
        generation: u32,
        owner: Option<Key>,
    ) -> Result<Self, InitiatorStateError> {
        if macs.len() > 255 {
            return Err(InitiatorStateError::TooManyAddresses(macs.len()));
        }
        if registrations.len() > Self::MAX_KEYS {
            return Err(InitiatorStateError::TooManyKeys(registrations.len()));
        }
        for (i, Registration { key, macs }) in registrations.iter().enumerate() {
            let twice = registrations[..i].iter().any(|earlier| earlier.key == *key);
            if twice || !is_usable(*key) || macs.is_empty() || macs.len() > 255 {
                return Err(InitiatorStateError::BadRegistration(*key));
            }
        }
        if let Some(key) = owner.filter(|owner| registrations.iter().all(|known| known.key != *owner)) {
            return Err(InitiatorStateError::UnknownOwner(key));
        }
        if !macs.is_empty() && !registrations.is_empty() {
            return Err(InitiatorStateError::Mixed);
        }
        Ok(Self { macs, registrations, kind, generation, owner })
    }

    /// The addresses that hold it by command 3.
    #[must_use]
    pub fn macs(&self) -> &[MacAddr] {
        &self.macs
    }

    /// The registered keys, oldest first.
    #[must_use]
    pub fn registrations(&self) -> &[Registration] {
        &self.registrations
    }

    /// The type of the keyed reservation; 0 when there is none.
    #[must_use]
    pub const fn kind(&self) -> ReservationType {
        self.kind
    }

    /// The number of changes of the registrations.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The key that holds it by command 4.
    #[must_use]
    pub const fn owner(&self) -> Option<Key> {
        self.owner
    }

    /// Whether an initiator holds the reservation.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.macs.is_empty() || self.owner.is_some()
    }

    /// The addresses that may write while the reservation is held; an address may occur twice.
    pub fn holders(&self) -> impl Iterator<Item = MacAddr> + Clone {
        let keyed = self.registrations.iter().filter(|registration| match self.owner {
            Some(owner) => !self.kind.is_owners() || registration.key == owner,
            None => false,
        });
        self.macs.iter().copied().chain(keyed.flat_map(|registration| registration.macs.iter().copied()))
    }

    /// The key that a status answer names as the owner.
    pub(crate) fn shown_owner(&self) -> Key {
        if self.macs.is_empty() { self.owner.unwrap_or(Key::NONE) } else { Key::PLAIN }
    }

    /// The keys of a status answer.
    pub(crate) fn shown_keys(&self) -> impl Iterator<Item = Key> + Clone {
        let plain = (!self.macs.is_empty()).then_some(Key::PLAIN);
        plain.into_iter().chain(self.registrations.iter().map(|registration| registration.key))
    }

    /// Reserves it for these addresses, or for nobody if there are none, whoever holds it, as a force set of command 3
    /// does. Returns whether anything changed.
    ///
    /// # Errors
    /// [`InitiatorStateError::TooManyAddresses`]; nothing has changed then.
    pub fn hold_for(&mut self, macs: &[MacAddr]) -> Result<bool, InitiatorStateError> {
        if macs.len() > 255 {
            return Err(InitiatorStateError::TooManyAddresses(macs.len()));
        }
        Ok(self.replace_holders(macs))
    }

    /// Command 3, set and force set: whether anything changed.
    pub(super) fn reserve(
        &mut self,
        sender: MacAddr,
        macs: &[MacAddr],
        force: bool,
    ) -> Result<bool, AoeError> {
        let free = self.registrations.is_empty() && (self.macs.is_empty() || self.macs.contains(&sender));
        if !free && !force {
            return Err(AoeError::TargetReserved);
        }
        Ok(self.replace_holders(macs))
    }

    /// Has these addresses hold it, and no keys. Whether anything changed.
    fn replace_holders(&mut self, macs: &[MacAddr]) -> bool {
        let changed = self.macs != macs || !self.registrations.is_empty();
        if changed {
            self.forget_keys();
            self.macs = macs.to_vec();
        }
        changed
    }

    /// Command 4.
    pub(super) fn apply_keyed(&mut self, sender: MacAddr, argument: &[u8]) -> Applied {
        let Some(code) = argument.first() else {
            return Applied::unchanged(StateReply::Drop(DropReason::TooShort));
        };
        let command = KeyedCommand::from(*code);
        let outcome = match command {
            KeyedCommand::Status => Ok(false),
            KeyedCommand::Unknown(_) => Err(AoeError::BadArgument),
            _ if !self.macs.is_empty() => Err(AoeError::TargetReserved),
            KeyedCommand::Register => self.register(sender, argument),
            KeyedCommand::Set => self.set(sender, argument),
            KeyedCommand::Replace => self.replace(sender, argument),
            KeyedCommand::Reset => self.reset(sender),
        };
        match outcome {
            Ok(changed) => Applied { reply: StateReply::Keyed(command, None), changed },
            Err(AoeError::TargetReserved) => {
                Applied::unchanged(StateReply::Keyed(command, Some(AoeError::TargetReserved)))
            }
            Err(error) => Applied::unchanged(StateReply::Refused(error)),
        }
    }

    fn register(&mut self, sender: MacAddr, argument: &[u8]) -> Result<bool, AoeError> {
        let (args, rest) = KeyedArgs::view(argument).map_err(|_| AoeError::BadArgument)?;
        let macs = mac_list(rest, args.count_or_type).ok_or(AoeError::BadArgument)?;
        if !is_usable(args.key) {
            return Err(AoeError::BadArgument);
        }
        match self.find(args.key) {
            Some(at) if !self.registrations[at].macs.contains(&sender) => {
                return Err(AoeError::TargetReserved);
            }
            Some(at) if macs.is_empty() => self.unregister(at),
            Some(at) if self.registrations[at].macs == macs => return Ok(false),
            Some(at) => self.registrations[at].macs = macs.to_vec(),
            None if macs.is_empty() => return Ok(false),
            None if self.registrations.len() == Self::MAX_KEYS => return Err(AoeError::BadArgument),
            None => self.registrations.push(Registration { key: args.key, macs: macs.to_vec() }),
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(true)
    }

    fn set(&mut self, sender: MacAddr, argument: &[u8]) -> Result<bool, AoeError> {
        let (args, _) = KeyedArgs::view(argument).map_err(|_| AoeError::BadArgument)?;
        let kind = ReservationType::try_from(args.count_or_type).map_err(|_| AoeError::BadArgument)?;
        if !self.has(sender, args.key) || self.owner.is_some_and(|owner| owner != args.key) {
            return Err(AoeError::TargetReserved);
        }
        Ok(self.hold(args.key, kind))
    }

    fn replace(&mut self, sender: MacAddr, argument: &[u8]) -> Result<bool, AoeError> {
        let (args, _) = KeyedReplaceArgs::view(argument).map_err(|_| AoeError::BadArgument)?;
        let kind = ReservationType::try_from(args.reservation_type).map_err(|_| AoeError::BadArgument)?;
        if !self.has(sender, args.new) || self.owner != Some(args.target) {
            return Err(AoeError::TargetReserved);
        }
        let preempt = args.flags & KeyedReplaceArgs::NO_PREEMPT == 0 && args.target != args.new;
        if preempt {
            self.registrations.retain(|registration| registration.key != args.target);
        }
        let changed = self.hold(args.new, kind) || preempt;
        if changed {
            self.generation = self.generation.wrapping_add(1);
        }
        Ok(changed)
    }

    fn reset(&mut self, sender: MacAddr) -> Result<bool, AoeError> {
        let known = self.registrations.iter().any(|registration| registration.macs.contains(&sender));
        if self.owner.is_some() && !known {
            return Err(AoeError::TargetReserved);
        }
        let changed = !self.registrations.is_empty();
        self.forget_keys();
        Ok(changed)
    }

    /// Makes `key` the holder; returns whether that changed anything.
    fn hold(&mut self, key: Key, kind: ReservationType) -> bool {
        let news = self.owner != Some(key) || self.kind != kind;
        (self.owner, self.kind) = (Some(key), kind);
        news
    }

    fn unregister(&mut self, at: usize) {
        let gone = self.registrations.remove(at).key;
        if self.owner != Some(gone) {
            return;
        }
        self.owner = self.registrations.first().map(|next| next.key).filter(|_| self.kind.outlives_owner());
        if self.owner.is_none() {
            self.kind = ReservationType::default();
        }
    }

    fn forget_keys(&mut self) {
        if !self.registrations.is_empty() {
            self.registrations.clear();
            self.owner = None;
            self.kind = ReservationType::default();
            self.generation = self.generation.wrapping_add(1);
        }
    }

    fn find(&self, key: Key) -> Option<usize> {
        self.registrations.iter().position(|registration| registration.key == key)
    }

    fn has(&self, sender: MacAddr, key: Key) -> bool {
        self.find(key).is_some_and(|at| self.registrations[at].macs.contains(&sender))
    }
}

fn is_usable(key: Key) -> bool {
    key != Key::NONE && key != Key::PLAIN
}
