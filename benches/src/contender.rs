//! The targets that are compared. Another one is another entry in [`CONTENDERS`].

use anyhow::{Context, Result, ensure};
use aoe_initiator::ShelfSlot;
use aoe_initiator::lab::{Daemon, Namespace, Vblade};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where a contender is started and what it has to serve.
#[derive(Debug)]
pub struct Place<'a> {
    /// The namespace that holds the target's end of the veth pair.
    pub namespace: &'a Namespace,
    /// The target's end.
    pub interface: &'a str,
    /// The export to serve.
    pub address: ShelfSlot,
    /// MiB the export has, in memory.
    pub store_mib: u32,
    /// The one core it may use.
    pub cpu: usize,
    /// A directory on tmpfs, for backing files and sockets.
    pub scratch: &'a Path,
    /// The kvblade-dpdk program.
    pub kvblade: &'a Path,
}

/// A target in the comparison.
#[derive(Clone, Copy, Debug)]
pub struct Contender {
    /// As the command line and the table call it.
    pub name: &'static str,
    /// What serves the data, for the table's legend.
    pub store: &'static str,
    /// MiB of 2 MiB hugepages it needs besides its store, if it needs any at all; the store is in them too then.
    pub hugepages_mib: Option<u32>,
    /// Finds out whether it can be started here at all, before anything is measured.
    pub check: fn(&Place<'_>) -> Result<()>,
    /// Starts it. It need not be ready on return.
    pub start: fn(&Place<'_>) -> Result<Daemon>,
}

/// All contenders, in the order they are run and shown. The others are compared with the first that runs.
pub const CONTENDERS: &[Contender] = &[
    Contender {
        name: "vblade",
        store: "a file on tmpfs",
        hugepages_mib: None,
        check: |_| Ok(Vblade::program().map(drop)?),
        start: start_vblade,
    },
    Contender {
        name: "kvblade-dpdk",
        store: "a malloc bdev",
        // DPDK's and SPDK's pools; the mbufs with room for jumbo frames are most of it.
        hugepages_mib: Some(512),
        check: |place| {
            ensure!(
                place.kvblade.exists(),
                "{} does not exist: build it (cargo build --release -p kvblade-dpdk) or name it with --kvblade",
                place.kvblade.display()
            );
            Ok(())
        },
        start: start_kvblade,
    },
    Contender {
        name: "responder",
        store: "one buffer of 8 KiB, copied from or into; no disk: the link alone",
        hugepages_mib: Some(512),
        check: |place| {
            let responder = responder(place);
            ensure!(
                responder.exists(),
                "{} does not exist: build it (cargo build --release -p kvblade-benches)",
                responder.display()
            );
            Ok(())
        },
        start: start_responder,
    },
];

/// The contender called `name`.
///
/// # Errors
/// Names those there are.
pub fn by_name(name: &str) -> Result<Contender> {
    let names = || CONTENDERS.iter().map(|contender| contender.name).collect::<Vec<_>>().join(", ");
    CONTENDERS
        .iter()
        .find(|contender| contender.name == name)
        .copied()
        .with_context(|| format!("no contender {name:?}; there are: {}", names()))
}

fn start_vblade(place: &Place<'_>) -> Result<Daemon> {
    let file = place.scratch.join("store");
    if !file.exists() {
        fill(&file, place.store_mib).with_context(|| format!("writing {}", file.display()))?;
    }
    let vblade = Vblade::start(place.namespace, place.interface, place.address, &file, Some(place.cpu))?;
    Ok(vblade.into_daemon())
}

/// Writes every page of the file: reads of a hole would come from one page of zeroes, always in the cache.
fn fill(path: &Path, mib: u32) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let block: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 20).collect();
    (0..mib).try_for_each(|_| file.write_all(&block))
}

/// EAL's options, the same for everything that runs on DPDK: one core, and a packet socket on the target's end.
/// The socket's ring has blocks of 64 KiB, which hold whole jumbo frames, and 512 frames, many times the deepest
/// queue measured.
fn eal_options(place: &Place<'_>) -> [String; 5] {
    [
        "-l".into(),
        place.cpu.to_string(),
        "--no-pci".into(),
        format!("--file-prefix={}", file_prefix()),
        format!(
            "--vdev=net_af_packet0,iface={},framesz=16384,blocksz=65536,framecnt=512,qdisc_bypass=1",
            place.interface
        ),
    ]
}

/// The responder is built beside kvblade-dpdk.
fn responder(place: &Place<'_>) -> PathBuf {
    place.kvblade.with_file_name("responder")
}

fn start_responder(place: &Place<'_>) -> Result<Daemon> {
    let mut command = place.namespace.command(responder(place));
    command.args([place.address.to_string(), place.store_mib.to_string()]);
    command.args(eal_options(place)).args(["-m", "256", "--huge-unlink"]);
    Ok(Daemon::start(&mut command)?)
}

fn start_kvblade(place: &Place<'_>) -> Result<Daemon> {
    let mut command = place.namespace.command(place.kvblade);
    command
        .args(eal_options(place))
        .arg("--")
        .arg("--rpc-socket")
        .arg(place.scratch.join("rpc.sock"))
        .arg("--state-dir")
        .arg(place.scratch.join("claims"))
        .arg("--export")
        .arg(format!("{}=malloc:{}M", place.address, place.store_mib));
    Ok(Daemon::start(&mut command)?)
}

/// The prefix of the DPDK files of this run, its hugepage files among them.
pub fn file_prefix() -> String {
    format!("aoebench{}", std::process::id())
}

/// Where kvblade-dpdk is by default: beside this program, as cargo puts it.
///
/// # Errors
/// If this program's own path cannot be had.
pub fn default_kvblade() -> Result<PathBuf> {
    Ok(std::env::current_exe().context("the path of this program")?.with_file_name("kvblade-dpdk"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_contender_is_named_with_those_there_are() {
        assert_eq!(by_name("vblade").unwrap().name, "vblade");
        let error = by_name("qaoed").unwrap_err().to_string();
        assert!(error.contains("\"qaoed\"") && error.contains("vblade, kvblade-dpdk"), "{error}");
    }

    #[test]
    fn a_store_has_no_holes() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = directory.path().join("store");
        fill(&path, 3).unwrap();
        let metadata = path.metadata().unwrap();
        assert_eq!((metadata.len(), metadata.blocks() * 512), (3 << 20, 3 << 20));
    }
}
