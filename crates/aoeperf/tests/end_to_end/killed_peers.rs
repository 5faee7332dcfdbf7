//! Ends of a memif connection that are killed while frames are on their way.

use std::process::Command;
use std::time::Duration;

use aoe_initiator::wire::SECTOR;
use aoe_initiator::{Initiator, Link, Retransmit, ShelfSlot};
use lab::vdev::{JUMBO_ROOM, Role, af_packet, memif};
use lab::{Daemon, DpdkFiles, Namespace, Veth, until};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{PATIENCE, Target, aoeperf, target_program, turn};

const ADDRESS: ShelfSlot = ShelfSlot::new(1, 1);

/// The number of kills; a long run has 200.
fn kills() -> u32 {
    std::env::var("MEMIF_KILLS").map_or(4, |kills| kills.parse().expect("MEMIF_KILLS is a number"))
}

#[test]
fn peers_that_are_killed_under_load_do_no_harm_to_the_target() {
    lab::needs_root!();
    let _turn = turn();
    let (near, far) = (Namespace::create("near").unwrap(), Namespace::create("far").unwrap());
    Veth::create(&near, "i0", &far, "t0", 9000).unwrap();
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("memif");
    let ports = [af_packet(0, "t0"), memif(0, &socket, Role::Server, JUMBO_ROOM, 10)];
    let mut target = Target::start(Some(&far), directory, &ports, &["1.1=malloc:8M"], " ready ");
    let link = near.enter(|| Link::open("i0")).unwrap().unwrap();
    let mut initiator = Initiator::new(link, Retransmit { give_up: PATIENCE, ..Retransmit::default() });
    let export = initiator.find(ADDRESS).unwrap();
    let client = [memif(0, &socket, Role::Client, JUMBO_ROOM, 10)];
    for kill in 0..kills() {
        let options = "--mtu 9000 -t 600 -w randrw -q 64 --no-progress --warmup 0 --wait 60";
        let options: Vec<&str> = options.split(' ').collect();
        let mut peer = Daemon::start(&mut target.aoeperf(None, &client, &options)).unwrap();
        let ups = usize::try_from(kill).unwrap() + 1;
        until("the peer to be connected", PATIENCE, || {
            target.daemon.check_running().unwrap_or_else(|error| panic!("kill {kill}: {error}"));
            peer.check_running().unwrap_or_else(|error| panic!("kill {kill}: {error}"));
            target.daemon.log().unwrap().matches("link up").count() >= ups
        });
        let before = rx_frames(&target);
        until("the load", PATIENCE, || rx_frames(&target) >= before + 100);
        // Any moment of a burst.
        std::thread::sleep(Duration::from_micros(u64::from(kill) * 7_919 % 20_000));
        peer.signal(Signal::SIGKILL).unwrap();
        peer.wait(PATIENCE).unwrap();
        let data = [kill.to_le_bytes()[0]; SECTOR];
        initiator.write(&export, u64::from(kill), &data).unwrap();
        let mut read = [0; SECTOR];
        initiator.read(&export, u64::from(kill), &mut read).unwrap();
        assert_eq!(read, data);
        target.daemon.check_running().unwrap_or_else(|error| panic!("kill {kill}: {error}"));
    }
    target.stop();
}

/// The frames that the memif port behind an interface's has received.
fn rx_frames(target: &Target) -> u64 {
    rx_frames_of(target, 1)
}

/// The frames that a port has received.
fn rx_frames_of(target: &Target, port: usize) -> u64 {
    target.call("aoe_get_stats")["ports"][port]["rx_frames"].as_u64().unwrap()
}

/// The target is the client of a server that is killed and started again; each server does a verified load.
#[test]
fn a_target_that_is_a_memif_client_is_connected_to_the_next_server_too() {
    lab::needs_root!();
    let _turn = turn();
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("memif");
    let server = [memif(0, &socket, Role::Server, JUMBO_ROOM, 10)];
    let client = [memif(0, &socket, Role::Client, JUMBO_ROOM, 10)];
    let initiator_dpdk = DpdkFiles::new("ape2e-server");
    let load = |seconds: &str| {
        let options =
            format!("--mtu 9000 -t {seconds} -w randrw -q 16 --verify --no-progress --warmup 0 --wait 60");
        let options: Vec<&str> = options.split(' ').collect();
        aoeperf(None, initiator_dpdk.prefix(), &server, &options, directory.path())
    };
    let mut first = Daemon::start(&mut load("600")).unwrap();
    until("the server to listen", PATIENCE, || {
        first.check_running().unwrap_or_else(|error| panic!("{error}"));
        socket.exists()
    });
    let target = Target::start(None, TempDir::new().unwrap(), &client, &["1.1=malloc:8M"], " ready ");
    for kill in 1..=3 {
        until("the target to be connected", PATIENCE, || {
            first.check_running().unwrap_or_else(|error| panic!("server {kill}: {error}"));
            target.daemon.log().unwrap().matches("link up").count() >= kill
        });
        let before = rx_frames_of(&target, 0);
        until("the load", PATIENCE, || rx_frames_of(&target, 0) >= before + 100);
        first.signal(Signal::SIGKILL).unwrap();
        first.wait(PATIENCE).unwrap();
        until("the link to be down", PATIENCE, || {
            target.daemon.log().unwrap().matches("link down").count() >= kill
        });
        // A server that was killed leaves its socket's file.
        std::fs::remove_file(&socket).unwrap();
        first = Daemon::start(&mut load(if kill == 3 { "1" } else { "600" })).unwrap();
    }
    let status = first.wait(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(0), "{}\n{}", first.log().unwrap(), target.daemon.log().unwrap());
    target.stop();
}

/// A server that is killed leaves its socket's file.
#[test]
fn a_target_that_was_killed_starts_again_at_its_memif_socket() {
    lab::needs_root!();
    let _turn = turn();
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("memif");
    let server = [memif(0, &socket, Role::Server, JUMBO_ROOM, 10)];
    let mut target = Target::start(None, directory, &server, &["1.1=malloc:8M"], " ready ");
    for _ in 0..2 {
        target.daemon.signal(Signal::SIGKILL).unwrap();
        target.daemon.wait(PATIENCE).unwrap();
        assert!(socket.exists());
        target = Target::start(None, target.directory, &server, &["1.1=malloc:8M"], " ready ");
    }
    // A second target does not take the socket from the first.
    let other = TempDir::new().unwrap();
    let dpdk = DpdkFiles::new("ape2e-second");
    let mut second = Command::new(target_program());
    second.args([
        "-l",
        "0",
        "--no-pci",
        "--no-huge",
        "--legacy-mem",
        "-m",
        "1024",
        "--file-prefix",
        dpdk.prefix(),
    ]);
    second
        .args(&server)
        .args(["--", "--export", "1.1=malloc:8M", "--rpc-socket"])
        .arg(other.path().join("rpc"));
    let output = second.arg("--state-dir").arg(other.path().join("state")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another process listens at its socket"), "{said}");
    target.daemon.check_running().unwrap();
    target.stop();
}
