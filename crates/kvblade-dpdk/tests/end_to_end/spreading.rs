//! One port spread over two lcores, and lcores that rest: `--spread` and `--idle`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use aoe_initiator::initiator::Export;
use aoe_initiator::wire::ConfigCommand;
use aoe_initiator::{Initiator, ShelfSlot, load};
use datapath::distribute::owner_of;
use serde_json::Value;

use crate::initiator_state::{config_request, error, mac, string};
use crate::lab::{Lab, QUIET, SECTORS, Target, answer, find, random_load, refuses, until};

const ADDRESS: ShelfSlot = ShelfSlot::new(1, 1);

/// The program on two lcores, with two queue pairs.
pub(crate) fn command(lab: &Lab, options: &[&str]) -> Command {
    let mut eal = lab.eal();
    let vdev = eal.iter_mut().find(|word| word.starts_with("--vdev=")).unwrap();
    vdev.push_str(",qpairs=2");
    eal.extend(["-l".into(), "0-1".into()]);
    lab.command(&eal, options)
}

/// An export address that this lcore of two owns.
pub(crate) fn owned_by(lcore: usize) -> ShelfSlot {
    let owns = |slot: &u8| owner_of(format!("1.{slot}").parse().unwrap(), 2) == lcore;
    ShelfSlot::new(1, (1..=254).find(owns).unwrap())
}

/// A counter of each lcore.
fn by_lcore(target: &Target, counter: &str) -> Vec<u64> {
    let stats = target.rpc().call("aoe_get_stats", Value::Null);
    stats["lcores"].as_array().unwrap().iter().map(|lcore| lcore[counter].as_u64().unwrap()).collect()
}

/// Every path to the export.
fn paths(initiator: &mut Initiator) -> Vec<Export> {
    let found = initiator.discover(ADDRESS, 5 * QUIET).unwrap();
    assert!(found.iter().all(|export| export.breaches.is_empty()), "{found:?}");
    found
}

/// A lab with two more interfaces at the initiators' end, `i1` and `i2`; neither receives the other's replies.
fn lab_of_initiators() -> Lab {
    let lab = Lab::new(9000);
    for name in ["i1", "i2"] {
        lab.near
            .ip(&["link", "add", "link", "i0", "name", name, "type", "macvlan", "mode", "private"])
            .unwrap();
        lab.near.ip(&["link", "set", name, "addrgenmode", "none"]).unwrap();
        lab.near.ip(&["link", "set", name, "up"]).unwrap();
    }
    lab
}

/// Two initiators, each on a half of the disk and by its own path, write, read and compare, then read it all again by
/// the other's path.
fn load_both(lab: &Lab, paths: [&Export; 2]) {
    std::thread::scope(|scope| {
        let halves = [0usize, 1].map(|half| {
            scope.spawn(move || {
                let mut spec = random_load(16);
                (spec.first_lba, spec.sectors) = (half as u64 * SECTORS / 2, Some(SECTORS / 2));
                let mut ledger = load::ledger_for(&spec, SECTORS).unwrap();
                let stop = AtomicBool::new(false);
                let report =
                    load::run_verified(lab.link(1 + half), paths[half], SECTORS, &spec, &stop, &mut ledger)
                        .unwrap();
                assert_eq!(report.failures(), 0, "{report:?}");
                assert!(ledger.written() > 0);
                (ledger, spec)
            })
        });
        for (half, joined) in halves.into_iter().enumerate() {
            let (ledger, spec) = joined.join().unwrap();
            let swept = load::sweep(lab.link(1 + half), paths[1 - half], &ledger, &spec).unwrap();
            assert_eq!(swept, ledger.written());
        }
    });
}

