//! Logical volumes: calls that ended SPDK or lost data in it, each with the value it is to have. The patches in
//! `dpdk-build/patches` mend those that SPDK 26.01 still gets wrong.

use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::SECTOR;
use serde_json::{Value, json};

use crate::lab::{Lab, find};
use crate::rpc::Rpc;

/// The error code of SPDK for a call that cannot be carried out; the message is the text of the errno.
const INVALID: i64 = -32602;

/// A malloc bdev of that many MiB with an lvstore of the default cluster size, 4 MiB, on it.
fn lvstore(rpc: &mut Rpc, bdev: &str, mib: u64, block_size: u64, store: &str) {
    let blocks = (mib << 20) / block_size;
    rpc.call("bdev_malloc_create", json!({ "name": bdev, "num_blocks": blocks, "block_size": block_size }));
    rpc.call("bdev_lvol_create_lvstore", json!({ "bdev_name": bdev, "lvs_name": store }));
}

fn free_clusters(rpc: &mut Rpc, store: &str) -> u64 {
    let stores = rpc.call("bdev_lvol_get_lvstores", json!({ "lvs_name": store }));
    stores[0]["free_clusters"].as_u64().expect("an lvstore counts its free clusters")
}

/// The aliases of all bdevs that are volumes of `store`.
fn volumes(rpc: &mut Rpc, store: &str) -> Vec<String> {
    let bdevs = rpc.call("bdev_get_bdevs", Value::Null);
    let aliases =
        bdevs.as_array().unwrap().iter().flat_map(|bdev| bdev["aliases"].as_array().unwrap().clone());
    let mut names: Vec<String> = aliases.map(|alias| alias.as_str().unwrap().to_owned()).collect();
    names.retain(|name| name.starts_with(&format!("{store}/")));
    names.sort();
    names
}

#[test]
fn a_chain_of_snapshots_is_taken_apart_in_any_order() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&[]);
    let mut rpc = target.rpc();
    lvstore(&mut rpc, "M5", 128, 512, "lvs1");
    let empty = free_clusters(&mut rpc, "lvs1");
    let thin = json!({ "lvs_name": "lvs1", "lvol_name": "lv0", "size_in_mib": 32, "thin_provision": true });
    rpc.call("bdev_lvol_create", thin);
    for snapshot in ["s1", "s2", "s3"] {
        rpc.call("bdev_lvol_snapshot", json!({ "lvol_name": "lvs1/lv0", "snapshot_name": snapshot }));
    }
    rpc.call("bdev_lvol_decouple_parent", json!({ "name": "lvs1/lv0" }));
    rpc.call("bdev_lvol_decouple_parent", json!({ "name": "lvs1/s3" }));
    rpc.call("bdev_lvol_delete", json!({ "name": "lvs1/lv0" }));
    rpc.call("bdev_lvol_delete", json!({ "name": "lvs1/s3" }));
    assert_eq!(volumes(&mut rpc, "lvs1"), ["lvs1/s1", "lvs1/s2"]);
    rpc.call("bdev_lvol_delete", json!({ "name": "lvs1/s2" }));
    rpc.call("bdev_lvol_delete", json!({ "name": "lvs1/s1" }));
    assert_eq!(volumes(&mut rpc, "lvs1"), [""; 0]);
    assert_eq!(free_clusters(&mut rpc, "lvs1"), empty);
    target.stop();
}

#[test]
fn a_clone_without_a_free_page_of_metadata_is_refused_and_nothing_of_it_stays() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&[]);
    let mut rpc = target.rpc();
    lvstore(&mut rpc, "M4", 16, 4096, "lvs0");
    rpc.call("bdev_lvol_create", json!({ "lvs_name": "lvs0", "lvol_name": "lv0", "size_in_mib": 4 }));
    rpc.call("bdev_lvol_snapshot", json!({ "lvol_name": "lvs0/lv0", "snapshot_name": "sn0" }));
    let clone = json!({ "snapshot_name": "lvs0/sn0", "clone_name": "cl0" });
    rpc.refused("bdev_lvol_clone", clone.clone(), INVALID, &["Cannot allocate memory"]);
    assert_eq!(volumes(&mut rpc, "lvs0"), ["lvs0/lv0", "lvs0/sn0"]);
    // With a page that is free again there is room for it.
    rpc.call("bdev_lvol_delete", json!({ "name": "lvs0/lv0" }));
    rpc.call("bdev_lvol_clone", clone);
    assert_eq!(volumes(&mut rpc, "lvs0"), ["lvs0/cl0", "lvs0/sn0"]);
    target.stop();
}

