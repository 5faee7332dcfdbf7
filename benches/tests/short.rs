//! Every subcommand, as short as it can be: each contender is measured, the goals are judged, and nothing is left behind.
//! Needs root, and kvblade-dpdk, aoeperf and the programs of `micro` and `instructions` built beside `bench`. What the
//! figures are is not looked at.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Runs `bench` with these arguments; its record and what it printed. The run is to leave no process, namespace or mount.
fn bench(arguments: &[&str], is_done: impl Fn(&str) -> bool) -> (Value, String) {
    // There are two cores, and each run takes both.
    static CORES: Mutex<()> = Mutex::new(());
    let _cores = CORES.lock();
    let results = tempfile::tempdir().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(arguments)
        .args(["--rounds", "1", "--seconds", "0.4", "--results"])
        .arg(results.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() || is_done(&complaints),
        "{arguments:?}: {}: {complaints}",
        output.status
    );
    let left: Vec<String> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.unwrap().path().join("cmdline")).ok())
        .map(|command| String::from_utf8_lossy(&command).replace('\0', " "))
        .filter(|command| command.contains(&format!("aoebench{pid}-")))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let namespaces = Command::new("ip").args(["netns", "list"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&namespaces.stdout).contains(&format!("-bench-{pid}-")));
    assert!(!Path::new(&format!("/run/aoebench{pid}-hugepages")).exists());
    let record = fs::read_to_string(results.path().join(format!("{}.json", arguments[0]))).unwrap();
    (serde_json::from_str(&record).unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn rates(rows: &Value) -> Vec<(String, f64)> {
    let row = |row: &Value| {
        let samples = row["samples"].as_array().unwrap();
        // Rounds are added where parts and wholes can't be compared without.
        assert!((1..=3).contains(&samples.len()), "one round: {row}");
        let sample = &samples[0];
        (row["contender"].as_str().unwrap().to_owned(), sample["iops"].as_f64().unwrap())
    };
    rows.as_array().unwrap().iter().map(row).collect()
}

#[test]
fn everything_is_measured_and_judged() {
    lab::needs_root!();
    // Of one short round a part may be slower than its whole: then it says so.
    let (record, printed) =
        bench(&["run", "--no-own-cost", "--cases", "null/512/read/32,memory:16/4096/read/1"], |complaints| {
            complaints.contains("which is a part of it")
        });
    let rates = rates(&record["rows"]);
    assert!(rates.iter().all(|(_, iops)| *iops > 0.0), "{rates:?}");
    let measured: BTreeSet<&str> = rates.iter().map(|(contender, _)| contender.as_str()).collect();
    let contenders = [
        "bdev",
        "memif",
        "memif-link",
        "nvmf-posix",
        "nvmf-uring",
        "vblade",
        "veth",
        "veth-link",
        "zero-copy",
        "zero-copy-link",
    ];
    assert_eq!(measured, contenders.into());
    assert_eq!(record["commands"].as_object().unwrap().len(), contenders.len());
    assert!(record["goals"].as_array().unwrap().len() >= 4, "{record}");
    assert!(printed.contains("| memory:16 | 4096 | read | 1 |") && printed.contains("| Goal |"), "{printed}");
}

#[test]
fn a_build_is_compared_with_itself() {
    lab::needs_root!();
    // This checkout is the base, too, if it has a release build.
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    if !checkout.join("target/release/kvblade-dpdk").exists() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().to_str().unwrap();
        let refused = refusal(&["ab", "--base", base]);
        assert!(refused.contains("target/release/kvblade-dpdk does not exist"), "{refused}");
        return;
    }
    let base = checkout.to_str().unwrap();
    let cases = ["--contenders", "memif,nvmf-posix", "--cases", "memory:16/512/read/32,file:16/512/read/32"];
    let (record, printed) = bench(&[&["ab", "--base", base][..], &cases].concat(), |_| false);
    assert_eq!(rates(&record["rows"]).len(), 6, "both builds: memif with two disks, nvmf_tgt with one");
    assert!(printed.contains("| memif | file:16 | 512 | read | 32 |"), "{printed}");
}

#[test]
fn more_of_everything_is_measured() {
    lab::needs_root!();
    let (record, printed) = bench(&["scaling", "--exports", "320"], |_| false);
    assert_eq!(record["series"].as_array().unwrap().len(), 8);
    assert!(printed.contains("| 1,000 initiators |"), "{printed}");
}

fn refusal(arguments: &[&str]) -> String {
    let results = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(arguments)
        .arg("--results")
        .arg(results.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_cannot_be_is_named() {
    lab::needs_root!();
    let missing = refusal(&["run", "--programs", "/nonexistent"]);
    assert!(missing.contains("/nonexistent/aoeperf") && missing.contains("cargo build"), "{missing}");
    let same = refusal(&["run", "--initiator-cpu", "0"]);
    assert!(same.contains("a core each"), "{same}");
    let case = refusal(&["run", "--cases", "memory:64/1000/read/1"]);
    assert!(case.contains("'memory:64/1000/read/1': no such size"), "{case}");
    let nothing = refusal(&["run", "--contenders", "vblade", "--cases", "null/512/read/1"]);
    assert!(nothing.contains("nothing to measure"), "{nothing}");
}
