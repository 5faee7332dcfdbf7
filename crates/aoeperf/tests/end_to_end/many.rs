//! Many initiators and many exports: what keeps to the budgets is never dropped, and what does not is dropped fairly, counted,
//! and costs no memory.

use lab::Daemon;
use lab::vdev::{Role, memif};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{PATIENCE, Target, turn};

/// Bytes of a memif slot for an MTU of 1500, and the power of two of slots in a ring: all requests that are outstanding fit.
const ROOM: u32 = 2048;
const RING: u32 = 14;

/// What the target and the initiator say at the end of a load.
struct Outcome {
    stats: Value,
    report: Value,
    /// Of the target's resident memory, KiB: after two thirds of the load, and at its end.
    memory: [u64; 2],
}

fn of(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no {name}: {value}"))
}

/// Resident KiB of a process.
fn memory(target: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", target.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A file for --config with these calls, and its path.
fn configuration(directory: &TempDir, calls: Vec<Value>) -> String {
    let config = json!({ "subsystems": [{ "subsystem": "bdev", "config": calls }] });
    let path = directory.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Runs aoeperf against a target with these options, over memif.
fn measure(directory: TempDir, target_options: &[&str], options: &str) -> Outcome {
    let socket = directory.path().join("memif");
    let out = directory.path().join("out");
    let server = memif(0, &socket, Role::Server, ROOM, RING);
    let target_options = [&["--mtu", "1500"], target_options].concat();
    let target = Target::start_with(None, directory, &[server], &target_options, " port started ");
    let client = memif(0, &socket, Role::Client, ROOM, RING);
    let mut words = vec!["--mtu", "1500", "--hold", "--no-progress", "--wait", "60", "--json", "out"];
    words.extend(options.split_whitespace());
    let mut initiator = Daemon::start(&mut target.aoeperf(None, &[client], &words)).unwrap();
    let mut during = Vec::new();
    let ended = || {
        during.push(memory(&target.daemon));
        Ok(out.exists())
    };
    initiator.wait_ready(PATIENCE, ended).unwrap_or_else(|error| panic!("{error}"));
    // The table comes last.
    initiator.wait_for_log(" total ", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let mut stats = Value::Null;
    lab::until("nothing to be in flight", PATIENCE, || {
        stats = target.call("aoe_get_stats");
        stats["lcores"][0]["in_flight"] == 0
    });
    let memory = [during[during.len() * 2 / 3], memory(&target.daemon)];
    let report = serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap();
    target.stop();
    assert_eq!(initiator.stop().unwrap().code(), Some(0));
    Outcome { stats, report, memory }
}

#[test]
fn a_thousand_initiators_with_sixteen_outstanding_each_on_a_thousand_exports_are_never_dropped() {
    lab::needs_root!();
    let _turn = turn();
    // Each has 64 KiB of one bdev.
    let part = |number: u32| format!("offset={},length=128", number * 128);
    let exports: Vec<String> = (0..1000)
        .map(|number| format!("{}.{}=memory,{}", number / 250, number % 250, part(number)))
        .collect();
    let directory = TempDir::new().unwrap();
    let memory = json!({ "name": "memory", "num_blocks": 128_000, "block_size": 512 });
    let config = configuration(&directory, vec![json!({ "method": "bdev_malloc_create", "params": memory })]);
    let mut options = vec!["--config", config.as_str()];
    options.extend(exports.iter().flat_map(|export| ["--export", export.as_str()]));
    // A reply that is late on a busy machine is not lost: copies are rare, and no fault.
    let load = "-q 16 --initiators 1000 -o 512 -w randrw -t 2 --verify --first-rto 60000 --target 0-3.0-249";
    let outcome = measure(directory, &options, load);
    let (stats, report) = (&outcome.stats, &outcome.report);
    assert_eq!(report["targets"].as_array().unwrap().len(), 1000);
    for target in report["targets"].as_array().unwrap() {
        assert_eq!(target["errors"], 0, "{target}");
        assert_ne!(target["requests"], 0, "{target}");
    }
    let drops = &stats["ports"][0]["drops"];
    for (reason, count) in drops.as_object().unwrap() {
        // A discovery that came before the first export is of no load.
        assert!(*count == 0 || reason == "unknown_shelf_slot", "{reason}: {drops}");
    }
    println!("many: {} in {} s, memory {:?} KiB", report["total"], report["seconds"], outcome.memory);
}

#[test]
fn ten_thousand_initiators_over_their_budget_are_dropped_fairly_and_counted_and_take_no_memory() {
    lab::needs_root!();
    const EXPORTS: usize = 31;
    let _turn = turn();
    let directory = TempDir::new().unwrap();
    let bdevs = (0..EXPORTS).flat_map(|number| {
        let memory = json!({ "name": format!("memory{number}"), "num_blocks": 1024, "block_size": 512 });
        let delay = json!({
            "name": format!("slow{number}"), "base_bdev_name": format!("memory{number}"),
            "avg_read_latency": 500_000, "p99_read_latency": 500_000,
            "avg_write_latency": 500_000, "p99_write_latency": 500_000,
        });
        [
            json!({ "method": "bdev_malloc_create", "params": memory }),
            json!({ "method": "bdev_delay_create", "params": delay }),
        ]
    });
    let config = configuration(&directory, bdevs.collect());
    let exports: Vec<String> = (0..EXPORTS).map(|number| format!("0.{number}=slow{number}")).collect();
    let mut options = vec!["--mbufs", "4096", "--config", config.as_str()];
    options.extend(exports.iter().flat_map(|export| ["--export", export.as_str()]));
    // 15,872 outstanding; the initiators advertise nothing that the target could rely on.
    let load = "-q 512 --initiators 10000 -o 512 -w randread -t 9 --first-rto 2000 --target 0.0-30";
    let outcome = measure(directory, &options, load);
    let (stats, report) = (&outcome.stats, &outcome.report);
    let drops = stats["ports"][0]["drops"]["export_full"].as_u64().unwrap();
    assert!(drops > 0, "the load kept to its budget: {}", stats["ports"][0]);
    let counted: u64 =
        stats["exports"].as_array().unwrap().iter().map(|export| of(export, "export_full")).sum();
    assert_eq!(counted, drops, "each drop is counted for its export");
    let port = &stats["ports"][0];
    let all: u64 = port["drops"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    // A discovery is one frame with a reply from each export.
    let more = of(port, "tx_frames") - of(port, "advertisements") + all - of(port, "rx_frames");
    assert_eq!(more % (EXPORTS as u64 - 1), 0, "{port}");
    let requests = report["targets"].as_array().unwrap().iter().map(|target| of(target, "requests"));
    let (least, most) = (requests.clone().min().unwrap(), requests.max().unwrap());
    println!("many: {drops} drops, {least} to {most} requests of an export, memory {:?} KiB", outcome.memory);
    assert!(least > 0 && most <= 4 * least, "{least} to {most} requests of an export");
    let [under_load, after] = outcome.memory;
    assert!(
        after <= under_load + 4096,
        "{under_load} KiB after two thirds of the load, {after} KiB at its end"
    );
}
