//! Coming back: from what was saved, after a kill, and with SPDK's own tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::SECTOR;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::{Lab, SECTORS, find, require};
use crate::rpc::Rpc;

/// As SPDK's rpc.py makes `save_config` of its calls.
pub(crate) fn saved(rpc: &mut Rpc) -> Value {
    let names = rpc.call("framework_get_subsystems", Value::Null);
    let names = names.as_array().unwrap().iter().map(|one| one["subsystem"].as_str().unwrap().to_owned());
    let subsystems: Vec<Value> = names
        .map(|name| {
            let config = rpc.call("framework_get_config", json!({ "name": name }));
            json!({ "subsystem": name, "config": config })
        })
        .collect();
    json!({ "subsystems": subsystems })
}

#[test]
fn what_was_saved_starts_the_same_exports_again() {
    lab::needs_root!();
    let lab = Lab::with_ports(9000, 2);
    let (file, config) = (lab.file("disk"), lab.path("config.json"));
    let [aio, named] = [format!("1.2@t1=aio:{file},ro"), "65534.254@1=extra".to_owned()];
    let extra = json!({ "name": "extra", "num_blocks": 64, "block_size": 512 });
    let first = json!({ "subsystems": [{ "subsystem": "bdev", "config": [
        { "method": "bdev_malloc_create", "params": extra }
    ] }] });
    fs::write(&config, first.to_string()).unwrap();
    let path = config.to_str().unwrap();
    let target = lab.start(&["-e", "1.1=malloc:8M", "-e", &aio, "-e", &named, "--config", path]);
    let mut rpc = target.rpc();
    rpc.call("bdev_malloc_create", json!({ "name": "later", "num_blocks": 64, "block_size": 512 }));
    rpc.call("aoe_create_export", json!({ "shelf": 2, "slot": 0, "bdev_name": "later", "read_only": true }));
    rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 1, "ports": [0] }));

    let ours = rpc.call("framework_get_config", json!({ "name": "aoe" }));
    let methods: Vec<&str> =
        ours.as_array().unwrap().iter().map(|one| one["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["aoe_create_export"; 4], "{ours}");
    let before = rpc.call("aoe_get_exports", Value::Null);
    assert_eq!(before.as_array().unwrap().len(), 4);
    fs::write(&config, saved(&mut rpc).to_string()).unwrap();
    target.stop();

    let target = lab.start(&["--config", path]);
    let mut rpc = target.rpc();
    assert_eq!(rpc.call("aoe_get_exports", Value::Null), before);
    find(&mut lab.initiator(1), ShelfSlot::new(65534, 254));
    // Saving what was loaded changes nothing.
    let again = rpc.call("framework_get_config", json!({ "name": "aoe" }));
    assert_eq!(again, ours);
    target.stop();
}

#[test]
fn spdks_own_methods_work_on_the_socket_and_from_its_rpc_py() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    let version = rpc.call("spdk_get_version", Value::Null);
    assert!(version["version"].as_str().unwrap().contains("SPDK"), "{version}");
    let created =
        rpc.call("bdev_malloc_create", json!({ "name": "m0", "num_blocks": 64, "block_size": 512 }));
    assert_eq!(created, "m0");
    let bdevs = rpc.call("bdev_get_bdevs", json!({ "name": "m0" }));
    assert_eq!(bdevs[0]["num_blocks"], 64, "{bdevs}");
    let methods = rpc.call("rpc_get_methods", Value::Null);
    for method in
        ["aoe_create_export", "aoe_delete_export", "aoe_get_exports", "aoe_announce", "aoe_get_stats"]
    {
        assert!(methods.as_array().unwrap().contains(&json!(method)), "{methods}");
    }

    let script = rpc_py();
    for (words, part) in [
        (&["spdk_get_version"][..], "SPDK"),
        (&["bdev_get_bdevs", "-b", "m0"], "\"m0\""),
        (&["save_config"], "aoe_create_export"),
    ] {
        let output = Command::new(&script).arg("-s").arg(lab.socket()).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains(part), "{words:?}: {said}{error}");
    }
    target.stop();
}

