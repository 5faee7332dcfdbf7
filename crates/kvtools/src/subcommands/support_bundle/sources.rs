//! What a bundle has in it: answers of the target, files and the output of programs.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use control::secrets::hide_secrets;
use nix::sys::socket::{getsockopt, sockopt};
use serde_json::{Value, json};

use crate::configuration;
use rpc_client::command::Connection;
use rpc_client::{Client, ClientError};

/// Calls whose answers are in it.
const CALLS: &[&str] = &[
    "spdk_get_version",
    "aoe_get_exports",
    "aoe_get_stats",
    "aoe_get_health",
    "aoe_get_initiators",
    "aoe_get_ports",
    "aoe_get_lcores",
    "aoe_get_captures",
    "aoe_get_log_level",
    "bdev_get_bdevs",
    "bdev_get_iostat",
    "thread_get_stats",
    "framework_get_reactors",
    "framework_get_subsystems",
];

/// Files of the system.
const FILES: &[&str] = &[
    "/etc/os-release",
    "/proc/version",
    "/proc/cmdline",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/interrupts",
    "/proc/net/dev",
    "/proc/mounts",
    "/proc/modules",
    "/sys/devices/system/node/online",
    "/sys/devices/system/cpu/isolated",
    "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
    "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages",
    "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages",
    "/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages",
    "/sys/devices/system/clocksource/clocksource0/current_clocksource",
];

/// Files of the target's process. Not its environment, which may have secrets.
const OF_PROCESS: &[&str] = &["cmdline", "status", "limits", "cgroup", "numa_maps"];

/// Programs: the file's name, and the words.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("kvblade-dpdk-version", &["kvblade-dpdk", "--version"]),
    ("ip-link", &["ip", "-details", "-statistics", "link"]),
    ("lspci", &["lspci", "-nnk"]),
    ("lsblk", &["lsblk", "--output", "NAME,SIZE,TYPE,ROTA,LOG-SEC,PHY-SEC,MODEL,MOUNTPOINTS"]),
    ("lscpu", &["lscpu"]),
    ("unit", &["systemctl", "status", "--no-pager", "--full", "kvblade-dpdk.service"]),
    (
        "journal",
        &[
            "journalctl",
            "--no-pager",
            "--lines=5000",
            "--output=short-precise",
            "SYSLOG_IDENTIFIER=kvblade-dpdk",
            "+",
            "_SYSTEMD_UNIT=kvblade-dpdk.service",
        ],
    ),
    ("kernel-log", &["dmesg"]),
];

/// Seconds that a program has, and those after which one that stays is killed.
const PROGRAM_SECONDS: [u64; 2] = [10, 1];

/// Most bytes of one file: its end.
const FILE_MAX: u64 = 4 << 20;

/// A file of the bundle, or why it is not in it.
pub(super) type Source = (String, Result<Vec<u8>, String>);

/// The longest time that all programs take.
pub(super) fn programs_max() -> Duration {
    PROGRAMS.iter().map(|_| Duration::from_secs(PROGRAM_SECONDS.iter().sum())).sum()
}

/// The answers of the target; without one, why there are none.
pub(super) fn of_target(connection: &Connection) -> Vec<Source> {
    let client = match connection.open() {
        Ok(client) => client,
        Err(error) => return vec![("target".into(), Err(error.to_string()))],
    };
    let mut target = Answering { client, lost: None };
    let configuration = target.ask(configuration::fetch);
    let mut sources = vec![("target/config.json".into(), configuration.map(|saved| text_of(&saved)))];
    let mut timed = Vec::new();
    let mut log_file = None;
    for method in CALLS {
        let answer = target.call(method, None);
        if let Ok(answer) = &answer {
            match *method {
                "aoe_get_exports" => timed = exports_that_are_timed(answer),
                "aoe_get_log_level" => {
                    let target = answer.get("target").and_then(Value::as_str).unwrap_or_default();
                    log_file = target.strip_prefix("file:").map(str::to_owned);
                }
                _ => {}
            }
        }
        sources.push((format!("target/{method}.json"), answer.map(|answer| text_of(&answer))));
    }
    for (name, params) in timed {
        let answer = target.call("aoe_get_histogram", Some(params));
        sources
            .push((format!("target/aoe_get_histogram-{name}.json"), answer.map(|answer| text_of(&answer))));
    }
    if let Some(path) = log_file {
        sources.push(("log/file".into(), end_of(Path::new(&path))));
    }
    match getsockopt(&target.client, sockopt::PeerCredentials) {
        Ok(peer) => {
            let directory = format!("/proc/{}", peer.pid());
            let file = |name: &&str| (format!("process/{name}"), end_of(&Path::new(&directory).join(name)));
            sources.extend(OF_PROCESS.iter().map(file));
        }
        Err(error) => sources.push(("process".into(), Err(error.to_string()))),
    }
    sources
}

