//! Bdevs as exports hold them: claimed, called by any of their names, read-only, and grown.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::SECTOR;
use serde_json::{Value, json};

use crate::commands::{fails, prints};
use crate::lab::{Lab, SECTORS, find, until};
use crate::rpc::Rpc;

const BUSY: i64 = -17;
const UNSUITABLE: i64 = -22;

fn malloc(rpc: &mut Rpc, name: &str) {
    rpc.call("bdev_malloc_create", json!({ "name": name, "num_blocks": SECTORS, "block_size": 512 }));
}

fn bdev(rpc: &mut Rpc, name: &str) -> Value {
    rpc.call("bdev_get_bdevs", json!({ "name": name }))[0].clone()
}

/// The claim of a bdev as SPDK names it.
fn claim(rpc: &mut Rpc, name: &str) -> Option<String> {
    let bdev = bdev(rpc, name);
    let kind = bdev["claim_type"].as_str().map(str::to_owned);
    assert_eq!(bdev["claimed"], kind.is_some(), "{bdev}");
    kind
}

#[test]
fn a_served_bdev_is_neither_formatted_nor_written_by_anything_else() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:8M"]);
    let mut rpc = target.rpc();
    for name in ["r0", "free"] {
        malloc(&mut rpc, name);
    }
    rpc.call("aoe_create_export", json!({ "shelf": 1, "slot": 2, "bdev_name": "r0", "read_only": true }));
    let claims = [claim(&mut rpc, "malloc1.1"), claim(&mut rpc, "r0"), claim(&mut rpc, "free")];
    let expected = [Some("read_many_write_shared"), Some("read_many_write_none"), None];
    assert_eq!(claims, expected.map(|claim| claim.map(str::to_owned)));
    for name in ["malloc1.1", "r0"] {
        let store = json!({ "bdev_name": name, "lvs_name": "lvs" });
        rpc.refused("bdev_lvol_create_lvstore", store, -1, &["Operation not permitted"]);
        let over = json!({ "base_bdev_name": name, "name": "over" });
        rpc.send("bdev_passthru_create", over);
        assert!(rpc.receive().unwrap().is_err(), "{name}");
    }
    rpc.call("bdev_lvol_create_lvstore", json!({ "bdev_name": "free", "lvs_name": "lvs" }));
    // The bdev beneath a volume can be read only, as before.
    let beneath = |read_only| json!({ "shelf": 1, "slot": 3, "bdev_name": "free", "read_only": read_only });
    rpc.refused("aoe_create_export", beneath(false), UNSUITABLE, &["claimed by another", "read-only"]);
    rpc.call("aoe_create_export", beneath(true));
    assert_eq!(claim(&mut rpc, "free").as_deref(), Some("read_many_write_one"));

    // A bdev that is served no more is free.
    for slot in [1, 2] {
        rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": slot }));
    }
    for (name, store) in [("malloc1.1", "lvs1"), ("r0", "lvs2")] {
        assert_eq!(claim(&mut rpc, name), None, "{name}");
        rpc.call("bdev_lvol_create_lvstore", json!({ "bdev_name": name, "lvs_name": store }));
    }
    target.stop();
}

#[test]
fn the_exports_of_one_bdev_share_it_and_its_claim_follows_them() {
    lab::needs_root!();
    let lab = Lab::with_ports(1500, 2);
    let target = lab.start(&[]);
    let mut rpc = target.rpc();
    malloc(&mut rpc, "m0");
    let export = |slot: u8, more: Value| {
        let mut params = json!({ "shelf": 1, "slot": slot, "bdev_name": "m0" });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    let claim_is = |rpc: &mut Rpc, expected: Option<&str>| assert_eq!(claim(rpc, "m0").as_deref(), expected);
    // Readers alone, then writers beside a reader: of parts, on two ports, in a VLAN.
    rpc.call("aoe_create_export", export(1, json!({ "read_only": true, "length": 100 })));
    claim_is(&mut rpc, Some("read_many_write_none"));
    rpc.call("aoe_create_export", export(2, json!({ "offset": 100, "length": 100, "ports": [0] })));
    claim_is(&mut rpc, Some("read_many_write_shared"));
    rpc.call("aoe_create_export", export(2, json!({ "offset": 100, "length": 100, "ports": [1] })));
    rpc.call("aoe_create_export", export(2, json!({ "offset": 100, "length": 100, "vlan": 7 })));
    rpc.call("aoe_create_export", export(3, json!({ "offset": 200 })));
    let parts = &["'m0' is exported as 1.2 already, and as 1.4", "second disk", "offset, length"];
    rpc.refused("aoe_create_export", export(4, json!({ "offset": 150, "length": 1 })), BUSY, parts);
    rpc.refused("aoe_create_export", export(4, json!({})), BUSY, &["'m0' is exported as 1.1 already"]);
    assert_eq!(rpc.call("aoe_get_exports", Value::Null).as_array().unwrap().len(), 5);

    // Each is served: one written through its port is read through another.
    let (mut near, mut far) = (lab.initiator(0), lab.initiator(1));
    let (two, again) = (find(&mut near, ShelfSlot::new(1, 2)), find(&mut far, ShelfSlot::new(1, 2)));
    near.write(&two, 5, &[0x5a; SECTOR]).unwrap();
    let mut data = [0; SECTOR];
    far.read(&again, 5, &mut data).unwrap();
    assert_eq!(data, [0x5a; SECTOR]);
    let one = find(&mut near, ShelfSlot::new(1, 1));
    near.read(&one, 5, &mut data).unwrap();
    assert_eq!(data, [0; SECTOR]);
    near.write(&one, 5, &[1; SECTOR]).unwrap_err();

    for slot in [2, 3] {
        claim_is(&mut rpc, Some("read_many_write_shared"));
        rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": slot }));
    }
    rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 2, "vlan": 7 }));
    claim_is(&mut rpc, Some("read_many_write_none"));
    // One that is refused leaves the claim as it was.
    rpc.refused("aoe_create_export", export(2, json!({})), BUSY, &["second disk"]);
    claim_is(&mut rpc, Some("read_many_write_none"));
    rpc.call("bdev_malloc_delete", json!({ "name": "m0" }));
    until("the export to be offline", || rpc.state(1, 1).as_deref() == Some("offline"));
    rpc.refused("bdev_get_bdevs", json!({ "name": "m0" }), -19, &[]);
    target.stop();
}

