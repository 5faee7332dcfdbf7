//! `--state-dir`: over restarts, kills, damage, and second users.

use std::fs;

use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::{AtaRequest, ConfigCommand, opcode};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::initiator_state::{ata_request, config_request, error, kept, mac, mask_add, reserve, string};
use crate::lab::{Lab, QUIET, answer, find, refuses, until};

const EXPORT: [&str; 2] = ["-e", "1.1=malloc:8M"];

#[test]
fn claims_survive_a_restart_and_a_kill() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let mut initiator = lab.initiator(0);
    let own = mac(&initiator);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let target = lab.start(&EXPORT);
        let name = signal.as_str().as_bytes();
        assert_eq!(
            string(&answer(&mut initiator, &config_request(own, ConfigCommand::ForceSet, name))),
            name
        );
        assert_eq!(error(&answer(&mut initiator, &mask_add(own, own))), 0);
        assert_eq!(error(&answer(&mut initiator, &reserve(own, 2, &[own]))), 0);
        let before = kept(&target);
        target.end(signal);
        let target = lab.start(&EXPORT);
        assert_eq!(kept(&target), before);
        assert_eq!(string(&answer(&mut initiator, &config_request(own, ConfigCommand::Read, b""))), name);
        assert_eq!(before["mask"].as_array().unwrap().len(), 1);
        assert_eq!(before["reservation"]["macs"].as_array().unwrap().len(), 1);
        target.stop();
    }
}

#[test]
fn a_write_cache_turned_off_is_off_after_a_restart_and_a_kill() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let mut initiator = lab.initiator(0);
    let own = mac(&initiator);
    let file = lab.file("disk");
    let options = ["-e".to_owned(), format!("1.1=aio:{file},cache=write-back")];
    let options = options.each_ref().map(String::as_str);
    // ATA registers: AFlags, feature, count, opcode, LBA. SET FEATURES has 02 for on and 82 for off.
    let set = |feature| ata_request(own, AtaRequest { feature, ..AtaRequest::bare(opcode::SET_FEATURES) });
    let identify = ata_request(own, AtaRequest::identify());
    let is_on = |page: &[u8]| page[36 + 2 * 85] >> 5 & 1 == 1;
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let target = lab.start(&options);
        assert!(is_on(&answer(&mut initiator, &identify)));
        assert_eq!(answer(&mut initiator, &set(0x82))[27], 0x40);
        target.end(signal);
        let target = lab.start(&options);
        assert!(!is_on(&answer(&mut initiator, &identify)), "{signal}");
        assert_eq!(answer(&mut initiator, &set(0x02))[27], 0x40);
        target.stop();
    }
}

#[test]
fn deleting_an_export_keeps_its_claims_and_one_made_again_finds_them() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let mut initiator = lab.initiator(0);
    let own = mac(&initiator);
    let target = lab.start(&["-e", "1.1=malloc:8M", "-e", "2.2=malloc:1M"]);
    answer(&mut initiator, &config_request(own, ConfigCommand::Set, b"kept"));
    let mut rpc = target.rpc();
    let exports = rpc.call("aoe_get_exports", Value::Null);
    rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 1 }));
    let again = json!({ "shelf": 1, "slot": 1, "bdev_name": exports[0]["bdev_name"] });
    assert_eq!(rpc.call("aoe_create_export", again)["initiator_state"]["config"], "kept");
    assert_eq!(string(&answer(&mut initiator, &config_request(own, ConfigCommand::Read, b""))), b"kept");
    target.stop();
}

#[test]
fn an_export_that_leaves_a_port_takes_its_claims_along() {
    lab::needs_root!();
    let lab = Lab::with_ports(1500, 2);
    let mut initiator = lab.initiator(0);
    let own = mac(&initiator);
    let target = lab.start(&EXPORT);
    answer(&mut initiator, &config_request(own, ConfigCommand::Set, b"moved"));
    target.rpc().call("aoe_delete_export", json!({ "shelf": 1, "slot": 1, "ports": [1] }));
    let file = lab.state_dir().join("1.1@net_af_packet0");
    until("the state is in the file of the new name", || file.exists());
    target.stop();
    let target = lab.start(&["-e", "1.1@0=malloc:8M"]);
    assert_eq!(kept(&target)["config"], "moved");
    target.stop();
}

