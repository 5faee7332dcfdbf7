//! Entries of --config that SPDK refuses: each is named, with its place, its method, what it is for, and SPDK's words.

use std::fs;

use lab::Daemon;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::lab::{Lab, PATIENCE, refuses, until};

fn bdevs(entries: Value) -> String {
    json!({ "subsystems": [{ "subsystem": "bdev", "config": entries }] }).to_string()
}

/// `--config` with that text must end the start, with what `sentence` says after the file's name.
#[track_caller]
fn refused(lab: &Lab, strict: &[&str], text: &str, sentence: &str) {
    let config = lab.path("config.json");
    fs::write(&config, text).unwrap();
    let path = config.to_str().unwrap();
    let words = [&["-e", "9.9=malloc:1M", "--config", path][..], strict].concat();
    refuses(lab, lab.command(&lab.eal(), &words), 1, false, &format!("--config '{path}': {sentence}"));
}

#[test]
fn an_unknown_method_is_named_with_the_nearest_one() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let params = json!({ "name": "x", "num_blocks": 8, "block_size": 512 });
    refused(
        &lab,
        &[],
        &bdevs(json!([{ "method": "bdev_malloc_creat", "params": params }])),
        "entry 1 of subsystem 'bdev': bdev_malloc_creat of 'x': there is no method 'bdev_malloc_creat'; the nearest is \
         'bdev_malloc_create'",
    );
    // Nobody has the program's own methods called.
    refused(
        &lab,
        &[],
        &bdevs(json!([{ "method": "aoe_load_startup" }])),
        "entry 1 of subsystem 'bdev': aoe_load_startup: there is no method 'aoe_load_startup'",
    );
}

#[test]
fn parameters_that_do_not_fit_end_the_start_and_are_listed() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    for (method, params, given) in [
        (
            "bdev_malloc_create",
            json!({ "name": "x", "num_block": 8, "block_size": 512 }),
            "name, num_block, block_size",
        ),
        (
            "bdev_malloc_create",
            json!({ "name": "x", "num_blocks": "many", "block_size": 512 }),
            "name, num_blocks, block_size",
        ),
        ("bdev_null_create", json!({ "name": "x" }), "name"),
    ] {
        let good = json!({ "method": "bdev_null_create", "params": { "name": "n", "num_blocks": 8, "block_size": 512 } });
        refused(
            &lab,
            &[],
            &bdevs(json!([good, { "method": method, "params": params }])),
            &format!(
                "entry 2 of subsystem 'bdev': {method} of 'x': spdk_json_decode_object failed: a parameter is missing, has \
                 the wrong type or is not known to the method; given are {given}"
            ),
        );
    }
}

#[test]
fn an_option_that_is_refused_before_the_subsystems_start_is_named() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    refused(
        &lab,
        &[],
        &bdevs(
            json!([{ "method": "bdev_set_options", "params": { "bdev_io_pool_size": 20_000, "bdev_io_cache_size": 100_000_000 } }]),
        ),
        "entry 1 of subsystem 'bdev': bdev_set_options: Pool size 20000 too small for cache size 100000000",
    );
}

#[test]
fn an_option_of_the_configuration_takes_effect_before_the_subsystems_start() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let config = lab.path("config.json");
    let small = json!({ "small_pool_count": 2048, "large_pool_count": 256 });
    let options = json!({ "bdev_io_pool_size": 10_000, "bdev_io_cache_size": 128 });
    let document = json!({ "subsystems": [
        { "subsystem": "iobuf", "config": [{ "method": "iobuf_set_options", "params": small }] },
        { "subsystem": "bdev", "config": [{ "method": "bdev_set_options", "params": options }] },
    ] });
    fs::write(&config, document.to_string()).unwrap();
    let target = lab.start(&["-e", "1.1=malloc:1M", "--config", config.to_str().unwrap()]);
    let mut rpc = target.rpc();
    let of = |config: Value, method: &str| {
        let calls = config.as_array().unwrap().clone();
        calls.into_iter().find(|call| call["method"] == method).unwrap()["params"].clone()
    };
    let iobuf = of(rpc.call("framework_get_config", json!({ "name": "iobuf" })), "iobuf_set_options");
    assert_eq!(
        (&iobuf["small_pool_count"], &iobuf["large_pool_count"]),
        (&json!(2048), &json!(256)),
        "{iobuf}"
    );
    let bdev = of(rpc.call("framework_get_config", json!({ "name": "bdev" })), "bdev_set_options");
    assert_eq!(
        (&bdev["bdev_io_pool_size"], &bdev["bdev_io_cache_size"]),
        (&json!(10_000), &json!(128)),
        "{bdev}"
    );
    target.stop();
}

