//! The place of a run: one network namespace with a veth pair for each contender that needs one, hugepages, a
//! directory on tmpfs, and the programs.

use crate::aoeperf::{self, Load};
use crate::cell::Cell;
use crate::contender::{BDEVPERF_MIB, Contender, Link, NVMF_MIB};
use crate::hugepages::Hugepages;
use crate::process::{self, Server, run_to_end};
use crate::sample::Sample;
use crate::spdk_programs::{self, Programs, bdevperf, nvme_perf, whole_seconds};
use anyhow::{Context, Result, bail, ensure};
use aoe_initiator::lab::{Namespace, Vblade, Veth, shown};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

/// The export every AoE target serves.
const EXPORT: &str = "1.1";
/// MiB of hugepages for aoeperf: its mbufs and the memif rings, which the client owns.
const AOEPERF_MIB: u32 = 512;
/// TCP port of nvmf_tgt.
const NVMF_PORT: u16 = 4420;

/// Everything that is the same for all contenders.
#[derive(Clone, Debug)]
pub struct Settings {
    /// MTU of every link that has one.
    pub mtu: u16,
    /// MiB each target serves from memory.
    pub store_mib: u32,
    /// The server's core.
    pub target_cpu: usize,
    /// The initiator's core.
    pub initiator_cpu: usize,
    /// Measured seconds of a run.
    pub seconds: f64,
    /// Seconds before, not measured.
    pub warmup: f64,
    /// Where kvblade-dpdk, aoeperf and the responder are.
    pub programs: PathBuf,
}

/// The place of a run.
#[derive(Debug)]
pub struct Lab {
    // In the order they are to go.
    namespace: Namespace,
    hugepages: Hugepages,
    scratch: TempDir,
    settings: Settings,
    spdk: Option<Programs>,
}

impl Lab {
    /// Makes the place for these contenders, and looks whether all their programs are there.
    ///
    /// # Errors
    /// Names the program that is missing; without root, or enough memory.
    pub fn new(contenders: &[Contender], settings: Settings, more_hugepages_mib: u32) -> Result<Self> {
        let uses_spdk = contenders.iter().any(|who| matches!(who, Contender::Bdev | Contender::Nvmf));
        let spdk = uses_spdk.then(Programs::find).transpose()?;
        check_programs(contenders, &settings, spdk.as_ref())?;
        let servers: u32 = contenders.iter().map(|who| who.hugepages_mib(settings.store_mib)).sum();
        let scratch = tempfile::tempdir_in("/dev/shm").context("a directory on /dev/shm")?;
        let hugepages = Hugepages::reserve(servers + AOEPERF_MIB + more_hugepages_mib, &file_prefix(""))?;
        let namespace = Namespace::create("bench")?;
        namespace.ip(&["link", "set", "lo", "up"])?;
        let lab = Self { namespace, hugepages, scratch, settings, spdk };
        for &contender in contenders.iter().filter(|who| who.link() == Link::Veth) {
            let (near, far) = veth_ends(contender);
            lab.veth(&near, &far)?;
        }
        Ok(lab)
    }

    /// Has [`Lab::nvme_perf`] call the one of these programs.
    pub fn use_spdk(&mut self, programs: Programs) {
        self.spdk = Some(programs);
    }

    /// Makes a veth pair, both ends in the run's namespace.
    ///
    /// # Errors
    /// If Linux refuses it.
    pub fn veth(&self, near: &str, far: &str) -> Result<()> {
        Veth::create(&self.namespace, near, &self.namespace, far, self.settings.mtu)?;
        Ok(())
    }

