//! The export table changed while I/O runs.

use std::sync::atomic::{AtomicBool, Ordering};

use aoe_initiator::wire::SECTOR;
use aoe_initiator::{Error, ShelfSlot, load};
use serde_json::{Value, json};

use crate::lab::{Lab, PATIENCE, QUIET, SECTORS, find, hear, random_load, until};

const STAYS: ShelfSlot = ShelfSlot::new(1, 1);
const COMES_AND_GOES: ShelfSlot = ShelfSlot::new(1, 2);

#[test]
fn an_export_made_and_deleted_by_rpc_is_listed_announced_counted_and_gone() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let target = lab.start(&[]);
    let mut rpc = target.rpc();
    let mut initiator = lab.initiator(0);
    assert_eq!(rpc.call("aoe_get_exports", Value::Null), json!([]));
    rpc.call("bdev_malloc_create", json!({ "name": "m0", "num_blocks": SECTORS, "block_size": 512 }));
    let ports = json!([{ "number": 0, "name": "net_af_packet0", "netif": "t0" }]);
    let uuid = rpc.call("bdev_get_bdevs", json!({ "name": "m0" }))[0]["uuid"].clone();
    let listed = json!({
        "shelf": 1, "slot": 2, "bdev_name": "m0", "bdev": { "name": "m0", "uuid": uuid }, "size_bytes": SECTORS * SECTOR as u64, "read_only": true,
        "offset": 0, "length": null, "buffers": 16, "allow": [], "deny": [], "serial": "kvblade-1.2",
        "model": "kvblade-dpdk", "firmware": env!("CARGO_PKG_VERSION"), "vlan": null, "state": "online", "reason": null,
        "all_ports": false, "cache": "write-through", "ports": ports,
        "initiator_state": {
            "config": "", "mask": [], "closed": null,
            "reservation": { "macs": [], "keys": [], "owner": null, "type": 0 },
        },
    });
    let params = json!({ "shelf": 1, "slot": 2, "bdev_name": "m0", "ports": ["t0"], "read_only": true });
    let made = rpc.call("aoe_create_export", params);
    for (name, value) in listed.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name} of {made}");
    }
    assert_eq!(rpc.call("aoe_get_exports", Value::Null), json!([made]));
    let heard = hear(&mut initiator, &[COMES_AND_GOES]);
    assert_eq!(heard.len(), 1, "{heard:?}");

    for params in [Value::Null, json!({}), json!({ "shelf": 1 }), json!({ "shelf": 1, "slot": 2 })] {
        initiator.drain().unwrap();
        assert_eq!(rpc.call("aoe_announce", params), json!(true));
        hear(&mut initiator, &[COMES_AND_GOES]);
    }

    let export = find(&mut initiator, COMES_AND_GOES);
    initiator.identify(&export).unwrap();
    initiator.read(&export, 0, &mut [0; 3 * SECTOR]).unwrap();
    initiator.write(&export, 0, &[0; SECTOR]).unwrap_err();
    let stats = rpc.call("aoe_get_stats", Value::Null);
    let counted = &stats["exports"][0];
    for (counter, value) in
        [("reads", 1), ("writes", 1), ("identifies", 1), ("read_bytes", 3 * 512), ("written_bytes", 0)]
    {
        assert_eq!(counted[counter], value, "{counter}: {counted}");
    }
    assert_eq!((&counted["ata_errors"], &stats["ports"][0]["name"]), (&json!(1), &json!("net_af_packet0")));
    assert_eq!(stats["ports"][0]["advertisements"], 5, "{stats}");

    assert_eq!(rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 2 })), json!(true));
    assert_eq!(rpc.call("aoe_get_exports", Value::Null), json!([]));
    assert_eq!(initiator.discover(ShelfSlot::ANY, QUIET).unwrap(), []);
    // Nothing holds the bdev any more.
    assert_eq!(rpc.call("bdev_malloc_delete", json!({ "name": "m0" })), json!(true));
    target.stop();
}

