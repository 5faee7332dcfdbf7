//! A machine that lacks something: one sentence names it and the remedy, and nothing is left half started.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Command;

use tempfile::TempDir;

use crate::lab::{Lab, PROGRAM, refuses, require};

const EXPORT: [&str; 2] = ["-e", "1.1=malloc:8M"];

/// The program started by a shell that first runs `preparation`, in a mount namespace of its own (`ip netns
/// exec` makes one).
fn after(lab: &Lab, preparation: &str, eal: &[&str]) -> Command {
    let mut command = lab.far.command("sh");
    command.args(["-c", &format!("{preparation} && exec \"$@\""), "sh", PROGRAM]);
    command.args(eal).args([OsStr::new("--"), OsStr::new("--rpc-socket"), lab.socket().as_os_str()]);
    command.arg("--state-dir").arg(lab.state_dir());
    command.args(EXPORT).env_remove("RUST_LOG");
    command
}

#[test]
fn without_root_it_says_so() {
    lab::needs_root!();
    let lab = Lab::for_refusals(1500);
    require("setpriv");
    // Where anybody may run it.
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("kvblade-dpdk");
    fs::copy(PROGRAM, &program).unwrap();
    let mut command = lab.far.command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program).args(EXPORT);
    let sentence = "this needs root, for hugepages and network ports: run it as root, for example with sudo";
    refuses(&lab, command, 1, true, sentence);
}

#[test]
fn without_hugepages_it_says_how_to_reserve_them_or_do_without() {
    lab::needs_root!();
    let lab = Lab::for_refusals(1500);
    let vdev = Lab::vdev(0);
    let eal = ["--no-pci", vdev.as_str()];
    let none = "mount -t tmpfs none /sys/kernel/mm/hugepages";
    let sentence = "no hugepages are free: start it with --hugepages auto, which reserves those that are missing, or \
                    reserve some by hand, for example 512 MiB with echo 256 > \
                    /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages, or do without by the EAL options --no-huge \
                    --legacy-mem -m 1024";
    refuses(&lab, after(&lab, none, &eal), 1, true, sentence);

    let some = format!(
        "{none} && cd /sys/kernel/mm/hugepages && mkdir hugepages-2048kB && echo 20 > hugepages-2048kB/free_hugepages"
    );
    let unmounted = format!("{some} && umount -a -t hugetlbfs");
    let sentence = "hugepages are free but no hugetlbfs for their size is mounted: run mount -t hugetlbfs none \
                    /dev/hugepages, or give the EAL option --in-memory";
    refuses(&lab, after(&lab, &unmounted, &eal), 1, true, sentence);

    let mounted = format!("{unmounted} && mount -t hugetlbfs -o pagesize=2M none /mnt");
    let sentence = "the EAL option -m asks for 512 MiB and 40 MiB of hugepages are free: start it with --hugepages \
                    auto, which reserves what is missing, or ask for less";
    refuses(&lab, after(&lab, &mounted, &["--no-pci", &vdev, "-m", "512"]), 1, true, sentence);
}

#[test]
fn an_lcore_that_the_machine_does_not_have_is_named() {
    lab::needs_root!();
    let lab = Lab::for_refusals(1500);
    let mut eal = lab.eal();
    eal.extend(["-l".into(), "1000".into()]);
    let present = fs::read_to_string("/sys/devices/system/cpu/present").unwrap();
    let sentence =
        format!("lcore 1000 is asked for and this machine has no such CPU: its CPUs are {}", present.trim());
    refuses(&lab, lab.command(&eal, &EXPORT), 1, true, &sentence);
}

#[test]
fn a_busy_or_impossible_rpc_socket_is_named() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let socket = lab.socket();
    let named = |why: &str| format!("cannot listen at --rpc-socket '{}': {why}", socket.display());
    let command = || lab.command(&lab.eal(), &EXPORT);

    let busy = "another process listens there; stop it or give another path with --rpc-socket";
    let listener = UnixListener::bind(&socket).unwrap();
    refuses(&lab, command(), 1, true, &named(busy));
    drop(listener);
    fs::remove_file(&socket).unwrap();

    let target = lab.start(&["-e", "7.7=malloc:1M"]);
    refuses(&lab, command(), 1, true, &named(busy));
    assert_eq!(target.rpc().state(7, 7).as_deref(), Some("online"), "the one that listens is not disturbed");
    target.stop();

    fs::write(&socket, "no socket").unwrap();
    let other = "something that is no socket is there; remove it or give another path";
    refuses(&lab, command(), 1, true, &named(other));
    assert_eq!(fs::read_to_string(&socket).unwrap(), "no socket");
}

