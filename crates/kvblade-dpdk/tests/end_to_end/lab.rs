//! The network, target and initiator of an end-to-end test; the initiator checks every reply.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aoe_initiator::initiator::Export;
use aoe_initiator::load::{LoadSpec, Waiting, Workload};
use aoe_initiator::wire::{Reply, SECTOR};
use aoe_initiator::{Initiator, Link, Retransmit, ShelfSlot};
use lab::{Daemon, DpdkFiles, Namespace, Veth, vdev};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::rpc::Rpc;

/// Limit of every wait, for a machine that is busy with other things; each wait ends with its event.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Time after which silence counts as no answer.
pub(crate) const QUIET: Duration = Duration::from_millis(200);

/// Size of the malloc disks and files, in sectors.
pub(crate) const SECTORS: u64 = 16 * 1024;

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_kvblade-dpdk");

/// EAL without hugepages and PCI; SPDK needs 1024 MB then.
const EAL: [&str; 5] = ["--no-pci", "--no-huge", "--legacy-mem", "-m", "1024"];

/// One test's network: initiators at `i0` (and `i1`), the target at `t0` (and `t1`).
///
/// Fields are dropped in this order; the turn ends last. Tests that start a target take turns, because a target polls a core
/// and most machines have few.
pub(crate) struct Lab {
    pub(crate) near: Namespace,
    pub(crate) far: Namespace,
    pub(crate) directory: TempDir,
    dpdk: DpdkFiles,
    ports: usize,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Lab {
    /// One veth pair.
    pub(crate) fn new(mtu: u16) -> Self {
        Self::with_ports(mtu, 1)
    }

    /// `ports` veth pairs.
    pub(crate) fn with_ports(mtu: u16, ports: usize) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        // A test that failed has dropped its lab like any other.
        Self::create(mtu, ports, Some(TURN.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// One veth pair, for programs that must not start: nothing polls, so these tests run side by side.
    pub(crate) fn for_refusals(mtu: u16) -> Self {
        Self::create(mtu, 1, None)
    }

    fn create(mtu: u16, ports: usize, turn: Option<MutexGuard<'static, ()>>) -> Self {
        let near = Namespace::create("near").unwrap();
        let far = Namespace::create("far").unwrap();
        for port in 0..ports {
            Veth::create(&near, &format!("i{port}"), &far, &format!("t{port}"), mtu).unwrap();
        }
        let dpdk = DpdkFiles::new("kve2e");
        Self { near, far, directory: TempDir::new().unwrap(), dpdk, ports, _turn: turn }
    }

    /// A path in the test's own directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The management socket of the target.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("rpc")
    }

    /// The state directory, shared by all targets of this lab.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    /// A file of [`SECTORS`] sectors of zeroes, and its path as text.
    pub(crate) fn file(&self, name: &str) -> String {
        let path = self.path(name);
        fs::File::create(&path).unwrap().set_len(SECTORS * SECTOR as u64).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The library of a C file beside this one, for `LD_PRELOAD`.
    #[track_caller]
    pub(crate) fn library(&self, name: &str) -> PathBuf {
        let library = self.path(&format!("{name}.so"));
        let source = format!("{}/tests/end_to_end/{name}.c", env!("CARGO_MANIFEST_DIR"));
        let mut compiler = Command::new(require("cc"));
        compiler.args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
        lab::run(&mut compiler).unwrap();
        library
    }

    /// The prefix of EAL's files.
    pub(crate) fn prefix(&self) -> &str {
        self.dpdk.prefix()
    }

    /// The telemetry socket of the target, where it has one.
    pub(crate) fn telemetry_socket(&self) -> PathBuf {
        self.dpdk.directory().join("dpdk_telemetry.v2")
    }

    /// EAL's words for a port on `t<port>`.
    pub(crate) fn vdev(port: usize) -> String {
        vdev::af_packet(port, &format!("t{port}"))
    }

    /// EAL's words for this lab: its memory, its prefix, its ports.
    pub(crate) fn eal(&self) -> Vec<String> {
        let mut words: Vec<String> = EAL.map(str::to_owned).into();
        words.extend(["--file-prefix".into(), self.dpdk.prefix().to_owned()]);
        words.extend((0..self.ports).map(Self::vdev));
        words
    }

    /// The program with `eal`, a `--`, the RPC socket, and `options`, in the target's namespace.
    pub(crate) fn command<E, O>(&self, eal: &[E], options: &[O]) -> Command
    where
        E: AsRef<OsStr>,
        O: AsRef<OsStr>,
    {
        let mut command = self.far.command(PROGRAM);
        command.args(eal).arg("--").arg("--rpc-socket").arg(self.socket());
        command.arg("--state-dir").arg(self.state_dir()).args(options);
        // A core file goes with the test's directory.
        command.env_remove("RUST_LOG").current_dir(self.directory.path());
        command
    }

    /// Starts a target on lcore 0 and waits until it serves.
    #[track_caller]
    pub(crate) fn start(&self, options: &[&str]) -> Target {
        self.start_on("0", options)
    }

    /// Starts a target on these lcores and waits until it serves.
    #[track_caller]
    pub(crate) fn start_on(&self, lcores: &str, options: &[&str]) -> Target {
        let mut eal = self.eal();
        eal.extend(["-l".to_owned(), lcores.to_owned()]);
        self.start_command(self.command(&eal, options))
    }

    /// Starts `command` and waits until it serves.
    #[track_caller]
    pub(crate) fn start_command(&self, mut command: Command) -> Target {
        let mut target = Target { daemon: Daemon::start(&mut command).unwrap(), socket: self.socket() };
        target.wait_until_it_serves();
        target
    }

    /// Takes the target's end of port `port` down or up.
    pub(crate) fn set_far(&self, port: usize, state: &str) {
        self.far.ip(&["link", "set", &format!("t{port}"), state]).unwrap();
    }

    /// Files of a target that are left in the test's directory.
    pub(crate) fn sockets_and_locks(&self) -> Vec<String> {
        let names = fs::read_dir(self.directory.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("rpc")).collect()
    }

    /// An open link at `i<port>`.
    pub(crate) fn link(&self, port: usize) -> Link {
        self.near.enter(|| Link::open(&format!("i{port}"))).unwrap().unwrap()
    }

    /// An initiator at `i<port>` that waits long enough for a busy machine.
    pub(crate) fn initiator(&self, port: usize) -> Initiator {
        Initiator::new(self.link(port), timing())
    }
}

/// A running target; stopped when dropped.
pub(crate) struct Target {
    pub(crate) daemon: Daemon,
    socket: PathBuf,
}

impl Target {
    #[track_caller]
    fn wait_until_it_serves(&mut self) {
        self.daemon.wait_for_log(" ready ", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        // SPDK listens at this path once it has carried out its configuration, a moment before or after that line.
        until("the target listens", || std::os::unix::net::UnixStream::connect(&self.socket).is_ok());
    }

    /// A connection to its management socket.
    #[track_caller]
    pub(crate) fn rpc(&self) -> Rpc {
        Rpc::connect(&self.socket)
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.daemon.log().unwrap()
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(mut self, signal: Signal) -> (ExitStatus, String) {
        self.daemon.signal(signal).unwrap();
        let status = self.daemon.wait(PATIENCE).unwrap();
        (status, self.log())
    }

    /// SIGTERM; it must end with 0.
    #[track_caller]
    pub(crate) fn stop(self) {
        let (status, log) = self.end(Signal::SIGTERM);
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

/// Fails the test unless this program is installed.
#[track_caller]
pub(crate) fn require(program: &str) -> PathBuf {
    lab::installed(program).unwrap_or_else(|error| panic!("{error}"))
}

/// When requests are sent again: never given up while the machine is merely busy.
pub(crate) fn timing() -> Retransmit {
    Retransmit { give_up: PATIENCE, ..Retransmit::default() }
}

/// A random load that leaves the cores to the target.
pub(crate) fn random_load(sectors_per_io: u8) -> LoadSpec {
    LoadSpec {
        workload: Workload::RandomMixed(50),
        sectors_per_io,
        depth: 16,
        duration: Duration::from_secs(1),
        waiting: Waiting::Sleep,
        timing: timing(),
        seed: 0xe2e,
        ..LoadSpec::default()
    }
}

/// The export at `address`, whose answer keeps every rule.
#[track_caller]
pub(crate) fn find(initiator: &mut Initiator, address: ShelfSlot) -> Export {
    let export = initiator.find(address).unwrap();
    assert!(export.breaches.is_empty(), "{export:?}");
    export
}

/// Waits for an advertisement of each of `addresses`, each keeping every rule.
#[track_caller]
pub(crate) fn hear(initiator: &mut Initiator, addresses: &[ShelfSlot]) -> Vec<Export> {
    let all =
        |heard: &[Export]| addresses.iter().all(|one| heard.iter().any(|export| export.address == *one));
    let heard = initiator.advertisements(PATIENCE, all).unwrap();
    assert!(all(&heard), "{addresses:?} were to be advertised, heard {heard:?}");
    assert!(heard.iter().all(|export| export.breaches.is_empty()), "{heard:?}");
    heard
}

/// Sends a request until it is answered. The answer keeps every rule.
#[track_caller]
pub(crate) fn answer(initiator: &mut Initiator, request: &[u8]) -> Vec<u8> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        initiator.send_raw(request).unwrap();
        while let Some(frame) = initiator.receive_raw(Duration::from_secs(2)).unwrap() {
            let reply = Reply::parse(&frame).unwrap();
            if frame[20..24] == request[20..24] && reply.is_response() {
                assert_eq!(reply.breaches(), Vec::<String>::new(), "{reply:?}");
                assert_eq!((reply.dst, reply.command), (initiator.link().mac(), request[19]), "{reply:?}");
                return frame;
            }
        }
    }
    panic!("no answer to {request:02x?}");
}

/// Repeats `look` until it is true.
#[track_caller]
pub(crate) fn until(what: &str, look: impl FnMut() -> bool) {
    lab::until(what, PATIENCE, look);
}

/// Runs a target that must not start: it says this one sentence last, exits with `code`, and nothing of it is
/// left or was sent. Before its sentence only log lines may stand, none if `alone`.
#[track_caller]
pub(crate) fn refuses(lab: &Lab, mut command: Command, code: i32, alone: bool, sentence: &str) {
    let before = lab.sockets_and_locks();
    let link = lab.link(0);
    let mut daemon = Daemon::start(&mut command).unwrap();
    let status = daemon.wait(PATIENCE).unwrap();
    let log = daemon.log().unwrap();
    let last = log.lines().last().unwrap_or_default();
    assert_eq!(last, format!("kvblade-dpdk: {sentence}"), "{log}");
    assert_eq!(status.code(), Some(code), "{log}");
    assert!(!alone || log.lines().count() == 1, "{log}");
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(lab.sockets_and_locks(), before, "{log}");
    let mut frame = [0; 64];
    assert_eq!(link.receive_now(&mut frame).unwrap(), None, "it sent {frame:02x?}\n{log}");
}
