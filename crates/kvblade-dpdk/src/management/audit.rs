//! The audit log (`--audit-log`): one JSON line for each call at the management socket that changes something.
//!
//! A thread of its own writes. In front of it is a bounded queue: a call never waits for the disk, and lines that find no room, or
//! that can't be written, are counted where they are missing. A file that was renamed or deleted is made anew, so that log
//! rotation needs no signal.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use control::secrets::hide_secrets;
use nix::sys::signal::SigSet;
use nix::unistd::{Pid, gettid};
use serde_json::{Map, Value, json};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::peer::Peer;
use crate::cpus;
use crate::launch_error::LaunchError;

/// Lines that wait for the writer at most. With [`PARAMS_MAX`], 8 MiB.
const LINES_MAX: usize = 1024;

/// Longest text of parameters in a line, in bytes.
const PARAMS_MAX: usize = 8 << 10;

/// Permissions of a new file: parameters name disks and initiators.
const MODE: u32 = 0o600;

/// The log's entrance.
#[derive(Debug)]
pub(super) struct Audit {
    lines: SyncSender<String>,
    counts: Arc<Counts>,
    thread: Pid,
}

#[derive(Debug, Default)]
struct Counts {
    /// Lines that the queue has taken and the thread has not finished with.
    pending: AtomicUsize,
    /// Lines that are lost and whose number is not written yet.
    lost: AtomicU64,
}

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Refused { code: i64, message: String },
}

impl Audit {
    /// Opens the file, and starts the thread. Call it before EAL binds threads to CPUs.
    ///
    /// # Errors
    /// One sentence that names the file.
    pub(super) fn start(path: &Path) -> Result<Self, LaunchError> {
        let failed = |error: &dyn std::fmt::Display| {
            LaunchError::environment(format!(
                "--audit-log '{}': {error}; give a file in a directory that exists",
                path.display()
            ))
        };
        let mut output = Output { path: path.to_owned(), file: open(path).map_err(|error| failed(&error))? };
        let (lines, incoming) = sync_channel(LINES_MAX);
        let counts = Arc::new(Counts::default());
        let (started, thread) = sync_channel(1);
        let shared = Arc::clone(&counts);
        let write = move || {
            // SPDK handles signals on its own thread. Should the mask fail, they arrive there a moment later.
            SigSet::all().thread_block().unwrap_or_default();
            // The receiver waits below; without it the thread has nothing to report.
            started.send(gettid()).unwrap_or_default();
            output.write_all_of(&incoming, &shared);
        };
        thread::Builder::new().name("audit".into()).spawn(write).map_err(|error| failed(&error))?;
        let thread = thread.recv().map_err(|error| failed(&error))?;
        Ok(Self { lines, counts, thread })
    }

    /// Takes the thread off the CPUs of `lcores`, which poll.
    pub(super) fn leave(&self, lcores: &BTreeSet<u32>) {
        if let Err(error) = cpus::leave(self.thread, lcores) {
            tracing::warn!("the thread of the audit log may run on an lcore's CPU: {error}");
        }
    }

