//! Every change of the table, its refusals, and requests that cross.

use aoe_target::{Shelf, Slot};

use super::*;
use crate::options::ExportOptions;

/// Ports 0 to 2: net_af_packet0 (veth0), net_af_packet1 (veth1), 0000:03:00.0.
pub(crate) fn three_ports() -> PortTable {
    let port = |number, name: &str, netif: Option<&str>| PortInfo {
        number,
        name: name.into(),
        netif: netif.map(Into::into),
        mtu: 9000,
        mac: [2, 0, 0, 0, 0, u8::try_from(number).unwrap()],
    };
    PortTable::new(vec![
        port(0, "net_af_packet0", Some("veth0")),
        port(1, "net_af_packet1", Some("veth1")),
        port(2, "0000:03:00.0", None),
    ])
}

fn address(text: &str) -> ShelfSlot {
    text.parse().unwrap()
}

fn ports(listed: &str) -> Option<Vec<PortRef>> {
    match listed {
        "all" => None,
        _ => Some(listed.split(' ').map(|port| PortRef::parse(port).unwrap()).collect()),
    }
}

fn set(numbers: &[u16]) -> Ports {
    let mut set = PortSet::EMPTY;
    for number in numbers {
        set.insert(PortId(*number)).unwrap();
    }
    Ports::Set(set)
}

fn bdev(name: &str, sectors: u64) -> ServedBdev {
    ServedBdev { name: name.into(), uuid: String::new(), sectors, files: Vec::new() }
}

/// Reports success on every task, and on those that follow, for an lcore.
pub(crate) fn carry_out(registry: &mut Registry, key: ExportKey, effects: Vec<Effect>) {
    let mut effects = std::collections::VecDeque::from(effects);
    while let Some(effect) = effects.pop_front() {
        match effect {
            Effect::Run(_, round) => {
                effects.extend(registry.step(key, Event::Reported { round, done: true }));
            }
            Effect::Free => assert!(registry.free(key).is_some()),
            _ => {}
        }
    }
}

/// As [`carry_out`], for effects of which the caller wants all.
pub(crate) fn all_effects(registry: &mut Registry, key: ExportKey, effects: Vec<Effect>) -> Vec<Effect> {
    let mut all = effects;
    let mut done = 0;
    while let Some(effect) = all.get(done).copied() {
        done += 1;
        if let Effect::Run(_, round) = effect {
            all.extend(registry.step(key, Event::Reported { round, done: true }));
        }
    }
    all
}

/// An event, and all that follows from it.
pub(crate) fn happens(registry: &mut Registry, key: ExportKey, event: Event) {
    let effects = registry.step(key, event);
    carry_out(registry, key, effects);
}

/// A registry with the export 1.1 of 8 sectors of bdev "b", which is served.
pub(crate) fn with_one_export() -> (Registry, ExportKey) {
    let mut registry = Registry::new(three_ports(), 1);
    let request = CreateExport {
        address: address("1.1"),
        bdev_name: "b".into(),
        ports: None,
        options: ExportOptions::default(),
    };
    let bdev = ServedBdev { name: "b".into(), uuid: String::new(), sectors: 8, files: Vec::new() };
    let key = registry.create(&request, &bdev).unwrap().key();
    happens(&mut registry, key, Event::Create);
    (registry, key)
}

struct Bench {
    registry: Registry,
    /// Effects that are not carried out yet.
    pending: Vec<(ExportKey, Vec<Effect>)>,
}

impl Bench {
    fn new() -> Self {
        Self { registry: Registry::new(three_ports(), 1), pending: Vec::new() }
    }

    fn begin(&mut self, key: ExportKey, event: Event) {
        let effects = self.registry.step(key, event);
        self.pending.push((key, effects));
    }

    fn create(&mut self, at: &str, on: &str) -> Result<ExportKey, RpcError> {
        let request = CreateExport {
            address: address(at),
            bdev_name: format!("b{at}"),
            ports: ports(on),
            options: ExportOptions::default(),
        };
        let key = self.registry.create(&request, &bdev(&format!("b{at}"), 2048)).map(Record::key)?;
        self.begin(key, Event::Create);
        Ok(key)
    }