/// The rpc.py beside the SPDK that `scripts/setup` builds.
fn rpc_py() -> PathBuf {
    let where_it_is = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dpdk-build/cache-dir");
    let output = Command::new(where_it_is).output().unwrap();
    let script = Path::new(String::from_utf8(output.stdout).unwrap().trim_end()).join("bin/rpc.py");
    assert!(script.exists(), "{} is not there: run scripts/setup --tests", script.display());
    script
}

#[test]
fn after_a_kill_it_starts_again_at_once_on_the_same_socket_with_the_same_disks() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let file = lab.file("disk");
    let export = format!("1.1=aio:{file}");
    let address = ShelfSlot::new(1, 1);
    let mut initiator = lab.initiator(0);
    let mut serials = Vec::new();
    for round in 0u8..3 {
        let target = lab.start(&["-e", &export]);
        let disk = find(&mut initiator, address);
        serials.push((disk.mac, initiator.identify(&disk).unwrap().serial));
        let mut read = [0; SECTOR];
        initiator.read(&disk, SECTORS - 1, &mut read).unwrap();
        assert_eq!(read, [round; SECTOR], "what was acknowledged before the kill");
        initiator.write(&disk, SECTORS - 1, &[round + 1; SECTOR]).unwrap();
        let trace = PathBuf::from(format!("/dev/shm/kvblade-dpdk_trace.pid{}", target.daemon.pid()));
        let (status, _) = target.end(Signal::SIGKILL);
        assert!(!status.success());
        assert!(!trace.exists(), "memory that nobody would free");
        assert!(lab.socket().exists(), "a killed target leaves its socket");
    }
    assert!(serials.iter().all(|one| *one == serials[0]), "{serials:?}");
    lab.start(&["-e", &export]).stop();
    assert_eq!(lab.sockets_and_locks(), Vec::<String>::new());
}

/// A hugetlbfs of the test's own, unmounted at the end.
struct Hugetlbfs(TempDir);

impl Hugetlbfs {
    fn mount() -> Self {
        require("mount");
        let directory = TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "hugetlbfs", "-o", "pagesize=2M", "none"]).arg(directory.path());
        assert!(mount.status().unwrap().success(), "this kernel has no hugepages of 2 MB");
        Self(directory)
    }

    fn files(&self) -> usize {
        fs::read_dir(self.0.path()).unwrap().count()
    }
}

impl Drop for Hugetlbfs {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        if !unmounted.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("umount {}: {unmounted:?}", self.0.path().display());
        }
    }
}

/// Hugepages reserved beside those there were, given back at the end.
struct Reserved(u64);

const PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

fn pages(name: &str) -> u64 {
    fs::read_to_string(format!("{PAGES}/{name}")).unwrap().trim().parse().unwrap()
}

impl Reserved {
    fn more(count: u64) -> Self {
        let before = pages("nr_hugepages");
        fs::write(format!("{PAGES}/nr_hugepages"), (before + count).to_string()).unwrap();
        let reserved = Self(pages("nr_hugepages").saturating_sub(before));
        assert!(
            pages("free_hugepages") >= count,
            "memory is too full or too scattered for {count} hugepages of 2 MB"
        );
        reserved
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let before = pages("nr_hugepages").saturating_sub(self.0).to_string();
        if let Err(error) = fs::write(format!("{PAGES}/nr_hugepages"), before) {
            eprintln!("{} hugepages stay reserved: {error}", self.0);
        }
    }
}

#[test]
fn a_kill_leaves_no_hugepage_behind() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let _reserved = Reserved::more(320);
    let filesystem = Hugetlbfs::mount();
    let mut eal: Vec<String> =
        vec!["--no-pci".into(), "--huge-dir".into(), filesystem.0.path().display().to_string()];
    eal.extend(lab.eal().into_iter().skip_while(|word| word != "--file-prefix"));
    for _ in 0..2 {
        let target = lab.start_command(lab.command(&eal, &["-e", "1.1=malloc:8M"]));
        let mut initiator = lab.initiator(0);
        let export = find(&mut initiator, ShelfSlot::new(1, 1));
        initiator.write(&export, 0, &[1; SECTOR]).unwrap();
        let (status, _) = target.end(Signal::SIGKILL);
        assert!(!status.success());
        assert_eq!(filesystem.files(), 0, "files that keep hugepages");
    }
}
