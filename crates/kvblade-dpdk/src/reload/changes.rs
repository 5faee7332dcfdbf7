//! The calls that lead from the present exports to the new ones.

use std::collections::BTreeSet;

use control::backing_file::SECTOR;
use control::file_bdev;
use control::schema::{Field, Fields};
use control::{CreateExport, ExportOptions, Method};
use serde_json::{Map, Value, json};

use crate::bdev_requirements;

/// A call that makes a bdev.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) method: String,
    pub(super) params: Value,
}

/// The methods that make bdevs for exports, and those that undo them.
const UNDOING: [(&str, &str); 4] = [
    ("bdev_malloc_create", "bdev_malloc_delete"),
    (file_bdev::CREATE, file_bdev::DELETE),
    (file_bdev::CREATE_AIO, file_bdev::DELETE_AIO),
    ("bdev_nvme_attach_controller", "bdev_nvme_detach_controller"),
];

/// The calls that make a configuration's exports.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Calls {
    pub(super) bdevs: Vec<Call>,
    /// The parameters of `aoe_create_export`.
    pub(super) exports: Vec<Value>,
}

/// The calls to make.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    pub(super) removed_exports: Vec<Value>,
    pub(super) removed_bdevs: Vec<Call>,
    pub(super) added_bdevs: Vec<Call>,
    pub(super) added_exports: Vec<Value>,
    /// Parameters of `aoe_update_export`, for exports of which nothing but options has changed: they are served on.
    pub(super) updated_exports: Vec<Value>,
}

impl Call {
    fn name(&self) -> &str {
        self.params["name"].as_str().unwrap_or_default()
    }

    /// Whether it creates the bdev of this name. The bdev of a namespace has the controller's name before an `n`.
    pub(super) fn makes(&self, bdev: &str) -> bool {
        match bdev.strip_prefix(self.name()) {
            Some("") => true,
            Some(rest) => self.method == "bdev_nvme_attach_controller" && rest.starts_with('n'),
            None => false,
        }
    }
}

impl Calls {
    /// Those in a document of SPDK's form.
    pub(super) fn of(document: &Value) -> Self {
        let owned =
            |(method, params): (&str, &Value)| Call { method: method.to_owned(), params: params.clone() };
        let makes_bdev = |call: &Call| UNDOING.iter().any(|(method, _)| *method == call.method);
        let creates =
            bdev_requirements::calls(document, "aoe").filter(|(method, _)| *method == CreateExport::NAME);
        Self {
            bdevs: bdev_requirements::calls(document, "bdev").map(owned).filter(makes_bdev).collect(),
            exports: creates.map(|(_, params)| params.clone()).collect(),
        }
    }
}

impl Changes {
    /// The calls from `before` to `after`. An export whose bdev is created anew is created anew too. `failed` are parameters of
    /// `aoe_update_export` with which the call has failed: those that are wanted still are repeated.
    pub(super) fn between(before: &Calls, after: &Calls, failed: &[Value]) -> Self {
        let only_in = |these: &[Call], others: &[Call]| -> Vec<Call> {
            these.iter().filter(|call| !others.contains(call)).cloned().collect()
        };
        let removed_bdevs = only_in(&before.bdevs, &after.bdevs);
        let stays = |export: &Value| {
            let bdev = export["bdev_name"].as_str().unwrap_or_default();
            !removed_bdevs.iter().any(|call| call.makes(bdev))
        };
        let exports_only_in = |these: &[Value], others: &[Value]| -> Vec<Value> {
            these.iter().filter(|export| !others.contains(export) || !stays(export)).cloned().collect()
        };
        let mut removed_exports = exports_only_in(&before.exports, &after.exports);
        let unchanged =
            after.exports.iter().filter(|export| before.exports.contains(export) && stays(export));
        let mut updated_exports: Vec<Value> =
            unchanged.map(update_params).filter(|params| failed.contains(params)).collect();
        let mut added_exports = exports_only_in(&after.exports, &before.exports);
        added_exports.retain(|added| {
            let same = |removed: &Value| stays(removed) && without_options(removed) == without_options(added);
            let Some(place) = removed_exports.iter().position(same) else { return true };
            removed_exports.remove(place);
            updated_exports.push(update_params(added));
            false
        });
        Self {
            removed_exports,
            added_bdevs: only_in(&after.bdevs, &before.bdevs),
            added_exports,
            updated_exports,
            removed_bdevs,
        }
    }

