//! kv, kvadd, kvdel, kvstat and kvannounce against a running target.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use aoe_initiator::wire::SECTOR;
use aoe_initiator::{Initiator, ShelfSlot};
use serde_json::{Value, json};

use crate::lab::{Lab, PROGRAM, QUIET, SECTORS, find, hear};

/// `kv`, as the workspace has built it beside the program, called by the name of one of its links.
fn run(lab: &Lab, words: &[&str]) -> Output {
    let kv = Path::new(PROGRAM).with_file_name("kv");
    assert!(kv.exists(), "{} is not built: run cargo build -p kvtools with the same profile", kv.display());
    let mut command = std::process::Command::new(kv);
    command.arg0(words[0]).arg("--rpc-socket").arg(lab.socket()).args(&words[1..]).output().unwrap()
}

/// The output of a command that succeeds.
#[track_caller]
pub(crate) fn prints(lab: &Lab, words: &[&str]) -> String {
    let output = run(lab, words);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{words:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// A command that must fail with this code and one sentence that holds each of `parts`.
#[track_caller]
pub(crate) fn fails(lab: &Lab, words: &[&str], code: i32, parts: &[&str]) {
    let output = run(lab, words);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{words:?}: {error}");
    assert!(
        error.starts_with(&format!("{}: ", words[0])) && error.lines().count() == 1,
        "{words:?}: {error}"
    );
    for part in parts {
        assert!(error.contains(part), "{words:?}: {error} lacks {part}");
    }
}

#[test]
fn kvadd_serves_a_file_or_bdev_kvstat_lists_it_kvannounce_tells_of_it_and_kvdel_ends_it() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let file = lab.file("disk");
    let target = lab.start(&[]);
    let mut rpc = target.rpc();
    rpc.call("bdev_malloc_create", json!({ "name": "m0", "num_blocks": SECTORS, "block_size": 512 }));
    let mut initiator = lab.initiator(0);
    assert_eq!(prints(&lab, &["kvstat"]), "");

    assert_eq!(prints(&lab, &["kvadd", "1", "3", "t0", &file]), format!("e1.3 serves {file}\n"));
    assert_eq!(
        prints(&lab, &["kvadd", "1", "4", "net_af_packet0", "m0", "--read-only"]),
        "e1.4 serves m0, read-only\n"
    );
    let addresses = [ShelfSlot::new(1, 3), ShelfSlot::new(1, 4)];
    hear(&mut initiator, &addresses);
    let table = format!("       1.3     t0    0.008GB {file}\n       1.4     t0    0.008GB m0 ro\n");
    assert_eq!(prints(&lab, &["kvstat"]), table);

    let export = find(&mut initiator, addresses[0]);
    initiator.write(&export, 9, &[0x39; SECTOR]).unwrap();
    initiator.flush(&export).unwrap();
    assert_eq!(fs::read(&file).unwrap()[9 * SECTOR..10 * SECTOR], [0x39; SECTOR]);

    for words in [&["kvannounce"][..], &["kvannounce", "1"], &["kvannounce", "1", "3"]] {
        initiator.drain().unwrap();
        assert_eq!(prints(&lab, words), "");
        hear(&mut initiator, &addresses[..1]);
    }

    kv_shows_and_changes(&lab, &mut initiator);

    assert_eq!(prints(&lab, &["kvdel", "1", "3", "t0"]), "");
    assert_eq!(prints(&lab, &["kvdel", "1", "4", "0"]), "");
    assert_eq!(prints(&lab, &["kvstat"]), "");
    assert_eq!(initiator.discover(ShelfSlot::ANY, QUIET).unwrap(), []);
    // kvadd's own bdev went with its export; the other one is the operator's.
    let bdevs = rpc.call("bdev_get_bdevs", Value::Null);
    let names: Vec<&str> =
        bdevs.as_array().unwrap().iter().map(|bdev| bdev["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["m0"]);
    // And so may come again.
    prints(&lab, &["kvadd", "1", "3", "t0", &file]);
    prints(&lab, &["kvdel", "1", "3", "t0"]);
    target.stop();
}

/// `kv` with a file as 1.3, which is served under load, and a bdev m0 as 1.4.
#[track_caller]
fn kv_shows_and_changes(lab: &Lab, initiator: &mut Initiator) {
    let json = |words: &[&str]| -> Value { serde_json::from_str(&prints(lab, words)).unwrap() };
    let exports = json(&["kv", "stat", "--json"]);
    assert_eq!((exports.as_array().unwrap().len(), &exports[0]["slot"]), (2, &json!(3)));
    assert_eq!(prints(lab, &["kv", "set", "1", "3", "--buffers", "64"]), "e1.3 serves file1.3, online\n");
    let limits = json(&["kv", "qos", "1", "4", "--iops", "5000", "--json"]);
    assert_eq!(limits["iops"], 5000);
    prints(lab, &["kv", "qos", "1", "4", "--none"]);
    prints(lab, &["kv", "latency", "1", "3", "--enable"]);

    let export = find(initiator, ShelfSlot::new(1, 3));
    let is_over = AtomicBool::new(false);
    let view = thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                initiator.read(&export, 0, &mut [0; 8 * SECTOR]).unwrap();
            }
        });
        let view = json(&["kv", "top", "--once", "--json", "--interval", "0.5"]);
        is_over.store(true, Ordering::Relaxed);
        load.join().unwrap();
        view
    });
    let busiest = &view["exports"][0];
    assert_eq!((&busiest["export"], &busiest["bdev"]), (&json!("1.3"), &json!("file1.3")), "{view}");
    for number in
        [&busiest["reads"], &busiest["read_bytes"], &busiest["latency"]["p50_ns"], &view["lcores"][0]["busy"]]
    {
        assert!(number.as_f64().is_some_and(|number| number > 0.0), "{view}");
    }
    assert_eq!(view["ports"][0]["interface"], "t0");
    let mac = initiator.link().mac().to_string();
    assert!(view["initiators"].as_array().unwrap().iter().any(|its| its["initiator"] == *mac), "{view}");
    let listed = prints(lab, &["kv", "initiators", "1", "3"]);
    assert!(listed.lines().count() == 2 && listed.contains(&mac), "{listed}");
    let ports = prints(lab, &["kv", "ports", "t0"]);
    let port = ports.lines().nth(1).unwrap();
    assert!(port.contains(" t0 ") && port.contains(" up ") && ports.lines().count() == 2, "{ports}");
    let lcores = prints(lab, &["kv", "lcores"]);
    assert!(lcores.lines().count() == 2 && lcores.contains(" t0:0"), "{lcores}");
    let bundle = lab.path("bundle.tar").display().to_string();
    prints(lab, &["kv", "support-bundle", "--output", &bundle, "--settings", "/nonexistent"]);
    let manifest = std::process::Command::new("tar")
        .args(["-xOf", &bundle, "--wildcards", "*/MANIFEST"])
        .output()
        .unwrap();
    let manifest = String::from_utf8(manifest.stdout).unwrap();
    for part in [
        "target/config.json: ",
        "target/aoe_get_stats.json: ",
        "target/aoe_get_lcores.json: ",
        "target/aoe_get_histogram-1.3-0.json: ",
        "process/status: ",
        "system/proc/meminfo: ",
        "settings.toml: not here: '/nonexistent'",
    ] {
        assert!(manifest.contains(&format!("\n{part}")), "{part}: {manifest}");
    }
    assert!(!manifest.contains(".json: not here"), "the target answers all of it: {manifest}");
    fails(lab, &["kv", "support-bundle", "--output", &bundle], 1, &["bundle.tar", "exists"]);
    let health = run(lab, &["kv", "health", "--json"]);
    let verdict: Value = serde_json::from_slice(&health.stdout).unwrap();
    let code = ["ok", "warning", "failure"].iter().position(|word| verdict["verdict"] == **word);
    assert_eq!(health.status.code().and_then(|code| usize::try_from(code).ok()), code, "{verdict}");

    let saved = lab.path("saved.json").display().to_string();
    prints(lab, &["kv", "config", "save", &saved]);
    prints(lab, &["kvdel", "1", "4", "t0"]);
    fails(lab, &["kv", "config", "load", &saved], 1, &["saved.json", "entry"]);
    let bdev = json!({ "method": "aoe_create_export", "params": { "shelf": 1, "slot": 4, "bdev_name": "m0", "read_only": true } });
    fs::write(&saved, json!({ "subsystems": [{ "subsystem": "aoe", "config": [bdev] }] }).to_string())
        .unwrap();
    prints(lab, &["kv", "config", "load", &saved]);
}

