//! A fake of kvblade-dpdk's management socket with two exports, which can be silent or go away.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Deserializer, Value, json};
use tempfile::TempDir;

/// The fake; its threads end with the test's process.
pub(crate) struct FakeTarget {
    directory: TempDir,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Calls get no answer.
    silent: AtomicBool,
    /// Connections are closed in place of an answer.
    closing: AtomicBool,
    /// Calls of `aoe_get_stats`; each has seen 1000 reads more.
    calls: AtomicU64,
    /// Calls that change something, with their parameters.
    changes: Mutex<Vec<(String, Value)>>,
}

impl FakeTarget {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fake = Self { directory, state: Arc::default() };
        let listener = UnixListener::bind(fake.socket()).unwrap();
        let state = Arc::clone(&fake.state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&state);
                thread::spawn(move || serve(stream.unwrap(), &state));
            }
        });
        fake
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("rpc.sock")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn set_silent(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::Relaxed);
    }

    /// Closes each connection that makes a call, as a target does that ends.
    pub(crate) fn set_closing(&self, closing: bool) {
        self.state.closing.store(closing, Ordering::Relaxed);
    }

    pub(crate) fn changes(&self) -> Vec<(String, Value)> {
        self.state.changes.lock().unwrap().clone()
    }

    pub(crate) fn calls(&self) -> u64 {
        self.state.calls.load(Ordering::Relaxed)
    }
}

fn serve(mut stream: UnixStream, state: &State) {
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let mut values = Deserializer::from_slice(&received).into_iter::<Value>();
        if let Some(Ok(request)) = values.next() {
            let end = values.byte_offset();
            received.drain(..end);
            if state.closing.load(Ordering::Relaxed) {
                return;
            }
            if !state.silent.load(Ordering::Relaxed) {
                let answer = answer(&request, state);
                if stream.write_all(answer.to_string().as_bytes()).is_err() {
                    return;
                }
            }
            continue;
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(length) => received.extend_from_slice(&piece[..length]),
        }
    }
}

fn answer(request: &Value, state: &State) -> Value {
    let id = &request["id"];
    let refuse = |code: i64, message: String| json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}});
    let result = match request["method"].as_str().unwrap() {
        method @ ("aoe_create_export" | "aoe_delete_export" | "aoe_set_qos") => {
            state.changes.lock().unwrap().push((method.to_owned(), request["params"].clone()));
            if request["params"]["bdev_name"] == "taken" {
                return refuse(-17, "1.3 is already exported: <b>taken</b>".into());
            }
            json!(true)
        }
        "aoe_get_stats" => stats(state.calls.fetch_add(1, Ordering::Relaxed) + 1),
        "aoe_get_exports" => json!([info(1, "disk", "online"), info(2, "gone", "offline")]),
        "aoe_get_histogram" => histogram(state.calls.load(Ordering::Relaxed)),
        "aoe_get_initiators" => json!({
            "initiators": [{"shelf": 1, "slot": 1, "vlan": null, "mac": "02:00:00:00:00:07", "export_full": 3, "rate_limited": 0}],
            "others": {"export_full": 0, "rate_limited": 0},
        }),
        other => {
            return refuse(-32601, format!("no method {other}"));
        }
    };
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

fn stats(calls: u64) -> Value {
    let export = |slot: u8, bdev: &str, state: &str, reads: u64| {
        json!({"shelf": 1, "slot": slot, "vlan": null, "bdev_name": bdev, "state": state, "reads": reads,
               "writes": reads / 2, "read_bytes": reads * 4096, "written_bytes": reads * 2048, "timeouts": 0,
               "ata_errors": 0, "aoe_errors": 0, "export_full": 3, "rate_limited": 0})
    };
    let reads = calls * 1000;
    json!({
        "exports": [export(1, "disk", "online", reads), export(2, "gone", "offline", 0)],
        "ports": [{"number": 0, "name": "net_af_packet0", "netif": "eth1", "mac": "02:00:00:00:00:01", "mtu": 9000,
                   "rx_frames": reads, "tx_frames": reads, "rx_bytes": reads * 60, "tx_bytes": reads * 4156,
                   "advertisements": 1, "tx_waiting": 0, "drops": {"not_aoe": 5}, "changes": {"link_down": 0}}],
        "lcores": [{"lcore": 1, "turns": reads * 10, "busy_turns": reads * 4, "in_flight": 2}],
    })
}

fn info(slot: u8, bdev: &str, state: &str) -> Value {
    json!({"shelf": 1, "slot": slot, "bdev_name": bdev, "size_bytes": 8 << 20, "state": state,
           "reason": if state == "offline" { Some("its bdev is gone") } else { None },
           "ports": [{"number": 0, "name": "net_af_packet0", "netif": "eth1"}], "timed": state == "online"})
}

/// Of a hundred reads, 98 take 150 microseconds, and two 3 milliseconds.
fn histogram(calls: u64) -> Value {
    let none = json!({"count": 0, "sum_ns": 0, "buckets": []});
    let reads = json!({"count": calls * 1000, "sum_ns": calls * 207_000_000,
                       "buckets": [[150_000, calls * 980], [3_000_000, calls * 20]]});
    json!({"shelf": 1, "slot": 1, "vlan": null, "reads": reads, "writes": none, "flushes": none})
}
