//! The methods that set the initiator state of an export from the control plane.

use aoe_target::MacAddr;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::one_export::OneExport;
use crate::value;

/// What may be written for a list of initiators.
const MACS: &str = "a list of at most 255 MAC addresses, each once";

/// Sets the config string of an export, in place of the one that it has.
///
/// An empty string clears it. The answer is `true`, once the change is on disk and on every lcore; the export is advertised
/// with its new string then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetConfigString {
    /// The export.
    #[serde(flatten)]
    pub export: OneExport,
    /// The string as text, at most 1024 bytes.
    #[serde(default)]
    pub config: Option<String>,
    /// The string in hexadecimal digits, in place of `config`, for bytes that are no text.
    #[serde(default)]
    pub config_hex: Option<String>,
}

/// Sets the MAC mask list of an export, in place of the one that it has: the only initiators that it answers.
///
/// An empty list clears it, and all initiators are answered. The answer is `true`, once the list is on disk and on every
/// lcore, and all requests that were admitted by the list before have ended: who is not in it has written its last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetMaskList {
    /// The export.
    #[serde(flatten)]
    pub export: OneExport,
    /// The initiators to answer.
    #[serde(serialize_with = "value::write_macs", deserialize_with = "value::read_listed_macs")]
    #[schemars(with = "Vec<String>", extend("x-allowed" = MACS))]
    pub macs: Vec<MacAddr>,
}

/// Reserves an export for these initiators, whoever holds it now, as a forced reserve command does.
///
/// An empty list releases it. Registered keys are forgotten in both cases. The answer is `true`, once the reservation is on
/// disk and on every lcore, and all requests that were admitted before it have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetReservation {
    /// The export.
    #[serde(flatten)]
    pub export: OneExport,
    /// The initiators that may use the disk.
    #[serde(serialize_with = "value::write_macs", deserialize_with = "value::read_listed_macs")]
    #[schemars(with = "Vec<String>", extend("x-allowed" = MACS))]
    pub macs: Vec<MacAddr>,
}