    /// The lcores carry out what was begun.
    fn carry_out(&mut self, key: ExportKey) {
        for (_, effects) in self.pending.extract_if(.., |(of, _)| *of == key).collect::<Vec<_>>() {
            carry_out(&mut self.registry, key, effects);
        }
    }

    fn online(&mut self, at: &str, on: &str) -> ExportKey {
        let key = self.create(at, on).unwrap();
        self.carry_out(key);
        key
    }

    fn delete(&mut self, at: &str, on: &str) -> Result<Vec<Deletion>, RpcError> {
        self.delete_with(at, on, false)
    }

    fn delete_with(&mut self, at: &str, on: &str, force: bool) -> Result<Vec<Deletion>, RpcError> {
        let deletions = self.registry.delete(&DeleteExport {
            address: address(at),
            vlan: None,
            ports: ports(on),
            force,
        })?;
        for deletion in &deletions {
            match *deletion {
                Deletion::Remove(key) => self.begin(key, Event::Delete { force }),
                Deletion::Rebind(key, _) => self.begin(key, Event::LeavePorts),
            }
        }
        Ok(deletions)
    }

    fn stage(&self, key: ExportKey) -> Option<Stage> {
        self.registry.get(key).map(Record::stage)
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, RpcError>, code: ErrorCode, parts: &[&str]) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    for part in parts {
        assert!(error.message().contains(part), "{error} lacks {part}");
    }
}

#[test]
fn an_export_is_created_then_online() {
    let mut bench = Bench::new();
    let id = bench.create("1.1", "veth1 0").unwrap();
    let record = bench.registry.get(id).unwrap();
    assert_eq!((record.ports, record.stage(), record.sectors), (set(&[0, 1]), Stage::Preparing, 2048));
    bench.carry_out(id);
    assert_eq!(bench.stage(id), Some(Stage::Serving));
}

#[test]
fn ids_are_given_out_again_lowest_first_and_in_another_generation() {
    let mut bench = Bench::new();
    let keys = ["1.1", "1.2", "1.3"].map(|at| bench.online(at, "all"));
    assert_eq!(keys.map(|key| (key.id.0, key.generation)), [(0, 0), (1, 0), (2, 0)]);
    for (at, key) in [("1.2", keys[1]), ("1.1", keys[0])] {
        bench.delete(at, "all").unwrap();
        bench.carry_out(key);
    }
    let again = ["2.1", "2.2", "2.3"].map(|at| bench.online(at, "all"));
    assert_eq!(again.map(|key| (key.id.0, key.generation)), [(0, 1), (1, 1), (3, 0)]);
    assert_eq!(bench.registry.step(keys[0], Event::Delete { force: true }), [], "a late event of the first");
    assert!(bench.registry.get(keys[0]).is_none() && bench.registry.free(keys[0]).is_none());
    assert_eq!(bench.stage(again[0]), Some(Stage::Serving));
    let order: Vec<String> =
        bench.registry.exports().iter().map(|record| record.address.to_string()).collect();
    assert_eq!(order, ["1.3", "2.1", "2.2", "2.3"]);
}

#[test]
fn an_address_is_served_once_on_a_port_however_the_port_is_named() {
    let mut bench = Bench::new();
    bench.online("1.1", "net_af_packet0");
    bench.online("1.1", "1");
    bench.online("1.2", "all");
    for (at, on, place) in [
        ("1.1", "all", "port 0"),
        ("1.1", "0", "port 0"),
        ("1.1", "2 veth0", "port 0"),
        ("1.1", "veth1", "port 1"),
        ("1.2", "03:00.0", "port 2"),
        ("1.2", "all", "all ports"),
    ] {
        let bdev = format!("'b{at}'");
        refused(bench.create(at, on), ErrorCode::Exists, &[at, place, &bdev, "choose another"]);
    }
    assert_eq!(bench.registry.exports().len(), 3);
    bench.online("1.1", "2");
}

