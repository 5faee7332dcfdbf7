//! The methods that write frames to a file.

use aoe_target::{MacAddr, Shelf, Slot, VlanId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::OneExport;
use crate::error::RpcError;
use crate::port::PortRef;
use crate::value;

/// Bounds of `max_bytes`.
const BYTES: (u64, u64) = (4096, 1 << 40);

/// Bounds of `max_seconds`, up to a week.
const SECONDS: (u32, u32) = (1, 604_800);

/// Bounds of `snap_length`: the headers of a request, and the longest frame.
const SNAP: (u32, u32) = (64, 65_535);

/// Copies frames into a file in pcapng format, which Wireshark and tshark read.
///
/// At least one of an export, an initiator and a port says which frames are wanted; frames that are all of what is given are
/// copied, requests and replies, with the time at which they arrived or were handed to the port. A request to several exports at once belongs to
/// none of them. The file is `NAME.pcapng` in the directory `captures` of the state directory; it must not exist. The capture ends
/// by `aoe_stop_capture`, at the first of its limits, when the file system has less than 64 MiB left, or when the file can't be
/// written. An lcore never waits for the file: frames that come faster than they are written are counted as `dropped` and not
/// copied. 4 captures may run at a time. The answer is the capture as `aoe_get_captures` shows it, once every lcore copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartCapture {
    /// Name of the capture and of its file: letters, digits, `.`, `_` and `-`.
    #[serde(deserialize_with = "value::read_capture_name")]
    #[schemars(extend("x-allowed" = value::CAPTURE_NAME))]
    pub name: String,
    /// Shelf of the export that is wanted; with `slot`.
    #[serde(default, with = "value::number")]
    #[schemars(with = "Option<u16>", range(max = Shelf::MAX.0))]
    pub shelf: Option<Shelf>,
    /// Slot of the export that is wanted; with `shelf`.
    #[serde(default, with = "value::number")]
    #[schemars(with = "Option<u8>", range(max = Slot::MAX.0))]
    pub slot: Option<Slot>,
    /// VLAN of the export; the export outside of any VLAN if left out.
    #[serde(default, with = "value::number")]
    #[schemars(with = "Option<u16>", range(min = 1, max = VlanId::MAX), extend(
        "x-allowed" = format!("the number of a VLAN, from 1 to {}", VlanId::MAX)))]
    pub vlan: Option<VlanId>,
    /// MAC address of the initiator that is wanted.
    #[serde(default, deserialize_with = "value::read_initiator", serialize_with = "value::write_mac")]
    #[schemars(with = "Option<String>")]
    pub initiator: Option<MacAddr>,
    /// Port whose frames are wanted; all ports of the export, or all, if left out.
    #[serde(default, deserialize_with = "value::read_port")]
    #[schemars(with = "Value", extend("x-allowed" = value::PORT))]
    pub port: Option<PortRef>,
    /// Bytes of the file at most.
    #[serde(default = "max_bytes")]
    #[schemars(range(min = BYTES.0, max = BYTES.1), extend("x-default" = "67108864"))]
    pub max_bytes: u64,
    /// Seconds that the capture runs at most.
    #[serde(default = "max_seconds")]
    #[schemars(range(min = SECONDS.0, max = SECONDS.1), extend("x-default" = "60"))]
    pub max_seconds: u32,
    /// Bytes of each frame that are copied at most.
    #[serde(default = "snap_length")]
    #[schemars(range(min = SNAP.0, max = SNAP.1), extend("x-default" = "65535"))]
    pub snap_length: u32,
}

/// Ends a capture.
///
/// The answer is the capture as `aoe_get_captures` shows it, once its file is complete; also if it has ended before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StopCapture {
    /// Name of the capture.
    #[serde(deserialize_with = "value::read_capture_name")]
    #[schemars(extend("x-allowed" = value::CAPTURE_NAME))]
    pub name: String,
}

/// Lists the captures that run, and the last 16 that have ended.
///
/// Each has its parameters, its `path`, its `state` (`starting`, `running`, `stopping`, `ended`) and the `reason` of its end: `stopped`,
/// `max_bytes`, `max_seconds`, or a sentence. `frames` and `bytes` are in the file, `dropped` are the frames that came faster than they were
/// written, and `seconds` is how long it has run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GetCaptures {}

impl StartCapture {
    /// The export that is wanted, if one is.
    ///
    /// # Errors
    /// `InvalidParams`: a half of an address, a VLAN without one, or nothing that is wanted.
    pub fn export(&self) -> Result<Option<OneExport>, RpcError> {
        let refused = |sentence: &str| Err(RpcError::invalid(format!("aoe_start_capture: {sentence}")));
        match (self.shelf, self.slot) {
            (Some(shelf), Some(slot)) => Ok(Some(OneExport {
                address: aoe_target::ShelfSlot::new(shelf, slot),
                vlan: self.vlan,
                port: self.port.clone(),
            })),
            (Some(_), None) => refused("slot is missing: an export is named by shelf and slot"),
            (None, Some(_)) => refused("shelf is missing: an export is named by shelf and slot"),
            (None, None) if self.vlan.is_some() => {
                refused("vlan is that of an export, and shelf and slot are missing")
            }
            (None, None) if self.initiator.is_none() && self.port.is_none() => {
                refused("nothing says which frames are wanted: give shelf and slot, an initiator or a port")
            }
            (None, None) => Ok(None),
        }
    }
}

const fn max_bytes() -> u64 {
    64 << 20
}

const fn max_seconds() -> u32 {
    60
}

const fn snap_length() -> u32 {
    SNAP.1
}
