//! The management socket under clients that are many, idle, slow or wrong, and with many exports.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::lab::{Lab, PATIENCE, Target, find, until};
use crate::rpc::Rpc;
use crate::shutdown::{SLOW, all_answered, in_flight, slow_export};

/// Exports of the test of many. More for a figure.
fn exports() -> usize {
    let number = std::env::var("KVBLADE_EXPORTS").ok().and_then(|number| number.parse().ok());
    number.unwrap_or(300)
}

/// Exports that an lcore, or the app's thread, visits between two turns at most.
const SLICE: usize = 16;

fn connected(lab: &Lab) -> UnixStream {
    let stream = UnixStream::connect(lab.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes in answer to this, until the connection ends or there is a line.
#[track_caller]
fn exchange(stream: &mut UnixStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\n") && stream.read(&mut byte).unwrap() > 0 {
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap()
}

fn is_closed(stream: &UnixStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    matches!({ stream }.read(&mut [0]), Ok(0))
}

fn resident_kib(target: &Target) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", target.daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The threads that serve clients.
fn client_threads(target: &Target) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", target.daemon.pid())).unwrap();
    // One that has just ended has no name.
    let names =
        tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
    names.filter(|name| name.trim() == "rpc").count()
}

#[test]
fn idle_connections_lock_nobody_out() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    // SPDK's own server takes 64.
    let idle: Vec<UnixStream> = (0..200).map(|_| connected(&lab)).collect();
    let mut rpc = target.rpc();
    assert_eq!(rpc.state(1, 1).as_deref(), Some("online"));
    assert!(rpc.call("bdev_get_bdevs", Value::Null).is_array());
    assert!(!idle.iter().any(is_closed), "there is room for all");
    target.stop();

    let target = lab.start(&["-e", "1.1=malloc:1M", "--rpc-connections", "8"]);
    let mut first = target.rpc();
    let idle: Vec<UnixStream> = (0..7).map(|_| connected(&lab)).collect();
    until("the idle ones to be served", || client_threads(&target) == 8);
    assert_eq!(first.state(1, 1).as_deref(), Some("online"));
    let mut another = target.rpc();
    assert_eq!(another.state(1, 1).as_deref(), Some("online"));
    assert_eq!(first.state(1, 1).as_deref(), Some("online"), "others had been idle longer");
    assert_eq!(idle.iter().filter(|stream| is_closed(stream)).count(), 1, "one made room");
    for part in ["an idle connection to the management socket is closed", "--rpc-connections", "process "] {
        assert!(target.log().contains(part), "{}", target.log());
    }
    target.stop();
}

#[test]
fn a_client_that_never_reads_is_closed_and_takes_no_memory() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    rpc.call("aoe_get_stats", Value::Null);
    let before = resident_kib(&target);
    let mut client = connected(&lab);
    client.set_nonblocking(true).unwrap();
    let requests = r#"{"id":1,"method":"aoe_get_stats"}{"id":2,"method":"bdev_get_bdevs"}"#.repeat(1000);
    let (mut sent, mut until_full) = (0, 0);
    // It sends whenever that is possible.
    until("the client to be closed", || {
        match client.write(requests.as_bytes()) {
            Ok(length) => sent += length,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => until_full = sent,
            Err(_) => {}
        }
        assert_eq!(rpc.state(1, 1).as_deref(), Some("online"), "others are served");
        target.log().contains("of its answer for 5 s")
    });
    assert!(until_full > 0, "it was held back");
    let after = resident_kib(&target);
    assert!(after < before + (16 << 10), "{before} KiB, and {after} KiB after {sent} bytes of requests");
    target.stop();
}

