//! Loads that go as they should, and what is said of them.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::links::{OverVeth, measure_over_memif};
use crate::{PATIENCE, json, run, turn};

/// Checks the counters of a total or a target.
#[track_caller]
fn check_counts(counts: &Value, seconds: f64, io_size: f64) {
    let number = |name: &str| counts[name].as_f64().unwrap_or_else(|| panic!("no {name} in {counts}"));
    assert!(number("requests") > 0.0, "{counts}");
    assert!((number("iops") * seconds - number("requests")).abs() < 1.0, "{counts}");
    assert!((number("mib_per_s") - number("iops") * io_size / 1_048_576.0).abs() < 0.01, "{counts}");
    assert!(number("errors").abs() < 0.5, "{counts}");
    // On a busy machine a request is sent again before its answer is seen, and the copy is answered too.
    assert!(number("unexpected") <= number("retransmits"), "{counts}");
    let latency = ["min", "p50", "p90", "p99", "p99_9", "p99_99", "max"];
    let latency = latency.map(|name| counts["latency_us"][name].as_f64().expect(name));
    assert!(latency[0] > 0.0 && latency.is_sorted(), "{latency:?}");
    let mean = counts["latency_us"]["mean"].as_f64().expect("mean");
    assert!((latency[0]..=latency[6]).contains(&mean), "{mean} {latency:?}");
    let slowest = &counts["latency_us"]["slowest_us"];
    if number("iops") > 1000.0 {
        // Fewer are longer than a longer latency.
        let slowest = ["1000", "100", "10"].map(|name| slowest[name].as_f64().expect(name));
        assert!(slowest.is_sorted() && latency[0] <= slowest[0] && slowest[2] <= latency[6], "{counts}");
    } else {
        assert_eq!(slowest["1000"], Value::Null, "{counts}");
    }
}

#[track_caller]
fn check(report: &Value, addresses: &[&str]) {
    let seconds = report["seconds"].as_f64().expect("seconds");
    let io_size = report["options"]["io_size"].as_f64().expect("io_size");
    check_counts(&report["total"], seconds, io_size);
    let busy = report["total"]["busy_percent"].as_f64().expect("busy_percent");
    assert!((0.0..=100.0).contains(&busy), "{busy}");
    assert_eq!(report["aoeperf"], env!("CARGO_PKG_VERSION"));
    let targets = report["targets"].as_array().expect("targets");
    let found: Vec<&str> =
        targets.iter().map(|target| target["address"].as_str().expect("address")).collect();
    assert_eq!(found, addresses);
    targets.iter().for_each(|target| check_counts(target, seconds, io_size));
    let sum: u64 = targets.iter().map(|target| target["requests"].as_u64().expect("requests")).sum();
    assert_eq!(report["total"]["requests"].as_u64(), Some(sum));
}

#[track_caller]
fn check_verified(report: &Value) {
    let [checked, written] =
        ["sectors_checked", "sectors_written"].map(|name| report["verified"][name].as_u64().expect(name));
    assert!(written > 0 && checked >= written, "the sweep reads all that was written: {report}");
}

#[test]
fn over_veth_what_is_written_is_read_from_many_initiators_on_two_ports() {
    lab::needs_root!();
    let _turn = turn();
    let lab = OverVeth::start(9000, 2, &["1.1=malloc:4M", "1.2=malloc:4M", "9.5@t1=malloc:4M"]);
    let options =
        "-q 8 -o 4096 -w randrw -M 40 -t 1.5 --warmup 0.2 --verify --initiators 100 --no-progress --json -";
    let report = json(&run(lab.aoeperf(options), 0));
    check(&report, &["1.1", "1.2", "9.5"]);
    check_verified(&report);
    assert_eq!(
        (report["options"]["read_percent"].as_u64(), report["options"]["initiators"].as_u64()),
        (Some(40), Some(100))
    );

    // One target of the three, its two paths shown, within Linux's window.
    let options = "-q 16 -o 8192 -w read -t 0.5 --target 1.2 --linux-window --paths --no-progress";
    let output = run(lab.aoeperf(options), 0);
    let text = String::from_utf8(output.stdout).unwrap();
    let ways: Vec<&str> = text.lines().filter(|line| line.contains("net_af_packet")).collect();
    assert!(ways.len() == 2 && ways.iter().all(|way| way.contains(" 1.2 ")), "{text}");
    assert!(ways[0].contains("net_af_packet0") && ways[1].contains("net_af_packet1"), "{text}");
    assert!(text.lines().any(|line| line.trim_start().starts_with("total ")), "{text}");
    lab.target.stop();
}

