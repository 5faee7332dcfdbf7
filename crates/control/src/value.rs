//! How the values of parameters and options are written in JSON, where their types do not say it themselves: these come
//! from crates that know no JSON.
//!
//! Errors are whole sentences: they begin with the name of the parameter.

use aoe_target::{Identity, MacAddr, Shelf, ShelfSlot, Slot, VlanId};
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::{Quoted, shown};
use crate::port::PortRef;

/// Most ports one request may list; DPDK's own limit is `RTE_MAX_ETHPORTS`, 32 in Debian's build.
const PORTS_MAX: usize = 256;

/// Most addresses in one access list: as many as a MAC mask list of the protocol holds.
const MACS_MAX: usize = 255;

/// What may be written for a port.
pub(crate) const PORT: &str = "a port number from 0 to 65535 or a port name";

/// A value as a JSON object. Values of our own types that are structs are objects.
pub(crate) fn object<T: Serialize + ?Sized>(value: &T) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        other => unreachable!("a struct with named fields is an object, not {other:?}"),
    }
}

/// Numbers with a type of their own, given or not.
pub(crate) mod number {
    use super::{Deserialize, Deserializer, Error, Numbered, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer, N: Numbered>(
        value: &Option<N>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(Numbered::number).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, N: Numbered>(
        deserializer: D,
    ) -> Result<Option<N>, D::Error> {
        let Some(number) = Option::<u64>::deserialize(deserializer)? else { return Ok(None) };
        let out_of_range = || D::Error::custom(format_args!("{number} is out of range"));
        N::from_number(number).map(Some).ok_or_else(out_of_range)
    }
}

/// A type that is a number in JSON.
pub(crate) trait Numbered: Sized {
    fn from_number(number: u64) -> Option<Self>;
    fn number(&self) -> u64;
}

impl Numbered for Shelf {
    fn from_number(number: u64) -> Option<Self> {
        Self::try_from(number).ok()
    }

    fn number(&self) -> u64 {
        self.0.into()
    }
}

impl Numbered for Slot {
    fn from_number(number: u64) -> Option<Self> {
        Self::try_from(number).ok()
    }

    fn number(&self) -> u64 {
        self.0.into()
    }
}

impl Numbered for VlanId {
    fn from_number(number: u64) -> Option<Self> {
        u16::try_from(number).ok().and_then(Self::new)
    }

    fn number(&self) -> u64 {
        self.get().into()
    }
}

/// The parameters that make an address.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct Address {
    /// Shelf of the AoE device.
    #[schemars(range(max = Shelf::MAX.0))]
    shelf: u16,
    /// Slot of the AoE device.
    #[schemars(range(max = Slot::MAX.0))]
    slot: u8,
}

/// [`ShelfSlot`] as [`Address`].
pub(crate) mod address {
    use super::{Address, Deserialize, Deserializer, Serialize, Serializer, Shelf, ShelfSlot, Slot};

    pub(crate) fn serialize<S: Serializer>(address: &ShelfSlot, serializer: S) -> Result<S::Ok, S::Error> {
        Address { shelf: address.shelf.0, slot: address.slot.0 }.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ShelfSlot, D::Error> {
        let Address { shelf, slot } = Address::deserialize(deserializer)?;
        Ok(ShelfSlot::new(Shelf(shelf), Slot(slot)))
    }
}

/// A bdev's name: SPDK's are not empty and end at a zero byte.
pub(crate) fn read_bdev_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.is_empty() || name.contains('\0') {
        let name = Quoted(&name);
        return Err(D::Error::custom(format_args!("bdev_name is {name}: it must be {BDEV_NAME}")));
    }
    Ok(name)
}

/// What may be written for a bdev.
pub(crate) const BDEV_NAME: &str = "the name of a bdev, a string that is not empty";

/// What may be written for a capture.
pub(crate) const CAPTURE_NAME: &str =
    "a name of 1 to 64 letters, digits, '.', '_' and '-' that does not begin with '.' or '-'";

/// A name that is a file's in any directory.
pub(crate) fn read_capture_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !(1..=64).contains(&name.len()) || name.starts_with(['.', '-']) || !name.bytes().all(allowed) {
        let name = Quoted(&name);
        return Err(D::Error::custom(format_args!("name is {name}: it must be {CAPTURE_NAME}")));
    }
    Ok(name)
}

/// An initiator's address, given or not.
pub(crate) fn read_initiator<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<MacAddr>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    parse_mac(&text).map(Some).ok_or_else(|| {
        D::Error::custom(format_args!(
            "initiator: {} is no initiator's MAC address: write six bytes in hexadecimal, such as 52:54:00:12:34:56, not of \
             a multicast group",
            Quoted(&text)
        ))
    })
}

#[allow(clippy::ref_option, reason = "serde passes the field")]
pub(crate) fn write_mac<S: Serializer>(mac: &Option<MacAddr>, serializer: S) -> Result<S::Ok, S::Error> {
    mac.map(|mac| mac.to_string()).serialize(serializer)
}

