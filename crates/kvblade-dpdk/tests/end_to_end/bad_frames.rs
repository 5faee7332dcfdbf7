//! Frames of a broken or hostile peer: the target stays up, names each drop, and serves the others.

use std::sync::atomic::{AtomicBool, Ordering};

use aoe_initiator::sector::Random;
use aoe_initiator::wire::{AtaRequest, Body, ConfigCommand, Reply, ata, config_frame};
use aoe_initiator::{ShelfSlot, load};
use serde_json::Value;

use crate::lab::{Lab, QUIET, SECTORS, Target, answer, find, random_load, until};

const GOOD: ShelfSlot = ShelfSlot::new(1, 1);
const VICTIM: ShelfSlot = ShelfSlot::new(1, 2);

fn changed(frame: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// Runs a verified load on one export while `attack` works on the other; both must come through.
pub(crate) fn while_others_are_served(lab: &Lab, target: &Target, attack: impl FnOnce()) {
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, GOOD);
    let mut spec = random_load(8);
    spec.duration = crate::lab::PATIENCE;
    let (link, stop) = (lab.link(0), AtomicBool::new(false));
    let ledger = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut ledger = load::ledger_for(&spec, SECTORS).unwrap();
            let report = load::run_verified(link, &export, SECTORS, &spec, &stop, &mut ledger).unwrap();
            assert_eq!(report.failures(), 0, "{report:?}");
            assert!(report.verified.unwrap().writes_acknowledged > 0, "{report:?}");
            ledger
        });
        // The load ends with the attack, also if that fails.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attack));
        until("the load to have written", || target.rpc().under_way() > 0 || load.is_finished());
        stop.store(true, Ordering::Relaxed);
        let ledger = load.join().unwrap();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ledger
    });
    assert_eq!(load::sweep(lab.link(0), &export, &ledger, &spec).unwrap(), ledger.written());
}

#[test]
fn every_frame_that_deserves_no_answer_is_dropped_under_its_own_reason() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let target = lab.start(&["-e", "1.1=malloc:8M", "-e", "1.2=malloc:8M"]);
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, VICTIM);
    let identify = AtaRequest::identify().frame(&initiator.envelope(&export), &[]);
    let test = config_frame(&initiator.envelope(&export), ConfigCommand::Test, b"another string");
    let prefix = config_frame(&initiator.envelope(&export), ConfigCommand::Prefix, b"a");
    let read = AtaRequest::read(0, 1).frame(&initiator.envelope(&export), &[]);
    let write = AtaRequest::write(0, 1).frame(&initiator.envelope(&export), &[0xee; 512]);
    let set = config_frame(&initiator.envelope(&export), ConfigCommand::ForceSet, b"everybody");
    let tagged = [&identify[..12], &[0x81, 0, 0, 5], &identify[12..]].concat();
    let twice = [&identify[..12], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6], &identify[12..]].concat();
    let frames: &[(&str, &str, Vec<u8>)] = &[
        ("nothing after the Ethernet header", "too_short", identify[..14].to_vec()),
        ("half an AoE header", "too_short", identify[..20].to_vec()),
        ("an ATA message without its registers", "too_short", identify[..35].to_vec()),
        ("a config message without its counts", "too_short", changed(&identify, 19, &[1])[..31].to_vec()),
        ("another EtherType", "not_aoe", changed(&identify, 12, &[0x88, 0xa3])),
        ("the tag of a VLAN without exports", "unknown_shelf_slot", tagged),
        ("two VLAN tags", "double_tagged", twice),
        ("version 0", "bad_version", changed(&identify, 14, &[0x00])),
        ("version 2", "bad_version", changed(&identify, 14, &[0x20])),
        ("a response", "is_response", changed(&identify, 14, &[0x18])),
        ("a broadcast source", "source_not_unicast", changed(&identify, 6, &[0xff; 6])),
        ("a multicast source", "source_not_unicast", changed(&identify, 6, &[1, 0, 0x5e, 0, 0, 1])),
        ("another address", "not_our_mac", changed(&identify, 0, &[2, 0, 0, 0, 0, 9])),
        ("a shelf nobody serves", "unknown_shelf_slot", changed(&identify, 16, &[9, 9])),
        ("a slot nobody serves", "unknown_shelf_slot", changed(&identify, 18, &[9])),
        ("every slot of a shelf nobody serves", "unknown_shelf_slot", changed(&identify, 16, &[9, 9, 0xff])),
        ("a write to everybody", "wildcard_refused", changed(&write, 16, &[0xff; 3])),
        ("a write to each slot of a shelf", "wildcard_refused", changed(&write, 18, &[0xff])),
        ("a read of everybody", "wildcard_refused", changed(&read, 16, &[0xff; 2])),
        ("a config string for everybody", "wildcard_refused", changed(&set, 16, &[0xff; 3])),
        ("a test for another config string", "config_mismatch", test.clone()),
        ("a prefix test for another config string", "config_mismatch", prefix),
        ("a config string longer than its frame", "config_too_long", changed(&test, 30, &[0x03, 0xff])),
        ("a config string above 1024 bytes", "config_too_long", changed(&test, 30, &[0x04, 0x01])),
    ];
    let mut rpc = target.rpc();
    while_others_are_served(&lab, &target, || {
        let mut bystander = lab.initiator(0);
        for (what, reason, frame) in frames {
            let before = rpc.drops(0, reason);
            bystander.drain().unwrap();
            bystander.send_raw(frame).unwrap();
            until(what, || rpc.drops(0, reason) > before);
            assert_eq!(rpc.drops(0, reason), before + 1, "{what}");
        }
    });
    let mut first = [0xff; 512];
    initiator.read(&export, 0, &mut first).unwrap();
    assert_eq!(first, [0; 512], "no wildcard has written it");
    // Silence shows only after the load has ended.
    initiator.drain().unwrap();
    for (what, _, frame) in frames {
        assert_eq!(initiator.exchange_raw(frame, QUIET / 4).unwrap(), Vec::<Vec<u8>>::new(), "{what}");
    }
    assert!(!target.log().contains("ERROR"), "{}", target.log());
    target.stop();
}

