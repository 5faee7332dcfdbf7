//! Stored initiator state that breaks a rule.

use aoe_wire::{Key, MacAddr};

/// The rule that stored initiator state breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitiatorStateError {
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

impl std::fmt::Display for InitiatorStateError {
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

impl std::error::Error for InitiatorStateError {}
