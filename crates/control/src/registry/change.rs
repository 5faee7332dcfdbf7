//! Exports that are changed while they are served: other options, or another bdev.

use aoe_target::ExportKey;

use super::record::{Next, Record};
use super::{Registry, place};
use crate::error::{ErrorCode, Quoted, RpcError};
use crate::options::ExportOptions;
use crate::request::CreateExport;
use crate::served_bdev::ServedBdev;

impl Registry {
    /// Changes options that concern neither the sectors nor the bdev of an export, or any of an export that is not served. The
    /// caller has the lcores keep them.
    pub fn set_options(&mut self, key: ExportKey, options: &ExportOptions) {
        if let Some(record) = self.get_mut(key) {
            record.options.clone_from(options);
        }
    }

    /// Gives an export that is not served a bdev of another name. Returns the name before.
    pub fn set_bdev_name(&mut self, key: ExportKey, bdev_name: &str) -> Option<String> {
        let record = self.get_mut(key)?;
        Some(std::mem::replace(&mut record.bdev_name, bdev_name.to_owned()))
    }

    /// Notes what an export is about to go on with: `request` has its address and ports, and its bdev and options after that.
    /// [`Event::Change`] is the next event. Returns the export as it will be.
    ///
    /// # Errors
    /// Another request changes it; the bdev lacks sectors that are served, or they are served as another disk. Nothing has
    /// changed then.
    ///
    /// [`Event::Change`]: crate::lifecycle::Event::Change
    pub fn change(
        &mut self,
        key: ExportKey,
        request: &CreateExport,
        bdev: &ServedBdev,
    ) -> Result<Record, RpcError> {
        let record = self.get(key).ok_or_else(|| self.no_export(request.address, request.options.vlan))?;
        if !record.life.may_change() {
            return Err(cannot_change(record));
        }
        let sectors = bdev.sectors_for(&request.bdev_name, &request.options)?;
        let is_other = record.bdev.name != bdev.name;
        if is_other && sectors < record.sectors {
            return Err(RpcError::new(
                ErrorCode::Unsuitable,
                format!(
                    "bdev {} has {sectors} sectors of 512 bytes for {}, which serves {}: a bdev with at least these is needed",
                    Quoted(&request.bdev_name),
                    place(record.address, record.options.vlan),
                    record.sectors
                ),
            ));
        }
        self.check_sharing(request, bdev, Some(key))?;
        let next = Next {
            bdev_name: request.bdev_name.clone(),
            bdev: bdev.clone(),
            sectors,
            options: request.options.clone(),
        };
        let record = self.get_mut(key).ok_or_else(|| {
            RpcError::new(ErrorCode::Internal, "an export is gone that was in the list a moment ago")
        })?;
        record.next = Some(next);
        let mut changed = record.clone();
        changed.take_next();
        Ok(changed)
    }

    /// The export goes on with what it was about to go on with. Returns it as it was before; `None` if there was nothing.
    pub fn changed(&mut self, key: ExportKey) -> Option<Record> {
        let record = self.get_mut(key)?;
        let before = record.clone();
        record.take_next().then_some(before)
    }

    /// The export does not go on with what it was about to go on with. Returns the own name of that bdev.
    pub fn not_changed(&mut self, key: ExportKey) -> Option<String> {
        self.get_mut(key)?.next.take().map(|next| next.bdev.name)
    }
}

/// The answer to a change of an export that something else changes.
#[must_use]
pub fn cannot_change(record: &Record) -> RpcError {
    let busy = record.life.busy(false).unwrap_or("served again");
    RpcError::new(
        ErrorCode::Busy,
        format!("{} is being {busy}: wait until that is done", place(record.address, record.options.vlan)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{happens, three_ports};
    use super::*;
    use crate::lifecycle::{Effect, Event, Stage};

    fn bdev(name: &str, sectors: u64) -> ServedBdev {
        ServedBdev { name: name.into(), uuid: String::new(), sectors, files: Vec::new() }
    }

    fn request(at: &str, bdev: &str, options: ExportOptions) -> CreateExport {
        CreateExport { address: at.parse().unwrap(), bdev_name: bdev.into(), ports: None, options }
    }

    fn served(registry: &mut Registry, at: &str, name: &str) -> ExportKey {
        let request = request(at, name, ExportOptions::default());
        let key = registry.create(&request, &bdev(name, 100)).unwrap().key();
        happens(registry, key, Event::Create);
        key
    }

    #[test]
    fn an_export_goes_on_with_a_bdev_that_is_large_enough_and_nobody_elses() {
        let mut registry = Registry::new(three_ports(), 1);
        let key = served(&mut registry, "1.1", "a");
        served(&mut registry, "1.2", "b");
        let plain = ExportOptions::default;
        for (name, sectors, part) in [("c", 99, "at least these"), ("b", 100, "like a second disk")] {
            let error =
                registry.change(key, &request("1.1", name, plain()), &bdev(name, sectors)).unwrap_err();
            assert!(error.message().contains(part), "{error}");
        }
        let next = request("1.1", "c", plain());
        let will_be = registry.change(key, &next, &bdev("c", 120)).unwrap();
        assert_eq!((will_be.bdev_name(), will_be.sectors()), ("c", 120));
        let effects = registry.step(key, Event::Change);
        assert_eq!(registry.get(key).unwrap().bdev_name(), "a", "until every lcore has it");
        // Both bdevs are in use, and there is one change at a time.
        assert_eq!((registry.of_bdev("a"), registry.about_to_use("c")), (vec![key], vec![key]));
        assert!(
            registry.change(key, &next, &bdev("c", 120)).unwrap_err().message().contains("being changed")
        );
        for name in ["a", "c"] {
            let error = registry.create(&request("1.3", name, plain()), &bdev(name, 120)).unwrap_err();
            assert!(error.message().contains("like a second disk"), "{error}");
        }
        let effects = super::super::tests::all_effects(&mut registry, key, effects);
        assert!(effects.contains(&Effect::Changed));
        assert_eq!(registry.changed(key).unwrap().bdev_name(), "a");
        let record = registry.get(key).unwrap();
        assert_eq!((record.bdev_name(), record.sectors(), record.stage()), ("c", 120, Stage::Serving));
        assert!(registry.create(&request("1.3", "a", plain()), &bdev("a", 100)).is_ok());
    }

    #[test]
    fn a_part_of_the_same_bdev_may_shrink_where_the_operator_says_so() {
        let mut registry = Registry::new(three_ports(), 1);
        let key = served(&mut registry, "1.1", "a");
        let part = ExportOptions { offset: 10, length: Some(20), ..ExportOptions::default() };
        let changed = registry.change(key, &request("1.1", "a", part.clone()), &bdev("a", 100)).unwrap();
        assert_eq!((changed.sectors(), changed.options()), (20, &part));
        assert_eq!(registry.not_changed(key).as_deref(), Some("a"));
        let beyond = ExportOptions { offset: 90, length: Some(20), ..ExportOptions::default() };
        let error = registry.change(key, &request("1.1", "a", beyond), &bdev("a", 100)).unwrap_err();
        assert!(error.message().contains("length is 20"), "{error}");
        assert_eq!((registry.changed(key), registry.get(key).unwrap().sectors()), (None, 100));
    }
}
