//! SPDK's own client, the package `spdk` of PyPI, which knows nothing of AoE: as a command, and as a library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::SECTOR;
use serde_json::{Value, json};

use crate::changes::under_verified_load;
use crate::lab::{Lab, SECTORS, find};

/// A program of the client's virtual environment, which `scripts/setup --tests` makes.
fn client(program: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dpdk-build/cache-dir");
    let output = Command::new(script).output().expect("dpdk-build/cache-dir runs");
    assert!(output.status.success(), "{output:?}");
    let spdk = String::from_utf8(output.stdout).unwrap();
    let path = PathBuf::from(format!("{}-client-26.1", spdk.trim_end())).join("bin").join(program);
    assert!(path.exists(), "{} is not installed: run scripts/setup --tests", path.display());
    path
}

/// The output of a program of the client.
#[track_caller]
fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(client(program)).args(words).output().unwrap();
    let (text, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {words:?}: {text}{error}");
    text
}

/// `spdk-rpc` with the lab's socket.
#[track_caller]
fn spdk_rpc(lab: &Lab, words: &[&str]) -> String {
    let socket = lab.socket();
    let mut all = vec!["-s", socket.to_str().unwrap()];
    all.extend(words);
    run("spdk-rpc", &all)
}

/// One call through the client's library, as a script would make it.
#[track_caller]
fn call(lab: &Lab, method: &str, params: &Value) -> Value {
    const SCRIPT: &str = "\
import json, sys
from spdk.rpc.client import JSONRPCClient
with JSONRPCClient(sys.argv[1]) as client:
    print(json.dumps(client.call(sys.argv[2], json.loads(sys.argv[3]))))
";
    let socket = lab.socket();
    let words = ["-c", SCRIPT, socket.to_str().unwrap(), method, &params.to_string()];
    serde_json::from_str(&run("python", &words)).unwrap()
}

/// The exports as the client lists them. A malloc bdev has another UUID at each start.
#[track_caller]
fn exports(lab: &Lab) -> Value {
    let mut exports = call(lab, "aoe_get_exports", &json!({}));
    for export in exports.as_array_mut().unwrap() {
        if export["bdev_name"] == "m0" {
            export["bdev"]["uuid"].take();
        }
    }
    exports
}

#[test]
fn pypis_client_creates_lists_saves_and_loads() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let (disk, store) = (lab.file("disk"), lab.path("store").display().to_string());
    fs::File::create(&store).unwrap().set_len(64 << 20).unwrap();
    let target = lab.start(&[]);
    assert_eq!(spdk_rpc(&lab, &["bdev_malloc_create", "-b", "m0", "8", "512"]), "m0\n");
    spdk_rpc(&lab, &["bdev_aio_create", &disk, "a0", "512"]);
    spdk_rpc(&lab, &["bdev_aio_create", &store, "a1", "4096"]);
    spdk_rpc(&lab, &["bdev_lvol_create_lvstore", "a1", "lvs"]);
    for name in ["volume", "other"] {
        spdk_rpc(&lab, &["bdev_lvol_create", "-l", "lvs", name, "8"]);
    }
    let bdevs: Value = serde_json::from_str(&spdk_rpc(&lab, &["bdev_get_bdevs"])).unwrap();
    let listed = |name: &str| {
        let is = |bdev: &&Value| bdev["name"] == name || bdev["aliases"][0] == name;
        bdevs.as_array().unwrap().iter().any(|bdev| is(&bdev))
    };
    assert!(["m0", "a0", "a1", "lvs/volume"].into_iter().all(listed), "{bdevs}");

    for (slot, bdev, read_only) in [(1, "a0", false), (2, "m0", true), (3, "lvs/volume", false)] {
        let params = json!({ "shelf": 1, "slot": slot, "bdev_name": bdev, "read_only": read_only });
        let made = call(&lab, "aoe_create_export", &params);
        assert_eq!((&made["bdev_name"], &made["state"]), (&json!(bdev), &json!("online")));
    }
    let before = exports(&lab);
    assert_eq!(before.as_array().unwrap().len(), 3, "{before}");
    let mut initiator = lab.initiator(0);
    let written = [(ShelfSlot::new(1, 1), 0xa1), (ShelfSlot::new(1, 3), 0xa3)];
    for (address, byte) in written {
        let export = find(&mut initiator, address);
        initiator.write(&export, SECTORS - 1, &[byte; SECTOR]).unwrap();
    }
    let saved = spdk_rpc(&lab, &["save_config"]);
    let path = lab.path("saved.json").display().to_string();
    fs::write(&path, saved).unwrap();
    target.stop();

    // Into a target that runs, and as the configuration of one that starts, which serves a volume of it besides.
    for load in [true, false] {
        let more = ["--config", &path, "--export", "1.9=bdev:lvs/other"];
        let target = lab.start(if load { &[] } else { &more });
        if load {
            assert_eq!(exports(&lab), json!([]));
            spdk_rpc(&lab, &["load_config", "-j", &path]);
        }
        let mut now = exports(&lab);
        let more = now.as_array_mut().unwrap().split_off(3);
        assert_eq!(now, before, "loaded by the client: {load}");
        let more: Vec<&str> = more.iter().map(|export| export["bdev_name"].as_str().unwrap()).collect();
        assert_eq!(more, if load { &[][..] } else { &["lvs/other"] });
        let mut initiator = lab.initiator(0);
        for (address, byte) in written {
            let export = find(&mut initiator, address);
            let mut data = [0; SECTOR];
            initiator.read(&export, SECTORS - 1, &mut data).unwrap();
            assert_eq!(data, [byte; SECTOR], "{address}, loaded by the client: {load}");
        }
        target.stop();
    }
}