#[test]
fn by_software_both_lcores_serve_one_port() {
    lab::needs_root!();
    let lab = lab_of_initiators();
    let addresses = [owned_by(0), owned_by(1)];
    let [first, second] = addresses.map(|address| format!("{address}=malloc:8M"));
    let target = lab.start_command(command(&lab, &["-e", &first, "-e", &second]));
    let log = target.log();
    assert!(log.contains("spread=software"), "{log}");
    let mut initiator = lab.initiator(0);
    for address in addresses {
        let export = find(&mut initiator, address);
        let found = initiator.discover(address, 5 * QUIET).unwrap();
        assert_eq!(found.len(), 1, "initiators see one path: {found:?}");
        load_both(&lab, [&export, &export]);
    }
    let (frames, handed) = (by_lcore(&target, "tx_frames"), by_lcore(&target, "handed_over"));
    let all: u64 = frames.iter().sum();
    assert!(all > 200 && frames.iter().all(|lcore| *lcore > 100), "both lcores answer: {frames:?}");
    // The kernel may give one queue all of them; the other lcore's are handed over.
    assert!(handed.iter().any(|lcore| *lcore > 0), "frames are handed over: {handed:?} of {frames:?}");

    // A config string is decided on in one place, and by whichever lcore a request comes it is there.
    let me = mac(&initiator);
    let set = answer(&mut initiator, &config_request(me, ConfigCommand::ForceSet, b"spread"));
    assert_eq!(error(&set), 0);
    for tag in 0..16 {
        let mut read = config_request(me, ConfigCommand::Read, b"");
        read[23] = tag;
        assert_eq!(string(&answer(&mut initiator, &read)), b"spread");
    }
    target.stop();
}

#[test]
fn each_lcore_has_a_station_address_which_is_a_path() {
    lab::needs_root!();
    let lab = lab_of_initiators();
    let target = lab.start_command(command(&lab, &["--spread", "macs", "-e", "1.1=malloc:8M"]));
    let log = target.log();
    assert!(log.contains("spread=macs") && log.contains("sorted out by the lcores"), "{log}");
    let mut initiator = lab.initiator(0);
    find(&mut initiator, ADDRESS);
    let found = paths(&mut initiator);
    let macs: BTreeSet<[u8; 6]> = found.iter().map(|path| path.mac.0).collect();
    assert_eq!((found.len(), macs.len()), (2, 2), "{found:?}");
    let before = by_lcore(&target, "tx_frames");
    load_both(&lab, [&found[0], &found[1]]);
    let frames = by_lcore(&target, "tx_frames");
    let answers = frames.iter().sum::<u64>() - before.iter().sum::<u64>();
    assert!(answers > 100, "{frames:?}");

    // A string set by one path is read by the other.
    let me = mac(&initiator);
    for (nth, path) in found.iter().enumerate() {
        let text = format!("by path {nth}");
        let mut set = config_request(me, ConfigCommand::ForceSet, text.as_bytes());
        set[..6].copy_from_slice(&path.mac.0);
        let set = answer(&mut initiator, &set);
        assert_eq!((error(&set), &set[6..12]), (0, &path.mac.0[..]));
        for other in &found {
            let mut read = config_request(me, ConfigCommand::Read, b"");
            read[..6].copy_from_slice(&other.mac.0);
            let read = answer(&mut initiator, &read);
            assert_eq!((string(&read), &read[6..12]), (text.as_bytes(), &other.mac.0[..]));
        }
    }
    target.stop();

    // The same addresses after a restart.
    let target = lab.start_command(command(&lab, &["--spread", "macs", "-e", "1.1=malloc:8M"]));
    find(&mut initiator, ADDRESS);
    assert_eq!(paths(&mut initiator).iter().map(|path| path.mac.0).collect::<BTreeSet<_>>(), macs);
    target.stop();
}

