//! Initiator state as text: for the file of an export in the state directory, and for answers.

use aoe_target::initiator_state::{Key, MaskList, Registration, Reservation, ReservationType};
use aoe_target::{ConfigString, InitiatorState, MacAddr};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The payload for an export whose initiator state is unknown. [`from_payload`] refuses it.
pub const UNKNOWN: &str = "{\"unknown\":true}";

/// The payload of a file. Bytes are hex digits in lower case; MAC addresses have colons.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    config: String,
    mask: Vec<String>,
    reserved_by: Vec<String>,
    keys: Vec<KeyPayload>,
    owner: Option<String>,
    reservation_type: u8,
    generation: u32,
    write_cache: bool,
    smart: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyPayload {
    key: String,
    macs: Vec<String>,
}

/// The payload for this initiator state.
#[must_use]
pub fn to_payload(claims: &InitiatorState) -> String {
    let held = &claims.reservation;
    json!(Payload {
        config: HEXLOWER.encode(claims.config.as_bytes()),
        mask: texts(claims.mask.as_slice()),
        reserved_by: texts(held.macs()),
        keys: held
            .registrations()
            .iter()
            .map(|one| KeyPayload { key: HEXLOWER.encode(&one.key.0), macs: texts(&one.macs) })
            .collect(),
        owner: held.owner().map(|key| HEXLOWER.encode(&key.0)),
        reservation_type: held.kind() as u8,
        generation: held.generation(),
        write_cache: claims.write_cache,
        smart: claims.smart,
    })
    .to_string()
}

/// The initiator state in a payload.
///
/// # Errors
/// A sentence on the first value that is not possible.
pub fn from_payload(text: &str) -> Result<InitiatorState, String> {
    if text == UNKNOWN {
        return Err("its initiator state was unknown when it was written".into());
    }
    let payload: Payload = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let in_words = |error: aoe_target::InitiatorStateError| error.to_string();
    let config = ConfigString::new(&bytes(&payload.config)?).map_err(|error| error.to_string())?;
    let mask = MaskList::new(macs(&payload.mask)?).map_err(in_words)?;
    let registrations = payload
        .keys
        .iter()
        .map(|one| Ok(Registration { key: key(&one.key)?, macs: macs(&one.macs)? }))
        .collect::<Result<Vec<_>, String>>()?;
    let reservation = Reservation::from_parts(
        macs(&payload.reserved_by)?,
        registrations,
        ReservationType::try_from(payload.reservation_type).map_err(in_words)?,
        payload.generation,
        payload.owner.as_deref().map(key).transpose()?,
    )
    .map_err(in_words)?;
    Ok(InitiatorState { config, mask, reservation, write_cache: payload.write_cache, smart: payload.smart })
}

/// Initiator state as `aoe_get_exports` shows it. `closed` is the reason why the export answers nobody, if it does not.
/// Bytes of the config string that are not printable ASCII are escaped.
#[must_use]
pub fn report(claims: &InitiatorState, closed: Option<&str>) -> Value {
    let held = &claims.reservation;
    json!({
        "config": claims.config.as_bytes().escape_ascii().to_string(),
        "mask": texts(claims.mask.as_slice()),
        "reservation": {
            "macs": texts(held.macs()),
            "keys": held.registrations().iter().map(|one| HEXLOWER.encode(&one.key.0)).collect::<Vec<_>>(),
            "owner": held.owner().map(|key| HEXLOWER.encode(&key.0)),
            "type": held.kind() as u8,
        },
        "closed": closed,
    })
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    HEXLOWER
        .decode(hex.as_bytes())
        .map_err(|_| format!("'{hex}' is not written in pairs of hex digits in lower case"))
}

fn key(text: &str) -> Result<Key, String> {
    let key = bytes(text)?.try_into().map_err(|_| format!("the key '{text}' has not 8 bytes"))?;
    Ok(Key(key))
}

fn texts(macs: &[MacAddr]) -> Vec<String> {
    macs.iter().map(MacAddr::to_string).collect()
}

fn macs(texts: &[String]) -> Result<Vec<MacAddr>, String> {
    texts.iter().map(|text| mac(text)).collect()
}

fn mac(text: &str) -> Result<MacAddr, String> {
    let parts = text.split(':').map(|part| <[u8; 1]>::try_from(bytes(part).ok()?).ok());
    let bytes: Option<Vec<u8>> = parts.map(|part| part.map(|[byte]| byte)).collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .map(MacAddr)
        .ok_or_else(|| format!("'{text}' is no MAC address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> InitiatorState {
        let macs = |from: u8| (from..from + 3).map(|last| MacAddr([2, 0, 0, 0, 0, last])).collect::<Vec<_>>();
        InitiatorState {
            config: ConfigString::new(b"a\"\n\xff").unwrap(),
            mask: MaskList::new(macs(1)).unwrap(),
            reservation: Reservation::from_parts(
                Vec::new(),
                vec![Registration { key: Key([7; 8]), macs: macs(4) }],
                ReservationType::RegistrantsWrite,
                9,
                Some(Key([7; 8])),
            )
            .unwrap(),
            write_cache: false,
            smart: false,
        }
    }

    #[test]
    fn state_survives_the_way_to_a_file_and_back() {
        let plain = Reservation::from_parts(
            vec![MacAddr([2, 0, 0, 0, 0, 1])],
            Vec::new(),
            ReservationType::default(),
            0,
            None,
        )
        .unwrap();
        for claims in [InitiatorState::default(), full(), InitiatorState { reservation: plain, ..full() }] {
            assert_eq!(from_payload(&to_payload(&claims)), Ok(claims));
        }
    }

    #[test]
    fn impossible_state_is_refused_in_words() {
        let whole = to_payload(&full());
        for (from, to, part) in [
            ("\"mask\"", "\"musk\"", "musk"),
            ("02:00:00:00:00:01", "02:00:00:00:00", "no MAC address"),
            ("02:00:00:00:00:02", "02:00:00:00:00:01", "listed twice"),
            ("\"reservation_type\":3", "\"reservation_type\":6", "0 to 5"),
            ("\"config\":\"61", "\"config\":\"6", "hex digits"),
            ("\"owner\":\"07", "\"owner\":\"08", "owner key"),
            ("{", "", ""),
        ] {
            assert!(whole.contains(from), "{whole}");
            let said = from_payload(&whole.replacen(from, to, 1)).expect_err(to);
            assert!(said.contains(part), "{said}");
        }
        assert!(from_payload(UNKNOWN).is_err());
    }

    #[test]
    fn the_largest_state_fits_a_file() {
        let macs: Vec<MacAddr> = (0..255).map(|last| MacAddr([2, 0, 0, 0, 0, last])).collect();
        let keys = (1..=255)
            .map(|key| Registration { key: Key([key - 1, 1, 1, 1, 1, 1, 1, 1]), macs: macs.clone() });
        let claims = InitiatorState {
            config: ConfigString::new(&[0xff; 1024]).unwrap(),
            mask: MaskList::new(macs.clone()).unwrap(),
            reservation: Reservation::from_parts(
                Vec::new(),
                keys.collect(),
                ReservationType::default(),
                1,
                None,
            )
            .unwrap(),
            write_cache: true,
            smart: true,
        };
        let payload = to_payload(&claims);
        assert!(payload.len() < 4 * 1024 * 1024, "{}", payload.len());
        assert_eq!(from_payload(&payload), Ok(claims));
    }
}
