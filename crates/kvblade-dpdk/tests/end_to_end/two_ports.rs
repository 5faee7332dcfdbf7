//! Two ports, two lcores: who is served where.

use aoe_initiator::wire::SECTOR;
use aoe_initiator::{Initiator, ShelfSlot, load};
use serde_json::{Value, json};
use std::sync::atomic::AtomicBool;

use crate::lab::{Lab, QUIET, SECTORS, find, random_load};

fn served(initiator: &mut Initiator) -> Vec<String> {
    let found = initiator.discover(ShelfSlot::ANY, 5 * QUIET).unwrap();
    assert!(found.iter().all(|export| export.breaches.is_empty()), "{found:?}");
    found.iter().map(|export| export.address.to_string()).collect()
}

#[test]
fn an_export_is_served_on_its_ports_and_leaves_one_of_them() {
    lab::needs_root!();
    let lab = Lab::with_ports(9000, 2);
    let target = lab.start_on(
        "0-1",
        &[
            "-e",
            "1.1=malloc:8M",
            "-e",
            "1.2@t0=malloc:8M",
            "-e",
            "1.2@1=malloc:8M",
            "-e",
            "1.3@net_af_packet1=malloc:8M",
        ],
    );
    let [mut first, mut second] = [lab.initiator(0), lab.initiator(1)];
    find(&mut first, ShelfSlot::new(1, 2));
    find(&mut second, ShelfSlot::new(1, 3));
    assert_eq!(served(&mut first), ["1.1", "1.2"]);
    assert_eq!(served(&mut second), ["1.1", "1.2", "1.3"]);

    // 1.1 is one disk with two ways to it; 1.2 is a disk of its own on each port.
    let ways = [&mut first, &mut second].map(|initiator| {
        let one = find(initiator, ShelfSlot::new(1, 1));
        let two = find(initiator, ShelfSlot::new(1, 2));
        (initiator, one, two)
    });
    let [(first, one, two), (second, other_one, other_two)] = ways;
    assert_ne!(one.mac, other_one.mac);
    first.write(&one, 7, &[0x11; SECTOR]).unwrap();
    first.write(&two, 7, &[0x22; SECTOR]).unwrap();
    let mut read = [0; SECTOR];
    second.read(&other_one, 7, &mut read).unwrap();
    assert_eq!(read, [0x11; SECTOR]);
    second.read(&other_two, 7, &mut read).unwrap();
    assert_eq!(read, [0; SECTOR]);

    let mut rpc = target.rpc();
    rpc.refused(
        "aoe_delete_export",
        json!({ "shelf": 1, "slot": 3, "ports": [0] }),
        -2,
        &["not exported on port 0"],
    );
    rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 1, "ports": ["t0"] }));
    assert_eq!(served(first), ["1.2"]);
    assert_eq!(served(second), ["1.1", "1.2", "1.3"]);
    second.read(&other_one, 7, &mut read).unwrap();
    assert_eq!(read, [0x11; SECTOR]);
    rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 2 }));
    assert_eq!(served(first), Vec::<String>::new());
    assert_eq!(served(second), ["1.1", "1.3"]);
    // The address is free again on the port that was left.
    rpc.call(
        "aoe_create_export",
        json!({ "shelf": 1, "slot": 1, "bdev_name": "malloc1.1", "ports": ["t0"] }),
    );
    let again = find(first, ShelfSlot::new(1, 1));
    first.read(&again, 7, &mut read).unwrap();
    assert_eq!(read, [0x11; SECTOR]);
    let stats = rpc.call("aoe_get_stats", Value::Null);
    assert_eq!((stats["ports"].as_array().unwrap().len(), stats["lcores"].as_array().unwrap().len()), (2, 2));
    target.stop();
}

#[test]
fn a_disk_loaded_through_both_ports_at_once_keeps_what_each_wrote() {
    lab::needs_root!();
    let lab = Lab::with_ports(9000, 2);
    let target = lab.start_on("0-1", &["-e", "1.1=malloc:8M"]);
    std::thread::scope(|scope| {
        let halves = [0u64, 1].map(|half| {
            let lab = &lab;
            scope.spawn(move || {
                let port = usize::try_from(half).unwrap();
                let export = find(&mut lab.initiator(port), ShelfSlot::new(1, 1));
                let mut spec = random_load(16);
                (spec.first_lba, spec.sectors) = (half * SECTORS / 2, Some(SECTORS / 2));
                let mut ledger = load::ledger_for(&spec, SECTORS).unwrap();
                let stop = AtomicBool::new(false);
                let report =
                    load::run_verified(lab.link(port), &export, SECTORS, &spec, &stop, &mut ledger).unwrap();
                assert_eq!(report.failures(), 0, "{report:?}");
                // Data written through one port is read through the other.
                let other = find(&mut lab.initiator(1 - port), ShelfSlot::new(1, 1));
                assert!(ledger.written() > 0);
                (other, ledger, spec, 1 - port)
            })
        });
        for (other, ledger, spec, port) in halves.map(|half| half.join().unwrap()) {
            assert_eq!(load::sweep(lab.link(port), &other, &ledger, &spec).unwrap(), ledger.written());
        }
    });
    target.stop();
}
