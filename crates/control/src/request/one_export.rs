//! The parameters by which a call names one export.

use aoe_target::{ShelfSlot, VlanId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::port::PortRef;
use crate::value;

/// One export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OneExport {
    /// Address of the export.
    #[serde(flatten, with = "value::address")]
    #[schemars(with = "value::Address")]
    pub address: ShelfSlot,
    /// VLAN it is served in; the export outside of any VLAN if left out.
    #[serde(default, with = "value::number")]
    #[schemars(with = "Option<u16>", range(min = 1, max = VlanId::MAX), extend(
        "x-allowed" = format!("the number of a VLAN, from 1 to {}", VlanId::MAX)))]
    pub vlan: Option<VlanId>,
    /// A port it is served on, where several exports have the address.
    #[serde(default, deserialize_with = "value::read_port")]
    #[schemars(with = "Value", extend("x-allowed" = value::PORT))]
    pub port: Option<PortRef>,
}