#[test]
fn ports_must_exist_and_be_named_once() {
    let mut bench = Bench::new();
    refused(bench.create("1.1", "eth7"), ErrorCode::NoDevice, &["'eth7'", "0 (net_af_packet0, veth0)"]);
    refused(bench.create("1.1", "0 7"), ErrorCode::NoDevice, &["'7'", "2 (0000:03:00.0)"]);
    refused(bench.create("1.1", "1 veth1"), ErrorCode::InvalidParams, &["port 1", "'veth1'", "once"]);
    refused(bench.delete("1.1", "eth7"), ErrorCode::NoDevice, &["'eth7'"]);
    assert!(bench.registry.exports().is_empty());
}

#[test]
fn a_bdev_without_a_sector_cannot_be_exported() {
    let mut bench = Bench::new();
    let request = CreateExport {
        address: address("1.1"),
        bdev_name: "tiny".into(),
        ports: None,
        options: ExportOptions::default(),
    };
    refused(
        bench.registry.create(&request, &bdev("tiny", 0)).cloned(),
        ErrorCode::Unsuitable,
        &["'tiny'", "512 bytes"],
    );
}

#[test]
fn a_port_that_no_set_can_hold_is_refused_by_number() {
    let mut port = three_ports().all()[0].clone();
    port.number = 64;
    let mut bench = Bench { registry: Registry::new(PortTable::new(vec![port]), 1), pending: Vec::new() };
    refused(bench.create("1.1", "64"), ErrorCode::InvalidParams, &["port 64", "0 to 63"]);
}

#[test]
fn deleting_an_address_removes_every_export_there() {
    let mut bench = Bench::new();
    let one = bench.online("1.1", "0");
    let two = bench.online("1.1", "1 2");
    let other = bench.online("1.2", "all");
    assert_eq!(bench.delete("1.1", "all"), Ok(vec![Deletion::Remove(one), Deletion::Remove(two)]));
    assert_eq!(bench.stage(one), Some(Stage::Draining));
    bench.carry_out(one);
    bench.carry_out(two);
    assert_eq!((bench.stage(one), bench.stage(other)), (None, Some(Stage::Serving)));
}

#[test]
fn leaving_some_ports_keeps_the_others() {
    for (on, leave, remaining) in [
        ("all", "1", &[0, 2][..]),
        ("all", "veth0 veth1", &[2]),
        ("0 1", "0", &[1]),
        ("0 2", "03:00.0", &[0]),
    ] {
        let mut bench = Bench::new();
        let id = bench.online("1.1", on);
        assert_eq!(
            bench.delete("1.1", leave),
            Ok(vec![Deletion::Rebind(id, set(remaining))]),
            "{on} - {leave}"
        );
        // Until the lcores are done, the ports it leaves are taken but no longer its own.
        refused(bench.create("1.1", leave), ErrorCode::Busy, &["1.1", "being deleted", "wait"]);
        refused(bench.delete("1.1", "all"), ErrorCode::Busy, &["1.1", "being deleted"]);
        assert_eq!(bench.stage(id), Some(Stage::Serving));
        bench.carry_out(id);
        assert_eq!(bench.registry.get(id).unwrap().ports, set(remaining), "{on} - {leave}");
        bench.online("1.1", leave);
    }
}

#[test]
fn leaving_every_port_one_by_one_removes_the_export() {
    for on in ["all", "0 1 2"] {
        let mut bench = Bench::new();
        let id = bench.online("1.1", on);
        assert_eq!(bench.delete("1.1", "0 1 2"), Ok(vec![Deletion::Remove(id)]));
        let mut bench = Bench::new();
        let id = bench.online("1.1", on);
        for (leave, then) in [
            ("1", Deletion::Rebind(id, set(&[0, 2]))),
            ("0", Deletion::Rebind(id, set(&[2]))),
            ("2", Deletion::Remove(id)),
        ] {
            assert_eq!(bench.delete("1.1", leave), Ok(vec![then]), "{on} - {leave}");
            bench.carry_out(id);
        }
    }
}