    /// Writes a file as large as the store, without holes.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn fill(&self, path: &Path) -> Result<()> {
        fill(path, self.settings.store_mib).with_context(|| format!("writing {}", path.display()))
    }

    /// What is the same for all.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A path in the directory on tmpfs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Removes what DPDK processes left. For when none runs.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn remove_leftovers(&self) -> Result<()> {
        self.hugepages.remove_leftovers()
    }

    /// A command of `program` in the run's namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        process::command(&self.namespace, program)
    }

    /// Starts the server of a contender, and holds it; the bdev alone has none.
    ///
    /// # Errors
    /// With the server's log if it does not get ready.
    pub fn serve(&self, contender: Contender, stop: &AtomicBool) -> Result<Option<Server>> {
        let Settings { target_cpu, store_mib, mtu, .. } = self.settings;
        let (command, ready) = match contender {
            Contender::Bdev => return Ok(None),
            Contender::MemifLink | Contender::VethLink => {
                let mut command = self.command(self.program("responder"));
                command.args(self.eal(contender, End::Server));
                command.args(["--", "--export", EXPORT, "--mib", &store_mib.to_string()]);
                command.args(["--mtu", &mtu.to_string()]);
                if contender == Contender::VethLink {
                    command.arg("--copy");
                }
                (command, "ready")
            }
            Contender::Memif | Contender::Veth => {
                let mut command = self.kvblade(contender.name(), self.eal(contender, End::Server));
                command.args(["--mtu", &mtu.to_string()]);
                command.args(["--export", &format!("{EXPORT}=malloc:{store_mib}M")]);
                (command, "ready")
            }
            Contender::Vblade => {
                let store = self.path("store");
                if !store.exists() {
                    self.fill(&store)?;
                }
                let mut command = self.command("taskset");
                command.args(["-c", &target_cpu.to_string()]).arg(Vblade::program()?);
                // Room for more requests than are ever outstanding: its socket's buffer is sized by this number.
                command.args(["-b", "256", "1", "1", &veth_ends(contender).1]).arg(store);
                (command, "sectors")
            }
            Contender::Nvmf => {
                let config = self.path("nvmf.json");
                fs::write(&config, spdk_programs::nvmf_config(store_mib, NVMF_PORT).to_string())?;
                let mut command = self.command(self.spdk()?.path("nvmf_tgt")?);
                command.arg("--json").arg(config).args(["-m", &format!("{:#x}", 1_u64 << target_cpu)]);
                command.args([
                    "-s",
                    &(NVMF_MIB + store_mib).to_string(),
                    "-u",
                    "-R",
                    "--disable-cpumask-locks",
                ]);
                command.arg("-r").arg(self.path("nvmf.sock"));
                (command, "Listening on 127.0.0.1")
            }
        };
        let server = Server::start(command, ready, stop).with_context(|| contender.to_string())?;
        Ok(Some(match contender.link() {
            Link::Memif => server.ending_with_its_peer([self.path(&format!("{contender}.memif"))]),
            Link::Veth | Link::Tcp | Link::None => server,
        }))
    }

    /// Measures a contender in a cell. Returns the command that drove the load, and what came of it.
    ///
    /// # Errors
    /// If a request failed, or a program did.
    pub fn measure(
        &self,
        contender: Contender,
        server: Option<&mut Server>,
        cell: Cell,
        stop: &AtomicBool,
    ) -> Result<(String, Sample)> {
        let run = || match contender.link() {
            Link::None => self.bdevperf(cell, stop),
            Link::Tcp => self.nvme_perf(cell, NVMF_PORT, stop),
            Link::Memif | Link::Veth => {
                let targets = [EXPORT.to_owned()];
                let load = LoadSpec { targets: &targets, initiators: 1, mtu: self.settings.mtu };
                self.aoeperf(self.eal(contender, End::Initiator), cell, &load, stop)
            }
        };
        let measured = match server {
            Some(server) => server.during(stop, run),
            None => run(),
        };
        measured.with_context(|| format!("{contender}, {cell}"))
    }

    /// kvblade-dpdk with everything but its exports and ports; `label` keeps its files apart from others'.
    pub fn kvblade(&self, label: &str, eal: Vec<String>) -> Command {
        self.kvblade_of(&self.settings.programs, label, eal)
    }

    /// The same of another directory's kvblade-dpdk.
    pub fn kvblade_of(&self, programs: &Path, label: &str, eal: Vec<String>) -> Command {
        let mut command = self.command(programs.join("kvblade-dpdk"));
        command.args(eal).arg("--");
        // That it is ready is told as information; that an export is made, thousands of times, is not asked for.
        command.env("RUST_LOG", "info,kvblade_dpdk::target::create=error");
        command.arg("--rpc-socket").arg(self.path(&format!("{label}.rpc")));
        command.arg("--state-dir").arg(self.path(&format!("{label}.claims")));
        command
    }

    /// Runs aoeperf with these options of EAL's.
    ///
    /// # Errors
    /// If a request failed, or aoeperf did.
    pub fn aoeperf(
        &self,
        eal: Vec<String>,
        cell: Cell,
        load: &LoadSpec<'_>,
        stop: &AtomicBool,
    ) -> Result<(String, Sample)> {
        let Settings { seconds, warmup, .. } = self.settings;
        let json = self.path("aoeperf.json");
        let LoadSpec { targets, initiators, mtu } = *load;
        let load = Load { targets, initiators, seconds, warmup, mtu, json: &json };
        let mut command = self.command(self.program("aoeperf"));
        command.args(eal).arg("--").args(aoeperf::options(cell, &load));
        run_to_end(&mut command, seconds + warmup, stop)?;
        let figures = fs::read_to_string(&json).context("aoeperf wrote no figures")?;
        fs::remove_file(&json)?;
        Ok((shown(&command), aoeperf::parse(&figures)?))
    }

    fn bdevperf(&self, cell: Cell, stop: &AtomicBool) -> Result<(String, Sample)> {
        let Settings { store_mib, target_cpu, seconds, .. } = self.settings;
        let config = self.path("bdev.json");
        fs::write(&config, spdk_programs::bdev_config(store_mib).to_string())?;
        let seconds = whole_seconds(seconds);
        let socket = self.path("bdevperf.sock");
        let memory = BDEVPERF_MIB + store_mib;
        let mut command = self.command(self.spdk()?.path("bdevperf")?);
        command.args(bdevperf::options(cell, seconds, &config, target_cpu, memory, &socket));
        let finished = run_to_end(&mut command, whole(seconds), stop)?;
        Ok((shown(&command), bdevperf::parse(&finished.printed, cell.depth)?))
    }

    /// Runs SPDK's initiator at a TCP port of loopback.
    ///
    /// # Errors
    /// If a request failed, or the program did.
    pub fn nvme_perf(&self, cell: Cell, port: u16, stop: &AtomicBool) -> Result<(String, Sample)> {
        let seconds = whole_seconds(self.settings.seconds);
        let mut command = self.command(self.spdk()?.path("spdk_nvme_perf")?);
        command.args(nvme_perf::options(cell, seconds, self.settings.initiator_cpu, port));
        let finished = run_to_end(&mut command, whole(seconds), stop)?;
        // It has no option to unlink its hugepages' files as soon as they are mapped.
        self.hugepages.remove_files_of(&format!("spdk_pid{}", finished.pid))?;
        Ok((shown(&command), nvme_perf::parse(&finished.printed)?))
    }

    /// EAL's options of one end of a contender's link.
    fn eal(&self, contender: Contender, end: End) -> Vec<String> {
        let port = match contender.link() {
            Link::Memif => memif(0, &self.path(&format!("{contender}.memif")), end, JUMBO_ROOM, 10),
            Link::Veth => {
                let (near, far) = veth_ends(contender);
                af_packet(if end == End::Server { &far } else { &near })
            }
            Link::Tcp | Link::None => String::new(),
        };
        self.eal_with(contender.name(), end, [port])
    }

    /// EAL's options of a process with these ports. The files it leaves are kept apart by `label`.
    pub fn eal_with(&self, label: &str, end: End, ports: impl IntoIterator<Item = String>) -> Vec<String> {
        let (cpu, name) = match end {
            End::Server => (self.settings.target_cpu, label),
            End::Initiator => (self.settings.initiator_cpu, "initiator"),
        };
        let mut words = vec!["-l".to_owned(), cpu.to_string(), "--no-pci".to_owned()];
        words.push(format!("--file-prefix={}", file_prefix(name)));
        let before = words.len();
        words.extend(ports);
        // memif hands its memory to the other end as one file, which must not be unlinked before.
        let memif = words[before..].iter().any(|word| word.contains("net_memif"));
        words.push(if memif { "--single-file-segments" } else { "--huge-unlink" }.to_owned());
        words
    }

    fn program(&self, name: &str) -> PathBuf {
        self.settings.programs.join(name)
    }

    fn spdk(&self) -> Result<&Programs> {
        self.spdk.as_ref().context("SPDK's programs were not looked for")
    }
}

