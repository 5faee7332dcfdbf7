//! The program `kv` and the links to it, against a fake target.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};

use crate::commands::{fails, run, succeeds};
use crate::fake_target::{FakeTarget, Reply};

/// The parameters of the last call of a method.
#[track_caller]
fn called(target: &FakeTarget, method: &str) -> Value {
    let calls = target.state().calls.clone();
    calls.into_iter().rfind(|(called, _)| called == method).expect("it was called").1
}

#[track_caller]
fn json_of(target: &FakeTarget, words: &[&str]) -> Value {
    serde_json::from_str(&succeeds(target, "kv", words)).unwrap()
}

#[test]
fn subcommands_do_what_the_commands_with_names_of_their_own_do() {
    let target = FakeTarget::start();
    let disk = target.file("disk", 1 << 20);
    assert_eq!(succeeds(&target, "kv", &["add", "1", "3", "veth0", "disk"]), "e1.3 serves disk\n");
    let line = format!("       1.3  veth0    0.001GB {}\n", disk.display());
    assert_eq!((succeeds(&target, "kv", &["stat"]), succeeds(&target, "kvstat", &[])), (line.clone(), line));
    let exports = json_of(&target, &["stat", "--json"]);
    assert_eq!((&exports[0]["slot"], &exports[0]["bdev_name"]), (&json!(3), &json!("file1.3")));
    succeeds(&target, "kv", &["announce", "1"]);
    assert_eq!(called(&target, "aoe_announce"), json!({ "shelf": 1 }));
    assert_eq!(succeeds(&target, "kv", &["del", "1", "3", "veth0"]), "");
    assert_eq!(target.bdev_names(), ["Malloc0"]);
}

#[test]
fn a_link_with_an_old_name_is_that_command() {
    let target = FakeTarget::start();
    for name in ["kvadd", "kvdel", "kvstat", "kvannounce"] {
        let link = target.directory().join(name);
        symlink(env!("CARGO_BIN_EXE_kv"), &link).unwrap();
        let linked = |words: &[&str]| {
            let mut command = Command::new(&link);
            command.args(words).arg("--rpc-socket").arg(target.socket()).output().unwrap()
        };
        for words in
            [&["--help"][..], &["--version"], &["--generate", "man"], &["--fly"], &["9", "9", "9", "9"]]
        {
            let (linked, own) = (linked(words), run(&target, name, words));
            assert_eq!(linked, own, "{name} {words:?}");
        }
    }
}

#[test]
fn options_are_changed_by_name_and_the_rest_stays() {
    let target = FakeTarget::start();
    let answer = json!({ "shelf": 1, "slot": 3, "bdev_name": "Malloc0", "state": "online" });
    let answered = answer.clone();
    target.script(move |method, _| match method {
        "aoe_update_export" | "aoe_replace_bdev" => Reply::Result(answered.clone()),
        _ => Reply::Usual,
    });
    let set = [
        "set",
        "1",
        "3",
        "--buffers",
        "64",
        "--bandwidth",
        "1M",
        "-r",
        "--reset",
        "io-timeout",
        "--vlan",
        "7",
    ];
    assert_eq!(succeeds(&target, "kv", &set), "e1.3 serves Malloc0, online\n");
    assert_eq!(
        called(&target, "aoe_update_export"),
        json!({"read_only": true, "vlan": 7, "buffers": 64, "bandwidth": 1 << 20, "shelf": 1, "slot": 3, "reset": ["io_timeout"]})
    );
    assert_eq!(json_of(&target, &["replace", "1", "3", "raid0", "--port", "veth0", "--json"]), answer);
    assert_eq!(
        called(&target, "aoe_replace_bdev"),
        json!({ "shelf": 1, "slot": 3, "port": "veth0", "bdev_name": "raid0" })
    );
    let calls = target.methods().len();
    for (words, parts) in [
        (&["set", "1", "3"][..], &["no option", "kv set --help"][..]),
        (&["set", "1", "3", "--vlan", "7"], &["no option"]),
        (&["set", "1", "3", "--reset", "vlan"], &["'vlan'", "read-only, offset"]),
        (&["set", "1", "3", "--buffers", "1"], &["buffers '1'", "2 to 512"]),
        (&["replace", "1", "3"], &["BDEV", "kv replace --help"]),
    ] {
        fails(&target, "kv", words, 2, parts);
    }
    assert_eq!(target.methods().len(), calls, "what is refused here calls nothing");
}