#[test]
fn one_delete_may_concern_several_exports() {
    let mut bench = Bench::new();
    let one = bench.online("1.1", "0 1");
    let two = bench.online("1.1", "2");
    let both = vec![Deletion::Rebind(one, set(&[1])), Deletion::Remove(two)];
    assert_eq!(bench.delete("1.1", "0 2"), Ok(both));
}

#[test]
fn what_is_not_exported_cannot_be_deleted() {
    let mut bench = Bench::new();
    refused(bench.delete("9.9", "all"), ErrorCode::NoSuchExport, &["9.9", "none"]);
    let id = bench.online("1.1", "0");
    bench.online("1.1", "2");
    refused(bench.delete("9.9", "0"), ErrorCode::NoSuchExport, &["9.9", "1.1"]);
    refused(bench.delete("1.1", "0 1"), ErrorCode::NoSuchExport, &["1.1", "port 1", "port 0 and port 2"]);
    assert_eq!((bench.stage(id), bench.registry.get(id).unwrap().ports), (Some(Stage::Serving), set(&[0])));
    for slot in 0..20u8 {
        bench.online(&format!("2.{slot}"), "all");
    }
    refused(bench.delete("9.9", "all"), ErrorCode::NoSuchExport, &["2.6", "and 13 more"]);
}

#[test]
fn requests_that_cross_are_told_to_wait() {
    let mut bench = Bench::new();
    let id = bench.create("1.1", "0").unwrap();
    refused(bench.create("1.1", "all"), ErrorCode::Busy, &["1.1", "being created on port 0"]);
    refused(bench.delete("1.1", "all"), ErrorCode::Busy, &["1.1", "being created"]);
    bench.carry_out(id);
    bench.delete("1.1", "all").unwrap();
    refused(bench.delete("1.1", "0"), ErrorCode::Busy, &["1.1", "being deleted"]);
    refused(bench.create("1.1", "0"), ErrorCode::Busy, &["1.1", "being deleted on port 0"]);
    bench.carry_out(id);
    bench.online("1.1", "0");
}

#[test]
fn a_refused_delete_changes_nothing() {
    let mut bench = Bench::new();
    let one = bench.online("1.1", "0");
    let two = bench.create("1.1", "1").unwrap();
    refused(bench.delete("1.1", "all"), ErrorCode::Busy, &["being created"]);
    assert_eq!((bench.stage(one), bench.stage(two)), (Some(Stage::Serving), Some(Stage::Preparing)));
    assert_eq!(bench.delete("1.1", "0"), Ok(vec![Deletion::Remove(one)]));
}

#[test]
fn exports_of_a_removed_bdev_are_offline_and_can_be_deleted() {
    let mut bench = Bench::new();
    let online = bench.online("1.1", "0");
    let creating = bench.create("1.2", "0").unwrap();
    let deleting = bench.online("1.3", "0");
    for key in [creating, deleting] {
        bench.registry.get_mut(key).unwrap().bdev.name = "b1.1".into();
    }
    bench.delete("1.3", "all").unwrap();
    assert_eq!(bench.registry.of_bdev("other"), []);
    assert_eq!(bench.registry.of_bdev("b1.1"), [online, creating, deleting]);
    for key in bench.registry.of_bdev("b1.1") {
        bench.begin(key, Event::BdevRemoved);
    }
    assert_eq!((bench.stage(online), bench.registry.offline()), (Some(Stage::Offline), vec![]));
    assert_eq!(bench.stage(deleting), Some(Stage::Draining));
    for key in [online, creating, deleting] {
        bench.carry_out(key);
    }
    assert_eq!((bench.stage(creating), bench.stage(deleting)), (None, None), "rolled back, and deleted");
    assert_eq!(bench.registry.offline(), [online]);
    assert_eq!(bench.delete("1.1", "all"), Ok(vec![Deletion::Remove(online)]));
}

