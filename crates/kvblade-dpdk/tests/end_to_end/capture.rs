//! Captures, as Wireshark's decoder reads their files.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::SECTOR;
use serde_json::{Value, json};

use crate::lab::{Lab, find, require, until};

/// Fields asked of tshark.
const FIELDS: [&str; 8] = [
    "aoe.major",
    "aoe.minor",
    "aoe.response",
    "frame.packet_flags_direction",
    "frame.interface_name",
    "vlan.id",
    "aoe.tag",
    "frame.len",
];

/// The frames of a file, one row a frame, one column for each of [`FIELDS`].
#[track_caller]
fn decoded(path: &Path) -> Vec<Vec<String>> {
    let mut tshark = Command::new(require("tshark"));
    tshark.arg("-r").arg(path).args(["-T", "fields"]);
    for field in FIELDS {
        tshark.args(["-e", field]);
    }
    let output = tshark.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("cut short"), "{}: {errors}", path.display());
    // tshark 4.4 writes True and False, 4.0 writes 1 and 0; both write some numbers in hexadecimal.
    let plain = |field: &str| match (field, field.strip_prefix("0x")) {
        ("True", _) => "1".to_owned(),
        ("False", _) => "0".to_owned(),
        (_, Some(digits)) => u64::from_str_radix(digits, 16).unwrap().to_string(),
        (other, None) => other.to_owned(),
    };
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|row| row.split('\t').map(plain).collect()).collect()
}

#[test]
fn a_capture_holds_what_was_asked_for_and_tshark_reads_it() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let audit = lab.path("audit");
    let exports = ["-e", "1.1=malloc:8M", "-e", "1.2=malloc:8M", "-e", "1.3=malloc:8M,vlan=5"];
    let target = lab.start(&[&exports[..], &["--audit-log", audit.to_str().unwrap()]].concat());
    let mut rpc = target.rpc();
    let mut initiator = lab.initiator(0);
    let mac = initiator.link().mac();
    let [one, two] = [1, 2].map(|slot| find(&mut initiator, ShelfSlot::new(1, slot)));

    let started = rpc.call("aoe_start_capture", json!({ "name": "one", "shelf": 1, "slot": 1 }));
    assert_eq!((&started["state"], &started["reason"]), (&json!("running"), &Value::Null), "{started}");
    let path = lab.state_dir().join("captures/one.pcapng");
    assert_eq!(started["path"], path.to_str().unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let of_initiator = json!({ "name": "two", "initiator": mac.to_string(), "snap_length": 64 });
    rpc.call("aoe_start_capture", of_initiator);
    rpc.call("aoe_start_capture", json!({ "name": "three", "port": 0, "max_bytes": 4096 }));

    let mut data = vec![0xa5; 8 * SECTOR];
    for round in 0..4 {
        initiator.write(&one, round * 8, &data).unwrap();
        initiator.read(&one, round * 8, &mut data).unwrap();
        initiator.read(&two, round * 8, &mut data).unwrap();
    }
    rpc.refused("aoe_start_capture", json!({ "name": "one", "port": 0 }), -17, &["'one' runs"]);
    let stopped = rpc.call("aoe_stop_capture", json!({ "name": "one" }));
    assert_eq!((&stopped["state"], &stopped["reason"]), (&json!("ended"), &json!("stopped")), "{stopped}");
    assert_eq!(stopped["dropped"], 0, "{stopped}");
    assert_eq!(stopped["bytes"], fs::metadata(&path).unwrap().len());

    // Requests and replies of the one export, of all others nothing.
    let frames = decoded(&path);
    assert_eq!(stopped["frames"], json!(frames.len()));
    let mut tags = [BTreeSet::new(), BTreeSet::new()];
    for row in &frames {
        assert_eq!((row[0].as_str(), row[1].as_str(), row[4].as_str()), ("1", "1", "t0"), "{row:?}");
        let is_reply = row[2] == "1";
        assert_eq!(row[3], if is_reply { "2" } else { "1" }, "replies are outbound: {row:?}");
        tags[usize::from(is_reply)].insert(row[6].clone());
    }
    // On a busy machine the initiator may have sent one again.
    assert_eq!((tags[0].len(), &tags[0]), (8, &tags[1]), "each request has its reply");

    // The initiator's, cut short; the port's, up to its limit.
    rpc.call("aoe_stop_capture", json!({ "name": "two" }));
    let frames = decoded(&lab.state_dir().join("captures/two.pcapng"));
    let slots: BTreeSet<&str> = frames.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(slots, BTreeSet::from(["1", "2"]));
    assert!(frames.len() >= 24, "{frames:?}");
    assert!(frames.iter().any(|row| row[7] == (36 + 8 * SECTOR).to_string()), "whole lengths: {frames:?}");
    let size = fs::metadata(lab.state_dir().join("captures/two.pcapng")).unwrap().len();
    assert!(size < frames.len() as u64 * 128 + 512, "{size}");
    let capture = |rpc: &mut crate::rpc::Rpc, name: &str| {
        let all = rpc.call("aoe_get_captures", Value::Null);
        all.as_array().unwrap().iter().find(|one| one["name"] == name).cloned().unwrap()
    };
    until("the limit is met", || capture(&mut rpc, "three")["state"] == "ended");
    let ended = capture(&mut rpc, "three");
    assert_eq!(ended["reason"], "max_bytes", "{ended}");
    let path = lab.state_dir().join("captures/three.pcapng");
    assert!(fs::metadata(&path).unwrap().len() <= 4096);
    assert_eq!(json!(decoded(&path).len()), ended["frames"]);
    assert_eq!(rpc.call("aoe_stop_capture", json!({ "name": "three" })), capture(&mut rpc, "three"));

    // What can't be.
    rpc.refused("aoe_start_capture", json!({ "name": "one", "port": 0 }), -22, &["one.pcapng' exists"]);
    rpc.refused("aoe_start_capture", json!({ "name": "x", "shelf": 7, "slot": 7 }), -2, &["7.7"]);
    rpc.refused("aoe_start_capture", json!({ "name": "x", "port": 7 }), -19, &["7"]);
    rpc.refused("aoe_stop_capture", json!({ "name": "x" }), -2, &["no capture 'x'"]);
    assert_eq!(capture(&mut rpc, "one")["reason"], "stopped", "a refused start is not listed");

    // One that runs when the target stops has a whole file, after a limit of time another has.
    rpc.call("aoe_start_capture", json!({ "name": "short", "port": 0, "max_seconds": 1 }));
    until("the time is over", || capture(&mut rpc, "short")["reason"] == "max_seconds");
    rpc.call("aoe_start_capture", json!({ "name": "last", "shelf": 1, "slot": 2 }));
    initiator.read(&two, 0, &mut data).unwrap();
    until("it is written", || capture(&mut rpc, "last")["frames"].as_u64() >= Some(2));
    target.stop();
    assert!(decoded(&lab.state_dir().join("captures/last.pcapng")).len() >= 2);
    let noted = fs::read_to_string(&audit).unwrap();
    assert_eq!(noted.matches("\"aoe_start_capture\"").count(), 9, "{noted}");
    assert!(!noted.contains("aoe_get_captures"));
}
