//! The program against the real target, over veth (af_packet) and over memif: two processes, no hugepages.

mod killed_peers;
mod links;
mod many;
mod measured;
mod refused;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lab::{Daemon, DpdkFiles, Namespace};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// Limit of every wait, for a machine that is busy with other things; each wait ends with its event.
const PATIENCE: Duration = Duration::from_secs(90);

/// The program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_aoeperf");

/// The target, which `cargo build --bins` has put beside it.
fn target_program() -> PathBuf {
    let program = Path::new(PROGRAM).with_file_name("kvblade-dpdk");
    assert!(program.exists(), "{} is not built: run cargo build --workspace --bins first", program.display());
    program
}

/// One test at a time: two programs poll, and few machines have more than two cores.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed leaves nothing behind.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running target; stopped when dropped.
struct Target {
    daemon: Daemon,
    directory: TempDir,
    _dpdk: DpdkFiles,
    initiator_dpdk: DpdkFiles,
}

impl Target {
    /// Starts a target with this port in `namespace` and waits until its log says `ready`.
    #[track_caller]
    fn start(
        namespace: Option<&Namespace>,
        directory: TempDir,
        vdevs: &[String],
        exports: &[&str],
        ready: &str,
    ) -> Self {
        let mut options: Vec<&str> = exports.iter().flat_map(|export| ["--export", export]).collect();
        // For ports without a Linux interface.
        options.extend(["--mtu", "9000"]);
        Self::start_with(namespace, directory, vdevs, &options, ready)
    }

    /// As [`Target::start`], with these options.
    #[track_caller]
    fn start_with(
        namespace: Option<&Namespace>,
        directory: TempDir,
        vdevs: &[String],
        options: &[&str],
        ready: &str,
    ) -> Self {
        let dpdk = DpdkFiles::new("ape2e-target");
        let program = target_program();
        let mut command = namespace.map_or_else(|| Command::new(&program), |inside| inside.command(&program));
        command.args(["-l", "0", "--no-pci", "--no-huge", "--legacy-mem", "-m", "1024"]);
        command.args(["--file-prefix", dpdk.prefix()]).args(vdevs).arg("--");
        command.arg("--rpc-socket").arg(directory.path().join("rpc"));
        command.arg("--state-dir").arg(directory.path().join("state"));
        command.args(options).env_remove("RUST_LOG").current_dir(directory.path());
        let mut daemon = Daemon::start(&mut command).unwrap();
        daemon.wait_for_log(ready, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        Self { daemon, directory, _dpdk: dpdk, initiator_dpdk: DpdkFiles::new("ape2e-perf") }
    }

    /// The program, with these ports of its own.
    fn aoeperf<S: AsRef<OsStr>>(
        &self,
        namespace: Option<&Namespace>,
        vdevs: &[String],
        options: &[S],
    ) -> Command {
        aoeperf(namespace, self.initiator_dpdk.prefix(), vdevs, options, self.directory.path())
    }

    /// The result of one of its methods without parameters.
    #[track_caller]
    fn call(&self, method: &str) -> Value {
        let socket = self.directory.path().join("rpc");
        let mut answer =
            lab::json_rpc::call(&socket, method, &Value::Null).unwrap_or_else(|error| panic!("{error}"));
        answer["result"].take()
    }

    /// SIGTERM; it must end with 0.
    #[track_caller]
    fn stop(mut self) {
        self.daemon.signal(Signal::SIGTERM).unwrap();
        let status = self.daemon.wait(PATIENCE).unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.daemon.log().unwrap());
    }
}

fn aoeperf<S: AsRef<OsStr>>(
    namespace: Option<&Namespace>,
    prefix: &str,
    vdevs: &[String],
    options: &[S],
    directory: &Path,
) -> Command {
    let mut command = namespace.map_or_else(|| Command::new(PROGRAM), |inside| inside.command(PROGRAM));
    command.args(["-l", "1", "--no-pci", "--no-huge", "-m", "512", "--file-prefix", prefix]);
    command.args(vdevs).arg("--").args(options).current_dir(directory);
    command
}

/// Runs it to its end, which must be with this code.
#[track_caller]
fn run(mut command: Command, code: i32) -> Output {
    let output = command.output().unwrap();
    let said =
        || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{}", said());
    assert!(!said().contains("panicked"), "{}", said());
    output
}

/// The JSON it printed.
#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)))
}
