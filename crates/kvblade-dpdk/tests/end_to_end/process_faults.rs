//! Faults of the process and its machine under a verified load: killed, stopped, without room for its state.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aoe_initiator::ledger::Ledger;
use aoe_initiator::load::{self, LoadSpec, Workload};
use aoe_initiator::sector::Random;
use aoe_initiator::wire::{ConfigCommand, SECTOR};
use aoe_initiator::{Retransmit, ShelfSlot};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bad_frames::while_others_are_served;
use crate::initiator_state::{config_request, error, kept, mac, mask_add, reserve, string};
use crate::lab::{Lab, PATIENCE, SECTORS, Target, answer, find, random_load, require, until};

const ADDRESS: ShelfSlot = ShelfSlot::new(1, 1);

/// Kills in the kill test. Each comes after a random number of writes, from this seed on.
const KILLS: u64 = 6;
const SEED: u64 = 0x6b11;

/// Verified load on an export at a port while `fault` works on the target; its ledger, when all that was outstanding is
/// answered.
pub(crate) fn under_load(
    lab: &Lab,
    port: usize,
    address: ShelfSlot,
    spec: &LoadSpec,
    fault: impl FnOnce(),
) -> Ledger {
    let export = find(&mut lab.initiator(port), address);
    let (link, stop) = (lab.link(port), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut ledger = load::ledger_for(spec, SECTORS).unwrap();
            let report = load::run_verified(link, &export, SECTORS, spec, &stop, &mut ledger).unwrap();
            assert_eq!(report.failures(), 0, "{report:?}");
            ledger
        });
        // The load ends with the fault, also if that fails.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(fault));
        stop.store(true, Ordering::Relaxed);
        let ledger = load.join().unwrap();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ledger
    })
}

/// A load of three writes to a read, until it is stopped.
pub(crate) fn mixed(seed: u64) -> LoadSpec {
    LoadSpec {
        workload: Workload::RandomMixed(25),
        duration: Duration::from_secs(600),
        seed,
        ..random_load(8)
    }
}

/// Writes that 1.1 has taken since its target started.
fn writes(target: &Target) -> u64 {
    target.rpc().call("aoe_get_stats", Value::Null)["exports"][0]["writes"].as_u64().unwrap()
}

/// Compares a disk's file with what was acknowledged; the number of sectors.
fn compare(ledger: &Ledger, disk: &[u8]) -> u64 {
    let (mut lba, mut sectors) = (0, 0);
    while let Some(range) = ledger.next_written(lba, 256) {
        let bytes = |lba| usize::try_from(lba).unwrap() * SECTOR;
        sectors += ledger.check(range.start, &disk[bytes(range.start)..bytes(range.end)]).unwrap().sectors;
        lba = range.end;
    }
    sectors
}

#[test]
fn kills_under_load_lose_no_acknowledged_write_of_a_file() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let file = lab.file("disk");
    let export = format!("1.1=aio:{file}");
    let options = ["-e", export.as_str()];
    let (spec, mut random) = (mixed(SEED), Random::new(SEED));
    let mut target = Some(lab.start(&options));
    let ledger = under_load(&lab, 0, ADDRESS, &spec, || {
        for kill in 0..KILLS {
            let enough = 1 + random.below(300);
            until("the load to have written", || writes(target.as_ref().unwrap()) >= enough);
            let (status, _) = target.take().unwrap().end(Signal::SIGKILL);
            assert!(!status.success(), "kill {kill}");
            target = Some(lab.start(&options));
        }
        until("the load to have written once more", || writes(target.as_ref().unwrap()) > 0);
    });
    let export = find(&mut lab.initiator(0), ADDRESS);
    assert!(ledger.written() > 0);
    assert_eq!(load::sweep(lab.link(0), &export, &ledger, &spec).unwrap(), ledger.written());
    let (status, _) = target.take().unwrap().end(Signal::SIGKILL);
    assert!(!status.success());
    assert_eq!(compare(&ledger, &fs::read(&file).unwrap()), ledger.written(), "in the file itself");
}

