//! `--take-over`: a program takes the place of one that serves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aoe_initiator::wire::SECTOR;
use aoe_initiator::{Initiator, Retransmit, ShelfSlot};
use lab::Daemon;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rpc_client::Client;
use serde_json::json;

use crate::changes::under_verified_load;
use crate::commands::prints;
use crate::lab::{Lab, PATIENCE, find, until};
use crate::service::Manager;

const DISK: ShelfSlot = ShelfSlot::new(1, 1);

#[test]
fn a_program_takes_over_again_and_again_under_verified_load_and_nothing_is_lost() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let disk = format!("1.1={}", lab.file("disk"));
    let manager = Manager::new(&lab);
    let mut serving = manager.start(&lab, "0-1", &["-e", &disk]);
    manager.until("READY=1");
    serving.rpc().call("aoe_set_config_string", json!({ "shelf": 1, "slot": 1, "config": "rack 7" }));
    under_verified_load(&lab, || {
        for _ in 0..4 {
            manager.so_far();
            let next = manager.start(&lab, "0-1", &["-e", &disk, "--take-over"]);
            let mut before = std::mem::replace(&mut serving, next);
            assert_eq!(before.daemon.wait(PATIENCE).unwrap().code(), Some(0), "{}", before.log());
            // The service goes on with another main process.
            let messages = manager.until("READY=1");
            assert!(
                messages.iter().any(|lines| lines.contains(&format!("MAINPID={}", serving.daemon.pid()))),
                "{messages:?}"
            );
            assert!(!messages.iter().any(|lines| lines.contains("STOPPING")), "{messages:?}");
        }
    });
    let listed = serving.rpc().call("aoe_get_exports", json!({}))[0].clone();
    assert_eq!(
        (&listed["state"], &listed["initiator_state"]["config"]),
        (&json!("online"), &json!("rack 7"))
    );
    serving.stop();
    assert_eq!(lab.sockets_and_locks(), [] as [String; 0]);
}

#[test]
fn a_start_that_fails_before_it_takes_over_leaves_the_other_one_serving() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let fails = |eal: &[String], part: &str| {
        let mut command = lab.command(eal, &["--take-over", "-e", "1.1=malloc:1M"]);
        let mut daemon = Daemon::start(&mut command).unwrap();
        let status = daemon.wait(PATIENCE).unwrap();
        let log = daemon.log().unwrap();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(part), "{log}");
    };
    fails(&lab.eal(), "kvblade-dpdk: --take-over: cannot reach kvblade-dpdk at '");
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    let mut eal = lab.eal();
    eal.push("--vdev=net_nosuch0".to_owned());
    fails(&eal, "net_nosuch0");
    assert!(!target.log().contains("takes over"), "{}", target.log());
    find(&mut lab.initiator(0), DISK);
    target.stop();
}

/// The process that listens in the end, which is no child of the test's.
struct Other<'lab>(&'lab Lab);

impl Drop for Other<'_> {
    fn drop(&mut self) {
        let process = Client::connect(&self.0.socket(), PATIENCE).unwrap().process().unwrap();
        kill(Pid::from_raw(process), Signal::SIGTERM).unwrap();
        until("the end of the process", || !self.0.socket().exists());
    }
}

#[test]
fn kv_upgrade_has_a_new_process_take_over_under_verified_load() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let disk = format!("1.1={}", lab.file("disk"));
    let mut target = lab.start(&["-e", &disk]);
    let _ended = Other(&lab);
    under_verified_load(&lab, || {
        let before = target.daemon.pid();
        let said = prints(&lab, &["kv", "upgrade"]);
        assert!(said.ends_with(&format!("has taken over from {before}\n")), "{said}");
        assert_eq!(target.daemon.wait(PATIENCE).unwrap().code(), Some(0), "{}", target.log());
        // The one that has taken over is upgraded like the first.
        let said = prints(&lab, &["kv", "upgrade"]);
        assert!(said.contains("has taken over from") && !said.contains(&before.to_string()), "{said}");
    });
}

/// The longest time without an answer to a reader that repeats its request every millisecond.
fn longest_silence(lab: &Lab, stop: &AtomicBool) -> Duration {
    let each = Duration::from_millis(1);
    let timing = Retransmit { first: each, longest: each, give_up: PATIENCE };
    let mut initiator = Initiator::new(lab.link(0), timing);
    let export = find(&mut initiator, DISK);
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        initiator.read(&export, 0, &mut [0; SECTOR]).unwrap();
        longest = longest.max(begun.elapsed());
    }
    longest
}

#[test]
#[ignore = "prints the figures of docs/running.md"]
fn the_silence_of_50_take_overs() {
    let lab = Lab::new(9000);
    let file = format!("1.1={}", lab.file("disk"));
    for (kind, export) in [("memory", "1.1=malloc:16M"), ("file", &file)] {
        let mut serving = lab.start_on("0", &["-e", export]);
        let mut silences: Vec<Duration> = Vec::new();
        for _ in 0..50 {
            let stop = AtomicBool::new(false);
            silences.push(std::thread::scope(|scope| {
                let reader = scope.spawn(|| longest_silence(&lab, &stop));
                let next = lab.start_on("0", &["-e", export, "--take-over"]);
                let mut before = std::mem::replace(&mut serving, next);
                assert_eq!(before.daemon.wait(PATIENCE).unwrap().code(), Some(0), "{}", before.log());
                stop.store(true, Ordering::Relaxed);
                reader.join().unwrap()
            }));
        }
        silences.sort();
        let [low, half, most, high] = [0, 25, 45, 49].map(|at| silences[at].as_millis());
        println!("{kind}: {low} to {high} ms, median {half} ms, 9 in 10 below {most} ms");
        serving.stop();
    }
}