#[test]
fn a_command_that_cannot_be_carried_out_says_why_and_changes_nothing() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let file = lab.file("disk");
    let odd = lab.path("odd").display().to_string();
    fs::write(&odd, [0; 500]).unwrap();
    fails(&lab, &["kvstat"], 1, &["rpc", "kvblade-dpdk"]);
    let target = lab.start(&["-e", &format!("1.1=aio:{file}")]);
    let before = prints(&lab, &["kvstat"]);
    for (words, code, parts) in [
        (&["kvadd", "65535", "1", "t0", &file][..], 2, &["65535", "65534"][..]),
        (&["kvadd", "1", "255", "t0", &file], 2, &["255", "254"]),
        (&["kvadd", "1", "2", "t0"], 2, &["PATH"]),
        (
            &["kvadd", "1", "2", "t0", "/nonexistent/disk"],
            1,
            &["/nonexistent/disk", "No such file", "file1.1"],
        ),
        (&["kvadd", "1", "2", "t0", &odd], 1, &["500 bytes", "at least 512"]),
        (&["kvadd", "1", "2", "t0", "/dev/null"], 1, &["/dev/null", "regular file or block device"]),
        (&["kvadd", "1", "2", "t9", &lab.file("other")], 1, &["no port 't9'", "0 (net_af_packet0, t0)"]),
        (&["kvadd", "1", "1", "t0", &lab.file("other")], 1, &["1.1 is already exported"]),
        (&["kvadd", "1", "2", "t0", &file], 1, &["exported as 1.1 already", "read-only"]),
        (&["kvdel", "9", "9", "t0"], 1, &["no export 9.9", "1.1"]),
        (&["kvdel", "1", "1", "t9"], 1, &["no port 't9'"]),
        (&["kvannounce", "9"], 1, &["no export 9.*"]),
        (&["kvannounce", "x"], 2, &["x"]),
    ] {
        fails(&lab, words, code, parts);
    }
    assert_eq!(prints(&lab, &["kvstat"]), before);
    let bdevs = target.rpc().call("bdev_get_bdevs", Value::Null);
    assert_eq!(bdevs.as_array().unwrap().len(), 1, "no bdev is left of what was refused: {bdevs}");
    target.stop();
}