/// The targets of a load, and how they are reached.
#[derive(Clone, Copy, Debug)]
pub struct LoadSpec<'a> {
    /// `--target`s.
    pub targets: &'a [String],
    /// Initiators that share the load.
    pub initiators: u16,
    /// MTU of the ports.
    pub mtu: u16,
}

/// An end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The target's.
    Server,
    /// The initiator's.
    Initiator,
}

/// Bytes of a memif slot that holds any jumbo frame.
pub const JUMBO_ROOM: u32 = 16_384;

/// A memif port: two to the power of `ring` slots a ring, each with `room` bytes for a frame.
pub fn memif(number: u32, socket: &Path, end: End, room: u32, ring: u32) -> String {
    let role = if end == End::Server { "server" } else { "client" };
    let socket = socket.display();
    format!(
        "--vdev=net_memif{number},role={role},socket={socket},socket-abstract=no,bsize={room},rsize={ring}"
    )
}

/// An af_packet port. Its ring has blocks of 64 KiB, which hold whole jumbo frames, and 512 frames, many times the
/// deepest queue measured.
pub fn af_packet(interface: &str) -> String {
    format!("--vdev=net_af_packet0,iface={interface},framesz=16384,blocksz=65536,framecnt=512,qdisc_bypass=1")
}

/// The prefix of the DPDK files of one process of this run; all begin with that of an empty label.
fn file_prefix(label: &str) -> String {
    format!("aoebench{}-{label}", std::process::id())
}

