//! What happens to bdevs, and the exports that it concerns.

use aoe_target::ExportKey;

use super::{Record, Registry};
use crate::error::RpcError;
use crate::lifecycle::Stage;
use crate::options::ExportOptions;
use crate::request::CreateExport;
use crate::served_bdev::{Neighbour, ServedBdev, Use, check_beside, check_quarantine};

impl Registry {
    /// The exports of the bdev of that own name. Exports that wait for it are left out: they are created anew.
    #[must_use]
    pub fn of_bdev(&self, own_name: &str) -> Vec<ExportKey> {
        let exports = self.exports.iter().flatten();
        let of_bdev =
            exports.filter(|record| record.bdev.name == own_name && record.stage() != Stage::Waiting);
        of_bdev.map(|record| record.key).collect()
    }

    /// The exports that are about to go on with the bdev of that own name.
    #[must_use]
    pub fn about_to_use(&self, own_name: &str) -> Vec<ExportKey> {
        let is_next = |record: &&Record| record.next.as_ref().is_some_and(|next| next.bdev.name == own_name);
        self.exports.iter().flatten().filter(is_next).map(|record| record.key).collect()
    }

    /// The bdev of that own name has a new size, in sectors of 512 bytes. Returns its exports whose size changes. An export with
    /// a length keeps it as long as the bdev has those sectors; an export without one reaches to the bdev's end.
    pub fn bdev_resized(&mut self, own_name: &str, bdev_sectors: u64) -> Vec<ExportKey> {
        let mut changed = self.of_bdev(own_name);
        changed.retain(|key| {
            let Some(record) = self.get_mut(*key) else { return false };
            let before = record.sectors;
            record.bdev.sectors = bdev_sectors;
            record.sectors = record.options.range_in(bdev_sectors).1;
            record.sectors != before
        });
        changed
    }

    /// The bdev has lost the name that the operator gave: the export uses the bdev's own name from now on.
    pub fn bdev_renamed(&mut self, key: ExportKey) {
        if let Some(record) = self.get_mut(key) {
            record.bdev_name.clone_from(&record.bdev.name);
        }
    }

    /// The offline exports that may be served again, if their bdevs are back.
    #[must_use]
    pub fn offline(&self) -> Vec<ExportKey> {
        let offline = self.unserved().filter(|record| record.life.may_rebind());
        offline.map(|record| record.key).collect()
    }

    /// A bdev has the name of that of an offline export: takes it for the export. [`Event::BdevBack`] is the next event.
    ///
    /// # Errors
    /// The export is not offline, or the bdev lacks its sectors, or they are served as another disk. It stays offline then.
    ///
    /// [`Event::BdevBack`]: crate::lifecycle::Event::BdevBack
    pub fn bdev_back(&mut self, key: ExportKey, bdev: &ServedBdev) -> Result<&Record, RpcError> {
        let none = || RpcError::invalid(format!("no export with the number {} is offline", key.id.0));
        let record = self.get(key).filter(|record| record.life.may_rebind()).ok_or_else(none)?;
        let request = self.request_of(record);
        let sectors = bdev.sectors_for(&request.bdev_name, &request.options)?;
        self.check_sharing(&request, bdev, None)?;
        let record = self.get_mut(key).ok_or_else(none)?;
        record.bdev = bdev.clone();
        record.sectors = sectors;
        record.reason = None;
        Ok(record)
    }

    /// Notes what is known of the requests that the bdev of a degraded export leaves without an answer; `None` once there are
    /// none. Of other exports nothing is noted.
    pub fn set_degraded(&mut self, key: ExportKey, reason: Option<String>) {
        if let Some(record) = self.get_mut(key).filter(|record| record.stage() == Stage::Degraded) {
            record.reason = reason;
        }
    }

    /// Notes why an export waits, or stays offline. Returns whether the reason is new.
    pub fn set_reason(&mut self, key: ExportKey, reason: &str) -> bool {
        let Some(record) = self.get_mut(key) else { return false };
        let is_new = record.reason.as_deref() != Some(reason);
        record.reason = Some(reason.to_owned());
        is_new
    }

    /// Whether the bdev of that own name is served, and only by read-only exports.
    #[must_use]
    pub fn is_only_read(&self, own_name: &str) -> bool {
        self.uses(own_name).next().is_some() && self.is_not_written(own_name)
    }

    /// Whether no export that is served writes the bdev of that own name.
    #[must_use]
    pub fn is_not_written(&self, own_name: &str) -> bool {
        self.uses(own_name).all(|options| options.read_only)
    }

    /// The options of the exports that use the bdev of that own name.
    fn uses(&self, own_name: &str) -> impl Iterator<Item = &ExportOptions> {
        let exports = self.exports.iter().flatten().filter(|record| record.life.uses_bdev());
        let used = exports.flat_map(Record::uses);
        used.filter(move |(bdev, _)| bdev.name == own_name).map(|(_, options)| options)
    }

    /// Whether an export of this bdev may stand beside those that are served, but for the one that it takes the place of.
    pub(super) fn check_sharing(
        &self,
        request: &CreateExport,
        bdev: &ServedBdev,
        except: Option<ExportKey>,
    ) -> Result<(), RpcError> {
        let using = self.exports.iter().flatten().filter(|record| record.life.uses_bdev());
        let others = using.filter(|record| except != Some(record.key));
        let mut uses = others.flat_map(|record| record.uses().map(move |used| (record, used)));
        uses.try_for_each(|(record, (used_bdev, options))| {
            let used = Use { address: record.address, options };
            let there = Neighbour { place: &record.place(), used, bdev: used_bdev };
            if !record.life.holds_address() {
                check_quarantine(request, bdev, &there)?;
            }
            check_beside(request, bdev, &there)
        })
    }
}