#[test]
fn requests_that_are_none_are_named_and_the_next_one_is_answered() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    let mut client = connected(&lab);
    for (request, parts) in [
        ("[]", &["-32600", "batches"][..]),
        (r#"{"id":1,"method":"aoe_get_export"}"#, &["-32601", "the nearest is aoe_get_exports"]),
        (r#"{"id":"a","method":"no_such"}"#, &["-32601", r#""id":"a""#]),
        (r#"{"id":1,"method":"aoe_get_stats","params":[]}"#, &["-32602", "must be an object"]),
        (
            &format!(r#"{{"id":1,"method":"bdev_get_bdevs","params":{{"name":"{}"}}}}"#, "x".repeat(40_000)),
            &["at most 32767"],
        ),
        // Nobody waits for an answer to the first two.
        (
            r#"{"method":"aoe_get_exports"}{"id":null,"method":"bdev_get_bdevs"}{"id":18446744073709551616,"method":"spdk_get_version"}"#,
            &[r#""id":18446744073709551616"#, "SPDK v"],
        ),
        ("x", &["-32700", "no JSON"]),
    ] {
        let answer = exchange(&mut client, request);
        for part in parts {
            assert!(answer.contains(part), "{request}: {answer} lacks {part}");
        }
    }
    until("the connection to end, for what follows has no beginning", || is_closed(&client));
    target.stop();
}

#[test]
fn calls_in_progress_are_answered_when_the_target_ends() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    slow_export(&mut rpc, 2_000_000);
    let mut initiator = lab.initiator(0);
    let slow = find(&mut initiator, SLOW);
    in_flight(&mut initiator, &slow, &mut rpc);
    rpc.send("aoe_delete_export", json!({ "shelf": SLOW.shelf, "slot": SLOW.slot }));
    let mut other = target.rpc();
    until("the delete to have begun", || other.state(SLOW.shelf, SLOW.slot).as_deref() == Some("deleting"));
    target.stop();
    let refusal = rpc.receive().unwrap().unwrap_err();
    assert!(refusal.message.contains("gave this call up"), "{}", refusal.message);
    assert_eq!(lab.sockets_and_locks(), Vec::<String>::new());
}

/// The bdev that `kvdel --force` has SPDK delete.
#[test]
fn a_bdev_that_is_deleted_with_quarantined_requests_goes_when_it_has_answered() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    slow_export(&mut rpc, 3_000_000);
    let mut initiator = lab.initiator(0);
    let slow = find(&mut initiator, SLOW);
    let tags = in_flight(&mut initiator, &slow, &mut rpc);
    rpc.call("aoe_delete_export", json!({ "shelf": SLOW.shelf, "slot": SLOW.slot, "force": true }));
    let mut deletion = target.rpc();
    deletion.send("bdev_delay_delete", json!({ "name": "slow" }));
    assert_eq!(rpc.state(SLOW.shelf, SLOW.slot).as_deref(), Some("quarantined"));
    assert_eq!(deletion.receive().unwrap().unwrap(), Value::Bool(true));
    rpc.refused("bdev_get_bdevs", json!({ "name": "slow" }), -19, &[]);
    assert_eq!(rpc.state(SLOW.shelf, SLOW.slot), None, "the requests have ended");
    all_answered(&mut initiator, &tags, crate::lab::QUIET);
    target.stop();
}

/// The field of the last line on a scan.
#[track_caller]
fn scanned(target: &Target, field: &str) -> usize {
    until("a line on the scan", || target.log().contains("a scan of exports"));
    let log = target.log();
    let line = log.lines().rfind(|line| line.contains("a scan of exports")).expect("a line on the scan");
    let (_, value) = line.split_once(&format!("{field}=")).unwrap_or_else(|| panic!("{line}"));
    value.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn many_exports_are_listed_and_counted_in_slices_of_a_bounded_number() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M", "--log-level", "debug"]);
    let mut rpc = target.rpc();
    rpc.call("bdev_malloc_create", json!({ "name": "shared", "num_blocks": 8, "block_size": 512 }));
    let many = exports();
    for number in 0..many {
        rpc.call(
            "aoe_create_export",
            json!({ "shelf": 2 + number / 255, "slot": number % 255, "bdev_name": "shared", "read_only": true }),
        );
    }
    let mut initiator = lab.initiator(0);
    let address = aoe_initiator::ShelfSlot::new(2, 7);
    let export = find(&mut initiator, address);
    initiator.read(&export, 0, &mut [0; 512]).unwrap();
    // Several callers at once, of both kinds.
    let mut others: Vec<Rpc> = (0..4).map(|_| target.rpc()).collect();
    others.iter_mut().for_each(|other| other.send("aoe_get_stats", Value::Null));
    let list = rpc.call("aoe_get_exports", Value::Null);
    let slices = (1 + many).div_ceil(SLICE);
    assert_eq!(scanned(&target, "slices"), slices);
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 1 + many);
    let place = |export: &Value| (export["shelf"].as_u64().unwrap(), export["slot"].as_u64().unwrap());
    assert!(list.windows(2).all(|pair| place(&pair[0]) < place(&pair[1])), "by address, each once");
    for other in &mut others {
        let stats = other.receive().unwrap().unwrap();
        let exports = stats["exports"].as_array().unwrap();
        assert_eq!(exports.len(), 1 + many);
        assert_eq!(exports[1 + 7]["reads"], 1, "{}", exports[8]);
    }
    rpc.call("aoe_get_stats", Value::Null);
    assert_eq!(scanned(&target, "slices"), slices);
    println!(
        "{} exports: the longest slice took {} us on the lcore and {} us on the app's thread",
        1 + many,
        scanned(&target, "lcore_microseconds"),
        scanned(&target, "app_microseconds")
    );
    target.stop();
}