/// The initiator's and the target's end of a contender's veth pair.
fn veth_ends(contender: Contender) -> (String, String) {
    (format!("i-{contender}"), format!("t-{contender}"))
}

fn check_programs(contenders: &[Contender], settings: &Settings, spdk: Option<&Programs>) -> Result<()> {
    let Settings { target_cpu, initiator_cpu, programs, .. } = settings;
    ensure!(target_cpu != initiator_cpu, "the target and the initiator need a core each");
    let built = |name: &str, package: &str| {
        let path = programs.join(name);
        ensure!(path.exists(), "{} does not exist: cargo build --release -p {package}", path.display());
        Ok(())
    };
    built("aoeperf", "aoeperf")?;
    for contender in contenders {
        match contender {
            Contender::MemifLink | Contender::VethLink => built("responder", "kvblade-benches")?,
            Contender::Memif | Contender::Veth => built("kvblade-dpdk", "kvblade-dpdk")?,
            Contender::Vblade => drop(Vblade::program()?),
            Contender::Bdev => drop(spdk.map(|spdk| spdk.path("bdevperf")).transpose()?),
            Contender::Nvmf => {
                for name in ["nvmf_tgt", "spdk_nvme_perf"] {
                    spdk.map(|spdk| spdk.path(name)).transpose()?;
                }
            }
        }
    }
    for cpu in [target_cpu, initiator_cpu] {
        if !Path::new(&format!("/sys/devices/system/cpu/cpu{cpu}")).exists() || *cpu > 63 {
            bail!("there is no core {cpu} here");
        }
    }
    Ok(())
}

/// Writes every page of the file: reads of a hole would come from one page of zeroes, always in the cache.
fn fill(path: &Path, mib: u32) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let block: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 20).collect();
    (0..mib).try_for_each(|_| file.write_all(&block))
}

#[expect(clippy::cast_precision_loss, reason = "at most 3600")]
const fn whole(seconds: u64) -> f64 {
    seconds as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_no_holes() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = directory.path().join("store");
        fill(&path, 3).unwrap();
        let metadata = path.metadata().unwrap();
        assert_eq!((metadata.len(), metadata.blocks() * 512), (3 << 20, 3 << 20));
    }

    #[test]
    fn interfaces_have_names_that_linux_takes() {
        for contender in Contender::ALL.into_iter().filter(|who| who.link() == Link::Veth) {
            let (near, far) = veth_ends(contender);
            assert!(near != far && near.len() < 16 && far.len() < 16, "{near} {far}");
        }
    }
}
