//! What an operator may say of an export beyond its bdev: which sectors, in which VLAN, to whom, how many at a
//! time, and under which names. The same options are written as text (`--export`, `kvadd`) and as JSON (RPC,
//! `save_config`).

use aoe_target::{Identity, MacAddr, ShelfSlot, VlanId};
use serde_json::{Map, Value};

use crate::error::Quoted;

/// Fewest messages an export may advertise room for: with 1, Linux would never send.
pub const BUFFERS_MIN: u16 = aoe_target::Export::MIN_BUFFER_COUNT;

/// Most messages an export may advertise room for: half of the 1024 frames that a port's rx ring holds on an
/// lcore, so that one initiator that uses all of it leaves the ring room for another. (Coraid's target stops at
/// 512 too.)
pub const BUFFERS_MAX: u16 = 512;

/// Most addresses in one access list: as many as a MAC mask list of the protocol holds.
pub const MACS_MAX: usize = 255;

/// Model name of an export that was given none.
const MODEL: &str = "kvblade-dpdk";

/// An export's options. Those left out have their default: the whole bdev, no VLAN, everybody,
/// names of our own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// First sector (512 bytes) of the bdev that is served.
    pub offset: u64,
    /// Sectors (512 bytes) served, at least 1; `None` is all from `offset` on, also when the bdev grows.
    pub length: Option<u64>,
    /// The VLAN it is served in; `None`: to frames that belong to none.
    pub vlan: Option<VlanId>,
    /// Messages the export says it can hold, [`BUFFERS_MIN`] to [`BUFFERS_MAX`].
    pub buffers: Option<u16>,
    /// When a write is answered.
    pub cache: CacheMode,
    /// If not empty, the only initiators that are answered.
    pub allow: Vec<MacAddr>,
    /// Initiators that are never answered, also if allowed.
    pub deny: Vec<MacAddr>,
    /// Serial number in the IDENTIFY page.
    pub serial: Option<String>,
    /// Model name in the IDENTIFY page.
    pub model: Option<String>,
    /// Firmware revision in the IDENTIFY page.
    pub firmware: Option<String>,
}

/// When a write is answered, as far as a bdev with a volatile cache leaves a choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// When it is on stable media.
    #[default]
    WriteThrough,
    /// When the bdev has it, perhaps in a volatile cache. Initiators see the cache and may turn it off.
    WriteBack,
}

impl CacheMode {
    /// What may be said.
    pub const ALLOWED: &str = "write-through or write-back";

    /// The mode called so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::WriteThrough, Self::WriteBack].into_iter().find(|mode| mode.name() == name)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WriteThrough => "write-through",
            Self::WriteBack => "write-back",
        }
    }
}

/// The options with a value, as `--export` writes them.
pub const FORMS: &str = "offset=SECTORS, length=SECTORS, vlan=ID, cache=write-through|write-back, buffers=N, \
                         allow=MAC[+MAC...], deny=MAC[+MAC...], serial=TEXT, model=TEXT, firmware=TEXT";