#[test]
fn a_request_that_cannot_be_carried_out_is_refused_with_what_is_allowed() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    let create = "aoe_create_export";
    let named = |extra: Value| {
        let mut params = json!({ "shelf": 1, "slot": 2, "bdev_name": "malloc1.1" });
        params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        params
    };
    for (method, params, code, parts) in [
        (create, Value::Null, -32602, &["shelf is missing", "0 to 65534"][..]),
        (create, json!([]), -32602, &["must be an object"]),
        (create, named(json!({ "shelf": 65535 })), -32602, &["shelf is 65535", "0 to 65534"]),
        (create, named(json!({ "shelf": -1 })), -32602, &["shelf is -1"]),
        (create, named(json!({ "slot": 255 })), -32602, &["slot is 255", "0 to 254"]),
        (create, named(json!({ "slot": "2" })), -32602, &["slot is '2'"]),
        (create, named(json!({ "bdev_name": "" })), -32602, &["bdev_name is ''"]),
        (create, named(json!({ "bdev_name": "m9" })), -19, &["no bdev 'm9'", "'malloc1.1'"]),
        (create, named(json!({ "ports": [] })), -32602, &["ports is an empty list"]),
        (create, named(json!({ "ports": ["t9"] })), -19, &["no port 't9'", "0 (net_af_packet0, t0)"]),
        (create, named(json!({ "ports": [7] })), -19, &["no port '7'"]),
        (create, named(json!({ "ports": [0, "t0"] })), -32602, &["port 0", "a second time"]),
        (create, named(json!({ "read_only": "yes" })), -32602, &["read_only is 'yes'", "true or false"]),
        (create, named(json!({ "colour": 1 })), -32602, &["unknown parameter 'colour'"]),
        (create, named(json!({ "slot": 1 })), -17, &["1.1 is already exported", "'malloc1.1'"]),
        ("aoe_delete_export", json!({ "shelf": 9, "slot": 9 }), -2, &["no export 9.9", "1.1"]),
        ("aoe_delete_export", json!({ "shelf": 1, "slot": 1, "ports": ["t9"] }), -19, &["no port 't9'"]),
        ("aoe_delete_export", json!({ "shelf": 1 }), -32602, &["slot is missing"]),
        ("aoe_announce", json!({ "shelf": 9 }), -2, &["no export 9.*", "1.1"]),
        ("aoe_announce", json!({ "slot": 300 }), -32602, &["slot is 300"]),
        ("aoe_get_exports", json!({ "shelf": 65535 }), -32602, &["shelf is 65535", "from 0 to 65534"]),
        ("aoe_get_stats", json!({ "reset": true }), -32602, &["takes no parameters"]),
        ("aoe_nonsense", Value::Null, -32601, &[]),
    ] {
        rpc.refused(method, params, code, parts);
    }
    assert_eq!(rpc.state(1, 1).as_deref(), Some("online"));
    assert_eq!(rpc.call("aoe_get_exports", Value::Null).as_array().unwrap().len(), 1);
    target.stop();
}