/// Ports, each once.
pub(crate) fn read_ports<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<PortRef>>, D::Error> {
    let Some(listed) = Option::<Vec<Value>>::deserialize(deserializer)? else { return Ok(None) };
    ports_of(&listed).map(Some).map_err(D::Error::custom)
}

fn ports_of(listed: &[Value]) -> Result<Vec<PortRef>, String> {
    if listed.len() > PORTS_MAX {
        return Err(format!("ports lists {} ports: at most {PORTS_MAX} are allowed", listed.len()));
    }
    let mut ports: Vec<PortRef> = Vec::with_capacity(listed.len());
    for value in listed {
        let port = port_of(value, "a port in ports")?;
        if ports.contains(&port) {
            return Err(format!(
                "ports lists {} twice: each port may be given once",
                Quoted(&port.to_string())
            ));
        }
        ports.push(port);
    }
    Ok(ports)
}

/// One port.
pub(crate) fn read_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PortRef>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    if value.is_null() {
        return Ok(None);
    }
    port_of(&value, "port").map(Some).map_err(D::Error::custom)
}

fn port_of(value: &Value, name: &str) -> Result<PortRef, String> {
    match value {
        Value::String(text) => PortRef::parse(text).map_err(|sentence| format!("{name}: {sentence}")),
        other => other
            .as_u64()
            .and_then(|number| u16::try_from(number).ok())
            .map(PortRef::Number)
            .ok_or_else(|| format!("{name} is {}: it must be {PORT}", shown(value))),
    }
}

/// Digits alone.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A number of bytes in text: digits, and K, M, G or T for powers of 1024. `None` for anything else, and for 2^64 and more.
#[must_use]
pub fn bytes_of(text: &str) -> Option<u64> {
    let Some(unit) = text.chars().last().filter(char::is_ascii_alphabetic) else { return decimal(text) };
    let shift = match unit.to_ascii_uppercase() {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => return None,
    };
    // A letter is one byte.
    decimal(&text[..text.len() - 1])?.checked_mul(1 << shift)
}

pub(crate) fn write_macs<S: Serializer>(macs: &[MacAddr], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(macs.iter().map(ToString::to_string))
}

pub(crate) fn read_allow<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<MacAddr>, D::Error> {
    read_macs("allow", deserializer)
}

pub(crate) fn read_deny<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<MacAddr>, D::Error> {
    read_macs("deny", deserializer)
}

/// The parameter `macs`.
pub(crate) fn read_listed_macs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<MacAddr>, D::Error> {
    read_macs("macs", deserializer)
}

/// Addresses, each once.
fn read_macs<'de, D: Deserializer<'de>>(name: &str, deserializer: D) -> Result<Vec<MacAddr>, D::Error> {
    let mut macs = Vec::new();
    for text in Vec::<String>::deserialize(deserializer)? {
        let mac = parse_mac(&text).ok_or_else(|| {
            D::Error::custom(format_args!(
                "{name}: {} is no initiator's MAC address: write six bytes in hexadecimal, such as 52:54:00:12:34:56, \
                 not of a multicast group",
                Quoted(&text)
            ))
        })?;
        if macs.contains(&mac) {
            return Err(D::Error::custom(format_args!(
                "{name} lists {mac} twice: each address may be given once"
            )));
        }
        macs.push(mac);
    }
    if macs.len() > MACS_MAX {
        let count = macs.len();
        return Err(D::Error::custom(format_args!(
            "{name} lists {count} addresses: at most {MACS_MAX} are allowed"
        )));
    }
    Ok(macs)
}

/// With colons between the bytes, or without any, as vblade has them.
fn parse_mac(text: &str) -> Option<MacAddr> {
    let mut bytes = [0; 6];
    let with_colons = text.contains(':');
    let mut rest = text;
    for (index, byte) in bytes.iter_mut().enumerate() {
        if with_colons && index > 0 {
            rest = rest.strip_prefix(':')?;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(digits, 16).ok()?;
        rest = after;
    }
    let mac = MacAddr(bytes);
    (rest.is_empty() && !mac.is_multicast()).then_some(mac)
}

pub(crate) fn read_serial<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    read_name("serial", Identity::SERIAL_MAX, deserializer)
}

pub(crate) fn read_model<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    read_name("model", Identity::MODEL_MAX, deserializer)
}

pub(crate) fn read_firmware<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    read_name("firmware", Identity::FIRMWARE_MAX, deserializer)
}

/// A string of the IDENTIFY page. Its field is padded with spaces, so a space at the end would be lost.
fn read_name<'de, D: Deserializer<'de>>(
    field: &str,
    limit: usize,
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let printable = text.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
    if text.is_empty() || text.len() > limit || !printable || text.ends_with(' ') {
        return Err(D::Error::custom(format_args!(
            "{field} {} has {} bytes: 1 to {limit} printable ASCII characters are allowed, the last no space",
            Quoted(&text),
            text.len()
        )));
    }
    Ok(Some(text))
}
