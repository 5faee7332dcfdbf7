//! An export in the registry, and the states of its life.

use aoe_target::{ExportId, Identity, PortSet, Ports, ShelfSlot, VlanId};

use crate::options::ExportOptions;
use crate::served_bdev::ServedBdev;

/// An export in the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its index in every lcore's table.
    pub id: ExportId,
    /// Shelf and slot.
    pub address: ShelfSlot,
    /// The ports that serve it, or will once it is created.
    pub ports: Ports,
    /// Ports that were taken out of [`Self::ports`] and may still have requests in flight.
    pub leaving: PortSet,
    /// The bdev's name as the operator gave it, which may be an alias. It stays when the bdev is removed.
    pub bdev_name: String,
    /// The bdev, as it was last seen.
    pub bdev: ServedBdev,
    /// Size of the served part of the bdev, in sectors of 512 bytes.
    pub sectors: u64,
    /// Its options.
    pub options: ExportOptions,
    /// Its state.
    pub state: State,
    /// The reason why it waits, in [`State::Waiting`].
    pub reason: Option<String>,
}

impl Record {
    /// The names in its IDENTIFY page.
    ///
    /// # Errors
    /// As [`ExportOptions::identity`].
    pub fn identity(&self) -> Result<Identity, String> {
        self.options.identity(self.address, env!("CARGO_PKG_VERSION"))
    }

    /// Whether it uses a bdev. An export that is offline or waits uses none.
    pub(super) fn serves(&self) -> bool {
        !matches!(self.state, State::Offline | State::Waiting)
    }

    /// Its address and VLAN, as messages name it: `1.2`, or `1.2 in VLAN 100`.
    #[must_use]
    pub fn place(&self) -> String {
        place(self.address, self.options.vlan)
    }
}

/// The states of an export, in the order of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The configuration has it, and its bdev can't be served yet. No lcore has it.
    Waiting,
    /// Some lcores do not serve it yet.
    Creating,
    /// Every lcore serves it.
    Online,
    /// Its bdev was removed: every lcore answers with a device fault.
    Offline,
    /// Some lcores still drain it.
    Deleting,
}

impl State {
    /// The word for it in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Creating => "creating",
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Deleting => "deleting",
        }
    }
}

/// An address and a VLAN, as messages name them.
pub(super) fn place(address: ShelfSlot, vlan: Option<VlanId>) -> String {
    vlan.map_or_else(|| address.to_string(), |vlan| format!("{address} in VLAN {vlan}"))
}
