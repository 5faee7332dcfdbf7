//! Exports of the configuration whose bdevs are missing or can't be served. They hold their addresses, are listed and saved,
//! and are created as soon as their bdevs allow.

use aoe_target::{ExportKey, Ports};

use super::Registry;
use super::record::Record;
use crate::error::{ErrorCode, Quoted, RpcError};
use crate::lifecycle::{Lifecycle, Stage};
use crate::port::PortRef;
use crate::request::CreateExport;
use crate::served_bdev::ServedBdev;

impl Registry {
    /// Takes the address for an export that can't be made now, for this reason.
    ///
    /// # Errors
    /// As [`Registry::create`], except for errors of the bdev: a request with another error can't be carried out later either.
    pub fn wait(&mut self, request: &CreateExport, reason: &str) -> Result<&Record, RpcError> {
        let name = request.bdev_name.clone();
        let bdev = ServedBdev { name, uuid: String::new(), sectors: 0, files: Vec::new() };
        self.place(request, Lifecycle::waiting(self.lcores), bdev, 0, Some(reason.to_owned()))
    }

    /// The exports that wait, in the order of their making.
    #[must_use]
    pub fn waiting(&self) -> Vec<ExportKey> {
        let waits = |record: &&Record| record.stage() == Stage::Waiting;
        self.unserved().filter(waits).map(|record| record.key).collect()
    }

    /// An export that waits is to be created: its bdev is there. [`Event::Create`] is the next event. As it is another export
    /// for the lcores than the one of an attempt before, it gets another key.
    ///
    /// # Errors
    /// No such export waits; no sectors, or not those asked for, or ones that another export serves as another disk. It
    /// waits on then.
    ///
    /// [`Event::Create`]: crate::lifecycle::Event::Create
    pub fn resume(&mut self, key: ExportKey, bdev: &ServedBdev) -> Result<&Record, RpcError> {
        let none = || {
            RpcError::new(ErrorCode::NoSuchExport, format!("no export with the number {} waits", key.id.0))
        };
        let record = self.get(key).filter(|record| record.stage() == Stage::Waiting).ok_or_else(none)?;
        let request = self.request_of(record);
        let sectors = bdev.sectors_for(&request.bdev_name, &request.options)?;
        self.check_sharing(&request, bdev, None)?;
        let next = self.next_key(key.id);
        let record = self.get_mut(key).ok_or_else(none)?;
        record.key = next;
        record.bdev = bdev.clone();
        record.sectors = sectors;
        record.reason = None;
        Ok(record)
    }

    /// The request that would create this export.
    #[must_use]
    pub fn request_of(&self, record: &Record) -> CreateExport {
        let names = self.ports_of(record).into_iter().map(|port| PortRef::Name(port.name.clone()));
        CreateExport {
            address: record.address,
            bdev_name: record.bdev_name.clone(),
            ports: (record.ports != Ports::All).then(|| names.collect()),
            options: record.options.clone(),
        }
    }

