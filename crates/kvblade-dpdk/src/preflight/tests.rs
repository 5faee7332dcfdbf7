//! A made-up machine for what `/proc` and `/sys` tell; the real file system for the RPC socket.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use super::rpc_socket::RPC_PATH_MAX;
use super::*;
use crate::args::{self, Invocation};

/// A machine with two CPUs, 64 free pages of 2 MiB and a hugetlbfs, and a drive at 0000:01:00.0 for SPDK.
struct Machine {
    directory: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { directory: tempfile::tempdir().unwrap() };
        machine.write("sys/devices/system/cpu/cpu0/online", "1");
        machine.write("sys/devices/system/cpu/cpu1/online", "1");
        machine.write("sys/devices/system/cpu/present", "0-1\n");
        machine.pages("2048kB", 64);
        machine.pages("1048576kB", 0);
        machine.write(
            "proc/mounts",
            "proc /proc proc rw 0 0\nnone /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0\n",
        );
        machine.drive("0000:01:00.0", Some("vfio-pci"));
        machine.drive("0000:02:00.0", Some("nvme"));
        machine.drive("0000:03:00.0", None);
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn pages(&self, size: &str, free: u32) {
        self.write(&format!("sys/kernel/mm/hugepages/hugepages-{size}/free_hugepages"), &format!("{free}\n"));
    }

    fn drive(&self, address: &str, driver: Option<&str>) {
        let device = format!("sys/bus/pci/devices/{address}");
        self.write(&format!("{device}/class"), "0x010802\n");
        if let Some(driver) = driver {
            let link = self.directory.path().join(device).join("driver");
            symlink(format!("../../drivers/{driver}"), link).unwrap();
        }
    }

    fn check(&self, line: &str) -> Result<(), LaunchError> {
        let socket = self.directory.path().join("rpc.sock");
        let line = format!("kvblade-dpdk {line} --rpc-socket {}", socket.display());
        let Invocation::Serve(command) = args::parse(line.split_whitespace().map(Into::into), "").unwrap()
        else {
            panic!("{line}");
        };
        let launch = LaunchConfig::build(&command.exports, None).unwrap();
        check(&command, &launch, &Host { root: self.directory.path().into(), is_root: true })
    }

    #[track_caller]
    fn refuses(&self, line: &str, exit_code: u8, parts: &[&str]) {
        let error = self.check(line).unwrap_err();
        assert_eq!(error.exit_code(), exit_code, "{line}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
        for part in parts {
            assert!(error.to_string().contains(part), "{line}: {error} lacks {part}");
        }
    }
}

#[test]
fn a_machine_that_has_everything_passes() {
    let machine = Machine::new();
    for line in [
        "--",
        "-l 0-1 --",
        "-m 128 --",
        "-- --export 1.1=malloc:128M",
        "-- --export 1.1=nvme:01:00.0",
        "--no-pci -- --export 1.1=malloc:1M",
    ] {
        assert_eq!(machine.check(line), Ok(()), "{line}");
    }
}

#[test]
fn root_is_needed() {
    let host = |is_root| Host { root: "/".into(), is_root };
    assert_eq!(check_user(&host(true)), Ok(()));
    let error = check_user(&host(false)).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("run it as root"), "{error}");
}

#[test]
fn lcores_must_exist() {
    Machine::new().refuses("-l 1-2 --", 1, &["lcore 2", "CPUs are 0-1"]);
}

#[test]
fn hugepages_must_be_free() {
    let machine = Machine::new();
    machine.pages("2048kB", 0);
    machine.refuses("--", 1, &["no hugepages are free", "nr_hugepages", "--no-huge"]);
    assert_eq!(machine.check("--no-huge --legacy-mem -m 1024 --"), Ok(()));
    machine.refuses(
        "--no-huge -m 64 -- --export 1.1=malloc:65M",
        1,
        &["need 65 MiB", "gives 64 MiB", "smaller exports"],
    );
    // A kernel without hugepages at all.
    fs::remove_dir_all(machine.directory.path().join("sys/kernel")).unwrap();
    machine.refuses("--", 1, &["no hugepages are free"]);
}

