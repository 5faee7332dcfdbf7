//! Changes of initiator state, as the methods for it want them.

use aoe_target::{ConfigString, InitiatorState, MacAddr, MaskList};
use data_encoding::HEXLOWER_PERMISSIVE;

use crate::error::{Quoted, RpcError};
use crate::request::{ClearInitiatorState, Method, SetConfigString, SetMaskList, SetReservation, StatePart};

/// A change of the initiator state of an export that an operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateChange {
    /// A part has what a new export has.
    Clear(StatePart),
    /// Another config string.
    Config(Box<ConfigString>),
    /// Another MAC mask list.
    Mask(MaskList),
    /// A reservation for these, or for nobody.
    Reservation(Vec<MacAddr>),
}

impl SetConfigString {
    /// The change that is wanted.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidParams`](crate::ErrorCode::InvalidParams), if not exactly one of both spellings is given, or the
    /// string is too long.
    pub fn change(&self) -> Result<StateChange, RpcError> {
        let invalid = |why: String| RpcError::invalid(format!("{}: {why}", Self::NAME));
        let bytes = match (&self.config, &self.config_hex) {
            (Some(text), None) => text.as_bytes().to_vec(),
            (None, Some(hex)) => HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_| {
                invalid(format!("config_hex is {}: it must be pairs of hexadecimal digits", Quoted(hex)))
            })?,
            (None, None) => {
                return Err(invalid(
                    "no string is given: it must be in config or config_hex, and an empty one clears it"
                        .into(),
                ));
            }
            (Some(_), Some(_)) => {
                return Err(invalid("config and config_hex are given: it must be one of them".into()));
            }
        };
        let config = ConfigString::new(&bytes).map_err(|error| invalid(error.to_string()))?;
        Ok(StateChange::Config(Box::new(config)))
    }
}

impl SetMaskList {
    /// The change that is wanted.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidParams`](crate::ErrorCode::InvalidParams), for a list that the protocol has no room for.
    pub fn change(&self) -> Result<StateChange, RpcError> {
        let mask = MaskList::new(self.macs.clone())
            .map_err(|error| RpcError::invalid(format!("{}: {error}", Self::NAME)))?;
        Ok(StateChange::Mask(mask))
    }
}

impl StateChange {
    /// Makes the change.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidParams`](crate::ErrorCode::InvalidParams), for a list that the protocol has no room for.
    pub fn apply(self, state: &mut InitiatorState) -> Result<(), RpcError> {
        let empty = InitiatorState::default();
        match self {
            Self::Clear(StatePart::Config) => state.config = empty.config,
            Self::Clear(StatePart::Mask) => state.mask = empty.mask,
            Self::Clear(StatePart::Reservation) => state.reservation = empty.reservation,
            Self::Clear(StatePart::All) => *state = empty,
            Self::Config(config) => state.config = *config,
            Self::Mask(mask) => state.mask = mask,
            Self::Reservation(macs) => {
                let held = state.reservation.hold_for(&macs);
                held.map_err(|error| RpcError::invalid(format!("{}: {error}", SetReservation::NAME)))?;
            }
        }
        Ok(())
    }

    /// Whether it leaves nothing of the state before.
    #[must_use]
    pub const fn is_of_all(&self) -> bool {
        matches!(self, Self::Clear(StatePart::All))
    }

    /// The method that calls for it.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Clear(_) => ClearInitiatorState::NAME,
            Self::Config(_) => SetConfigString::NAME,
            Self::Mask(_) => SetMaskList::NAME,
            Self::Reservation(_) => SetReservation::NAME,
        }
    }
}

#[cfg(test)]
mod tests {
    use aoe_target::initiator_state::{Key, Registration, Reservation, ReservationType};
    use serde_json::{Value, json};

    use super::*;
    use crate::error::ErrorCode;
    use crate::request::Action;

    fn decode(method: &str, more: &Value) -> Result<StateChange, RpcError> {
        let mut params = json!({ "shelf": 1, "slot": 2 });
        for (name, value) in more.as_object().unwrap() {
            params[name] = value.clone();
        }
        match Action::decode(method, Some(&params))? {
            Action::SetConfigString(request) => request.change(),
            Action::SetMaskList(request) => request.change(),
            Action::SetReservation(request) => Ok(StateChange::Reservation(request.macs)),
            other => panic!("{other:?}"),
        }
    }