#[test]
fn limits_are_set_together_shown_and_lifted() {
    let target = FakeTarget::start();
    succeeds(&target, "kvadd", &["1", "3", "veth0", "Malloc0"]);
    let none = "iops                 none\nbandwidth            none\ninitiator_iops       none\ninitiator_bandwidth  none\n";
    assert_eq!(succeeds(&target, "kv", &["qos", "1", "3"]), none);
    let limits =
        json_of(&target, &["qos", "1", "3", "--iops", "5000", "--initiator-bandwidth", "50M", "--json"]);
    let expected =
        json!({"iops": 5000, "bandwidth": null, "initiator_iops": null, "initiator_bandwidth": 50 << 20});
    assert_eq!(limits, expected);
    assert_eq!(succeeds(&target, "kv", &["qos", "1", "3", "--none"]), none);
    fails(&target, "kv", &["qos", "1", "3", "--iops", "0"], 2, &["iops '0'", "from 1"]);
    fails(&target, "kv", &["qos", "1", "3", "--none", "--iops", "5"], 2, &["can't be given together"]);
    fails(&target, "kv", &["qos", "1", "4"], 1, &["no export 1.4"]);
}

#[test]
fn the_verdict_is_the_exit_code() {
    let target = FakeTarget::start();
    let health = |verdict: &str| {
        let answer = json!({ "verdict": verdict, "reasons": [
            { "severity": verdict, "kind": "drops", "subject": "eth1", "text": "5 frames were dropped" }] });
        target.script(move |_, _| Reply::Result(answer.clone()));
        let output = run(&target, "kv", &["health"]);
        assert!(String::from_utf8(output.stdout).unwrap().starts_with(verdict));
        output.status.code()
    };
    assert_eq!(["ok", "warning", "failure", "new"].map(health), [Some(0), Some(1), Some(2), Some(3)]);
    target.script(|_, _| Reply::Close);
    fails(&target, "kv", &["health"], 3, &["closed the connection"]);
    fails(&target, "kv", &["health", "--jsn"], 3, &["'--jsn'", "kv health --help"]);
    fs::remove_file(target.socket()).unwrap();
    fails(&target, "kv", &["health"], 3, &["cannot reach"]);
}

#[test]
fn times_of_an_export_are_switched_and_shown() {
    let target = FakeTarget::start();
    assert_eq!(succeeds(&target, "kv", &["latency", "1", "3", "--enable"]), "");
    assert_eq!(called(&target, "aoe_enable_histogram"), json!({ "shelf": 1, "slot": 3 }));
    succeeds(&target, "kv", &["latency", "1", "3", "--disable"]);
    assert_eq!(called(&target, "aoe_enable_histogram"), json!({ "shelf": 1, "slot": 3, "enable": false }));
    let kind = json!({ "count": 2, "mean_ns": 1000, "p50_ns": 1000, "p90_ns": 1000, "p99_ns": 1000, "p999_ns": 1000, "max_ns": 1000 });
    target.script(move |_, _| Reply::Result(json!({ "reads": kind })));
    let table = succeeds(&target, "kv", &["latency", "1", "3"]);
    assert!(table.lines().nth(1).unwrap().starts_with("reads         2  1.00us"), "{table}");
}

#[test]
fn a_configuration_is_saved_and_loaded_entry_by_entry() {
    let target = FakeTarget::start();
    let malloc = json!({ "method": "bdev_malloc_create", "params": { "name": "m" } });
    let (entries, started) =
        (json!([{ "method": "bdev_set_options" }, malloc]), json!(["bdev_malloc_create"]));
    let all = json!(["bdev_malloc_create", "bdev_set_options"]);
    target.script(move |method, params| {
        Reply::Result(match (method, params["name"].as_str(), params["current"].as_bool()) {
            ("framework_get_subsystems", ..) => {
                json!([{ "subsystem": "iobuf", "depends_on": [] }, { "subsystem": "bdev" }])
            }
            ("framework_get_config", Some("iobuf"), _) => Value::Null,
            ("framework_get_config", Some("bdev"), _) => entries.clone(),
            ("rpc_get_methods", _, Some(false)) => all.clone(),
            ("rpc_get_methods", _, Some(true)) => started.clone(),
            ("bdev_malloc_create", Some("m"), _) => json!("m"),
            _ => return Reply::Error(-17, "File exists"),
        })
    });
    assert_eq!(succeeds(&target, "kv", &["config", "save", "saved.json"]), "");
    let path = target.directory().join("saved.json");
    let saved: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(saved["subsystems"][1]["config"][1], malloc);
    assert_eq!(json_of(&target, &["config", "save"]), saved);

    let left_out = "left out, for a target takes them at its start only: bdev_set_options\n";
    assert_eq!(succeeds(&target, "kv", &["config", "load", "saved.json"]), left_out);
    assert_eq!(called(&target, "bdev_malloc_create"), json!({ "name": "m" }));

    let load = |text: &str, parts: &[&str]| {
        fs::write(&path, text).unwrap();
        fails(&target, "kv", &["config", "load", "saved.json"], 1, parts);
    };
    let file =
        |entries: Value| json!({ "subsystems": [{ "subsystem": "bdev", "config": entries }] }).to_string();
    let twice = json!([malloc, { "method": "bdev_malloc_create", "params": { "name": "n" } }]);
    load(
        &file(twice),
        &[
            "'saved.json': entry 2 of subsystem 'bdev'",
            "bdev_malloc_create: File exists",
            "the entry before it holds",
        ],
    );
    let calls = target.methods().len();
    load(
        &file(json!([malloc, { "method": "bdev_fly" }])),
        &["entry 2", "no method 'bdev_fly'", "nothing was changed"],
    );
    assert_eq!(target.methods()[calls..], ["rpc_get_methods", "rpc_get_methods"]);
    load("{", &["'saved.json'", "it must be JSON"]);
    fails(&target, "kv", &["config", "load", "none.json"], 1, &["'none.json'", "No such file"]);
}