impl ExportOptions {
    /// Takes one option as text, `name=value`. False if there is no option of that name. A second value takes the
    /// place of the first: that an option is given twice is for the reader of the whole text to see.
    ///
    /// # Errors
    /// A sentence naming the value and what is allowed.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "offset" => self.offset = parse_offset(value)?,
            "length" => self.length = Some(parse_length(value)?),
            "vlan" => self.vlan = Some(parse_vlan(value)?),
            "cache" => self.cache = parse_cache(value)?,
            "buffers" => self.buffers = Some(parse_buffers(value)?),
            "allow" => self.allow = parse_macs(name, value)?,
            "deny" => self.deny = parse_macs(name, value)?,
            "serial" => self.serial = Some(parse_serial(value)?),
            "model" => self.model = Some(parse_model(value)?),
            "firmware" => self.firmware = Some(parse_firmware(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The part of a bdev of `bdev_sectors` (512 bytes each) that is served, as its first sector and its size:
    /// `length` sectors if it was given and the bdev has them, else what there is from `offset` on.
    #[must_use]
    pub fn range_in(&self, bdev_sectors: u64) -> (u64, u64) {
        let rest = bdev_sectors.saturating_sub(self.offset);
        (self.offset, self.length.map_or(rest, |length| length.min(rest)))
    }

    /// Checks that the bdev has the sectors asked for.
    ///
    /// # Errors
    /// A sentence naming the values and the bdev's size.
    pub fn check_range(&self, bdev_sectors: u64) -> Result<(), String> {
        let Some(rest) = bdev_sectors.checked_sub(self.offset).filter(|rest| *rest > 0) else {
            return Err(format!(
                "offset is {}: the bdev has {bdev_sectors} sectors of 512 bytes, so at most {} is allowed",
                self.offset,
                bdev_sectors.saturating_sub(1)
            ));
        };
        match self.length {
            Some(length) if length > rest => Err(format!(
                "length is {length}: the bdev has {bdev_sectors} sectors of 512 bytes, so from offset {} at most {rest} \
                 is allowed",
                self.offset
            )),
            _ => Ok(()),
        }
    }

    /// Whether a sector of one bdev could be served under both options.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let end = |options: &Self| options.length.map(|length| options.offset.saturating_add(length));
        end(self).is_none_or(|end| other.offset < end) && end(other).is_none_or(|end| self.offset < end)
    }

    /// The names in the IDENTIFY page: those given, else ones that are the same after every restart, on every
    /// host.
    ///
    /// # Errors
    /// A sentence naming the value and what is allowed; never for options that were read by this crate.
    pub fn identity(&self, address: ShelfSlot, version: &str) -> Result<Identity, String> {
        let serial = self.serial.clone().unwrap_or_else(|| format!("kvblade-{address}"));
        let model = self.model.as_deref().unwrap_or(MODEL);
        let firmware = self.firmware.as_deref().unwrap_or(version);
        Identity::new(&serial, model, firmware).map_err(|error| error.to_string())
    }

    /// Adds the options to the parameters of an RPC. Defaults are left out.
    pub(crate) fn put(&self, params: &mut Map<String, Value>) {
        if self.offset != 0 {
            params.insert("offset".into(), self.offset.into());
        }
        if let Some(length) = self.length {
            params.insert("length".into(), length.into());
        }
        if let Some(vlan) = self.vlan {
            params.insert("vlan".into(), vlan.get().into());
        }
        if self.cache != CacheMode::default() {
            params.insert("cache".into(), self.cache.name().into());
        }
        if let Some(buffers) = self.buffers {
            params.insert("buffers".into(), buffers.into());
        }
        for (name, macs) in [("allow", &self.allow), ("deny", &self.deny)] {
            if !macs.is_empty() {
                params.insert(name.into(), macs.iter().map(ToString::to_string).collect());
            }
        }
        for (name, text) in [("serial", &self.serial), ("model", &self.model), ("firmware", &self.firmware)] {
            if let Some(text) = text {
                params.insert(name.into(), text.as_str().into());
            }
        }
    }
}

/// A first sector.
///
/// # Errors
/// A sentence naming the text and what is allowed. So for the others here.
pub fn parse_offset(text: &str) -> Result<u64, String> {
    decimal(text).ok_or_else(|| {
        format!("offset {} is not allowed: it is a number of sectors of 512 bytes, from 0", Quoted(text))
    })
}

/// A number of sectors.
///
/// # Errors
/// As [`parse_offset`].
pub fn parse_length(text: &str) -> Result<u64, String> {
    decimal(text).filter(|length| *length > 0).ok_or_else(|| {
        format!("length {} is not allowed: it is a number of sectors of 512 bytes, from 1", Quoted(text))
    })
}

/// A VLAN.
///
/// # Errors
/// As [`parse_offset`].
pub fn parse_vlan(text: &str) -> Result<VlanId, String> {
    decimal(text).and_then(vlan_from).ok_or_else(|| {
        format!("vlan {} is not allowed: it is the number of a VLAN, from 1 to {}", Quoted(text), VlanId::MAX)
    })
}

/// A VLAN, if the number can be one.
pub(crate) fn vlan_from(number: u64) -> Option<VlanId> {
    u16::try_from(number).ok().and_then(VlanId::new)
}

/// A cache mode.
///
/// # Errors
/// As [`parse_offset`].
pub fn parse_cache(text: &str) -> Result<CacheMode, String> {
    CacheMode::from_name(text)
        .ok_or_else(|| format!("cache {} is not allowed: it is {}", Quoted(text), CacheMode::ALLOWED))
}

/// A buffer count.
///
/// # Errors
/// As [`parse_offset`].
pub fn parse_buffers(text: &str) -> Result<u16, String> {
    decimal(text).and_then(buffers_from).ok_or_else(|| {
        format!(
            "buffers {} is not allowed: it is a number of messages from {BUFFERS_MIN} to {BUFFERS_MAX}",
            Quoted(text)
        )
    })
}

/// A buffer count, if the number can be one.
pub(crate) fn buffers_from(number: u64) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| (BUFFERS_MIN..=BUFFERS_MAX).contains(number))
}

/// Addresses, with a `+` between two. `name` is the option's.
///
/// # Errors
/// As [`parse_offset`].
pub fn parse_macs(name: &str, text: &str) -> Result<Vec<MacAddr>, String> {
    collect_macs(name, text.split('+'))
}

/// The addresses of one access list.
pub(crate) fn collect_macs<'a>(
    name: &str,
    texts: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<MacAddr>, String> {
    let mut macs = Vec::new();
    for text in texts {
        let mac = parse_mac(text).ok_or_else(|| {
            format!(
                "{name}: {} is no initiator's MAC address: write six bytes in hexadecimal, such as 52:54:00:12:34:56, \
                 not of a multicast group",
                Quoted(text)
            )
        })?;
        if macs.contains(&mac) {
            return Err(format!("{name} lists {mac} twice: each address may be given once"));
        }
        macs.push(mac);
    }
    if macs.len() > MACS_MAX {
        return Err(format!("{name} lists {} addresses: at most {MACS_MAX} are allowed", macs.len()));
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

/// A serial number.
///
/// # Errors
/// As [`parse_offset`].
pub fn parse_serial(text: &str) -> Result<String, String> {
    name_of("serial", text, Identity::SERIAL_MAX)
}

/// A model name.
///
/// # Errors
/// As [`parse_offset`].
pub fn parse_model(text: &str) -> Result<String, String> {
    name_of("model", text, Identity::MODEL_MAX)
}

/// A firmware revision.
///
/// # Errors
/// As [`parse_offset`].
pub fn parse_firmware(text: &str) -> Result<String, String> {
    name_of("firmware", text, Identity::FIRMWARE_MAX)
}

/// A string of the IDENTIFY page: fields are padded with spaces, so a space at the end would be lost.
fn name_of(field: &str, text: &str, limit: usize) -> Result<String, String> {
    let printable = text.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
    if text.is_empty() || text.len() > limit || !printable || text.ends_with(' ') {
        return Err(format!(
            "{field} {} has {} bytes: 1 to {limit} printable ASCII characters are allowed, the last no space",
            Quoted(text),
            text.len()
        ));
    }
    Ok(text.to_owned())
}

fn decimal(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