    fn applied(method: &str, more: &Value, mut state: InitiatorState) -> InitiatorState {
        decode(method, more).unwrap().apply(&mut state).unwrap();
        state
    }

    fn macs(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("02:00:00:00:{:02x}:{:02x}", n / 256, n % 256)).collect()
    }

    #[test]
    fn a_config_string_is_text_or_hexadecimal_and_an_empty_one_clears_it() {
        let method = SetConfigString::NAME;
        let set = |more: Value| applied(method, &more, InitiatorState::default()).config;
        assert_eq!(set(json!({ "config": "rack 7" })).as_bytes(), b"rack 7");
        assert_eq!(set(json!({ "config": "ü" })).as_bytes(), "ü".as_bytes());
        assert_eq!(set(json!({ "config_hex": "00fF0a" })).as_bytes(), b"\x00\xff\n");
        assert_eq!(set(json!({ "config": "x".repeat(1024) })).len(), 1024);
        let marked = InitiatorState { config: ConfigString::new(b"old").unwrap(), ..Default::default() };
        assert!(applied(method, &json!({ "config": "" }), marked).config.is_empty());
    }

    #[test]
    fn a_config_string_that_cannot_be_is_refused_in_words() {
        for (more, part) in [
            (json!({}), "config or config_hex"),
            (json!({ "config": "a", "config_hex": "61" }), "one of them"),
            (json!({ "config": "x".repeat(1025) }), "1025 bytes: at most 1024"),
            (json!({ "config_hex": "00".repeat(1025) }), "1025 bytes: at most 1024"),
            (json!({ "config_hex": "abc" }), "'abc'"),
            (json!({ "config_hex": "zz" }), "hexadecimal"),
            (json!({ "config": 7 }), "config"),
            (json!({ "string": "a" }), "string"),
        ] {
            let error = decode(SetConfigString::NAME, &more).expect_err(part);
            assert_eq!(error.code(), ErrorCode::InvalidParams, "{error}");
            assert!(error.message().contains(part), "{error}");
        }
    }

    #[test]
    fn lists_have_at_most_255_initiators_each_once() {
        for method in [SetMaskList::NAME, SetReservation::NAME] {
            assert!(decode(method, &json!({ "macs": macs(255) })).is_ok());
            for (more, part) in [
                (json!({}), "macs"),
                (json!({ "macs": macs(256) }), "at most 255"),
                (json!({ "macs": ["02:00:00:00:00:01", "02:00:00:00:00:01"] }), "twice"),
                (json!({ "macs": ["01:00:5e:00:00:01"] }), "multicast"),
                (json!({ "macs": ["eth0"] }), "'eth0'"),
                (json!({ "macs": "02:00:00:00:00:01" }), "macs"),
            ] {
                let error = decode(method, &more).expect_err(part);
                assert_eq!(error.code(), ErrorCode::InvalidParams, "{error}");
                assert!(error.message().contains(part), "{error}");
            }
        }
    }

    #[test]
    fn a_list_takes_the_place_of_the_one_before_and_an_empty_one_clears_it() {
        let (one, other) = (json!({ "macs": macs(1) }), json!({ "macs": macs(3)[1..] }));
        let masked = applied(SetMaskList::NAME, &one, InitiatorState::default());
        assert_eq!(masked.mask.as_slice(), [MacAddr([2, 0, 0, 0, 0, 0])]);
        let masked = applied(SetMaskList::NAME, &other, masked);
        assert_eq!(masked.mask.as_slice(), [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])]);
        assert!(applied(SetMaskList::NAME, &json!({ "macs": [] }), masked).mask.is_empty());
    }

    #[test]
    fn a_reservation_by_addresses_takes_the_place_of_one_by_keys() {
        let owner = MacAddr([2, 0, 0, 0, 0, 9]);
        let keyed = Reservation::from_parts(
            Vec::new(),
            vec![Registration { key: Key([7; 8]), macs: vec![owner] }],
            ReservationType::AllWrite,
            4,
            Some(Key([7; 8])),
        );
        let state = InitiatorState { reservation: keyed.unwrap(), ..Default::default() };
        let state = applied(SetReservation::NAME, &json!({ "macs": macs(2) }), state);
        let held = &state.reservation;
        assert_eq!(held.macs().len(), 2);
        assert!(held.registrations().is_empty() && held.owner().is_none() && held.generation() == 5);
        let state = applied(SetReservation::NAME, &json!({ "macs": [] }), state);
        assert!(!state.reservation.is_held());
    }
}