#[test]
fn a_configuration_is_checked_by_the_targets_program() {
    let target = FakeTarget::start();
    let words = [
        "config",
        "check",
        "--program",
        "/bin/echo",
        "--settings",
        "s.toml",
        "a.json",
        "--rpc-socket",
        "x",
        "--",
        "--no-huge",
    ];
    let output = Command::new(env!("CARGO_BIN_EXE_kv")).args(words).output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "--no-huge --check --config a.json --settings s.toml\n"
    );
    fails(
        &target,
        "kv",
        &["config", "check", "--program", "/none", "a.json"],
        1,
        &["cannot run '/none'", "--program"],
    );
    fails(&target, "kv", &["config", "check"], 2, &["FILE", "kv config --help"]);
    assert_eq!(target.methods(), Vec::<String>::new());
}

#[test]
fn top_without_a_terminal_is_for_scripts() {
    let target = FakeTarget::start();
    let count = std::sync::atomic::AtomicU64::new(0);
    target.script(move |method, _| match method {
        "aoe_get_stats" => {
            let reads = 100 * count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Reply::Result(json!({
                "exports": [{ "shelf": 1, "slot": 3, "vlan": 5, "bdev_name": "disk", "state": "online", "reads": reads }],
                "ports": [], "lcores": [{ "lcore": 0, "turns": 2 * reads, "busy_turns": reads, "in_flight": 1 }],
            }))
        }
        "aoe_get_histogram" => Reply::Error(-95, "it is not timed"),
        "aoe_get_health" => Reply::Result(json!({ "verdict": "ok", "reasons": [] })),
        _ => Reply::Usual,
    });
    let once = ["top", "--once", "--interval", "0.2"];
    let view = json_of(&target, &[&once[..], &["--json"]].concat());
    let reads = view["exports"][0]["reads"].as_f64().unwrap();
    assert!(reads > 0.0 && reads <= 500.0, "{view}");
    assert_eq!(
        (&view["verdict"], &view["lcores"][0]["busy"], &view["exports"][0]["vlan"]),
        (&json!("ok"), &json!(0.5), &json!(5))
    );
    let text = succeeds(&target, "kv", &once);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0] == "ok" && lines[3].starts_with("EXPORT"), "{text}");
    assert!(lines[4].starts_with("1.3.v5  online") && !text.contains('\x1b'), "{text}");
    let filtered = succeeds(&target, "kv", &[&once[..], &["--filter", "nothing"]].concat());
    assert!(!filtered.contains("1.3.v5"), "{filtered}");
    fails(&target, "kv", &["top"], 2, &["no terminal", "--once or --json"]);
    fails(&target, "kv", &["top", "--interval", "0.1"], 2, &["'0.1'", "0.2 to 3600"]);
    target.script(|_, _| Reply::Close);
    fails(&target, "kv", &once, 1, &["closed the connection"]);
}

#[test]
fn a_wrong_command_line_names_the_word_and_the_help() {
    let target = FakeTarget::start();
    fails(&target, "kv", &["stta"], 2, &["no subcommand 'stta'", "nearest is 'stat'", "kv --help"]);
    let output = Command::new(env!("CARGO_BIN_EXE_kv")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("required, one of add, del, stat"), "{said}");
    fails(&target, "kv", &["add", "1", "2"], 2, &["kv add --help"]);
    fails(&target, "kv", &["config"], 2, &["one of save, load, check", "kv config --help"]);
    fails(&target, "kv", &["completion", "tcsh"], 2, &["'tcsh'", "bash"]);
    for shell in ["bash", "zsh", "fish"] {
        let script = succeeds(&target, "kv", &["completion", shell]);
        assert!(script.contains("kv") && script.contains("initiators"), "{shell}");
    }
    let pages = run_pages();
    assert!(
        ["add", "top", "config-load"].iter().all(|page| pages.lines().any(|line| line == *page)),
        "{pages}"
    );
}

fn run_pages() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_kv")).args(["--generate", "pages"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
