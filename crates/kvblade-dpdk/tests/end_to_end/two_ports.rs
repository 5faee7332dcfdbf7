//! Two ports, two lcores: who is served where.

use aoe_initiator::initiator::Export;
use aoe_initiator::wire::{AtaRequest, SECTOR};
use aoe_initiator::{Initiator, ShelfSlot, load};
use serde_json::{Value, json};
use std::sync::atomic::AtomicBool;

use crate::lab::{Lab, QUIET, SECTORS, find, random_load, until};
use crate::rpc::Rpc;
use crate::shutdown::{SLOW, all_answered, slow_export};

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
    let mut rpc = target.rpc();
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
    // One lcore has carried out all of it. The other one has handed over what came by its port, and sent the replies.
    let stats = rpc.call("aoe_get_stats", Value::Null);
    let of = |lcore: usize, counter: &str| stats["lcores"][lcore][counter].as_u64().unwrap();
    let away = usize::from(of(1, "handed_over") > 0);
    assert_eq!((of(1 - away, "handed_over"), of(away, "taken_over")), (0, 0), "{stats:#}");
    assert!(of(away, "handed_over") > 100, "{stats:#}");
    assert_eq!(of(away, "handed_over"), of(1 - away, "taken_over"), "{stats:#}");
    assert_eq!(of(away, "handed_over"), of(away, "returned"), "{stats:#}");
    target.stop();
}

/// Writes `byte` into the first eight sectors, and returns the request's tag.
fn send_write(initiator: &mut Initiator, export: &Export, byte: u8) -> u32 {
    let envelope = initiator.envelope(export);
    initiator.send_raw(&AtaRequest::write(0, 8).frame(&envelope, &[byte; 8 * SECTOR])).unwrap();
    envelope.tag
}

fn order_waits(rpc: &mut Rpc) -> u64 {
    let stats = rpc.call("aoe_get_stats", Value::Null);
    stats["exports"].as_array().unwrap().iter().map(|export| export["order_waits"].as_u64().unwrap()).sum()
}

#[test]
fn writes_by_two_ports_are_carried_out_in_the_order_of_their_arrival() {
    lab::needs_root!();
    let lab = Lab::with_ports(9000, 2);
    let target = lab.start_on("0-1", &["-e", "1.1=malloc:8M"]);
    let mut rpc = target.rpc();
    slow_export(&mut rpc, 1_000_000);
    for reads in ["avg_read", "p99_read"] {
        let params = json!({ "delay_bdev_name": "slow", "latency_type": reads, "latency_us": 1 });
        rpc.call("bdev_delay_update_latency", params);
    }
    let mut initiators = [lab.initiator(0), lab.initiator(1)];
    let exports: Vec<Export> = initiators.iter_mut().map(|initiator| find(initiator, SLOW)).collect();
    // The first write comes by the port of the lcore that owns the export, and by the other one.
    for (nth, first) in [0, 1].into_iter().enumerate() {
        let second = 1 - first;
        let [a, b] = [0x10, 0x20].map(|byte| byte + u8::try_from(nth).unwrap());
        let earlier = send_write(&mut initiators[first], &exports[first], a);
        until("the first write to be in flight", || rpc.under_way() == 1);
        let later = send_write(&mut initiators[second], &exports[second], b);
        until("the second write to wait for it", || order_waits(&mut rpc) == nth as u64 + 1);
        all_answered(&mut initiators[first], &[earlier].into(), 10 * QUIET);
        all_answered(&mut initiators[second], &[later].into(), 10 * QUIET);
        for (initiator, export) in initiators.iter_mut().zip(&exports) {
            let mut read = [0; 8 * SECTOR];
            initiator.read(export, 0, &mut read).unwrap();
            assert_eq!(read, [b; 8 * SECTOR]);
        }
    }
    target.stop();
}
