//! What initiators keep on the target: set with Debian's aoecfg and by frames, seen on both ports.

use std::process::Output;
use std::time::Duration;

use aoe_initiator::{Initiator, ShelfSlot};
use serde_json::{Value, json};

use crate::lab::{Lab, PATIENCE, QUIET, Target, answer, find, require, until};

const ADDRESS: ShelfSlot = ShelfSlot::new(1, 1);
const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 0x99];

fn aoecfg(lab: &Lab, words: &[&str]) -> Output {
    require("aoecfg");
    // It waits for ever for an answer that does not come.
    lab.near.command("timeout").args(["60", "aoecfg"]).args(words).args(["1", "1", "i0"]).output().unwrap()
}

/// The config string as aoecfg reads it.
#[track_caller]
fn config(lab: &Lab) -> String {
    let output = aoecfg(lab, &[]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A request to 1.1 from `source`.
pub(crate) fn request(source: [u8; 6], command: u8, argument: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(source);
    frame.extend([0x88, 0xa2, 0x10, 0, 0, 1, 1, command, 0x80, 0, 0, command]);
    frame.extend(argument);
    frame
}

pub(crate) fn config_request(source: [u8; 6], ccmd: u8, string: &[u8]) -> Vec<u8> {
    let length = u16::try_from(string.len()).unwrap().to_be_bytes();
    let mut argument = vec![0, 0, 0, 0, 0, 0x10 | ccmd, length[0], length[1]];
    argument.extend(string);
    request(source, 1, &argument)
}

/// Reserve (2 is force set) for these addresses.
pub(crate) fn reserve(source: [u8; 6], command: u8, macs: &[[u8; 6]]) -> Vec<u8> {
    let mut argument = vec![command, u8::try_from(macs.len()).unwrap()];
    argument.extend(macs.concat());
    request(source, 3, &argument)
}

/// Adds an address to the mask list.
pub(crate) fn mask_add(source: [u8; 6], mac: [u8; 6]) -> Vec<u8> {
    let mut argument = vec![0, 1, 0, 1, 0, 1];
    argument.extend(mac);
    request(source, 2, &argument)
}

/// The string in a config answer.
pub(crate) fn string(frame: &[u8]) -> &[u8] {
    let length = usize::from(u16::from_be_bytes([frame[30], frame[31]]));
    &frame[32..32 + length]
}

/// The AoE error of an answer; 0 for none.
pub(crate) fn error(frame: &[u8]) -> u8 {
    if frame[14] & 4 == 0 { 0 } else { frame[15] }
}

pub(crate) fn mac(initiator: &Initiator) -> [u8; 6] {
    initiator.link().mac().0
}

/// What `aoe_get_exports` says is kept on the first export.
pub(crate) fn kept(target: &Target) -> Value {
    target.rpc().call("aoe_get_exports", Value::Null)[0]["initiator_state"].clone()
}

/// One sector read of LBA 0 by a frame.
fn read_request(source: [u8; 6]) -> Vec<u8> {
    request(source, 0, &[0, 0, 1, 0x20, 0, 0, 0, 0xe0, 0, 0, 0, 0])
}

#[test]
fn aoecfg_sets_reads_and_forces_the_config_string() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:8M"]);
    find(&mut lab.initiator(0), ADDRESS);
    assert_eq!(config(&lab), "");
    let set = aoecfg(&lab, &["-c", "set", "-s", "mine"]);
    assert!(set.status.success(), "{set:?}");
    assert_eq!(config(&lab), "mine");
    // Error 4: somebody else's string is there.
    aoecfg(&lab, &["-c", "set", "-s", "yours"]);
    assert_eq!(config(&lab), "mine");
    let forced = aoecfg(&lab, &["-c", "fset", "-s", "yours"]);
    assert!(forced.status.success(), "{forced:?}");
    assert_eq!(config(&lab), "yours");
    assert_eq!(kept(&target)["config"], "yours");
    target.stop();
}

#[test]
fn set_of_a_taken_string_is_error_4_and_test_and_replace_wants_the_old_one() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:8M"]);
    let mut initiator = lab.initiator(0);
    let own = mac(&initiator);
    let set = answer(&mut initiator, &config_request(own, 3, b"one"));
    assert_eq!((error(&set), string(&set)), (0, &b"one"[..]));
    let taken = answer(&mut initiator, &config_request(own, 3, b"two"));
    assert_eq!((error(&taken), string(&taken)), (4, &b"one"[..]));
    let replace = |old: &[u8], new: &[u8]| {
        let mut frame = config_request(own, 5, old);
        frame.extend(u16::try_from(new.len()).unwrap().to_be_bytes());
        frame.extend(new);
        frame
    };
    let wrong = answer(&mut initiator, &replace(b"two", b"three"));
    assert_eq!((error(&wrong), string(&wrong)), (4, &b"one"[..]));
    let right = answer(&mut initiator, &replace(b"one", b"three"));
    assert_eq!((error(&right), string(&right)), (0, &b"three"[..]));
    target.stop();
}

