//! Config strings, mask lists and reservations that are set from the control plane.

use std::collections::BTreeSet;

use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::{AtaRequest, ConfigCommand, Mac};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::changes::under_verified_load;
use crate::initiator_state::{ata_request, config_request, error, mac, string};
use crate::lab::{Lab, QUIET, answer, find, hear};
use crate::shutdown::{SLOW, all_answered, in_flight, slow_export};

const LOADED: ShelfSlot = ShelfSlot::new(1, 1);
const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 0x99];

fn with(export: ShelfSlot, name: &str, value: Value) -> Value {
    let mut params = json!({ "shelf": export.shelf, "slot": export.slot });
    params[name] = value;
    params
}

#[test]
fn state_is_set_replaced_and_cleared_under_verified_load_and_survives_a_restart() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let audit = lab.path("audit");
    let file = lab.file("disk");
    let disk = format!("1.1=aio:{file}");
    let options = ["-e", disk.as_str(), "--audit-log", audit.to_str().unwrap()];
    let target = lab.start(&options);
    let mut rpc = target.rpc();
    let mut initiator = lab.initiator(0);
    let own = mac(&initiator);
    let own_text = Mac(own).to_string();
    under_verified_load(&lab, || {
        for round in 0..20 {
            let name = format!("rack {round}");
            rpc.call("aoe_set_config_string", with(LOADED, "config", json!(name)));
            // Each list keeps the one that has the load.
            let others: Vec<String> = (0..254).map(|n| format!("02:00:00:00:{round:02x}:{n:02x}")).collect();
            let macs: Vec<&str> = others.iter().map(String::as_str).chain([own_text.as_str()]).collect();
            rpc.call("aoe_set_mask_list", with(LOADED, "macs", json!(macs)));
            rpc.call("aoe_set_reservation", with(LOADED, "macs", json!(macs)));
            let shown = rpc.call("aoe_get_exports", Value::Null)[0]["initiator_state"].clone();
            assert_eq!((&shown["config"], &shown["mask"]), (&json!(name), &json!(macs)));
            assert_eq!(shown["reservation"]["macs"], json!(macs));
            rpc.call("aoe_set_mask_list", with(LOADED, "macs", json!([])));
            rpc.call("aoe_set_reservation", with(LOADED, "macs", json!([])));
        }
    });

    // The wire shows what the calls have set, and obeys it.
    initiator.drain().unwrap();
    rpc.call("aoe_set_config_string", with(LOADED, "config_hex", json!("6d00ff")));
    hear(&mut initiator, &[LOADED]);
    let read = config_request(own, ConfigCommand::Read, b"");
    assert_eq!(string(&answer(&mut initiator, &read)), b"m\0\xff");
    rpc.call("aoe_set_reservation", with(LOADED, "macs", json!([Mac(STRANGER).to_string()])));
    let sector = ata_request(own, AtaRequest::read28(0, 1));
    assert_eq!(error(&answer(&mut initiator, &sector)), 6, "reserved for another one");
    rpc.call("aoe_set_mask_list", with(LOADED, "macs", json!([Mac(STRANGER).to_string()])));
    initiator.drain().unwrap();
    initiator.send_raw(&read).unwrap();
    assert_eq!(initiator.receive_raw(QUIET).unwrap(), None, "masked");
    for (method, name, value, part) in [
        ("aoe_set_config_string", "config", json!("x".repeat(1025)), "at most 1024"),
        ("aoe_set_mask_list", "macs", json!(["eth0"]), "'eth0'"),
        ("aoe_set_reservation", "macs", json!([own_text, own_text]), "twice"),
    ] {
        rpc.refused(method, with(LOADED, name, value), -32602, &[method, part]);
    }
    rpc.refused("aoe_set_mask_list", with(ShelfSlot::new(9, 9), "macs", json!([])), -2, &["9.9"]);
    // A loss of the process, not a stop: what was answered is on disk.
    let (status, _) = target.end(Signal::SIGKILL);
    assert_eq!(status.code(), None);

    let target = lab.start(&options);
    let mut rpc = target.rpc();
    let shown = rpc.call("aoe_get_exports", Value::Null)[0]["initiator_state"].clone();
    assert_eq!(shown["config"], "m\\x00\\xff");
    assert_eq!(shown["mask"], json!([Mac(STRANGER).to_string()]));
    assert_eq!(shown["reservation"]["macs"], json!([Mac(STRANGER).to_string()]));
    rpc.call("aoe_set_mask_list", with(LOADED, "macs", json!([])));
    rpc.call("aoe_set_reservation", with(LOADED, "macs", json!([])));
    assert_eq!(error(&answer(&mut initiator, &sector)), 0);
    // The state store has the state, so a saved configuration does not.
    let saved = rpc.call("framework_get_config", json!({ "name": "aoe" })).to_string();
    assert!(saved.contains("aoe_create_export") && !saved.contains("aoe_set_"), "{saved}");
    target.stop();
    let log = std::fs::read_to_string(audit).unwrap();
    for method in ["aoe_set_config_string", "aoe_set_mask_list", "aoe_set_reservation"] {
        let lines = |result: &str| {
            log.lines()
                .filter(|line| line.contains(method) && line.contains(&format!("\"result\":\"{result}\"")))
                .count()
        };
        assert!(lines("done") >= 20 && lines("refused") >= 1, "{method}: {log}");
    }
}

#[test]
fn a_reservation_by_a_call_is_answered_after_the_requests_admitted_before_it() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    slow_export(&mut rpc, 1_500_000);
    let mut initiator = lab.initiator(0);
    let slow = find(&mut initiator, SLOW);
    let tags: BTreeSet<u32> = in_flight(&mut initiator, &slow, &mut rpc);
    rpc.call("aoe_set_reservation", with(SLOW, "macs", json!([Mac(STRANGER).to_string()])));
    // All answers were sent before that of the call, and none has come after it.
    all_answered(&mut initiator, &tags, QUIET);
    assert_eq!(rpc.under_way(), 0);
    target.stop();
}