#[test]
fn a_bdev_that_comes_back_is_taken_if_it_has_the_sectors_and_nobody_else_serves_it() {
    let mut registry = Bench::new().registry;
    let part = request("1.1", "b", |request| request.options.length = Some(100));
    let key = registry.create(&part, &bdev("b", 100)).unwrap().key();
    happens(&mut registry, key, Event::Create);
    assert_eq!(registry.bdev_back(key, &bdev("b", 100)).unwrap_err().code(), ErrorCode::InvalidParams);
    happens(&mut registry, key, Event::BdevRemoved);
    let error = registry.bdev_back(key, &bdev("b", 99)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unsuitable, "{error}");
    assert!(registry.set_reason(key, error.message()) && !registry.set_reason(key, error.message()));
    let other = registry.create(&request("1.2", "b", |_| ()), &bdev("b", 200)).unwrap().key();
    happens(&mut registry, other, Event::Create);
    refused(registry.bdev_back(key, &bdev("b", 200)).cloned(), ErrorCode::Exists, &["second disk"]);
    happens(&mut registry, other, Event::Delete { force: false });
    registry.bdev_back(key, &bdev("b", 200)).unwrap();
    happens(&mut registry, key, Event::BdevBack);
    let record = registry.get(key).unwrap();
    assert_eq!((record.stage(), record.sectors(), record.reason()), (Stage::Serving, 100, None));
}

#[test]
fn force_frees_the_address_and_keeps_the_sectors_of_requests_in_flight() {
    let mut bench = Bench::new();
    let old = bench.online("1.1", "all");
    bench.delete("1.1", "all").unwrap();
    refused(bench.delete("1.1", "all"), ErrorCode::Busy, &["being deleted"]);
    let drains = bench.pending.pop().unwrap();
    assert_eq!(bench.delete_with("1.1", "all", true), Ok(vec![Deletion::Remove(old)]));
    bench.carry_out(old);
    assert_eq!(bench.registry.quarantined().len(), 1);
    assert!(bench.registry.exports().is_empty());
    refused(bench.delete_with("1.1", "all", true), ErrorCode::NoSuchExport, &["1.1"]);
    refused(
        bench.create("1.1", "all"),
        ErrorCode::Busy,
        &["'b1.1'", "requests in flight of 1.1", "by force"],
    );
    let elsewhere = request("1.1", "c", |_| ());
    let new = bench.registry.create(&elsewhere, &bdev("c", 8)).unwrap().key();
    assert_ne!(new.id, old.id, "the id is free when nothing is in flight");
    let reader = request("1.2", "b1.1", |request| request.options.read_only = true);
    refused(bench.registry.create(&reader, &bdev("b1.1", 2048)).cloned(), ErrorCode::Busy, &["by force"]);
    bench.pending.push(drains);
    bench.carry_out(old);
    assert!(bench.registry.quarantined().is_empty());
    assert!(bench.registry.create(&reader, &bdev("b1.1", 2048)).is_ok());
}

#[test]
fn a_bdev_that_grows_takes_its_exports_along() {
    let mut bench = Bench::new();
    let id = bench.online("1.1", "0");
    assert_eq!(bench.registry.bdev_resized("b1.1", 4096), [id]);
    assert_eq!(bench.registry.get(id).unwrap().sectors, 4096);
    assert_eq!(bench.registry.bdev_resized("b1.1", 4096), [], "each of its descriptors tells of it");
}