/// Nothing of it may be noticed by the initiator of the export that is changed most.
#[test]
fn pypis_client_makes_hundreds_of_changes_with_every_method_under_verified_load() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let disk = lab.file("disk");
    let target = lab.start_on("0-1", &[]);
    for name in ["one", "other"] {
        spdk_rpc(&lab, &["bdev_aio_create", &disk, name, "512"]);
    }
    spdk_rpc(&lab, &["bdev_malloc_create", "-b", "m0", "1", "512"]);
    call(&lab, "aoe_create_export", &json!({ "shelf": 1, "slot": 1, "bdev_name": "one" }));
    let (socket, mac) = (lab.socket(), lab.link(0).mac().to_string());
    under_verified_load(&lab, || {
        let end_it = ["aoe_hand_over", "aoe_upgrade"];
        let methods: Vec<&str> =
            control::request::NAMES.iter().copied().filter(|name| !end_it.contains(name)).collect();
        let methods = methods.join(",");
        let script = include_str!("every_method.py");
        let changes = run("python", &["-c", script, socket.to_str().unwrap(), &mac, "15", &methods]);
        assert_eq!(changes.trim(), "240");
    });
    assert_eq!(exports(&lab).as_array().unwrap().len(), 1);
    target.stop();
}

#[test]
fn the_plugin_has_a_command_with_help_for_each_method() {
    lab::needs_root!();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let lab = Lab::new(1500);
    let plugin = lab.path("plugin");
    fs::create_dir(&plugin).unwrap();
    fs::copy(root.join("packaging/kvblade_rpc.py"), plugin.join("kvblade_rpc.py")).unwrap();
    fs::copy(root.join("docs/reference/schema.json"), plugin.join("schema.json")).unwrap();
    let target = lab.start(&[]);
    let socket = lab.socket();
    let rpc = |words: &[&str]| {
        let mut command = Command::new(client("spdk-rpc"));
        command.env("PYTHONPATH", &plugin).env("PYTHONDONTWRITEBYTECODE", "1");
        command.args(["-s", socket.to_str().unwrap(), "--plugin", "kvblade_rpc"]).args(words);
        let output = command.output().unwrap();
        let (text, error) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        (output.status.success(), text, error)
    };
    let called = |words: &[&str]| -> Value {
        let (success, text, error) = rpc(words);
        assert!(success, "{words:?}: {text}{error}");
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{words:?}: {text}"))
    };
    let (_, all, _) = rpc(&["--help"]);
    for method in control::request::NAMES {
        assert!(all.contains(method), "{method} is missing: {all}");
        let (success, help, error) = rpc(&[method, "--help"]);
        assert!(success && help.len() > 100, "{method}: {help}{error}");
    }
    assert_eq!(called(&["aoe_get_exports"]), json!([]));
    assert_eq!(spdk_rpc(&lab, &["bdev_malloc_create", "-b", "m0", "8", "512"]), "m0\n");
    let made =
        called(&["aoe_create_export", "1", "2", "m0", "--read-only", "--buffers", "32", "--ports", "t0"]);
    assert_eq!(
        (&made["read_only"], &made["buffers"], &made["all_ports"]),
        (&json!(true), &json!(32), &json!(false))
    );
    let changed = called(&["aoe_update_export", "1", "2", "--no-read-only", "--reset", "buffers"]);
    assert_eq!((&changed["read_only"], &changed["buffers"]), (&json!(false), &json!(16)));
    assert_eq!(called(&["aoe_get_health"])["verdict"].as_str().map(str::is_empty), Some(false));
    let (success, text, error) = rpc(&["aoe_update_export", "1", "2", "--buffers", "1"]);
    assert!(!success && text.contains("from 2 to 512"), "{text}{error}");
    assert_eq!(called(&["aoe_delete_export", "1", "2"]), json!(true));
    target.stop();
}
