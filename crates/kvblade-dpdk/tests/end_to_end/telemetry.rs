//! DPDK's telemetry socket, as Debian's `dpdk-telemetry.py` and the endpoint for `dpdk-telemetry-exporter.py` use it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aoe_initiator::ShelfSlot;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket};
use serde_json::{Value, json};

use crate::lab::{Lab, Target, find, require, until};

/// One question on a connection of its own; DPDK sends a greeting first.
fn ask(path: &Path, question: &str) -> Value {
    use std::os::fd::AsRawFd;
    let client =
        socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    connect(client.as_raw_fd(), &UnixAddr::new(path).unwrap()).expect("the telemetry socket");
    let mut buffer = vec![0; 16 << 10];
    let mut receive = || {
        let length = recv(client.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{question}: {error}: {text}"))
    };
    assert!(receive()["version"].as_str().is_some_and(|version| version.starts_with("DPDK")));
    send(client.as_raw_fd(), question.as_bytes(), MsgFlags::empty()).unwrap();
    let command = question.split(',').next().unwrap();
    receive()[command].take()
}

/// CPUs that a thread of the target may run on, as the kernel writes them.
fn cpus_of(target: &Target, thread_name: &str) -> Vec<String> {
    let tasks = format!("/proc/{}/task", target.daemon.pid());
    let threads = fs::read_dir(tasks).unwrap().map(|entry| entry.unwrap().path());
    let named = threads.filter(|path| {
        fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim_end().ends_with(thread_name))
    });
    let allowed = |path: PathBuf| {
        let status = fs::read_to_string(path.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.unwrap().trim().to_owned()
    };
    named.map(allowed).collect()
}

#[test]
fn dpdks_own_tools_read_exports_ports_lcores_and_health() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let mut eal = lab.eal();
    eal.extend(["-l", "0", "--telemetry"].map(str::to_owned));
    let target = lab.start_command(lab.command(&eal, &["-e", "1.1=malloc:8M", "-e", "1.2=malloc:8M,vlan=5"]));
    let socket = lab.telemetry_socket();
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, ShelfSlot::new(1, 1));
    initiator.identify(&export).unwrap();

    // Over the socket itself.
    assert_eq!(ask(&socket, "/kvblade/exports"), json!(["1.1", "1.2,5"]));
    assert_eq!(ask(&socket, "/kvblade/exports,1"), json!(["1.2,5"]));
    assert_eq!(ask(&socket, "/kvblade/ports"), json!([0]));
    assert_eq!(ask(&socket, "/kvblade/lcores"), json!([0]));
    let one = ask(&socket, "/kvblade/export,1.1");
    assert_eq!(one["state"], "online", "{one}");
    assert!(one["identifies"].as_u64() >= Some(1), "{one}");
    assert_eq!(ask(&socket, "/kvblade/export,1.2,5")["vlan"], 5);
    assert!(ask(&socket, "/kvblade/port,0")["rx_frames"].as_u64() >= Some(2));
    assert!(ask(&socket, "/kvblade/lcore,0")["turns"].as_u64() > Some(0));
    let health = ask(&socket, "/kvblade/health");
    assert!(health["verdict"].is_string() && health["failures"] == 0, "{health}");
    assert!(health["reason_0"].is_string(), "one path, at least: {health}");
    // Names that JSON has to quote.
    let name = r#"a"b\c"#;
    let mut rpc = target.rpc();
    rpc.call("bdev_malloc_create", json!({ "name": name, "num_blocks": 2048, "block_size": 512 }));
    rpc.call("aoe_create_export", json!({ "shelf": 1, "slot": 3, "bdev_name": name }));
    until("the snapshot has it", || ask(&socket, "/kvblade/export,1.3")["bdev_name"] == name);
    rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 3 }));
    until("it is gone", || ask(&socket, "/kvblade/export,1.3").is_null());
    for wrong in ["/kvblade/export", "/kvblade/export,7.7", "/kvblade/exports,x", "/kvblade/port,9"] {
        assert_eq!(ask(&socket, wrong), Value::Null, "{wrong}");
    }
    // DPDK's own commands are there too.
    assert_eq!(ask(&socket, "/ethdev/list"), json!([0]));

    // Not on the lcore's CPU, where there is another.
    let cpus = cpus_of(&target, "-v2");
    assert!(!cpus.is_empty(), "the listener, and a thread for each client");
    if std::thread::available_parallelism().unwrap().get() > 1 {
        assert!(cpus.iter().all(|cpus| !cpus.starts_with('0')), "{cpus:?}");
    }

    read_by_dpdk_telemetry(&lab);
    read_by_the_endpoint(&socket, &one);
    target.stop();
    assert!(!socket.exists(), "DPDK removes its socket");
}

/// Debian's `dpdk-telemetry.py` finds the socket by EAL's prefix.
fn read_by_dpdk_telemetry(lab: &Lab) {
    let mut client = Command::new(require("dpdk-telemetry.py"));
    client.args(["-f", lab.prefix()]).env_remove("RUNTIME_DIRECTORY");
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let questions = "/kvblade/exports\n/kvblade/export,1.1\nquit\n";
    client.stdin.take().unwrap().write_all(questions.as_bytes()).unwrap();
    let output = client.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let answers: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(answers[0]["/kvblade/exports"], json!(["1.1", "1.2,5"]), "{text}");
    assert_eq!(answers[1]["/kvblade/export"]["state"], "online", "{text}");
}

/// The endpoint file has a metric for each number that telemetry has of an export, as the exporter calls it.
fn read_by_the_endpoint(socket: &Path, export: &Value) {
    const EXPORTER: &str = "\
import importlib.util, json, socket, sys
class Telemetry:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(path)
        self.length = json.loads(self.socket.recv(1024))['max_output_len']
    def cmd(self, uri, arg=None):
        self.socket.send((uri if arg is None else f'{uri},{arg}').encode())
        return json.loads(self.socket.recv(self.length))[uri]
spec = importlib.util.spec_from_file_location('kvblade', sys.argv[1])
endpoint = importlib.util.module_from_spec(spec)
sys.dont_write_bytecode = True
spec.loader.exec_module(endpoint)
values = endpoint.metrics(Telemetry(sys.argv[2]))
print(json.dumps({'info': list(endpoint.info()), 'values': values}))
";
    let endpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/telemetry/kvblade.py");
    let output = Command::new("python3").arg("-c").arg(EXPORTER).arg(endpoint).arg(socket).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = |list: &Value, of: fn(&Value) -> &Value| -> BTreeSet<String> {
        list.as_array().unwrap().iter().map(|one| of(one).as_str().unwrap().to_owned()).collect()
    };
    let (info, used) = (names(&answer["info"], |name| name), names(&answer["values"], |value| &value[0]));
    assert_eq!(info, used, "each metric has a value, and each value a metric");
    let address = ["shelf", "slot", "vlan"];
    let counters = export
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, value)| value.is_number() && !address.contains(&name.as_str()));
    for (name, _) in counters {
        assert!(info.contains(&format!("export_{name}")), "the endpoint lacks {name}");
    }
    let identifies = &export["identifies"];
    let value = json!(["export_identifies", identifies, { "export": "1.1", "bdev": export["bdev_name"] }]);
    assert!(answer["values"].as_array().unwrap().contains(&value), "{answer}");
}