#[test]
fn with_an_address_for_each_lcore_the_interfaces_new_one_takes_the_place_of_its_old_one() {
    lab::needs_root!();
    let lab = lab_of_initiators();
    let target = lab.start_command(command(&lab, &["--spread", "macs", "-e", "1.1=malloc:8M"]));
    let mut initiator = lab.initiator(0);
    find(&mut initiator, ADDRESS);
    let addresses = |initiator: &mut Initiator| -> BTreeSet<String> {
        paths(initiator).iter().map(|path| path.mac.to_string()).collect()
    };
    let mut expected = addresses(&mut initiator);
    let own = target.rpc().call("aoe_get_stats", Value::Null)["ports"][0]["mac"].as_str().unwrap().to_owned();
    assert!(expected.remove(&own) && expected.len() == 1, "{expected:?} and {own}");
    let new = "02:00:00:00:00:78";
    lab.far.ip(&["link", "set", "dev", "t0", "address", new]).unwrap();
    expected.insert(new.into());
    until("both lcores to answer, one from the new address", || addresses(&mut initiator) == expected);
    let found = paths(&mut initiator);
    load_both(&lab, [&found[0], &found[1]]);
    target.stop();
}

#[test]
fn a_way_that_the_port_can_not_go_is_refused() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let mut eal = lab.eal();
    eal.extend(["-l".into(), "0-1".into()]);
    refuses(
        &lab,
        lab.command(&eal, &["--spread", "software", "-e", "1.1=malloc:8M"]),
        1,
        false,
        "port net_af_packet0 (net_af_packet) can't be spread over lcores as --spread wants: the port has one queue pair: \
         qpairs=N in its --vdev gives more",
    );
    // With several queues it pauses: lcores hand each other frames, whatever --spread says.
    let mut one_queue = lab.eal();
    one_queue.extend(["-l".into(), "0".into()]);
    let output = lab.command(&one_queue, &["--idle", "interrupt", "-e", "1.1=malloc:8M"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    let sentence = "kvblade-dpdk: --idle interrupt: a port of lcore 0 has no interrupts of rx queues (rte_eth_dev_rx_intr";
    assert!(last.starts_with(sentence), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
    for (option, value, sentence) in [
        ("--spread", "fast", "the ways are auto, off, rss, macs and software"),
        ("--spread", "software:1", "a port is spread over 2 to 64 lcores"),
        ("--idle", "sleep=0", "a sleep is 1 to 10000 microseconds long"),
        ("--idle", "nap", "the ways are poll, pause, sleep=MICROSECONDS and interrupt"),
    ] {
        let way = if option == "--spread" { "<WAY[:LCORES]>" } else { "<WAY>" };
        let sentence =
            format!("invalid value '{value}' for '{option} {way}': {sentence} (see kvblade-dpdk --help)");
        refuses(&lab, lab.command(&lab.eal(), &[option, value]), 2, true, &sentence);
    }
}

/// The number of times that the lcore's thread, here the main thread, has slept voluntarily.
fn sleeps(target: &Target) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", target.daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn an_idle_lcore_sleeps_only_with_sleep_and_answers_with_each() {
    lab::needs_root!();
    /// More than an lcore that polls sleeps in a lock or a system call while it answers.
    const MANY: u64 = 200;
    let lab = Lab::new(1500);
    for idle in ["sleep=1000", "poll", "pause"] {
        let target = lab.start(&["--idle", idle, "-e", "1.1=malloc:8M"]);
        let mut initiator = lab.initiator(0);
        let export = find(&mut initiator, ADDRESS);
        let before = sleeps(&target);
        if idle.starts_with("sleep") {
            until("an idle lcore sleeps, again and again", || sleeps(&target) - before > MANY);
        }
        // After a silence it answers, and goes on.
        for lba in 0..50 {
            let mut sector = [0; 512];
            initiator.write(&export, lba, &[u8::try_from(lba).unwrap(); 512]).unwrap();
            initiator.read(&export, lba, &mut sector).unwrap();
            assert_eq!(sector, [u8::try_from(lba).unwrap(); 512]);
        }
        let slept = sleeps(&target) - before;
        assert_eq!(slept > MANY, idle.starts_with("sleep"), "{slept} sleeps with {idle}");
        target.stop();
    }
}