    /// The new bdevs that SPDK's aio makes in the place of the module `file`, by their names.
    pub(super) fn added_files_by_aio(&self) -> impl Iterator<Item = &str> {
        let by_aio = self.added_bdevs.iter().filter(|call| call.method == file_bdev::CREATE_AIO);
        by_aio.map(Call::name).filter(|name| name.starts_with("file"))
    }

    /// Bytes of memory that new bdevs take.
    pub(super) fn memory(&self) -> u64 {
        let blocks = self.added_bdevs.iter().filter_map(|call| call.params["num_blocks"].as_u64());
        blocks.fold(0, |sum, blocks| sum.saturating_add(blocks.saturating_mul(SECTOR)))
    }
}

/// The parameters of `aoe_delete_export` for an export made with these.
pub(super) fn delete_params(created: &Value) -> Value {
    let keys = ["shelf", "slot", "vlan", "ports"];
    let given = keys.iter().filter_map(|key| Some(((*key).to_owned(), created.get(key)?.clone())));
    Value::Object(given.collect::<Map<_, _>>())
}

/// The options that can be changed: a VLAN is a part of the address.
fn options() -> impl Iterator<Item = &'static str> {
    ExportOptions::fields().iter().map(Field::name).filter(|name| *name != "vlan")
}

fn without_options(created: &Value) -> Map<String, Value> {
    let given = created.as_object().into_iter().flatten();
    let others = given.filter(|(key, _)| !options().any(|option| option == *key));
    others.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The parameters of `aoe_update_export` with which an export gets all options of one that is made with these: those that are
/// given, and the defaults of all others.
fn update_params(created: &Value) -> Value {
    let given = created.as_object().into_iter().flatten();
    let same = given.filter(|(key, _)| !["bdev_name", "ports"].contains(&key.as_str()));
    let mut params: Map<String, Value> = same.map(|(key, value)| (key.clone(), value.clone())).collect();
    if let Some(port) = created.get("ports").and_then(|ports| ports.get(0)) {
        params.insert("port".into(), port.clone());
    }
    params.insert("reset".into(), options().filter(|name| created.get(name).is_none()).collect());
    Value::Object(params)
}

/// The call that undoes this one.
pub(super) fn undo(call: &Call) -> Option<(String, Value)> {
    let (_, method) = UNDOING.iter().find(|(method, _)| *method == call.method)?;
    Some(((*method).to_owned(), json!({ "name": call.name() })))
}

/// Whether an export, as `aoe_get_exports` lists it, is the one that was made with these parameters.
pub(super) fn is_made_by(export: &Value, params: &Value) -> bool {
    let alike =
        |key: &str| export.get(key).unwrap_or(&Value::Null) == params.get(key).unwrap_or(&Value::Null);
    let names = |port: &Value| -> BTreeSet<String> {
        let texts = ["number", "name", "netif"].iter().filter_map(|key| port.get(key));
        texts.map(|text| text.as_str().map_or_else(|| text.to_string(), str::to_owned)).collect()
    };
    let on_ports = match params.get("ports").and_then(Value::as_array) {
        None => export["all_ports"] == true,
        Some(wanted) => export["ports"].as_array().is_some_and(|ports| {
            wanted.len() == ports.len()
                && wanted.iter().all(|one| {
                    let one = one.as_str().map_or_else(|| one.to_string(), str::to_owned);
                    ports.iter().any(|port| names(port).contains(&one))
                })
        }),
    };
    ["shelf", "slot", "vlan", "bdev_name"].into_iter().all(alike) && on_ports
}

#[cfg(test)]
mod tests {
    use control::{Action, UpdateExport};

    use super::*;

    #[test]
    fn files_that_spdks_aio_serves_in_the_place_of_another_module_are_named() {
        let made = |name: &str, method: &str| Call { method: method.into(), params: json!({ "name": name }) };
        let after = [
            made("file1.1", file_bdev::CREATE_AIO),
            made("aio1.2", file_bdev::CREATE_AIO),
            made("file1.3", file_bdev::CREATE),
        ];
        let changes = Changes::between(&Calls::default(), &calls(&after, &[]), &[]);
        assert_eq!(changes.added_files_by_aio().collect::<Vec<_>>(), ["file1.1"]);
    }

    fn bdev(name: &str, extra: &str) -> Call {
        Call { method: "bdev_aio_create".into(), params: json!({ "name": name, "filename": extra }) }
    }

    fn export(slot: u8, bdev: &str) -> Value {
        json!({ "shelf": 1, "slot": slot, "bdev_name": bdev })
    }

    fn calls(bdevs: &[Call], exports: &[Value]) -> Calls {
        Calls { bdevs: bdevs.to_vec(), exports: exports.to_vec() }
    }

    #[test]
    fn what_is_the_same_stays() {
        let same = calls(&[bdev("a", "/a")], &[export(1, "a")]);
        assert_eq!(Changes::between(&same, &same, &[]), Changes::default());
    }

    #[test]
    fn exports_come_and_go_with_their_bdevs() {
        let before = calls(&[bdev("a", "/a"), bdev("b", "/b")], &[export(1, "a"), export(2, "b")]);
        let after = calls(&[bdev("b", "/b"), bdev("c", "/c")], &[export(2, "b"), export(3, "c")]);
        assert_eq!(
            Changes::between(&before, &after, &[]),
            Changes {
                removed_exports: vec![export(1, "a")],
                removed_bdevs: vec![bdev("a", "/a")],
                added_bdevs: vec![bdev("c", "/c")],
                added_exports: vec![export(3, "c")],
                updated_exports: vec![],
            }
        );
    }

    #[test]
    fn exports_of_a_bdev_that_is_made_anew_are_made_anew() {
        let before =
            calls(&[bdev("a", "/a"), bdev("b", "/b")], &[export(1, "a"), export(2, "b"), export(3, "a")]);
        let after = calls(&[bdev("a", "/other"), bdev("b", "/b")], &before.exports);
        let changes = Changes::between(&before, &after, &[]);
        assert_eq!(changes.removed_exports, [export(1, "a"), export(3, "a")]);
        assert_eq!(changes.added_exports, changes.removed_exports);
        assert_eq!(
            (changes.removed_bdevs, changes.added_bdevs),
            (vec![bdev("a", "/a")], vec![bdev("a", "/other")])
        );
    }

    /// The parameters of `aoe_update_export` with these, and the defaults of all other options.
    fn update(mut given: Value) -> Value {
        let reset: Vec<&str> = options().filter(|name| given.get(name).is_none()).collect();
        given["reset"] = json!(reset);
        given
    }

    #[test]
    fn options_alone_are_changed_while_the_export_is_served() {
        let export = |limits: Value| {
            let mut export = export(1, "a");
            export["vlan"] = 7.into();
            export["ports"] = json!(["eth1"]);
            export.as_object_mut().unwrap().extend(limits.as_object().cloned().unwrap());
            export
        };
        let changes = |before: Value, after: Value| {
            Changes::between(
                &calls(&[bdev("a", "/a")], &[export(before)]),
                &calls(&[bdev("a", "/a")], &[export(after)]),
                &[],
            )
        };
        let set = |limits: Value| {
            let mut set = json!({ "shelf": 1, "slot": 1, "vlan": 7, "port": "eth1" });
            set.as_object_mut().unwrap().extend(limits.as_object().cloned().unwrap());
            Changes { updated_exports: vec![update(set)], ..Changes::default() }
        };
        let (some, others) =
            (json!({ "iops": 100 }), json!({ "iops": 200, "buffers": 64, "read_only": true }));
        assert_eq!(changes(some.clone(), others.clone()), set(others));
        assert_eq!(changes(some.clone(), json!({})), set(json!({})), "the defaults");
        let elsewhere = changes(some, json!({ "iops": 200, "vlan": 8 }));
        assert_eq!(
            (elsewhere.removed_exports.len(), elsewhere.added_exports.len()),
            (1, 1),
            "another address"
        );
        assert!(elsewhere.updated_exports.is_empty());
    }

    #[test]
    fn an_update_is_one_that_the_method_takes() {
        let created =
            json!({ "shelf": 1, "slot": 2, "bdev_name": "a", "ports": ["eth1"], "vlan": 7, "serial": "s" });
        let params = update_params(&created);
        let Ok(Action::UpdateExport(request)) = Action::decode(UpdateExport::NAME, Some(&params)) else {
            panic!("{params}")
        };
        let before = ExportOptions { read_only: true, ..ExportOptions::default() };
        let wanted = ExportOptions { serial: Some("s".into()), ..ExportOptions::default() };
        assert_eq!(request.apply(&before).unwrap(), wanted);
    }

    #[test]
    fn an_update_that_failed_is_repeated_as_long_as_it_is_wanted() {
        let limited = |iops: u32, bdev_path: &str| {
            let mut export = export(1, "a");
            export["iops"] = iops.into();
            calls(&[bdev("a", bdev_path)], &[export])
        };
        let set = |iops: u32| update(json!({ "shelf": 1, "slot": 1, "iops": iops }));
        let (now, failed) = (limited(100, "/a"), [set(100)]);
        let again = |after: &Calls, failed: &[Value]| Changes::between(&now, after, failed).updated_exports;
        assert_eq!(again(&now, &failed), failed);
        assert_eq!(again(&limited(200, "/a"), &failed), [set(200)], "others by now");
        assert_eq!(again(&limited(100, "/b"), &failed), [] as [Value; 0], "the export is made anew");
        assert_eq!(again(&calls(&[], &[]), &failed), [] as [Value; 0], "it is gone");
        assert_eq!(again(&now, &[set(300)]), [] as [Value; 0], "of before the last change");
    }

    #[test]
    fn each_call_is_undone_by_its_own() {
        let nvme = Call { method: "bdev_nvme_attach_controller".into(), params: json!({ "name": "nvme0" }) };
        assert_eq!(undo(&nvme), Some(("bdev_nvme_detach_controller".into(), json!({ "name": "nvme0" }))));
        assert!(nvme.makes("nvme0n1") && !nvme.makes("nvme01n1") && !nvme.makes("nvme1n1"));
        assert!(bdev("a", "").makes("a") && !bdev("a", "").makes("an1"));
        let params =
            json!({ "shelf": 1, "slot": 2, "bdev_name": "a", "vlan": 7, "ports": ["eth1"], "buffers": 3 });
        assert_eq!(delete_params(&params), json!({ "shelf": 1, "slot": 2, "vlan": 7, "ports": ["eth1"] }));
    }

    #[test]
    fn an_export_that_is_listed_is_known_by_address_bdev_and_ports() {
        let port = |number: u16, name: &str| json!({ "number": number, "name": name, "netif": format!("eth{number}") });
        let mut listed = export(1, "a");
        listed["vlan"] = Value::Null;
        listed["all_ports"] = true.into();
        listed["ports"] = json!([port(0, "net0"), port(1, "net1")]);
        assert!(is_made_by(&listed, &export(1, "a")));
        assert!(!is_made_by(&listed, &export(1, "b")) && !is_made_by(&listed, &export(2, "a")));
        listed["all_ports"] = false.into();
        listed["ports"] = json!([port(1, "net1")]);
        assert!(!is_made_by(&listed, &export(1, "a")));
        for name in [json!("net1"), json!("eth1"), json!(1)] {
            let mut params = export(1, "a");
            params["ports"] = json!([name]);
            assert!(is_made_by(&listed, &params), "{params}");
        }
        let mut params = export(1, "a");
        params["ports"] = json!(["net0"]);
        assert!(!is_made_by(&listed, &params));
        params["ports"] = json!(["net1"]);
        params["vlan"] = 7.into();
        assert!(!is_made_by(&listed, &params));
    }

    #[test]
    fn new_memory_is_summed_up() {
        let malloc = |blocks: u64| Call {
            method: "bdev_malloc_create".into(),
            params: json!({ "name": "m", "num_blocks": blocks, "block_size": 512 }),
        };
        let changes =
            Changes { added_bdevs: vec![malloc(2), bdev("a", ""), malloc(4)], ..Changes::default() };
        assert_eq!(changes.memory(), 6 * 512);
    }
}