#[test]
fn a_changed_string_is_advertised() {
    lab::needs_root!();
    let lab = Lab::with_ports(1500, 2);
    let target = lab.start(&["-e", "1.1=malloc:8M"]);
    let (mut initiator, mut other) = (lab.initiator(0), lab.initiator(1));
    find(&mut other, ADDRESS);
    other.drain().unwrap();
    let own = mac(&initiator);
    answer(&mut initiator, &config_request(own, 4, b"news"));
    let heard = other.receive_raw(PATIENCE).unwrap().expect("an advertisement on the other port");
    assert_eq!((&heard[..6], &heard[20..24], string(&heard)), (&[0xff; 6][..], &[0; 4][..], &b"news"[..]));
    target.stop();
}

#[test]
fn a_mask_silences_everybody_else_and_advertisements_go_to_its_addresses() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:8M"]);
    let mut initiator = lab.initiator(0);
    let own = mac(&initiator);
    let edited = answer(&mut initiator, &mask_add(own, own));
    assert_eq!((edited[26], edited[27], &edited[30..36]), (0, 1, &own[..]));
    assert_eq!(kept(&target)["mask"].as_array().unwrap().len(), 1);
    answer(&mut initiator, &config_request(own, 0, b""));
    initiator.drain().unwrap();
    for frame in [config_request(STRANGER, 0, b""), mask_add(STRANGER, STRANGER), read_request(STRANGER)] {
        // An answer would go to the stranger, whom this link does not hear of; the counter tells.
        initiator.send_raw(&frame).unwrap();
    }
    until("three frames are masked", || target.rpc().drops(0, "masked") == 3);
    initiator.drain().unwrap();
    target.rpc().call("aoe_announce", json!({}));
    let heard = initiator.receive_raw(PATIENCE).unwrap().expect("an advertisement");
    assert_eq!((&heard[..6], &heard[20..24]), (&own[..], &[0; 4][..]));
    assert_eq!(initiator.receive_raw(QUIET).unwrap(), None, "one for each address");
    // The operator lets everybody in again.
    target.rpc().call("aoe_clear_initiator_state", json!({ "shelf": 1, "slot": 1, "part": "mask" }));
    assert_eq!(kept(&target)["mask"], json!([]));
    target.stop();
}

#[test]
fn a_reservation_made_on_one_port_holds_on_the_other() {
    lab::needs_root!();
    let lab = Lab::with_ports(1500, 2);
    let target = lab.start_on("0,1", &["-e", "1.1=malloc:8M"]);
    let (mut owner, mut other) = (lab.initiator(0), lab.initiator(1));
    let disk = find(&mut other, ADDRESS);
    let (own, others) = (mac(&owner), mac(&other));
    assert_eq!(error(&answer(&mut other, &read_request(others))), 0);
    assert_eq!(error(&answer(&mut owner, &reserve(own, 1, &[own]))), 0);
    assert_eq!(error(&answer(&mut other, &read_request(others))), 6);
    assert_eq!(error(&answer(&mut owner, &read_request(own))), 0);
    other.identify(&disk).expect("IDENTIFY is exempt");
    assert_eq!(error(&answer(&mut other, &reserve(others, 1, &[others]))), 6);
    assert_eq!(error(&answer(&mut other, &reserve(others, 2, &[others]))), 0);
    assert_eq!(error(&answer(&mut owner, &read_request(own))), 6);
    target.rpc().call("aoe_clear_claims", json!({ "shelf": 1, "slot": 1, "what": "reservation" }));
    assert_eq!(error(&answer(&mut owner, &read_request(own))), 0);
    target.stop();
}

#[test]
fn changes_under_way_are_answered_before_a_delete_is() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:8M"]);
    let mut initiator = lab.initiator(0);
    let own = mac(&initiator);
    find(&mut initiator, ADDRESS);
    for number in 0..40u8 {
        initiator.send_raw(&config_request(own, 4, &[b'a' + number % 26])).unwrap();
    }
    target.rpc().call("aoe_delete_export", json!({ "shelf": 1, "slot": 1 }));
    while initiator.receive_raw(Duration::from_millis(200)).unwrap().is_some() {}
    initiator.send_raw(&config_request(own, 0, b"")).unwrap();
    assert_eq!(initiator.receive_raw(QUIET).unwrap(), None);
    target.stop();
}
