//! The place of a run, and one sample in it: a fresh server on one core, a fresh initiator on another, and both gone when
//! the sample is taken.
//!
//! The order of ending is part of the measurement: aoeperf keeps its ports open after its report, without polling them
//! (`--hold`), until the server has ended, so that neither measures the end of the other. A server that crashes fails the
//! run, with its log.

use crate::case::{Case, Disk};
use crate::contender::{Contender, Link};
use crate::distance::round_trip_ns;
use crate::loads::{self, Asked};
use crate::spdk_programs::{call, config, nvmf, program, without_core_locks};
use crate::stats::Sample;
use anyhow::{Context, Result, ensure};
use lab::vdev::{JUMBO_ROOM, Role, af_packet, memif};
use lab::{Daemon, Hugepages, Namespace, Vblade, Veth, shown};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The export that is measured.
const EXPORT: &str = "1.1";
/// MTU of every link that has one.
const MTU: u16 = 9000;
/// MiB of hugepages for aoeperf: mbufs, and the memif rings if it is the client.
const AOEPERF_MIB: u32 = 320;
/// MiB of hugepages that a server takes beside its disk: mbufs, rings, SPDK's pools.
const SERVER_MIB: u32 = 640;
/// TCP port of `nvmf_tgt`.
const NVMF_PORT: u16 = 4420;
/// The veth pair: the initiator's end and the target's.
const VETH: [&str; 2] = ["bench-i", "bench-t"];
/// Limit for a server to get ready: most of it is zeroing memory, or making thousands of exports.
const READY: Duration = Duration::from_secs(120);
/// Limit for a load beyond the time that it was asked to run.
const BEYOND: Duration = Duration::from_secs(45);
/// Limit for a program to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(20);
/// Time between two looks at a program.
const LOOK: Duration = Duration::from_millis(10);

/// What is the same for all samples.
pub(crate) struct Settings {
    pub(crate) target_cpu: usize,
    pub(crate) initiator_cpu: usize,
    /// Measured seconds of a sample; SPDK's programs take whole ones, rounded up.
    pub(crate) seconds: f64,
}

/// A build of the programs that are measured.
#[derive(Clone)]
pub(crate) struct Build {
    pub(crate) name: &'static str,
    /// The checkout, whose SPDK is the one it was linked with.
    pub(crate) checkout: PathBuf,
    /// The directory of kvblade-dpdk.
    pub(crate) programs: PathBuf,
}

/// A sample, and the commands of server and load that it came from.
pub(crate) struct Taken {
    pub(crate) sample: Sample,
    pub(crate) commands: Vec<String>,
}

/// The place of a run.
pub(crate) struct Sampler<'run> {
    // In the order in which they are to go.
    namespace: Namespace,
    hugepages: Hugepages,
    scratch: TempDir,
    settings: Settings,
    /// This checkout's build, whose initiators and responder are used for all.
    own: Build,
    stop: &'run AtomicBool,
}

impl<'run> Sampler<'run> {
    /// Makes the place, with memory for disks of up to `disk_mib`. `stop` ends whatever waits.
    pub(crate) fn new(settings: Settings, own: Build, disk_mib: u32, stop: &'run AtomicBool) -> Result<Self> {
        let Settings { target_cpu, initiator_cpu, .. } = settings;
        ensure!(
            target_cpu != initiator_cpu,
            "--target-cpu and --initiator-cpu are both {target_cpu}: they need a core each"
        );
        for cpu in [target_cpu, initiator_cpu] {
            let exists = cpu < 64 && Path::new(&format!("/sys/devices/system/cpu/cpu{cpu}")).exists();
            ensure!(exists, "core {cpu} does not exist");
        }
        for (name, package) in
            [("aoeperf", "aoeperf"), ("responder", "kvblade-benches"), ("kvblade-dpdk", "kvblade-dpdk")]
        {
            let path = own.programs.join(name);
            ensure!(path.exists(), "{} does not exist: cargo build --release -p {package}", path.display());
        }
        let scratch = tempfile::tempdir_in("/dev/shm").context("a directory on /dev/shm")?;
        let hugepages = Hugepages::reserve(disk_mib + SERVER_MIB + AOEPERF_MIB, &file_prefix(""))?;
        let namespace = Namespace::create("bench")?;
        namespace.ip(&["link", "set", "lo", "up"])?;
        Veth::create(&namespace, VETH[0], &namespace, VETH[1], MTU)?;
        Ok(Self { namespace, hugepages, scratch, settings, own, stop })
    }

