//! Initiator state: set with Debian's aoecfg and by frames, seen on both ports.

use std::process::Output;
use std::time::Instant;

use aoe_initiator::wire::{
    AtaRequest, Body, ConfigCommand, Envelope, Mac, Reply, config_frame, mask_add_frame, reserve_frame,
};
use aoe_initiator::{Initiator, ShelfSlot};
use serde_json::{Value, json};

use crate::lab::{Lab, PATIENCE, QUIET, Target, answer, find, require, until};

const ADDRESS: ShelfSlot = ShelfSlot::new(1, 1);
const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 0x99];

fn aoecfg(lab: &Lab, words: &[&str]) -> Output {
    require("aoecfg");
    // Without an answer aoecfg waits for ever.
    lab.near.command("timeout").args(["60", "aoecfg"]).args(words).args(["1", "1", "i0"]).output().unwrap()
}

/// The config string as aoecfg reads it.
#[track_caller]
fn config(lab: &Lab) -> String {
    let output = aoecfg(lab, &[]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The envelope of a request to 1.1 from `source`, sent to everybody.
fn envelope(source: [u8; 6], tag: u32) -> Envelope {
    Envelope { dst: Mac::BROADCAST, src: Mac(source), address: ADDRESS, tag }
}

/// An ATA request to 1.1 from `source`.
pub(crate) fn ata_request(source: [u8; 6], request: AtaRequest) -> Vec<u8> {
    request.frame(&envelope(source, 0x8000_0000), &[])
}

/// A query/config request to 1.1 from `source`.
pub(crate) fn config_request(source: [u8; 6], command: ConfigCommand, string: &[u8]) -> Vec<u8> {
    config_frame(&envelope(source, 0x8000_0001), command, string)
}

/// Reserve for these addresses; `command` 1 sets, 2 forces.
pub(crate) fn reserve(source: [u8; 6], command: u8, macs: &[[u8; 6]]) -> Vec<u8> {
    let macs: Vec<Mac> = macs.iter().copied().map(Mac).collect();
    reserve_frame(&envelope(source, 0x8000_0003), command, &macs)
}

/// Adds an address to the mask list.
pub(crate) fn mask_add(source: [u8; 6], mac: [u8; 6]) -> Vec<u8> {
    mask_add_frame(&envelope(source, 0x8000_0002), Mac(mac))
}

/// The string in a config answer.
#[track_caller]
pub(crate) fn string(frame: &[u8]) -> &[u8] {
    match Reply::parse(frame).unwrap().body {
        Body::Config(reply) => reply.string,
        other => panic!("no config answer: {other:?}"),
    }
}

/// The AoE error of an answer; 0 for none.
#[track_caller]
pub(crate) fn error(frame: &[u8]) -> u8 {
    let reply = Reply::parse(frame).unwrap();
    if reply.is_error() { reply.error } else { 0 }
}

pub(crate) fn mac(initiator: &Initiator) -> [u8; 6] {
    initiator.link().mac().0
}

/// The initiator state of the first export, as `aoe_get_exports` reports it.
pub(crate) fn kept(target: &Target) -> Value {
    target.rpc().call("aoe_get_exports", Value::Null)[0]["initiator_state"].clone()
}

/// One sector read of LBA 0 by a frame.
fn read_request(source: [u8; 6]) -> Vec<u8> {
    ata_request(source, AtaRequest::read28(0, 1))
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
    let set = answer(&mut initiator, &config_request(own, ConfigCommand::Set, b"one"));
    assert_eq!((error(&set), string(&set)), (0, &b"one"[..]));
    let taken = answer(&mut initiator, &config_request(own, ConfigCommand::Set, b"two"));
    assert_eq!((error(&taken), string(&taken)), (4, &b"one"[..]));
    let replace = |old: &[u8], new: &[u8]| {
        let mut frame = config_request(own, ConfigCommand::TestAndReplace, old);
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
    answer(&mut initiator, &config_request(own, ConfigCommand::ForceSet, b"news"));
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
    answer(&mut initiator, &config_request(own, ConfigCommand::Read, b""));
    initiator.drain().unwrap();
    for frame in [
        config_request(STRANGER, ConfigCommand::Read, b""),
        mask_add(STRANGER, STRANGER),
        read_request(STRANGER),
    ] {
        // This link would not receive an answer to the stranger; the counter shows that there is none.
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
    const CHANGES: u32 = 40;
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:8M"]);
    let mut initiator = lab.initiator(0);
    let own = mac(&initiator);
    find(&mut initiator, ADDRESS);
    initiator.drain().unwrap();
    let before = target.rpc().drops(0, "unknown_shelf_slot");
    for number in 1..=CHANGES {
        let frame = config_frame(&envelope(own, number), ConfigCommand::ForceSet, &number.to_be_bytes());
        initiator.send_raw(&frame).unwrap();
    }
    // All of them have reached the target's port. Once the first answer is here, the others are being decided on.
    let mut answers = vec![initiator.receive_raw(PATIENCE).unwrap().expect("the first answer")];
    let mut rpc = target.rpc();
    rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 1 }));
    // Every change is answered, or came after the delete and found no export; none is lost.
    let deadline = Instant::now() + PATIENCE;
    let tags = loop {
        let replies = answers.iter().map(|frame| Reply::parse(frame).unwrap());
        assert!(replies.clone().all(|reply| !reply.is_error()), "{answers:02x?}");
        // Tag 0: the changed string is advertised.
        let tags: Vec<u32> = replies.map(|reply| reply.tag).filter(|tag| *tag != 0).collect();
        let dropped = target.rpc().drops(0, "unknown_shelf_slot") - before;
        if tags.len() as u64 + dropped == u64::from(CHANGES) {
            break tags;
        }
        assert!(Instant::now() < deadline, "{} answered, {dropped} dropped of {CHANGES}", tags.len());
        answers.extend(initiator.receive_raw(QUIET).unwrap());
    };
    let count = u32::try_from(tags.len()).unwrap();
    assert_eq!(tags, (1..=count).collect::<Vec<_>>(), "each once, in order");

    // The change that was answered last is what was stored.
    let bdev = rpc.call("bdev_get_bdevs", Value::Null)[0]["name"].clone();
    rpc.call("aoe_create_export", json!({ "shelf": 1, "slot": 1, "bdev_name": bdev }));
    let read = answer(&mut initiator, &config_request(own, ConfigCommand::Read, b""));
    assert_eq!(string(&read), count.to_be_bytes());
    target.stop();
}