#[test]
fn a_port_whose_mtu_holds_no_sector_is_named() {
    lab::needs_root!();
    let lab = Lab::for_refusals(1500);
    lab.far.ip(&["link", "set", "t0", "mtu", "547"]).unwrap();
    let sentence = "port net_af_packet0 has an MTU of 547: AoE needs at least 548, and 9000 for whole pages";
    refuses(&lab, lab.command(&lab.eal(), &EXPORT), 1, false, sentence);
    let sentence = "invalid value '547' for '--mtu <BYTES>': an MTU is a number of bytes from 548 to 65535 (see \
                    kvblade-dpdk --help)";
    refuses(&lab, lab.command(&lab.eal(), &["--mtu", "547", "-e", "1.1=malloc:8M"]), 2, true, sentence);
}

#[test]
fn a_port_that_cannot_be_made_is_named_and_the_others_do_not_start_without_it() {
    lab::needs_root!();
    let lab = Lab::for_refusals(1500);
    let mut eal = lab.eal();
    eal.push("--vdev=net_af_packet7,iface=nosuch".into());
    let sentence = "EAL made no port of --vdev=net_af_packet7,iface=nosuch: DPDK's log lines above say why; an interface \
                    it names must exist";
    refuses(&lab, lab.command(&eal, &EXPORT), 1, false, sentence);
}

#[test]
fn a_packet_ring_too_small_for_the_mtu_is_named() {
    lab::needs_root!();
    let lab = Lab::for_refusals(9000);
    let eal = lab.eal().into_iter().map(|word| word.replace("framesz=16384", "framesz=4096"));
    let sentence = "port net_af_packet0 has room for frames of 4096 bytes (framesz), and the MTU of 9000 of t0 needs 9092: \
                    give its --vdev framesz=9216,blocksz=36864,framecnt=512 in place of \
                    framesz=4096,blocksz=65536,framecnt=512, or set a smaller MTU";
    refuses(&lab, lab.command(&eal.collect::<Vec<_>>(), &EXPORT), 1, false, sentence);

    let eal = lab.eal().into_iter().map(|word| word.replace("framesz=16384", "framesz=65536"));
    let sentence = "port net_af_packet0 has slots of 65536 bytes (framesz), and an mbuf holds at most 65424: give its \
                    --vdev framesz=9216,blocksz=36864,framecnt=512 in place of \
                    framesz=65536,blocksz=65536,framecnt=512, or set a smaller MTU";
    refuses(&lab, lab.command(&eal.collect::<Vec<_>>(), &EXPORT), 1, false, sentence);

    let eal = lab.eal().into_iter().map(|word| word.replace("iface=t0", "iface=lo"));
    let sentence = "port net_af_packet0 has room for frames of 16384 bytes (framesz), and the MTU of 65536 of lo needs \
                    65628: no ring takes frames of the MTU of lo, which is 65536: set one of at most 65332 with 'ip link \
                    set lo mtu 9000'";
    refuses(&lab, lab.command(&eal.collect::<Vec<_>>(), &EXPORT), 1, false, sentence);
}

#[test]
fn without_any_port_it_says_how_to_give_one() {
    lab::needs_root!();
    let lab = Lab::for_refusals(1500);
    let eal: Vec<String> = lab.eal().into_iter().filter(|word| !word.starts_with("--vdev")).collect();
    let sentence = "DPDK has no port: give a Linux interface with --interface eth1, or a NIC bound to vfio-pci or \
                    uio_pci_generic with the EAL option -a PCI-ADDRESS";
    refuses(&lab, lab.command(&eal, &EXPORT), 1, false, sentence);
}
