//! The options of an export: one definition for each, whatever the spelling.
//!
//! A field of [`ExportOptions`] is an option. Its documentation, type and range, and the extensions of
//! [`crate::schema`], are what every spelling and every document is made of:
//!
//! | Spelling | Read by |
//! | --- | --- |
//! | parameter of `aoe_create_export` | [`crate::schema::decode`] |
//! | `--export A.B=BDEV,option=value` | [`ExportOptions::set`] |
//! | key of an `[[export]]` in the settings file | [`ExportOptions::set`] |
//! | flag of `kvadd` | [`ExportOptions::set`] |

use std::sync::atomic::{AtomicU8, Ordering};

use aoe_target::{Export, Identity, MacAddr, ShelfSlot, VlanId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::nearest;
use crate::rate_limits::RateLimits;
use crate::schema::{self, Field, Fields};
use crate::value;

/// Fewest messages an export may advertise room for: with 1, Linux would never send.
pub const BUFFERS_MIN: u16 = Export::MIN_BUFFER_COUNT;

/// Most messages an export may advertise room for: half of the 1024 frames that a port's rx ring holds on an lcore, so
/// that one initiator that uses all of them leaves the ring room for another. Coraid's target stops at 512 too.
pub const BUFFERS_MAX: u16 = 512;

/// Shortest time that a disk may be given for a request, in seconds.
pub const IO_TIMEOUT_MIN: u8 = Export::MIN_IO_TIMEOUT;

/// Longest time that a disk may be given for a request, in seconds.
pub const IO_TIMEOUT_MAX: u8 = Export::MAX_IO_TIMEOUT;

/// The time that a disk has for a request, of exports that were given none.
static DEFAULT_IO_TIMEOUT: AtomicU8 = AtomicU8::new(Export::DEFAULT_IO_TIMEOUT);

/// Sets the time that a disk has for a request, of exports that were given none: the program's `--io-timeout`. At the start,
/// before there are exports.
pub fn set_default_io_timeout(seconds: u8) {
    DEFAULT_IO_TIMEOUT.store(seconds.clamp(IO_TIMEOUT_MIN, IO_TIMEOUT_MAX), Ordering::Relaxed);
}

/// Model name of an export that was given none.
const MODEL: &str = "kvblade-dpdk";

/// Example of a MAC address, for error texts.
const MACS: &str = "a list of MAC addresses in text, such as \"52:54:00:12:34:56\"";

fn printable(limit: usize) -> String {
    format!("a string of 1 to {limit} printable ASCII characters, the last no space")
}

/// The options of an export. An option that is not given has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExportOptions {
    /// Refuse writes.
    #[schemars(extend("x-word" = "ro", "x-letter" = "r"))]
    pub read_only: bool,

    /// First sector (512 bytes) of the bdev to serve.
    #[schemars(extend("x-form" = "SECTORS", "x-letter" = "o",
        "x-allowed" = "a number of sectors of 512 bytes, from 0"))]
    pub offset: u64,

    /// Number of sectors (512 bytes) to serve.
    ///
    /// Without it the export reaches to the end of the bdev, also when the bdev grows.
    #[schemars(range(min = 1), extend("x-form" = "SECTORS", "x-letter" = "l", "x-default" = "all to the end",
        "x-allowed" = "a number of sectors of 512 bytes, from 1"))]
    pub length: Option<u64>,

    /// VLAN to serve it in, by tagged frames only.
    ///
    /// Requests must carry the VLAN's tag (0x8100), and so do replies and advertisements. Without it the export is served
    /// by frames that have no tag, or one that gives only a priority (VLAN 0).
    #[serde(with = "value::number")]
    #[schemars(with = "Option<u16>", range(min = 1, max = VlanId::MAX), extend("x-form" = "ID", "x-default" = "none",
        "x-allowed" = format!("the number of a VLAN, from 1 to {}", VlanId::MAX)))]
    pub vlan: Option<VlanId>,

    /// When a write is answered.
    pub cache: CacheMode,

    /// Messages that an initiator may have in flight.
    ///
    /// The number is advertised. Linux keeps to it.
    #[schemars(range(min = BUFFERS_MIN, max = BUFFERS_MAX), extend("x-form" = "N", "x-letter" = "b",
        "x-default" = Export::DEFAULT_BUFFER_COUNT.to_string(),
        "x-allowed" = format!("a number of messages from {BUFFERS_MIN} to {BUFFERS_MAX}")))]
    pub buffers: Option<u16>,

    /// Seconds that the disk has for a request.
    ///
    /// Past them the initiator gets a device fault, and the export is `degraded` until the disk answers. Linux gives a
    /// disk up that has not answered for 180 s, so the limit stays well below. `--io-timeout` sets it for all exports that
    /// have none of their own.
    #[schemars(range(min = IO_TIMEOUT_MIN, max = IO_TIMEOUT_MAX), extend("x-form" = "SECONDS",
        "x-default" = Export::DEFAULT_IO_TIMEOUT.to_string(),
        "x-allowed" = format!("a number of seconds from {IO_TIMEOUT_MIN} to {IO_TIMEOUT_MAX}")))]
    pub io_timeout: Option<u8>,

    /// Limits on rates.
    #[serde(flatten)]
    pub limits: RateLimits,

    /// Answer these initiators only.
    ///
    /// An empty list answers all. A list has at most 255 addresses.
    #[serde(serialize_with = "value::write_macs", deserialize_with = "value::read_allow")]
    #[schemars(with = "Vec<String>", extend("x-form" = "MAC", "x-default" = "all", "x-allowed" = MACS))]
    pub allow: Vec<MacAddr>,

    /// Never answer these initiators, whatever `allow` says.
    #[serde(serialize_with = "value::write_macs", deserialize_with = "value::read_deny")]
    #[schemars(with = "Vec<String>", extend("x-form" = "MAC", "x-default" = "none", "x-allowed" = MACS))]
    pub deny: Vec<MacAddr>,

    /// Serial number of the disk.
    #[serde(deserialize_with = "value::read_serial")]
    #[schemars(extend("x-form" = "TEXT", "x-default" = "kvblade-SHELF.SLOT", "x-allowed" = printable(Identity::SERIAL_MAX)))]
    pub serial: Option<String>,

    /// Model name of the disk.
    #[serde(deserialize_with = "value::read_model")]
    #[schemars(extend("x-form" = "TEXT", "x-default" = MODEL, "x-allowed" = printable(Identity::MODEL_MAX)))]
    pub model: Option<String>,

    /// Firmware revision of the disk.
    #[serde(deserialize_with = "value::read_firmware")]
    #[schemars(extend("x-form" = "TEXT", "x-default" = "the version of kvblade-dpdk", "x-allowed" = printable(Identity::FIRMWARE_MAX)))]
    pub firmware: Option<String>,
}