#[test]
fn two_bdevs_on_one_file_are_not_both_written() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let file = lab.file("disk");
    let link = lab.path("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let target = lab.start(&["-e", &format!("1.1=aio:{file}")]);
    let mut rpc = target.rpc();
    rpc.call("bdev_aio_create", json!({ "name": "again", "filename": link, "block_size": 512 }));
    rpc.call("bdev_passthru_create", json!({ "base_bdev_name": "again", "name": "over" }));
    for (name, read_only) in [("again", true), ("over", false), ("over", true)] {
        let params = json!({ "shelf": 1, "slot": 2, "bdev_name": name, "read_only": read_only });
        let parts = &["'again' is on", "/link'", "'file1.1', which 1.1 serves", "read-only"];
        rpc.refused("aoe_create_export", params, BUSY, parts);
    }
    rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 1 }));
    rpc.call("aoe_create_export", json!({ "shelf": 1, "slot": 2, "bdev_name": "over" }));
    target.stop();
}

#[test]
fn a_volume_is_exported_by_its_alias_and_its_events_find_the_export() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let target = lab.start(&[]);
    let mut rpc = target.rpc();
    rpc.call("bdev_malloc_create", json!({ "name": "m0", "num_blocks": 131_072, "block_size": 512 }));
    rpc.call("bdev_lvol_create_lvstore", json!({ "bdev_name": "m0", "lvs_name": "lvs" }));
    for name in ["one", "two"] {
        let volume = json!({ "lvs_name": "lvs", "lvol_name": name, "size_in_mib": 8 });
        rpc.call("bdev_lvol_create", volume);
    }
    let one = bdev(&mut rpc, "lvs/one");
    let made = rpc.call("aoe_create_export", json!({ "shelf": 1, "slot": 1, "bdev_name": "lvs/one" }));
    assert_eq!(
        (&made["bdev_name"], &made["bdev"]),
        (&json!("lvs/one"), &json!({ "name": one["name"], "uuid": one["uuid"] }))
    );
    assert_eq!(prints(&lab, &["kvadd", "1", "2", "t0", "lvs/two"]), "e1.2 serves lvs/two\n");
    let table = prints(&lab, &["kvstat"]);
    assert_eq!(
        table, "       1.1     t0    0.008GB lvs/one\n       1.2     t0    0.008GB lvs/two\n",
        "as they were named"
    );
    // One bdev, whatever it is called.
    let by_name = json!({ "shelf": 1, "slot": 3, "bdev_name": one["name"] });
    rpc.refused("aoe_create_export", by_name, BUSY, &["exported as 1.1 already"]);

    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, ShelfSlot::new(1, 1));
    let sectors = |mib: u64| (mib << 20) / SECTOR as u64;
    assert_eq!(initiator.identify(&export).unwrap().sectors, sectors(8));
    rpc.call("bdev_lvol_resize", json!({ "name": "lvs/one", "size_in_mib": 16 }));
    until("the new size", || initiator.identify(&export).unwrap().sectors == sectors(16));
    initiator.write(&export, sectors(16) - 1, &[0x16; SECTOR]).unwrap();

    // A new name of the volume is followed, for what is saved must find it again.
    rpc.call("bdev_lvol_rename", json!({ "old_name": "lvs/one", "new_name": "first" }));
    let listed = rpc.call("aoe_get_exports", Value::Null);
    assert_eq!(listed[0]["bdev_name"], one["name"], "{listed}");
    rpc.call("bdev_lvol_delete", json!({ "name": "lvs/first" }));
    until("the export to be offline", || rpc.state(1, 1).as_deref() == Some("offline"));
    assert_eq!(rpc.state(1, 2).as_deref(), Some("online"));
    target.stop();
}