#[test]
fn a_hundred_exports_come_and_go_under_verified_io_on_another_and_io_on_themselves() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let file = lab.file("disk");
    let target = lab.start_on("0-1", &["-e", &format!("1.1=aio:{file}")]);
    let mut rpc = target.rpc();
    rpc.call("bdev_malloc_create", json!({ "name": "m0", "num_blocks": SECTORS, "block_size": 512 }));
    let mut initiator = lab.initiator(0);
    let stays = find(&mut initiator, STAYS);
    let mut goes = stays.clone();
    goes.address = COMES_AND_GOES;
    let mut spec = random_load(16);
    spec.duration = 10 * PATIENCE;
    let (link, its_link, stop) = (lab.link(0), lab.link(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut ledger = load::ledger_for(&spec, SECTORS).unwrap();
            let report = load::run_verified(link, &stays, SECTORS, &spec, &stop, &mut ledger).unwrap();
            assert_eq!(report.failures(), 0, "{report:?}");
            assert!(report.verified.unwrap().writes_acknowledged > 0);
            ledger
        });
        let its_load = scope.spawn(|| {
            let mut ledger = load::ledger_for(&spec, SECTORS).unwrap();
            let report = load::run_verified(its_link, &goes, SECTORS, &spec, &stop, &mut ledger).unwrap();
            // Unanswered while the export is not there, never wrong.
            assert_eq!(
                (report.ata_failures, report.aoe_errors, report.short_replies),
                (0, 0, 0),
                "{report:?}"
            );
            assert!(report.verified.unwrap().writes_acknowledged > 0);
            ledger
        });
        let rounds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..100 {
                rpc.call("aoe_create_export", json!({ "shelf": 1, "slot": 2, "bdev_name": "m0" }));
                assert_eq!(rpc.state(1, 2).as_deref(), Some("online"));
                rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 2 }));
                assert_eq!(rpc.state(1, 2), None);
            }
            rpc.call("aoe_create_export", json!({ "shelf": 1, "slot": 2, "bdev_name": "m0" }));
            let mut other = lab.initiator(0);
            find(&mut other, COMES_AND_GOES);
        }));
        stop.store(true, Ordering::Relaxed);
        let (ledger, its_ledger) = (load.join().unwrap(), its_load.join().unwrap());
        rounds.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert_eq!(load::sweep(lab.link(0), &stays, &ledger, &spec).unwrap(), ledger.written());
        assert_eq!(load::sweep(lab.link(0), &goes, &its_ledger, &spec).unwrap(), its_ledger.written());
    });
    target.stop();
}

#[test]
fn a_delete_is_answered_after_the_requests_that_were_in_flight() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    crate::shutdown::slow_export(&mut rpc, 1_500_000);
    let mut initiator = lab.initiator(0);
    let slow = find(&mut initiator, crate::shutdown::SLOW);
    let tags = crate::shutdown::in_flight(&mut initiator, &slow, &mut rpc);
    rpc.send("aoe_delete_export", json!({ "shelf": 1, "slot": 3 }));
    let deleted = rpc.receive();
    assert!(matches!(&deleted, Ok(Ok(Value::Bool(true)))), "{deleted:?}");
    // All answers were sent before that one.
    crate::shutdown::all_answered(&mut initiator, &tags, QUIET);
    initiator.set_timing(aoe_initiator::Retransmit { give_up: QUIET, ..crate::lab::timing() });
    let error = initiator.identify(&slow).unwrap_err();
    assert!(matches!(error, Error::NoAnswer { .. }), "{error}");
    target.stop();
}

#[test]
fn a_shelf_that_linux_ignores_is_served_with_a_warning() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "4095.1=malloc:1M", "-e", "4094.1=malloc:1M", "-e", "1.16=malloc:1M"]);
    let mut initiator = lab.initiator(0);
    find(&mut initiator, ShelfSlot::new(4095, 1));
    // Also if it is made later.
    let mut rpc = target.rpc();
    rpc.call("bdev_malloc_create", json!({ "name": "later", "num_blocks": SECTORS, "block_size": 512 }));
    rpc.call("aoe_create_export", json!({ "shelf": 4095, "slot": 2, "bdev_name": "later" }));
    for (shelf, slot, part) in [(65535, 1, "shelf is 65535"), (1, 255, "slot is 255")] {
        let params = json!({ "shelf": shelf, "slot": slot, "bdev_name": "later" });
        rpc.refused("aoe_create_export", params, -32602, &[part]);
    }
    until("both warnings", || target.log().matches("Linux initiators ignore").count() == 2);
    let log = target.log();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("Linux initiators ignore")).collect();
    assert_eq!(warnings.len(), 2, "{log}");
    for (line, address) in warnings.iter().zip(["4095.1", "4095.2"]) {
        assert!(line.contains("WARN") && line.contains(address), "{line}");
    }
    target.stop();
}