#[test]
fn announcements_reach_what_matches_and_is_online() {
    let mut bench = Bench::new();
    bench.online("1.1", "0");
    bench.online("1.2", "0");
    bench.online("2.1", "0");
    bench.create("2.2", "0").unwrap();
    let announced = |bench: &Bench, shelf: Option<u16>, slot: Option<u8>| {
        let request = Announce { shelf: shelf.map(Shelf), slot: slot.map(Slot) };
        bench
            .registry
            .announced(&request)
            .map(|records| records.iter().map(|record| record.address.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(announced(&bench, None, None).unwrap(), ["1.1", "1.2", "2.1"]);
    assert_eq!(announced(&bench, Some(1), None).unwrap(), ["1.1", "1.2"]);
    assert_eq!(announced(&bench, None, Some(1)).unwrap(), ["1.1", "2.1"]);
    assert_eq!(announced(&bench, Some(2), Some(2)).unwrap(), Vec::<String>::new());
    refused(announced(&bench, Some(3), None), ErrorCode::NoSuchExport, &["3.*", "1.1, 1.2, 2.1"]);
    refused(announced(&bench, None, Some(9)), ErrorCode::NoSuchExport, &["*.9"]);
    assert_eq!(announced(&Bench::new(), None, None).unwrap(), Vec::<String>::new());
}

#[test]
fn an_unknown_bdev_is_answered_with_those_there_are() {
    let error = unknown_bdev("x", ["a", "b", "c", "d", "e", "f", "g"]);
    assert_eq!(error.code(), ErrorCode::NoDevice);
    assert_eq!(error.message(), "no bdev 'x': the bdevs are 'a', 'b', 'c', 'd', 'e' and 2 more");
    assert_eq!(unknown_bdev("x", []).message(), "no bdev 'x': the bdevs are none");
}

#[test]
fn one_address_may_be_another_export_in_each_vlan() {
    let mut registry = Bench::new().registry;
    let mut create = |vlan| {
        let request = CreateExport {
            address: address("1.1"),
            bdev_name: "b".into(),
            ports: None,
            options: ExportOptions { vlan: VlanId::new(vlan), ..ExportOptions::default() },
        };
        let key = registry.create(&request, &bdev("b", 8)).map(Record::key)?;
        happens(&mut registry, key, Event::Create);
        Ok::<ExportKey, RpcError>(key)
    };
    let ids = [0, 100, 4094].map(|vlan| create(vlan).unwrap());
    let refused = create(100).unwrap_err();
    assert!(refused.message().starts_with("1.1 in VLAN 100 is already exported"), "{}", refused.message());
    let one = |vlan| {
        let export = OneExport { address: address("1.1"), vlan: VlanId::new(vlan), port: None };
        registry.one(&export).map(Record::key)
    };
    assert_eq!([0, 100, 4094].map(|vlan| one(vlan).unwrap()), ids);
    let refused = one(7).unwrap_err();
    assert!(refused.message().contains("1.1 in VLAN 7: the exports are 1.1, 1.1 in VLAN 100"), "{refused:?}");
    let request = DeleteExport { address: address("1.1"), vlan: VlanId::new(100), ports: None, force: false };
    assert_eq!(registry.delete(&request).unwrap(), [Deletion::Remove(ids[1])], "the others stay");
    let request = DeleteExport { address: address("1.1"), vlan: None, ports: None, force: false };
    assert_eq!(registry.delete(&request).unwrap(), [Deletion::Remove(ids[0])], "the others stay");
}

/// `at` serving `bdev`, under that name, with what `change` says.
fn request(at: &str, bdev: &str, change: impl FnOnce(&mut CreateExport)) -> CreateExport {
    let mut request = CreateExport {
        address: address(at),
        bdev_name: bdev.into(),
        ports: None,
        options: ExportOptions::default(),
    };
    change(&mut request);
    request
}

#[test]
fn one_bdev_is_two_disks_only_when_nobody_writes_or_the_parts_do_not_overlap() {
    let read_only = |request: &mut CreateExport| request.options.read_only = true;
    let part = |offset, length| {
        move |request: &mut CreateExport| {
            request.options.offset = offset;
            request.options.length = length;
        }
    };
    let disk = bdev("b", 100);
    let mut registry = Bench::new().registry;
    let id = registry.create(&request("1.1", "an alias", part(0, Some(10))), &disk).unwrap().key();
    let whole = registry.create(&request("1.2", "b", |_| ()), &disk).cloned();
    refused(whole, ErrorCode::Exists, &["'b' is exported as 1.1 already", "as 1.2", "second disk", "offset"]);
    let reader = registry.create(&request("1.2", "b", read_only), &disk).cloned();
    refused(reader, ErrorCode::Exists, &["second disk"]);
    registry.create(&request("1.2", "b", part(10, None)), &disk).unwrap();
    registry.create(&request("1.1", "b", |request| request.ports = ports("0")), &disk).unwrap_err();
    registry.create(&request("1.3", "c", |_| ()), &bdev("c", 100)).unwrap();
    assert!(!registry.is_only_read("b") && !registry.is_only_read("none"));

    happens(&mut registry, id, Event::Create);
    happens(&mut registry, id, Event::Delete { force: false });
    let mut registry = Bench::new().registry;
    for at in ["1.1", "1.2"] {
        let key = registry.create(&request(at, "b", read_only), &disk).unwrap().key();
        happens(&mut registry, key, Event::Create);
    }
    assert!(registry.is_only_read("b"));
    let writer = registry.create(&request("1.3", "b", |_| ()), &disk).cloned();
    refused(writer, ErrorCode::Exists, &["exported as 1.1 already"]);
    // A bdev that went, and came again under its name.
    for key in registry.of_bdev("b") {
        happens(&mut registry, key, Event::BdevRemoved);
    }
    assert!(!registry.is_only_read("b"));
    registry.create(&request("1.3", "b", |_| ()), &disk).unwrap();
}

#[test]
fn two_bdevs_on_one_file_are_not_both_written() {
    let directory = tempfile::tempdir().unwrap();
    let on = |name: &str, bottom: &str, file: &str| {
        let path = directory.path().join(file);
        std::fs::write(&path, [0; 512]).unwrap();
        let id = crate::backing_file::FileId::of(&path).unwrap();
        let files = vec![crate::ServedFile { bdev: bottom.into(), path, id }];
        ServedBdev { files, ..bdev(name, 100) }
    };
    let mut registry = Bench::new().registry;
    registry.create(&request("1.1", "lv1", |_| ()), &on("lv1", "aio0", "x")).unwrap();
    // Volumes of one store share its file without harm.
    registry.create(&request("1.2", "lv2", |_| ()), &on("lv2", "aio0", "x")).unwrap();
    registry.create(&request("1.3", "aio1", |_| ()), &on("aio1", "aio1", "y")).unwrap();
    for change in [|_: &mut CreateExport| (), |request: &mut CreateExport| request.options.read_only = true] {
        let second = registry.create(&request("1.4", "aio2", change), &on("aio2", "aio2", "x")).cloned();
        refused(second, ErrorCode::Exists, &["'aio2'", "/x'", "'aio0'", "1.1", "read-only"]);
    }
    let mut registry = Bench::new().registry;
    for (at, name) in [("1.1", "aio1"), ("1.2", "aio2")] {
        let readers = request(at, name, |request| request.options.read_only = true);
        registry.create(&readers, &on(name, name, "x")).unwrap();
    }
}

#[test]
fn an_export_is_found_by_its_bdevs_own_name_and_loses_an_alias_that_is_none_any_more() {
    let mut registry = Bench::new().registry;
    let id = registry.create(&request("1.1", "lvs/lv", |_| ()), &bdev("0b1c", 8)).unwrap().key();
    assert_eq!(registry.get(id).unwrap().bdev_name, "lvs/lv");
    assert_eq!((registry.bdev_resized("lvs/lv", 16), registry.bdev_resized("0b1c", 16)), (vec![], vec![id]));
    registry.bdev_renamed(id);
    assert_eq!(registry.get(id).unwrap().bdev_name, "0b1c");
    assert_eq!((registry.of_bdev("lvs/lv"), registry.of_bdev("0b1c")), (vec![], vec![id]));
}