/// A file system of memory, mounted read-only over one file of [`SECTORS`] sectors.
struct ReadOnlyMount(PathBuf);

impl ReadOnlyMount {
    fn new(lab: &Lab) -> Self {
        let mount = Self(lab.path("mount"));
        fs::create_dir(&mount.0).unwrap();
        mount.run("mount", &["-t", "tmpfs", "-o", "size=16M", "kvblade-test"]);
        let mut data = vec![0; usize::try_from(SECTORS).unwrap() * SECTOR];
        data[7 * SECTOR..8 * SECTOR].fill(0x77);
        fs::write(mount.file(), data).unwrap();
        mount.run("mount", &["-o", "remount,ro"]);
        mount
    }

    fn file(&self) -> PathBuf {
        self.0.join("disk")
    }

    fn run(&self, program: &str, words: &[&str]) {
        let status = Command::new(program).args(words).arg(&self.0).status().unwrap();
        assert!(status.success(), "{program} {words:?}: {status}");
    }
}

impl Drop for ReadOnlyMount {
    fn drop(&mut self) {
        self.run("umount", &[]);
    }
}

#[test]
fn a_file_that_can_not_be_written_is_served_read_only_and_not_otherwise() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let mount = ReadOnlyMount::new(&lab);
    let file = mount.file().display().to_string();
    let writable = format!("1.1=aio:{file}");
    let mut eal = lab.eal();
    eal.extend(["-l".into(), "0".into()]);
    let sentence = format!(
        "cannot export '{file}': Read-only file system (os error 30); it must be writable, or exported read-only"
    );
    crate::lab::refuses(&lab, lab.command(&eal, &["--strict", "-e", &writable]), 1, true, &sentence);

    let target = lab.start(&["-e", &format!("{writable},ro")]);
    let mut rpc = target.rpc();
    let mut initiator = lab.initiator(0);
    let mut check = |address| {
        let export = find(&mut initiator, address);
        let mut data = [0; SECTOR];
        initiator.read(&export, 7, &mut data).unwrap();
        assert_eq!(data, [0x77; SECTOR], "{address}");
        initiator.write(&export, 7, &[0; SECTOR]).unwrap_err();
        initiator.flush(&export).unwrap();
    };
    check(ShelfSlot::new(1, 1));
    let parts = ["Read-only file system", "writable, or exported read-only"];
    fails(&lab, &["kvadd", "1", "2", "t0", &file], 1, &parts);
    // The bdev there is, was opened to be read.
    let params = json!({ "shelf": 1, "slot": 1, "bdev_name": "file1.1", "vlan": 5 });
    rpc.refused("aoe_create_export", params, UNSUITABLE, &["file1.1 takes no writes", "read-only"]);
    prints(&lab, &["kvdel", "1", "1", "t0"]);
    prints(&lab, &["kvadd", "1", "2", "t0", &file, "--read-only"]);
    check(ShelfSlot::new(1, 2));
    target.stop();
}

#[test]
fn a_file_that_has_grown_has_its_new_size_after_a_rescan() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let file = lab.file("disk");
    let target = lab.start(&["-e", &format!("1.1=spdk-aio:{file}")]);
    let mut rpc = target.rpc();
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, ShelfSlot::new(1, 1));
    assert_eq!(initiator.identify(&export).unwrap().sectors, SECTORS);
    let grow = |sectors: u64| {
        let file = fs::OpenOptions::new().write(true).open(&file).unwrap();
        file.set_len(sectors * SECTOR as u64).unwrap();
    };
    grow(2 * SECTORS);
    assert_eq!(rpc.call("bdev_aio_rescan", json!({ "name": "aio1.1" })), json!(true));
    until("the new size", || initiator.identify(&export).unwrap().sectors == 2 * SECTORS);
    assert_eq!(rpc.call("aoe_get_exports", Value::Null)[0]["size_bytes"], 2 * SECTORS * SECTOR as u64);
    initiator.write(&export, 2 * SECTORS - 1, &[0x9e; SECTOR]).unwrap();
    assert!(fs::read(&file).unwrap().ends_with(&[0x9e; SECTOR]));
    initiator.read(&export, 2 * SECTORS, &mut [0; SECTOR]).unwrap_err();
    // One that has shrunk keeps the size it is served with, and says so.
    grow(SECTORS);
    rpc.send("bdev_aio_rescan", json!({ "name": "aio1.1" }));
    assert!(rpc.receive().unwrap().is_err());
    assert_eq!(initiator.identify(&export).unwrap().sectors, 2 * SECTORS);
    target.stop();
}