#[test]
fn a_request_that_makes_no_sense_is_answered_with_the_reason() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let target = lab.start(&["-e", "1.1=malloc:8M", "-e", "1.2=malloc:8M"]);
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, VICTIM);
    while_others_are_served(&lab, &target, || {
        for command in [0x42, 0xf0, 0xff] {
            let frame = answer(&mut initiator, &initiator_frame(command, &export, &lab));
            let reply = Reply::parse(&frame).unwrap();
            assert!(reply.is_error() && reply.error == 1, "command {command}: {reply:?}");
        }
        for (config_command, code) in [(6, 2), (9, 2)] {
            let frame = config_frame(&initiator.envelope(&export), ConfigCommand::Set, b"name");
            let frame = answer(&mut initiator, &changed(&frame, 29, &[0x10 | config_command]));
            let reply = Reply::parse(&frame).unwrap();
            assert!(reply.is_error() && reply.error == code, "config command {config_command}: {reply:?}");
        }
        for (what, request, data) in [
            ("17 sectors", AtaRequest::read(0, 17), 0),
            ("255 sectors", AtaRequest::read28(0, 255), 0),
            ("no sectors", AtaRequest::write(0, 0), 0),
            ("a write without data", AtaRequest::write(0, 16), 0),
            ("a write that lacks a byte", AtaRequest::write(0, 2), 1023),
            ("17 sectors with their data", AtaRequest::write(0, 17), 17 * 512),
            ("SMART", AtaRequest { opcode: 0xb0, ..AtaRequest::identify() }, 0),
            ("an unassigned opcode", AtaRequest::bare(0x01), 0),
            ("IDENTIFY of 2", AtaRequest { count: 2, ..AtaRequest::identify() }, 0),
        ] {
            let frame = request.frame(&initiator.envelope(&export), &vec![0xee; data]);
            let frame = answer(&mut initiator, &frame);
            let Body::Ata(reply) = Reply::parse(&frame).unwrap().body else { panic!("{what}: {frame:02x?}") };
            assert_eq!((reply.status, reply.error), (ata::DRDY | ata::ERR, ata::ABRT), "{what}");
        }
    });
    let mut first = vec![0xff; 16 * 512];
    initiator.read(&export, 0, &mut first).unwrap();
    assert!(first.iter().all(|byte| *byte == 0), "a refused write changed the disk");
    let stats = target.rpc().call("aoe_get_stats", Value::Null);
    let victim = &stats["exports"][1];
    let least = [("unknown_commands", 3), ("aoe_errors", 5), ("ata_errors", 9), ("unsupported", 4)];
    for (counter, least) in least {
        assert!(victim[counter].as_u64().unwrap() >= least, "{counter}: {victim}");
    }
    target.stop();
}

/// A frame with an AoE command and 36 bytes of argument.
fn initiator_frame(command: u8, export: &aoe_initiator::initiator::Export, lab: &Lab) -> Vec<u8> {
    let mut initiator = lab.initiator(0);
    let mut envelope = initiator.envelope(export);
    // Distinct from the tags of the initiator that waits for the answer.
    envelope.tag = 0x5000_0000 | u32::from(command);
    envelope.frame(command, &[0; 36])
}

#[test]
fn random_bytes_of_every_length_do_not_stop_it() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let target = lab.start(&["-e", "1.1=malloc:8M", "-e", "1.2=malloc:8M"]);
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, VICTIM);
    let mut random = Random::new(0xbad);
    let mut rpc = target.rpc();
    let received = |rpc: &mut crate::rpc::Rpc| {
        rpc.call("aoe_get_stats", Value::Null)["ports"][0]["rx_frames"].as_u64().unwrap()
    };
    while_others_are_served(&lab, &target, || {
        let before = received(&mut rpc);
        for number in 0..3000u32 {
            let length = 14 + usize::try_from(random.below(if number % 4 == 0 { 9000 } else { 80 })).unwrap();
            let mut frame: Vec<u8> =
                std::iter::repeat_with(|| random.next().to_le_bytes()).flatten().take(length).collect();
            let envelope = initiator.envelope(&export);
            let mut header = envelope.frame(random.next().to_le_bytes()[0] & 1, &[]);
            // A third is noise behind an Ethernet header, a third behind an AoE header, a third behind ATA registers
            // of a command that exists.
            header.truncate([14, 24, 24][usize::try_from(number % 3).unwrap()]);
            if number % 3 == 2 {
                let opcodes = [0x20, 0x24, 0x30, 0x34, 0xe5, 0xe7, 0xea, 0xec];
                let opcode = opcodes[usize::try_from(random.below(8)).unwrap()];
                header[19] = 0;
                let (count, lba) = (random.next().to_le_bytes()[0], random.below(3 * SECTORS));
                let request = AtaRequest { aflags: 0x41, feature: 0, count, opcode, lba };
                header = request.frame(&envelope, &[]);
            }
            let covered = header.len().min(frame.len());
            frame[..covered].copy_from_slice(&header[..covered]);
            // Noise must not be a wildcard or the address of the export under load.
            if frame.len() >= 19 {
                frame[16..19].copy_from_slice(&[0, 1, 2]);
            }
            initiator.send_raw(&frame).unwrap();
        }
        until("frames to have arrived", || received(&mut rpc) > before);
        initiator.drain().unwrap();
        initiator.identify(&export).unwrap();
    });
    target.stop();
}
