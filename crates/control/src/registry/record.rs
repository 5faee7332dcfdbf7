//! An export in the registry.

use aoe_target::{ExportKey, Identity, PortSet, Ports, ShelfSlot, VlanId};

use crate::lifecycle::{Lifecycle, Stage};
use crate::options::ExportOptions;
use crate::request::GetExports;
use crate::served_bdev::ServedBdev;

/// An export in the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub(super) key: ExportKey,
    pub(super) address: ShelfSlot,
    pub(super) ports: Ports,
    /// Ports that were taken out of `ports`, and that an lcore may still serve it on.
    pub(super) leaving: PortSet,
    pub(super) bdev_name: String,
    pub(super) bdev: ServedBdev,
    pub(super) sectors: u64,
    pub(super) options: ExportOptions,
    pub(super) life: Lifecycle,
    pub(super) reason: Option<String>,
    /// What it is about to go on with.
    pub(super) next: Option<Next>,
}

/// The bdev and options that an export is about to go on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) bdev_name: String,
    pub(super) bdev: ServedBdev,
    pub(super) sectors: u64,
    pub(super) options: ExportOptions,
}

impl Record {
    /// Its id, which is its index in every lcore's table, and the generation of that.
    #[must_use]
    pub const fn key(&self) -> ExportKey {
        self.key
    }

    /// Shelf and slot.
    #[must_use]
    pub const fn address(&self) -> ShelfSlot {
        self.address
    }

    /// The ports that serve it, or will once it is created.
    #[must_use]
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// The bdev's name as the operator gave it, which may be an alias. It stays when the bdev is removed.
    #[must_use]
    pub fn bdev_name(&self) -> &str {
        &self.bdev_name
    }

    /// The bdev, as it was last seen.
    #[must_use]
    pub const fn bdev(&self) -> &ServedBdev {
        &self.bdev
    }

    /// Size of the served part of the bdev, in sectors of 512 bytes.
    #[must_use]
    pub const fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Its options.
    #[must_use]
    pub const fn options(&self) -> &ExportOptions {
        &self.options
    }

    /// Where its life stands.
    #[must_use]
    pub const fn life(&self) -> &Lifecycle {
        &self.life
    }

    /// The stage of its life.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.life.stage()
    }

    /// The reason why it waits for its bdev, or is offline although a bdev has the name.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Whether it has all properties of the exports that `aoe_get_exports` is to list.
    #[must_use]
    pub fn is_wanted(&self, wanted: &GetExports) -> bool {
        let bdev = &self.bdev;
        let is_called = |name: &str| {
            name == self.bdev_name || name == bdev.name || (!name.is_empty() && name == bdev.uuid)
        };
        wanted.shelf.is_none_or(|shelf| shelf == self.address.shelf)
            && wanted.slot.is_none_or(|slot| slot == self.address.slot)
            && (wanted.vlan.is_none() || wanted.vlan == self.options.vlan)
            && wanted.bdev_name.as_deref().is_none_or(is_called)
            && wanted.state.is_none_or(|state| state.name() == self.life.name())
    }

    /// The names in its IDENTIFY page.
    ///
    /// # Errors
    /// As [`ExportOptions::identity`].
    pub fn identity(&self) -> Result<Identity, String> {
        self.options.identity(self.address, env!("CARGO_PKG_VERSION"))
    }

    /// The bdevs that it may have requests at, with the options by which it uses each: its own, and the one that it is about to
    /// go on with.
    pub(super) fn uses(&self) -> impl Iterator<Item = (&ServedBdev, &ExportOptions)> {
        let next = self.next.as_ref().map(|next| (&next.bdev, &next.options));
        std::iter::once((&self.bdev, &self.options)).chain(next)
    }

    /// It goes on with what it was about to go on with. False if that is nothing.
    pub(super) fn take_next(&mut self) -> bool {
        let Some(next) = self.next.take() else { return false };
        let Next { bdev_name, bdev, sectors, options } = next;
        (self.bdev_name, self.bdev, self.sectors, self.options) = (bdev_name, bdev, sectors, options);
        true
    }

    /// Its address and VLAN, as messages name it: `1.2`, or `1.2 in VLAN 100`.
    #[must_use]
    pub fn place(&self) -> String {
        place(self.address, self.options.vlan)
    }
}

/// An address and a VLAN, as messages name them.
pub(super) fn place(address: ShelfSlot, vlan: Option<VlanId>) -> String {
    vlan.map_or_else(|| address.to_string(), |vlan| format!("{address} in VLAN {vlan}"))
}