#[test]
fn metadata_of_deleted_volumes_is_used_again() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&[]);
    let mut rpc = target.rpc();
    lvstore(&mut rpc, "M0", 64, 512, "lvs");
    let empty = free_clusters(&mut rpc, "lvs");
    for _ in 0..100 {
        rpc.call("bdev_lvol_create", json!({ "lvs_name": "lvs", "lvol_name": "lv", "size_in_mib": 16 }));
        rpc.call("bdev_lvol_delete", json!({ "name": "lvs/lv" }));
    }
    assert_eq!(free_clusters(&mut rpc, "lvs"), empty);
    target.stop();
}

#[test]
fn a_shrink_that_is_refused_frees_nothing() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let target = lab.start(&[]);
    let mut rpc = target.rpc();
    lvstore(&mut rpc, "M0", 64, 512, "lvs");
    rpc.call("bdev_lvol_create", json!({ "lvs_name": "lvs", "lvol_name": "rz", "size_in_mib": 24 }));
    let name = rpc.call("bdev_get_bdevs", json!({ "name": "lvs/rz" }))[0]["name"].clone();
    rpc.call("aoe_create_export", json!({ "shelf": 1, "slot": 1, "bdev_name": name }));
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, ShelfSlot::new(1, 1));
    let last = (24 << 20) / 512 - 1;
    initiator.write(&export, last, &[0xc2; SECTOR]).unwrap();
    let before = free_clusters(&mut rpc, "lvs");
    let shrink = json!({ "name": "lvs/rz", "size_in_mib": 8 });
    rpc.refused("bdev_lvol_resize", shrink.clone(), INVALID, &["Device or resource busy"]);
    let mut data = [0; SECTOR];
    initiator.read(&export, last, &mut data).unwrap();
    assert_eq!(data, [0xc2; SECTOR]);
    assert_eq!(free_clusters(&mut rpc, "lvs"), before);
    assert_eq!(initiator.identify(&export).unwrap().sectors, last + 1);
    // It is no longer refused when nobody serves the volume.
    rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 1 }));
    rpc.call("bdev_lvol_resize", shrink);
    assert_eq!(free_clusters(&mut rpc, "lvs"), before + 4);
    target.stop();
}

#[test]
fn a_volume_whose_store_is_still_being_read_at_the_start_is_waited_for() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let store = lab.path("store");
    std::fs::File::create(&store).unwrap().set_len(64 << 20).unwrap();
    let params = json!({ "name": "a0", "filename": store, "block_size": 4096 });
    let target = lab.start(&[]);
    let mut rpc = target.rpc();
    rpc.call("bdev_aio_create", params.clone());
    rpc.call("bdev_lvol_create_lvstore", json!({ "bdev_name": "a0", "lvs_name": "lvs" }));
    rpc.call("bdev_lvol_create", json!({ "lvs_name": "lvs", "lvol_name": "lv", "size_in_mib": 8 }));
    target.stop();
    // Nothing in this configuration waits for the store.
    let create = json!({ "method": "bdev_aio_create", "params": params });
    let config = json!({ "subsystems": [{ "subsystem": "bdev", "config": [create] }] });
    let path = lab.path("config.json").display().to_string();
    std::fs::write(&path, config.to_string()).unwrap();
    let target = lab.start(&["--config", &path, "-e", "1.1=lvs/lv"]);
    find(&mut lab.initiator(0), ShelfSlot::new(1, 1));
    target.rpc().refused(
        "aoe_create_export",
        json!({ "shelf": 1, "slot": 2, "bdev_name": "lvs/none" }),
        -19,
        &["no bdev 'lvs/none'"],
    );
    target.stop();
}