#[test]
fn over_memif_every_workload_runs_and_the_json_goes_to_a_file() {
    lab::needs_root!();
    let _turn = turn();
    let exports = ["0.0=malloc:4M", "0.1=malloc:4M", "1.0=malloc:4M", "1.1=malloc:4M"];
    for workload in ["read", "write", "randread", "randwrite", "rw", "randrw"] {
        let options = format!("-q 32 -o 512 -w {workload} -t 0.3 --warmup 0.1 --target 0-1.0-1");
        let (text, report) = measure_over_memif(&exports, &options);
        let title = format!("{workload} of 512 bytes, queue depth 32, 4 targets");
        assert!(text.lines().any(|line| line.starts_with(&title)), "{text}");
        check(&report, &["0.0", "0.1", "1.0", "1.1"]);
        assert_eq!(report["options"]["workload"], workload);
    }
    let options = "-q 16 -o 8192 -w randrw -t 1 --verify --sectors 1024 --seed 5";
    let (_, report) = measure_over_memif(&exports, options);
    check(&report, &["0.0", "0.1", "1.0", "1.1"]);
    check_verified(&report);
}

#[test]
fn the_list_shows_what_answers_and_asks_nothing_else() {
    lab::needs_root!();
    let _turn = turn();
    let lab = OverVeth::start(1500, 1, &["1.1=malloc:4M", "1.2=malloc:8M,buffers=64"]);
    let output = run(lab.aoeperf("--list"), 0);
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words.len(), 3, "{text}");
    for (line, (address, sectors, mib, buffers)) in
        words[1..].iter().zip([("1.1", "8192", "4", "16"), ("1.2", "16384", "8", "64")])
    {
        assert_eq!((line[0], line[2], line[3]), (address, "net_af_packet0", sectors), "{text}");
        assert_eq!((line[4], line[5], line[6]), (mib, buffers, "1024"), "{text}");
        assert_eq!(line[1].len(), 17, "a MAC address: {text}");
    }
    lab.target.stop();
}

#[test]
fn an_interrupt_ends_it_early_with_a_report_and_a_line_came_each_second() {
    lab::needs_root!();
    let _turn = turn();
    let lab = OverVeth::start(1500, 1, &["1.1=malloc:4M"]);
    let mut command = lab.aoeperf("-q 2 -o 512 -w randread -t 3600 --warmup 0 --json out");
    let errors = lab.target.directory.path().join("errors");
    let mut child =
        command.stdout(Stdio::piped()).stderr(std::fs::File::create(&errors).unwrap()).spawn().unwrap();
    let begun = Instant::now();
    let lines = || {
        let text = std::fs::read_to_string(&errors).unwrap();
        text.lines().filter(|line| line.contains(" IOPS ")).count()
    };
    while lines() < 2 {
        assert!(begun.elapsed() < PATIENCE && child.try_wait().unwrap().is_none(), "no progress");
        std::thread::sleep(Duration::from_millis(20));
    }
    // `ip netns exec` has become the program.
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let report: Value =
        serde_json::from_slice(&std::fs::read(lab.target.directory.path().join("out")).unwrap()).unwrap();
    check(&report, &["1.1"]);
    let seconds = report["seconds"].as_f64().unwrap();
    assert!((1.0..3600.0).contains(&seconds), "{seconds}");
    lab.target.stop();
}