#[test]
fn a_damaged_file_is_named_and_its_export_closed_until_the_operator_opens_it() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let mut initiator = lab.initiator(0);
    let own = mac(&initiator);
    let target = lab.start(&EXPORT);
    answer(&mut initiator, &mask_add(own, own));
    target.stop();
    let file = lab.state_dir().join("1.1");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).unwrap();

    let target = lab.start(&EXPORT);
    let aside = lab.state_dir().join("1.1.damaged-1");
    assert_eq!(fs::read(&aside).unwrap(), bytes);
    let log = target.log();
    assert!(log.contains(file.to_str().unwrap()) && log.contains("checksum"), "{log}");
    initiator.drain().unwrap();
    initiator.send_raw(&config_request(own, ConfigCommand::Read, b"")).unwrap();
    assert_eq!(initiator.receive_raw(QUIET).unwrap(), None, "closed");
    target.stop();

    // Still so after another restart.
    let target = lab.start(&EXPORT);
    assert!(kept(&target)["closed"].as_str().unwrap().contains("1.1.damaged-1"));
    initiator.drain().unwrap();
    initiator.send_raw(&config_request(own, ConfigCommand::Read, b"")).unwrap();
    assert_eq!(initiator.receive_raw(QUIET).unwrap(), None, "closed");
    let mut rpc = target.rpc();
    let part = json!({ "shelf": 1, "slot": 1, "what": "mask" });
    rpc.refused("aoe_clear_claims", part, -22, &["1.1", "part must be all"]);
    rpc.call("aoe_clear_claims", json!({ "shelf": 1, "slot": 1 }));
    find(&mut initiator, ShelfSlot::new(1, 1));
    target.stop();
    let target = lab.start(&EXPORT);
    assert_eq!(kept(&target)["closed"], Value::Null);
    target.stop();
}

#[test]
fn what_can_not_be_saved_is_not_answered_and_not_done() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let mut initiator = lab.initiator(0);
    let own = mac(&initiator);
    let target = lab.start(&EXPORT);
    assert_eq!(string(&answer(&mut initiator, &config_request(own, ConfigCommand::Set, b"old"))), b"old");
    // A directory in the place of the file that is written first.
    let obstacle = lab.state_dir().join(".1.1.new");
    fs::create_dir(&obstacle).unwrap();
    initiator.drain().unwrap();
    initiator.send_raw(&config_request(own, ConfigCommand::ForceSet, b"new")).unwrap();
    until("it is counted", || target.rpc().drops(0, "not_stored") == 1);
    assert_eq!(initiator.receive_raw(QUIET).unwrap(), None);
    assert_eq!(string(&answer(&mut initiator, &config_request(own, ConfigCommand::Read, b""))), b"old");
    until("a line about it", || target.log().contains("can't be saved"));
    fs::remove_dir(&obstacle).unwrap();
    assert_eq!(
        string(&answer(&mut initiator, &config_request(own, ConfigCommand::ForceSet, b"new"))),
        b"new"
    );
    target.stop();
}

#[test]
fn a_second_target_on_the_same_directory_is_refused() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&EXPORT);
    let mut command = lab.far.command(crate::lab::PROGRAM);
    command.args(lab.eal()).args(["-l", "0", "--", "--rpc-socket"]).arg(lab.path("other-rpc"));
    command.arg("--state-dir").arg(lab.state_dir()).args(EXPORT).env_remove("RUST_LOG");
    let sentence = format!(
        "the state directory {} is in use by another kvblade-dpdk: give this one its own with --state-dir",
        lab.state_dir().display()
    );
    refuses(&lab, command, 1, true, &sentence);
    target.stop();
}