#[test]
fn a_bdev_defined_twice_is_named_and_strict_names_every_entry_that_was_refused() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let twice = json!({ "method": "bdev_null_create", "params": { "name": "n", "num_blocks": 8, "block_size": 512 } });
    let config = lab.path("config.json");
    refused(
        &lab,
        &[],
        &bdevs(json!([twice, twice])),
        "entry 2 of subsystem 'bdev': bdev_null_create of 'n': File exists",
    );
    let gone =
        json!({ "method": "bdev_aio_create", "params": { "name": "g", "filename": lab.path("gone") } });
    fs::write(&config, bdevs(json!([gone]))).unwrap();
    let path = config.to_str().unwrap();
    let words = ["--strict", "-e", "1.1=g", "-e", "1.2=malloc:1M", "--config", path];
    let mut daemon = Daemon::start(&mut lab.command(&lab.eal(), &words)).unwrap();
    let status = daemon.wait(PATIENCE).unwrap();
    let log = daemon.log().unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    let last = format!(
        "kvblade-dpdk: 2 entries were refused:\n  --config '{path}': entry 1 of subsystem 'bdev': bdev_aio_create of 'g': No such \
         file or directory\n  --export '1.1=g': aoe_create_export of 1.1 with bdev 'g': no bdev 'g': the bdevs are \
         'malloc1.2'\n"
    );
    assert!(log.ends_with(&last), "{log}");
    assert_eq!(lab.sockets_and_locks(), Vec::<String>::new());
}

#[test]
fn json_that_is_broken_is_named_with_its_line() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let config = lab.path("config.json");
    fs::write(&config, "{\"subsystems\": [\n  // a comment\n  {\"subsystem\": \"bdev\",\n}]}\n").unwrap();
    let sentence =
        format!("--config '{}': trailing comma at line 4 column 1; it must be JSON", config.display());
    refuses(&lab, lab.command(&lab.eal(), &["--config", config.to_str().unwrap()]), 1, true, &sentence);
}

#[test]
fn entries_of_a_subsystem_that_this_program_does_not_have_are_passed_over() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let config = lab.path("config.json");
    let document =
        json!({ "subsystems": [{ "subsystem": "elsewhere", "config": [{ "method": "elsewhere_begin" }] }] });
    fs::write(&config, document.to_string()).unwrap();
    let target = lab.start(&["-e", "1.1=malloc:1M", "--config", config.to_str().unwrap()]);
    let line =
        "entry 1 of subsystem 'elsewhere': elsewhere_begin: passed over, for this program has no subsystem";
    assert!(target.log().contains(line), "{}", target.log());
    target.stop();
}

#[test]
fn nobody_else_loads_a_configuration_by_the_programs_own_methods() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    rpc.refused("aoe_load_runtime", Value::Null, -32603, &["nobody else may"]);
    assert_eq!(rpc.state(1, 1).as_deref(), Some("online"));
    target.stop();
}

#[test]
fn a_signal_while_entries_are_carried_out_ends_it_and_leaves_nothing() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let config = lab.path("config.json");
    let entries: Vec<Value> = (0..400)
        .map(|number| {
            let params = json!({ "name": format!("m{number}"), "num_blocks": 64, "block_size": 512 });
            json!({ "method": "bdev_malloc_create", "params": params })
        })
        .collect();
    fs::write(&config, bdevs(entries.into())).unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let words = ["-e", "1.1=malloc:1M", "--config", config.to_str().unwrap()];
        let mut daemon = Daemon::start(&mut lab.command(&lab.eal(), &words)).unwrap();
        // The program's own socket is there while entries are carried out, a first time for options only.
        until("the ports", || daemon.log().unwrap().contains("port started"));
        let is_loading = || lab.sockets_and_locks().iter().any(|name| name.ends_with("_config"));
        until("entries", is_loading);
        daemon.signal(signal).unwrap();
        let status = daemon.wait(PATIENCE).unwrap();
        let log = daemon.log().unwrap();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!log.contains(" ready ") && !log.contains("panicked"), "{log}");
        assert_eq!(lab.sockets_and_locks(), Vec::<String>::new(), "{log}");
    }
}