schema::impl_fields!(ExportOptions);

/// When a write is answered, as far as a bdev with a volatile cache leaves a choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum CacheMode {
    /// When it is on stable media.
    #[default]
    WriteThrough,
    /// When the bdev has it, perhaps in a volatile cache: a power failure may lose it until the initiator flushes.
    WriteBack,
}

/// The options with their values, as `--export` writes them.
#[must_use]
pub fn forms() -> String {
    ExportOptions::fields().iter().map(Field::text_form).collect::<Vec<_>>().join(", ")
}

/// The name in `--export` that is nearest to this one.
#[must_use]
pub fn nearest_word(word: &str) -> Option<&'static str> {
    nearest(word, ExportOptions::fields().iter().map(Field::word))
}

impl ExportOptions {
    /// Gives an option the value that a command line or a settings file has for it. A second value takes the place of
    /// the first: the reader of the whole text refuses options that are given twice.
    ///
    /// # Errors
    /// A sentence naming the value and what is allowed.
    pub fn set(&mut self, option: &Field, text: Option<&str>) -> Result<(), String> {
        let value = option.read_text(text)?;
        let mut all = value::object(self);
        all.insert(option.name().to_owned(), value);
        *self = schema::decode(all, "option")?;
        Ok(())
    }

    /// The options that are in effect: those given, else their defaults, of which the names of the disk are the same after
    /// every restart, on every host.
    #[must_use]
    pub fn in_effect(&self, address: ShelfSlot, version: &str) -> Self {
        Self {
            buffers: Some(self.buffers.unwrap_or(Export::DEFAULT_BUFFER_COUNT)),
            io_timeout: Some(self.io_timeout()),
            serial: Some(self.serial.clone().unwrap_or_else(|| format!("kvblade-{address}"))),
            model: Some(self.model.clone().unwrap_or_else(|| MODEL.to_owned())),
            firmware: Some(self.firmware.clone().unwrap_or_else(|| version.to_owned())),
            ..self.clone()
        }
    }

    /// Seconds that the disk has for a request.
    #[must_use]
    pub fn io_timeout(&self) -> u8 {
        self.io_timeout.unwrap_or_else(|| DEFAULT_IO_TIMEOUT.load(Ordering::Relaxed))
    }

    /// The part of a bdev of `bdev_sectors` (512 bytes each) that is served, as its first sector and its size. The size is
    /// `length` sectors if it was given and the bdev has them, else all sectors from `offset` on.
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

    /// The names in the IDENTIFY page.
    ///
    /// # Errors
    /// A sentence naming the value and what is allowed; never for options that were read by this crate.
    pub fn identity(&self, address: ShelfSlot, version: &str) -> Result<Identity, String> {
        let names = self.in_effect(address, version);
        let text = |name: &Option<String>| name.clone().unwrap_or_default();
        Identity::new(&text(&names.serial), &text(&names.model), &text(&names.firmware))
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests;