/// What the machine has.
pub(super) fn of_machine(settings: &Path) -> Vec<Source> {
    let mut sources = vec![("settings.toml".to_owned(), end_of(settings))];
    for path in FILES {
        sources.push((format!("system{path}"), end_of(Path::new(path))));
    }
    for (name, words) in PROGRAMS {
        let directory = if ["journal", "kernel-log"].contains(name) { "log" } else { "system" };
        sources.push((format!("{directory}/{name}"), output_of(words)));
    }
    sources
}

/// The target, until it does not answer: each further call would wait as long again.
struct Answering {
    client: Client,
    /// Why it does not answer.
    lost: Option<String>,
}

impl Answering {
    fn call(&mut self, method: &str, params: Option<Value>) -> Result<Value, String> {
        self.ask(|client| client.call(method, params))
    }

    fn ask(
        &mut self,
        calls: impl FnOnce(&mut Client) -> Result<Value, ClientError>,
    ) -> Result<Value, String> {
        if let Some(why) = &self.lost {
            return Err(format!("not called, after {why}"));
        }
        calls(&mut self.client).map_err(|error| {
            let why = error.to_string();
            if !matches!(error, ClientError::Refused { .. } | ClientError::NoMethod { .. }) {
                self.lost = Some(why.clone());
            }
            why
        })
    }
}

/// Name and parameters of each export that is timed.
fn exports_that_are_timed(exports: &Value) -> Vec<(String, Value)> {
    let all = exports.as_array().map(Vec::as_slice).unwrap_or_default();
    let timed = all.iter().filter(|export| export.get("timed") == Some(&Value::Bool(true)));
    let of = |(number, export): (usize, &Value)| {
        let mut params = json!({ "shelf": export["shelf"], "slot": export["slot"] });
        // Several exports may have the address, in different VLANs or on different ports.
        for (name, value) in [("vlan", &export["vlan"]), ("port", &export["ports"][0]["name"])] {
            if !value.is_null() {
                params[name] = value.clone();
            }
        }
        (format!("{}.{}-{number}", export["shelf"], export["slot"]), params)
    };
    timed.enumerate().map(of).collect()
}

fn text_of(answer: &Value) -> Vec<u8> {
    let mut shown = answer.clone();
    hide_secrets(&mut shown);
    format!("{shown:#}\n").into_bytes()
}

/// The end of a file.
fn end_of(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("'{}': {error}", path.display());
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if length > FILE_MAX {
        file.seek(SeekFrom::Start(length - FILE_MAX)).map_err(failed)?;
    }
    // Files of /proc and /sys have no length.
    let mut content = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

/// What a program prints.
fn output_of(words: &[&str]) -> Result<Vec<u8>, String> {
    let name = words.first().copied().unwrap_or_default();
    let mut command = Command::new("timeout");
    let [most, more] = PROGRAM_SECONDS;
    command
        .arg(format!("--kill-after={more}"))
        .arg(most.to_string())
        .args(words)
        .stdin(Stdio::null())
        .env("LC_ALL", "C");
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.stdout.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        let why = said.lines().last().map_or_else(|| "it printed nothing".to_owned(), str::to_owned);
        return Err(format!("{name}: {why}"));
    }
    let most = usize::try_from(FILE_MAX).unwrap_or(usize::MAX);
    let from = output.stdout.len().saturating_sub(most);
    Ok(output.stdout.get(from..).unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_target_that_does_not_answer_is_asked_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rpc");
        let _silent = UnixListener::bind(&path).unwrap();
        let client = Client::connect(&path, Duration::from_millis(50)).unwrap();
        let mut target = Answering { client, lost: None };
        let first = target.call("one", None).unwrap_err();
        assert!(first.starts_with("one: no answer within"), "{first}");
        assert_eq!(target.call("other", None), Err(format!("not called, after {first}")));
    }

    #[test]
    fn exports_of_one_address_are_told_apart_by_port() {
        let export = |port: &str, timed: bool| json!({"shelf": 1, "slot": 2, "vlan": null, "ports": [{"name": port}], "timed": timed});
        let exports = json!([export("a", true), export("b", false), export("c", true)]);
        let timed = exports_that_are_timed(&exports);
        let params = |port: &str| json!({ "shelf": 1, "slot": 2, "port": port });
        assert_eq!(timed, [("1.2-0".to_owned(), params("a")), ("1.2-1".to_owned(), params("c"))]);
    }

    #[test]
    fn the_end_of_a_large_file_is_kept_and_a_program_that_is_missing_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let length = usize::try_from(FILE_MAX).unwrap() + 7;
        std::fs::write(file.path(), [vec![b'x'; length], b"end".to_vec()].concat()).unwrap();
        let content = end_of(file.path()).unwrap();
        assert!(content.len() as u64 == FILE_MAX && content.ends_with(b"xend"));
        assert!(end_of(Path::new("/nonexistent/x")).unwrap_err().contains("'/nonexistent/x'"));
        assert!(output_of(&["no-such-program"]).unwrap_err().starts_with("no-such-program: "));
        assert_eq!(output_of(&["echo", "here"]), Ok(b"here\n".to_vec()));
    }
}