#[test]
fn a_target_that_was_stopped_for_a_while_serves_on_and_undoes_no_write() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let file = lab.file("disk");
    let target = lab.start(&["-e", &format!("1.1=aio:{file}")]);
    let spec = mixed(SEED + 1);
    let ledger = under_load(&lab, 0, ADDRESS, &spec, || {
        let mut initiator = lab.initiator(0);
        let export = find(&mut initiator, ADDRESS);
        for _ in 0..2 {
            until("the load is being served", || target.rpc().under_way() > 0);
            target.daemon.signal(Signal::SIGSTOP).unwrap();
            initiator.set_timing(Retransmit { give_up: Duration::from_secs(5), ..Retransmit::default() });
            initiator.identify(&export).expect_err("nobody answers while it is stopped");
            target.daemon.signal(Signal::SIGCONT).unwrap();
            initiator.set_timing(crate::lab::timing());
            initiator.identify(&export).expect("served again");
            let before = writes(&target);
            until("the load goes on", || writes(&target) > before);
        }
    });
    let export = find(&mut lab.initiator(0), ADDRESS);
    assert_eq!(load::sweep(lab.link(0), &export, &ledger, &spec).unwrap(), ledger.written());
    assert_eq!(compare(&ledger, &fs::read(&file).unwrap()), ledger.written(), "in the file itself");
    target.stop();
}

/// A file system of a few pages at a directory; unmounted at the end.
struct SmallFileSystem(PathBuf);

impl SmallFileSystem {
    fn mount(at: PathBuf) -> Self {
        require("mount");
        fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=32k", "none"]).arg(&at);
        assert!(mount.status().unwrap().success());
        Self(at)
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0xff; 512]).is_ok() {}
        path
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !unmounted.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("umount {}: {unmounted:?}", self.0.display());
        }
    }
}

#[test]
fn on_a_full_state_disk_the_old_state_stays_and_exports_serve_on() {
    lab::needs_root!();
    const EXPORTS: [&str; 4] = ["-e", "1.1=malloc:8M", "-e", "1.2=malloc:8M"];
    let lab = Lab::new(9000);
    let small = SmallFileSystem::mount(lab.state_dir());
    let target = lab.start(&EXPORTS);
    let mut initiator = lab.initiator(0);
    let own = mac(&initiator);
    find(&mut initiator, ADDRESS);
    answer(&mut initiator, &config_request(own, ConfigCommand::Set, b"old"));
    assert_eq!(error(&answer(&mut initiator, &reserve(own, 1, &[own]))), 0);
    let before = kept(&target);
    let filler = small.fill();

    let changes = [
        config_request(own, ConfigCommand::ForceSet, b"new"),
        mask_add(own, own),
        reserve(own, 2, &[own, [2, 0, 0, 0, 0, 9]]),
    ];
    let stored = |target: &Target| target.rpc().drops(0, "not_stored");
    while_others_are_served(&lab, &target, || {
        for (number, change) in (1..).zip(&changes) {
            initiator.drain().unwrap();
            initiator.send_raw(change).unwrap();
            until("the change is dropped under its reason", || stored(&target) == number);
        }
    });
    initiator.drain().unwrap();
    assert_eq!(initiator.receive_raw(crate::lab::QUIET).unwrap(), None, "no change was answered");
    assert_eq!(kept(&target), before);
    let read = config_request(own, ConfigCommand::Read, b"");
    assert_eq!(string(&answer(&mut initiator, &read)), b"old");
    let log = target.log();
    assert!(log.contains("can't be saved") && log.contains("No space left on device"), "{log}");
    let (status, _) = target.end(Signal::SIGKILL);
    assert!(!status.success());

    // The old state is whole on the full disk, and with room again changes are made.
    let target = lab.start(&EXPORTS);
    assert_eq!(kept(&target), before);
    fs::remove_file(filler).unwrap();
    answer(&mut initiator, &config_request(own, ConfigCommand::ForceSet, b"new"));
    assert_eq!(kept(&target)["config"], "new");
    let (status, log) = target.end(Signal::SIGTERM);
    assert_eq!(status.code(), Some(0), "after {PATIENCE:?} at most: {log}");
}