    /// Takes one sample of a contender.
    pub(crate) fn measure(&self, build: &Build, contender: Contender, case: Case) -> Result<Taken> {
        self.take(&format!("{} {contender} {case}", build.name), || match contender.link() {
            Link::None => self.bdev_alone(case),
            Link::Tcp => self.nvmf(build, contender, case),
            link @ (Link::Memif { .. } | Link::Veth) => {
                let ports = |end| vec![self.port(link, 0, end, JUMBO_ROOM, 10)];
                let server = self.aoe_server(build, contender, case.disk, ports(End::Server))?;
                let asked = Asked { target: EXPORT, initiators: 1, mtu: MTU, seconds: self.settings.seconds };
                let waits_at = (link == Link::Memif { target_is_client: true }).then(|| self.socket(0));
                self.aoe(server, case, asked, ports(End::Initiator), waits_at)
            }
        })
    }

    /// Takes a sample of kvblade-dpdk with this configuration over `ports` memif ports.
    pub(crate) fn measure_config(
        &self,
        config: &Value,
        ports: u32,
        case: Case,
        target: &str,
        initiators: u16,
    ) -> Result<Taken> {
        let ring = 10 - ports.ilog2();
        let link = Link::Memif { target_is_client: false };
        let all = |end| (0..ports).map(|number| self.port(link, number, end, SMALL_ROOM, ring)).collect();
        let asked = Asked { target, initiators, mtu: SMALL_MTU, seconds: self.settings.seconds };
        self.take(target, || {
            let server = self.kvblade(&self.own, config, all(End::Server), SMALL_MTU)?;
            self.aoe((server, "ready"), case, asked, all(End::Initiator), None)
        })
    }

    fn take(&self, what: &str, take: impl FnOnce() -> Result<Taken>) -> Result<Taken> {
        let round_trip_ns = round_trip_ns([self.settings.target_cpu, self.settings.initiator_cpu])?;
        let taken = take();
        // Nothing runs now.
        self.hugepages.remove_leftovers()?;
        let mut taken = taken.with_context(|| what.to_owned())?;
        taken.sample.round_trip_ns = round_trip_ns;
        Ok(taken)
    }

    /// Runs `ring` of benches/micro; returns what it printed.
    pub(crate) fn ring(&self, turns: &str) -> Result<String> {
        let mut command = self.command(self.micro("ring")?);
        command.arg(turns);
        self.run_to_end(Daemon::start(&mut command)?, Duration::from_secs(300))
    }

    /// Counts the instructions of benches/micro's `turns`; returns what was printed.
    pub(crate) fn count_instructions(&self) -> Result<String> {
        let mut command = self.command("python3");
        command.arg(self.own.checkout.join("benches/instructions/count.py")).arg(self.micro("turns")?);
        self.run_to_end(Daemon::start(&mut command)?, Duration::from_secs(300))
    }

