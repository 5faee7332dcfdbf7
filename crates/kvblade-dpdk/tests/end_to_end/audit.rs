//! The audit log, and who may connect to the management socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::lab::{Lab, until};

fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

#[test]
fn each_call_that_changes_something_is_a_line_with_its_peer_and_result() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let log = lab.path("audit");
    let target = lab.start(&[
        "-e",
        "1.1=malloc:1M",
        "--audit-log",
        log.to_str().unwrap(),
        "--rpc-mode",
        "660",
        "--rpc-group",
        "daemon",
    ]);
    let metadata = fs::metadata(lab.socket()).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    let group = std::os::unix::fs::MetadataExt::gid(&metadata);
    assert_eq!(Some(group), nix::unistd::Group::from_name("daemon").unwrap().map(|group| group.gid.as_raw()));
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);

    let mut rpc = target.rpc();
    rpc.call("aoe_get_exports", Value::Null);
    rpc.call("bdev_get_bdevs", Value::Null);
    let malloc = json!({ "name": "m0", "num_blocks": 2048, "block_size": 512 });
    rpc.call("bdev_malloc_create", malloc.clone());
    rpc.refused("bdev_malloc_create", malloc.clone(), -17, &[]);
    rpc.call("aoe_create_export", json!({ "shelf": 1, "slot": 2, "bdev_name": "m0" }));
    rpc.refused("aoe_delete_export", json!({ "shelf": 1, "slot": 9 }), -2, &[]);
    rpc.refused("aoe_set_qos", json!({ "shelf": 1, "slot": 2, "iops": 0 }), -32602, &[]);
    rpc.refused("aoe_no_such", json!({}), -32601, &[]);
    until("all lines", || lines(&log).len() >= 6);
    let noted = lines(&log);
    let of = |line: &Value| (line["method"].clone(), line["result"].clone(), line["error"]["code"].clone());
    assert_eq!(
        noted.iter().map(of).collect::<Vec<_>>(),
        [
            (json!("bdev_malloc_create"), json!("done"), Value::Null),
            (json!("bdev_malloc_create"), json!("refused"), json!(-17)),
            (json!("aoe_create_export"), json!("done"), Value::Null),
            (json!("aoe_delete_export"), json!("refused"), json!(-2)),
            (json!("aoe_set_qos"), json!("refused"), json!(-32602)),
            (json!("aoe_no_such"), json!("refused"), json!(-32601)),
        ]
    );
    for line in &noted {
        assert_eq!((&line["uid"], &line["pid"]), (&json!(0), &json!(std::process::id())), "{line}");
        assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    }
    assert_eq!(noted[0]["params"], malloc);
    assert!(noted[4]["error"]["message"].as_str().unwrap().contains("iops is 0"));

    // A call is noted that is in progress when the program ends.
    rpc.call("aoe_set_qos", json!({ "shelf": 1, "slot": 2, "iops": 500 }));
    target.stop();
    assert_eq!(lines(&log).last().unwrap()["params"]["iops"], 500);
}

#[test]
fn files_and_groups_that_do_not_suit_end_the_start() {
    lab::needs_root!();
    let lab = Lab::for_refusals(1500);
    for (options, code, parts) in [
        (
            ["--audit-log", "/nonexistent/audit"],
            1,
            ["--audit-log '/nonexistent/audit'", "a directory that exists"],
        ),
        (["--rpc-group", "no-such-group"], 2, ["'no-such-group'", "a group of this machine"]),
        (["--rpc-mode", "999"], 2, ["'999'", "three octal digits"]),
    ] {
        let output = lab.command(&lab.eal(), &options).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{options:?}: {text}");
    }
}