#[test]
fn hugepages_must_be_mapped() {
    let machine = Machine::new();
    for mounts in
        ["", "none /dev/hugepages hugetlbfs rw,pagesize=1024M 0 0\n", "none /m hugetlbfs rw,pagesize=1G 0 0"]
    {
        machine.write("proc/mounts", mounts);
        machine.refuses("--", 1, &["no hugetlbfs", "mount -t hugetlbfs", "--in-memory"]);
        assert_eq!(machine.check("--in-memory --"), Ok(()), "{mounts}");
    }
    for mounts in ["none /m hugetlbfs rw 0 0", "none /m hugetlbfs rw,pagesize=2048K 0 0"] {
        machine.write("proc/mounts", mounts);
        assert_eq!(machine.check("--"), Ok(()), "{mounts}");
    }
}

#[test]
fn hugepages_must_suffice() {
    let machine = Machine::new();
    let malloc = "-- --export 1.1=malloc:64M --export 1.2=malloc:65M";
    machine.refuses(malloc, 1, &["malloc exports need 129 MiB", "128 MiB of hugepages are free"]);
    machine.refuses("-m 129 --", 1, &["-m asks for 129 MiB", "128 MiB"]);
    machine.pages("1048576kB", 1);
    machine.refuses(malloc, 1, &["128 MiB"]);
    assert_eq!(machine.check(&format!("--in-memory {malloc}")), Ok(()));
}

#[test]
fn drives_must_be_there_and_ours() {
    let machine = Machine::new();
    let export = |address: &str| format!("-- --strict --export 1.1=nvme:{address}");
    machine.refuses(&export("0000:09:00.0"), 1, &["nvme:0000:09:00.0 does not exist", "lspci"]);
    machine.refuses(
        &export("0000:02:00.0"),
        1,
        &["driver 'nvme'", "dpdk-devbind.py -b vfio-pci 0000:02:00.0"],
    );
    machine.refuses(&export("0000:03:00.0"), 1, &["no driver", "vfio-pci"]);
    machine.refuses("--no-pci -- --export 1.1=nvme:0000:01:00.0", 2, &["--no-pci"]);
    for address in ["0000:01:00.0", "0000:02:00.0", "0000:09:00.0"] {
        assert_eq!(
            machine.check(&format!("-- --export 1.1=nvme:{address}")),
            Ok(()),
            "waited for if it is missing"
        );
    }
    let error = machine
        .check("-- --strict -e 1.1=nvme:0000:09:00.0 -e 1.2=aio:/no/such/file")
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("2 disks are missing:\n") && error.contains("0000:09:00.0"), "{error}");
    assert!(error.contains("cannot export '/no/such/file'"), "{error}");
}

fn socket(path: &Path) -> Result<(), LaunchError> {
    rpc_socket::check(path, false)
}

#[track_caller]
fn socket_refused(path: &Path, parts: &[&str]) {
    let error = socket(path).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    for part in parts.iter().chain(&["--rpc-socket"]) {
        assert!(error.to_string().contains(part), "{error} lacks {part}");
    }
}

#[test]
fn a_free_or_stale_socket_is_fine() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    assert_eq!(socket(&path), Ok(()));
    drop(UnixListener::bind(&path).unwrap());
    File::create(directory.path().join("s.lock")).unwrap();
    assert!(path.exists());
    assert_eq!(socket(&path), Ok(()));
    // Looking must not leave the lock held.
    assert_eq!(socket(&path), Ok(()));
}

#[test]
fn a_busy_socket_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    socket_refused(&path, &["another process listens", "give another path"]);
    drop(listener);
    let lock = File::create(directory.path().join("s.lock")).unwrap();
    let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno).unwrap();
    socket_refused(&path, &["another process listens"]);
    drop(lock);
    assert_eq!(socket(&path), Ok(()));
}

#[test]
fn a_socket_needs_a_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    File::create(&file).unwrap();
    socket_refused(&file, &["no socket is there", "remove it"]);
    socket_refused(directory.path(), &["no socket is there"]);
    socket_refused(&file.join("s"), &["is no directory"]);
    socket_refused(&directory.path().join("no/s"), &["No such file", "directory that exists"]);
    let long = Path::new("/").join("x".repeat(RPC_PATH_MAX));
    socket_refused(&long, &["93 bytes", "at most 92"]);
}

#[test]
fn this_machine_can_be_asked() {
    let host = Host::this();
    assert!(host.read("/proc/mounts").is_some());
    assert_eq!(host.is_root, nix::unistd::geteuid().is_root());
}