    fn micro(&self, name: &str) -> Result<PathBuf> {
        let path = self.own.programs.join(name);
        ensure!(path.exists(), "{} does not exist: cargo build --release -p kvblade-micro", path.display());
        Ok(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn socket(&self, number: u32) -> PathBuf {
        self.path(&format!("{number}.memif"))
    }

    /// A command in the run's namespace that does not outlive this process, however that ends.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.namespace.command("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command
    }

    /// The server of an AoE contender, and what it logs when it is ready.
    fn aoe_server(
        &self,
        build: &Build,
        contender: Contender,
        disk: Disk,
        ports: Vec<String>,
    ) -> Result<(Command, &'static str)> {
        Ok(match contender {
            Contender::MemifLink | Contender::ZeroCopyLink | Contender::VethLink => {
                let mut command = self.command(self.own.programs.join("responder"));
                command.args(self.eal(End::Server, ports)).args(["--", "--export", EXPORT]);
                command.args(["--mib", &disk.mib().to_string(), "--mtu", &MTU.to_string()]);
                command.args((contender == Contender::VethLink).then_some("--copy"));
                (command, "ready")
            }
            Contender::Vblade => {
                let mut command = self.command("taskset");
                command.args(["-c", &self.settings.target_cpu.to_string()]).arg(Vblade::program()?);
                // Room for more requests than are ever outstanding: its socket's buffer is sized by this number.
                command.args(["-b", "256", "1", "1", VETH[1]]).arg(self.file(disk.mib())?);
                (command, "sectors")
            }
            _ => {
                let export = json!({ "shelf": 1, "slot": 1, "bdev_name": "disk" });
                let aoe = vec![call("aoe_create_export", &export)];
                let config = config([("bdev", vec![self.bdev(disk)?]), ("aoe", aoe)]);
                (self.kvblade(build, &config, ports, MTU)?, "ready")
            }
        })
    }

    fn kvblade(&self, build: &Build, config: &Value, ports: Vec<String>, mtu: u16) -> Result<Command> {
        let path = self.path("aoe.json");
        fs::write(&path, config.to_string()).with_context(|| format!("writing {}", path.display()))?;
        let mut command = self.command(build.programs.join("kvblade-dpdk"));
        command.args(self.eal(End::Server, ports)).args(["--", "--mtu", &mtu.to_string()]);
        // That it is ready is logged as information; that an export is made, thousands of times, is not wanted.
        command.env("RUST_LOG", "info,kvblade_dpdk::target::create=error");
        command.arg("--rpc-socket").arg(self.path("rpc")).arg("--state-dir").arg(self.path("state"));
        command.arg("--config").arg(path);
        Ok(command)
    }

    /// The call that makes the bdev named "disk".
    fn bdev(&self, disk: Disk) -> Result<Value> {
        let blocks = u64::from(disk.mib()) << 11;
        let sized = json!({ "name": "disk", "num_blocks": blocks, "block_size": 512 });
        Ok(match disk {
            Disk::Null => call("bdev_null_create", &sized),
            Disk::Memory(_) => call("bdev_malloc_create", &sized),
            Disk::File(mib) => {
                let filename = self.file(mib)?;
                call("bdev_aio_create", &json!({ "name": "disk", "filename": filename, "block_size": 512 }))
            }
        })
    }

    /// A file on tmpfs without holes: reads of a hole would come from one page of zeroes, always in the cache.
    fn file(&self, mib: u32) -> Result<PathBuf> {
        let path = self.path(&format!("{mib}.disk"));
        if !path.exists() {
            let write = || {
                let mut file = File::create(&path)?;
                let block: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 20).collect();
                (0..mib).try_for_each(|_| file.write_all(&block))
            };
            write().with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(path)
    }

    /// Runs aoeperf against a server. With `waits_at`, aoeperf is memif's server and listens at that socket first.
    fn aoe(
        &self,
        (mut server, ready): (Command, &'static str),
        case: Case,
        asked: Asked<'_>,
        ports: Vec<String>,
        waits_at: Option<PathBuf>,
    ) -> Result<Taken> {
        let json = self.path("aoeperf.json");
        let mut load = self.command(self.own.programs.join("aoeperf"));
        load.args(self.eal(End::Initiator, ports)).arg("--").args(loads::aoeperf(case, asked, &json));
        let commands = vec![shown(&server), shown(&load)];
        let (mut server, mut load) = if let Some(socket) = waits_at {
            let mut load = Daemon::start(&mut load)?;
            load.wait_ready(READY, || Ok(socket.exists()))?;
            // The target's exports may exist long after its link is up: aoeperf waits for them.
            (Daemon::start(&mut server)?, load)
        } else {
            let mut server = Daemon::start(&mut server)?;
            server.wait_for_log(ready, READY)?;
            (server, Daemon::start(&mut load)?)
        };
        let seconds = Duration::from_secs_f64(asked.seconds + loads::WARMUP);
        let report = self.report(&json, seconds, &mut server, &mut load)?;
        fs::remove_file(&json)?;
        end(server)?;
        end(load)?;
        Ok(Taken { sample: loads::read_aoeperf(&report)?, commands })
    }

    fn bdev_alone(&self, case: Case) -> Result<Taken> {
        let path = self.path("bdev.json");
        fs::write(&path, config([("bdev", vec![self.bdev(case.disk)?])]).to_string())?;
        let seconds = whole_seconds(self.settings.seconds);
        let memory = SERVER_MIB + case.disk.mib();
        let mut command = self.command(program(&self.own.checkout, "bdevperf")?);
        let socket = self.path("bdevperf.sock");
        command.args(loads::bdevperf(case, seconds, &path, self.settings.target_cpu, memory, &socket));
        let printed = self.run_to_end(Daemon::start(&mut command)?, Duration::from_secs(seconds) + BEYOND)?;
        Ok(Taken { sample: loads::read_bdevperf(&printed, case.depth)?, commands: vec![shown(&command)] })
    }

    fn nvmf(&self, build: &Build, contender: Contender, case: Case) -> Result<Taken> {
        let path = self.path("nvmf.json");
        let (bdev, nvmf) = (("bdev", vec![self.bdev(case.disk)?]), ("nvmf", nvmf("disk", NVMF_PORT)));
        let config = if contender == Contender::NvmfUring {
            let sockets = call("sock_set_default_impl", &json!({ "impl_name": "uring" }));
            config([("sock", vec![sockets]), bdev, nvmf])
        } else {
            config([bdev, nvmf])
        };
        fs::write(&path, config.to_string())?;
        let program_path = program(&build.checkout, "nvmf_tgt")?;
        let mut server = self.command(&program_path);
        server.arg("--json").arg(path).args(["-m", &format!("{:#x}", 1_u64 << self.settings.target_cpu)]);
        server.args(["-s", &(SERVER_MIB + case.disk.mib()).to_string(), "-u", "-R"]);
        server.args(without_core_locks(&program_path)?).arg("-r").arg(self.path("nvmf.sock"));
        let mut load = self.command(program(&self.own.checkout, "spdk_nvme_perf")?);
        let seconds = whole_seconds(self.settings.seconds);
        load.args(loads::nvme_perf(case, seconds, self.settings.initiator_cpu, NVMF_PORT));
        let commands = vec![shown(&server), shown(&load)];

        let mut server = Daemon::start(&mut server)?;
        server.wait_for_log("Listening on 127.0.0.1", READY)?;
        let load = Daemon::start(&mut load)?;
        // It has no option to unlink its hugepages' files as soon as they are mapped.
        let prefix = format!("spdk_pid{}", load.pid());
        let printed = self.run_to_end(load, Duration::from_secs(seconds) + BEYOND);
        self.hugepages.remove_files_of(&prefix)?;
        let printed = printed?;
        server.check_running()?;
        end(server)?;
        Ok(Taken { sample: loads::read_nvme_perf(&printed)?, commands })
    }

    /// Waits for a program's end. Returns what it printed.
    fn run_to_end(&self, mut daemon: Daemon, limit: Duration) -> Result<String> {
        let status = daemon.wait(limit)?;
        self.check_stop()?;
        let printed = daemon.log()?;
        ensure!(status.success(), "{} ended ({status}): {}", daemon.name(), printed.trim());
        Ok(printed)
    }

    /// Waits for aoeperf's report, which is to come within [`BEYOND`] after `seconds`. There is no core to spare: nothing wakes
    /// up here while the load runs.
    fn report(
        &self,
        json: &Path,
        seconds: Duration,
        server: &mut Daemon,
        load: &mut Daemon,
    ) -> Result<String> {
        sleep(seconds);
        let begun = Instant::now();
        loop {
            let text = fs::read_to_string(json).unwrap_or_default();
            // It is there when it is whole.
            if serde_json::from_str::<Value>(&text).is_ok() {
                return Ok(text);
            }
            self.check_stop()?;
            server.check_running()?;
            load.check_running()?;
            ensure!(begun.elapsed() < BEYOND, "{} has not reported: {}", load.name(), load.log()?.trim());
            sleep(LOOK);
        }
    }

    fn check_stop(&self) -> Result<()> {
        ensure!(!self.stop.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }

    /// EAL's option for one end of a link: of memif, with two to the power of `ring` slots of `room` bytes a ring.
    fn port(&self, link: Link, number: u32, end: End, room: u32, ring: u32) -> String {
        let Link::Memif { target_is_client } = link else {
            return af_packet(0, VETH[usize::from(end == End::Server)]);
        };
        let is_client = (end == End::Server) == target_is_client;
        let role = if is_client { Role::Client } else { Role::Server };
        let zero_copy = if is_client && target_is_client { ",zero-copy=yes" } else { "" };
        memif(number, &self.socket(number), role, room, ring) + zero_copy
    }

    /// EAL's options of a process with these ports.
    fn eal(&self, end: End, ports: Vec<String>) -> Vec<String> {
        let (cpu, name) = match end {
            End::Server => (self.settings.target_cpu, "server"),
            End::Initiator => (self.settings.initiator_cpu, "initiator"),
        };
        // memif hands its memory to the other end as one file, which must not be unlinked before.
        let memif = ports.iter().any(|port| port.contains("net_memif"));
        let memory = if memif { "--single-file-segments" } else { "--huge-unlink" };
        let mut words = ["-l", &cpu.to_string(), "--no-pci", memory].map(str::to_owned).to_vec();
        words.push(format!("--file-prefix={}", file_prefix(name)));
        words.extend(ports);
        words
    }
}

/// Ends a program that is to run until it is told to end.
fn end(mut daemon: Daemon) -> Result<()> {
    daemon.check_running()?;
    daemon.signal(Signal::SIGTERM)?;
    let status = daemon.wait(GRACE)?;
    // vblade does not handle the signal.
    let by_signal = status.signal() == Some(Signal::SIGTERM as i32);
    ensure!(status.success() || by_signal, "{} ended ({status}): {}", daemon.name(), daemon.log()?.trim());
    Ok(())
}

/// An end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Server,
    Initiator,
}

/// Bytes of a memif slot, and the MTU of its port, where requests have 512 bytes.
const SMALL_ROOM: u32 = 2048;
const SMALL_MTU: u16 = 1500;

/// The prefix of the DPDK files of one process of this run; all begin with that of an empty label.
fn file_prefix(label: &str) -> String {
    format!("aoebench{}-{label}", std::process::id())
}

/// Seconds as SPDK's programs take them: whole, at least one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1 to 3600")]
fn whole_seconds(seconds: f64) -> u64 {
    seconds.ceil().clamp(1.0, 3600.0) as u64
}
