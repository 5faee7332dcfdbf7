//! `aoe_get_exports`: which exports are wanted.

use aoe_target::{Shelf, Slot, VlanId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value;

/// Most exports of one page.
const LIMIT_MAX: u64 = 65_536;

/// Lists exports, with the initiator state of each: all of them, or those that have all of the given properties.
///
/// They are in the order of their addresses, and behind them those that were deleted by force: these are listed as
/// `quarantined`, with the number of their requests in flight, until their bdevs have answered these. A list is read in pages by
/// `skip` and `limit`; an export that is created or deleted between two pages moves those behind it. `timed`: whether
/// `aoe_enable_histogram` holds for the export.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GetExports {
    /// Only exports of this shelf.
    #[serde(with = "value::number")]
    #[schemars(with = "Option<u16>", range(max = Shelf::MAX.0))]
    pub shelf: Option<Shelf>,
    /// Only exports of this slot.
    #[serde(with = "value::number")]
    #[schemars(with = "Option<u8>", range(max = Slot::MAX.0))]
    pub slot: Option<Slot>,
    /// Only exports of this VLAN.
    #[serde(with = "value::number")]
    #[schemars(with = "Option<u16>", range(min = 1, max = VlanId::MAX), extend(
        "x-allowed" = format!("the number of a VLAN, from 1 to {}", VlanId::MAX)))]
    pub vlan: Option<VlanId>,
    /// Only exports of this bdev: the name that was given, its own or its UUID.
    pub bdev_name: Option<String>,
    /// Only exports in this state.
    pub state: Option<ListedState>,
    /// Exports to leave out at the beginning.
    pub skip: u64,
    /// Exports to list at most.
    #[schemars(range(min = 1, max = LIMIT_MAX), extend("x-default" = "all"))]
    pub limit: Option<u64>,
}

/// A state of exports in answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
#[allow(missing_docs, reason = "the words are described at the field `state` of ExportInfo")]
pub enum ListedState {
    Waiting,
    Creating,
    Online,
    Degraded,
    Changing,
    Offline,
    Rebinding,
    Deleting,
    Quarantined,
    RollingBack,
}

impl ListedState {
    /// Its word in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Creating => "creating",
            Self::Online => "online",
            Self::Degraded => "degraded",
            Self::Changing => "changing",
            Self::Offline => "offline",
            Self::Rebinding => "rebinding",
            Self::Deleting => "deleting",
            Self::Quarantined => "quarantined",
            Self::RollingBack => "rolling-back",
        }
    }
}

impl GetExports {
    /// The page out of exports that match.
    pub fn page<T>(&self, matching: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        let most = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        matching.skip(most(self.skip)).take(self.limit.map_or(usize::MAX, most))
    }
}