    /// Notes a call, if it is of a method that changes something. Never waits.
    pub(super) fn note(&self, peer: &Peer, method: &str, params: Option<&Value>, outcome: &Outcome) {
        if !changes(method) {
            return;
        }
        self.counts.pending.fetch_add(1, Ordering::AcqRel);
        if self.lines.try_send(line(&now(), peer, method, params, outcome)).is_err() {
            self.counts.pending.fetch_sub(1, Ordering::AcqRel);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all lines are written, `limit` at most.
    pub(super) fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.counts.pending.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Whether a method changes something, of this program or of SPDK. A method that is not known counts as one that does.
fn changes(method: &str) -> bool {
    const READERS: [&str; 8] = [
        "rpc_get_methods",
        "save_config",
        "save_subsystem_config",
        "framework_wait_init",
        "bdev_wait_for_examine",
        "thread_get_stats",
        "aoe_announce",
        "spdk_get_version",
    ];
    !READERS.contains(&method) && !method.starts_with("get_") && !method.contains("_get_")
}

fn line(time: &str, peer: &Peer, method: &str, params: Option<&Value>, outcome: &Outcome) -> String {
    let mut object = Map::new();
    object.insert("time".into(), time.into());
    object.insert("uid".into(), peer.uid.into());
    object.insert("gid".into(), peer.gid.into());
    object.insert("pid".into(), peer.pid.into());
    object.insert("process".into(), peer.name.clone().into());
    object.insert("method".into(), method.into());
    object.insert("params".into(), params.map_or(Value::Null, shown));
    match outcome {
        Outcome::Done => object.insert("result".into(), "done".into()),
        Outcome::Refused { code, message } => {
            object.insert("result".into(), "refused".into());
            object.insert("error".into(), json!({ "code": code, "message": message }))
        }
    };
    format!("{}\n", Value::Object(object))
}

/// Parameters without secrets, or their size if that is too large.
fn shown(params: &Value) -> Value {
    let mut shown = params.clone();
    hide_secrets(&mut shown);
    let length = shown.to_string().len();
    if length > PARAMS_MAX { format!("{length} bytes").into() } else { shown }
}

/// The time now, in UTC.
fn now() -> String {
    let mut text = String::new();
    if SystemTime.format_time(&mut Writer::new(&mut text)).is_err() {
        text.clear();
    }
    text
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(MODE).open(path)
}

/// The file, as the thread sees it.
struct Output {
    path: PathBuf,
    file: File,
}

impl Output {
    /// Writes the lines until the other end is gone.
    fn write_all_of(&mut self, incoming: &Receiver<String>, counts: &Counts) {
        for line in incoming {
            let lost = counts.lost.load(Ordering::Relaxed);
            if self.write(&line, lost).is_err() {
                counts.lost.fetch_add(1, Ordering::Relaxed);
            } else {
                counts.lost.fetch_sub(lost, Ordering::Relaxed);
            }
            counts.pending.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn write(&mut self, line: &str, lost: u64) -> io::Result<()> {
        if !self.is_at_its_path() {
            self.file = open(&self.path)?;
        }
        let mut text = String::new();
        if lost > 0 {
            text = format!("{}\n", json!({ "time": now(), "lost": lost }));
        }
        text.push_str(line);
        self.file.write_all(text.as_bytes())
    }

    fn is_at_its_path(&self) -> bool {
        let there = self.path.metadata().map(|found| (found.dev(), found.ino()));
        let ours = self.file.metadata().map(|found| (found.dev(), found.ino()));
        matches!((there, ours), (Ok(there), Ok(ours)) if there == ours)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn peer() -> Peer {
        Peer { uid: 1000, gid: 100, pid: 77, name: "kvadd".into() }
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn calls_that_change_something_are_noted_with_peer_parameters_and_result() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("audit");
        let audit = Audit::start(&path).unwrap();
        audit.note(&peer(), "aoe_get_exports", None, &Outcome::Done);
        let params = json!({ "shelf": 1, "slot": 2 });
        audit.note(&peer(), "aoe_delete_export", Some(&params), &Outcome::Done);
        let refused = Outcome::Refused { code: -17, message: "File exists".into() };
        audit.note(&peer(), "bdev_malloc_create", None, &refused);
        audit.flush(Duration::from_secs(60));
        let noted = lines(&path);
        assert_eq!(noted.len(), 2, "{noted:?}");
        let first = &noted[0];
        assert_eq!(
            (&first["uid"], &first["pid"], &first["process"]),
            (&json!(1000), &json!(77), &json!("kvadd"))
        );
        assert_eq!((&first["method"], &first["params"]), (&json!("aoe_delete_export"), &params));
        assert_eq!((&first["result"], &first["error"]), (&json!("done"), &Value::Null));
        assert!(first["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{first}");
        assert_eq!(noted[1]["error"], json!({ "code": -17, "message": "File exists" }));
        assert_eq!(path.metadata().unwrap().mode() & 0o777, MODE);

        // Rotated.
        std::fs::rename(&path, directory.path().join("audit.1")).unwrap();
        audit.note(&peer(), "aoe_delete_export", None, &Outcome::Done);
        audit.flush(Duration::from_secs(60));
        assert_eq!(lines(&path).len(), 1);
    }

    #[test]
    fn methods_that_only_read_are_told_apart() {
        for method in ["aoe_get_stats", "bdev_get_bdevs", "save_config", "framework_get_reactors", "get_rpc"]
        {
            assert!(!changes(method), "{method}");
        }
        for method in ["aoe_create_export", "aoe_set_qos", "bdev_aio_delete", "load_config", "no_such"] {
            assert!(changes(method), "{method}");
        }
    }

    #[test]
    fn secrets_and_long_parameters_are_not_written() {
        let params = json!({ "name": "k", "key": "00112233", "list": [{ "psk": "x" }] });
        assert_eq!(shown(&params), json!({ "name": "k", "key": "***", "list": [{ "psk": "***" }] }));
        let long = shown(&json!({ "data": "x".repeat(PARAMS_MAX) }));
        assert!(long.as_str().is_some_and(|text| text.ends_with(" bytes")), "{long}");
    }

    #[test]
    fn a_queue_without_room_loses_lines_and_counts_them() {
        let (lines, incoming) = sync_channel(1);
        let counts = Arc::new(Counts::default());
        let audit = Audit { lines, counts: Arc::clone(&counts), thread: gettid() };
        for _ in 0..3 {
            audit.note(&peer(), "aoe_delete_export", None, &Outcome::Done);
        }
        assert_eq!((counts.pending.load(Ordering::Relaxed), counts.lost.load(Ordering::Relaxed)), (1, 2));
        drop(audit);
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("audit");
        Output { path: path.clone(), file: open(&path).unwrap() }.write_all_of(&incoming, &counts);
        let written = self::lines(&path);
        assert_eq!((written.len(), &written[0]["lost"]), (2, &json!(2)));
        assert_eq!(counts.lost.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_file_that_can_not_be_made_is_named() {
        let error = Audit::start(Path::new("/nonexistent/audit")).unwrap_err().to_string();
        assert!(error.contains("--audit-log '/nonexistent/audit'"), "{error}");
    }
}