    pub(super) fn address_awaited(&self, record: &Record, taken: Ports) -> RpcError {
        RpcError::new(
            ErrorCode::Exists,
            format!(
                "{} is kept on {taken} for bdev {}, which it waits for: choose another shelf and slot, or delete that \
                 export first",
                record.place(),
                Quoted(&record.bdev_name)
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{happens, three_ports};
    use super::*;
    use crate::options::ExportOptions;
    use crate::request::{Announce, DeleteExport, Method};
    use crate::{Deletion, Effect, Event, ExportList};

    fn bdev(name: &str, sectors: u64) -> ServedBdev {
        ServedBdev { name: name.into(), uuid: String::new(), sectors, files: Vec::new() }
    }

    fn request(at: &str, bdev: &str) -> CreateExport {
        CreateExport {
            address: at.parse().unwrap(),
            bdev_name: bdev.into(),
            ports: None,
            options: ExportOptions::default(),
        }
    }

    #[test]
    fn an_export_waits_with_its_reason_until_its_bdev_suits() {
        let mut registry = Registry::new(three_ports(), 1);
        let mut wanted = request("1.1", "b");
        wanted.options.length = Some(100);
        let id = registry.wait(&wanted, "no bdev 'b'").unwrap().key();
        assert_eq!(registry.waiting(), [id]);
        let shown: serde_json::Value =
            serde_json::from_str(&ExportList::of(&registry).to_json(&crate::GetExports::default())).unwrap();
        assert_eq!((&shown[0]["state"], &shown[0]["reason"]), (&"waiting".into(), &"no bdev 'b'".into()));
        assert!(!registry.set_reason(id, "no bdev 'b'"), "the same reason is nothing new");
        assert!(registry.set_reason(id, "it is too small"));
        for sectors in [0, 99] {
            let error = registry.resume(id, &bdev("b", sectors)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Unsuitable, "{error}");
            assert_eq!(registry.get(id).unwrap().stage(), Stage::Waiting);
        }
        let created = registry.resume(id, &bdev("b", 2048)).map(|record| (record.sectors, record.key()));
        let (sectors, key) = created.unwrap();
        assert_eq!((sectors, key.id), (100, id.id));
        assert_ne!(key, id, "each attempt is another export for the lcores");
        let effects = registry.step(key, Event::Create);
        assert_eq!(
            registry.resume(key, &bdev("b", 2048)).unwrap_err().code(),
            ErrorCode::NoSuchExport,
            "it is being made"
        );
        // An lcore refuses it, and has nothing to drain.
        let Effect::Run(_, round) = effects[0] else { panic!("{effects:?}") };
        let effects = registry.step(key, Event::Reported { round, done: false });
        let Effect::Run(_, round) = effects[0] else { panic!("{effects:?}") };
        let effects = registry.step(key, Event::Reported { round, done: true });
        assert_eq!(effects, [Effect::CloseBdev, Effect::Wait]);
        assert_eq!(registry.waiting(), [key]);
        let key = registry.resume(key, &bdev("b", 2048)).unwrap().key();
        happens(&mut registry, key, Event::Create);
        let record = registry.get(key).unwrap();
        assert_eq!((record.stage(), record.reason()), (Stage::Serving, None));
        assert_eq!(registry.waiting(), []);
    }

    #[test]
    fn it_holds_its_address_and_is_saved_and_deleted_like_any_other_and_not_announced() {
        let mut registry = Registry::new(three_ports(), 1);
        let id = registry.wait(&request("1.1", "b"), "why").unwrap().key();
        assert_eq!(registry.config()[0]["params"], request("1.1", "b").to_params());
        let other = request("1.1", "c");
        for error in
            [registry.create(&other, &bdev("c", 8)).unwrap_err(), registry.wait(&other, "why").unwrap_err()]
        {
            assert_eq!(error.code(), ErrorCode::Exists);
            assert!(
                error.message().starts_with("1.1 is kept on all ports for bdev 'b', which it waits for"),
                "{error}"
            );
        }
        let everyone = Announce { shelf: None, slot: None };
        assert_eq!(registry.announced(&everyone), Ok(vec![]));
        assert_eq!(registry.of_bdev("b"), []);
        assert_eq!(registry.bdev_resized("b", 7), []);
        assert_eq!(
            registry.get(id).map(|record| (record.stage(), record.sectors)),
            Some((Stage::Waiting, 0))
        );
        let delete = DeleteExport { address: "1.1".parse().unwrap(), vlan: None, ports: None, force: false };
        assert_eq!(registry.delete(&delete), Ok(vec![Deletion::Remove(id)]));
        happens(&mut registry, id, Event::Delete { force: false });
        assert!(registry.create(&request("1.1", "c"), &bdev("c", 8)).is_ok());
    }

    #[test]
    fn it_uses_no_bdev_until_it_is_made_and_then_shares_it_by_the_rules() {
        let mut registry = Registry::new(three_ports(), 1);
        let id = registry.wait(&request("1.1", "b"), "why").unwrap().key();
        let other = registry.create(&request("1.2", "b"), &bdev("b", 8)).unwrap().key();
        happens(&mut registry, other, Event::Create);
        let error = registry.resume(id, &bdev("b", 8)).unwrap_err();
        assert!(error.message().contains("like a second disk"), "{error}");
        assert_eq!(registry.get(id).unwrap().stage(), Stage::Waiting);
        happens(&mut registry, other, Event::Delete { force: false });
        assert!(!registry.is_only_read("b"));
        assert!(registry.resume(id, &bdev("b", 8)).is_ok());
    }

    #[test]
    fn what_can_not_be_made_later_either_does_not_wait() {
        let mut registry = Registry::new(three_ports(), 1);
        let mut wanted = request("1.1", "b");
        wanted.ports = Some(vec![PortRef::Number(9)]);
        let error = registry.wait(&wanted, "why").unwrap_err();
        assert!(error.message().contains("no port '9'"), "{error}");
        assert_eq!(registry.waiting(), []);
    }
}
