//! A missing or broken disk keeps down its own export only, and for as long as it is missing.

use std::fs;

use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::SECTOR;
use serde_json::{Value, json};

use crate::commands::prints;
use crate::lab::{Lab, SECTORS, Target, find, hear, refuses, until};
use crate::restart::saved;
use crate::rpc::Rpc;

const SERVED: ShelfSlot = ShelfSlot::new(1, 1);
const AWAITED: ShelfSlot = ShelfSlot::new(1, 2);

/// State and reason of 1.2 in `aoe_get_exports`.
fn awaited(rpc: &mut Rpc) -> (String, String) {
    let exports = rpc.call("aoe_get_exports", Value::Null);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    exports
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["slot"] == 2)
        .map_or_else(Default::default, |one| (text(&one["state"]), text(&one["reason"])))
}

#[track_caller]
fn waits_because(rpc: &mut Rpc, part: &str) {
    let (state, reason) = awaited(rpc);
    assert!(state == "waiting" && reason.contains(part), "{state}: {reason} lacks {part}");
}

/// 1.1 is served, 1.2 is not.
#[track_caller]
fn serves_the_other(lab: &Lab, target: &Target) {
    let mut initiator = lab.initiator(0);
    let served = find(&mut initiator, SERVED);
    initiator.write(&served, 3, &[3; SECTOR]).unwrap();
    assert!(target.log().contains(" ready exports=1 waiting=1 "), "{}", target.log());
    let found = initiator.discover(ShelfSlot::ANY, crate::lab::QUIET).unwrap();
    assert!(found.iter().all(|export| export.address == SERVED), "{found:?}");
}

#[test]
fn an_export_whose_file_is_gone_is_served_once_the_file_is_there() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let [one, two] = ["one", "two"].map(|name| lab.file(name));
    fs::remove_file(&two).unwrap();
    let target = lab.start(&["-e", &format!("1.1=aio:{one}"), "-e", &format!("1.2=aio:{two}")]);
    let mut rpc = target.rpc();
    serves_the_other(&lab, &target);
    waits_because(&mut rpc, &format!("cannot export '{two}': No such file or directory"));
    let table = prints(&lab, &["kvstat"]);
    assert!(table.contains("file1.2 waiting: cannot export") && table.lines().count() == 2, "{table}");

    // A file that is no disk is another reason, and is said once.
    fs::write(&two, [0; 500]).unwrap();
    until("the new reason", || awaited(&mut rpc).1.contains("its size is 500 bytes"));
    until("two more rounds", || target.log().matches("its size is 500 bytes").count() >= 1);
    fs::remove_file(&two).unwrap();
    until("the old reason", || awaited(&mut rpc).1.contains("No such file"));

    let mut initiator = lab.initiator(0);
    lab.file("two");
    hear(&mut initiator, &[AWAITED]);
    assert_eq!(awaited(&mut rpc), ("online".into(), String::new()));
    let export = find(&mut initiator, AWAITED);
    initiator.write(&export, SECTORS - 1, &[7; SECTOR]).unwrap();
    assert_eq!(fs::read(&two).unwrap()[(usize::try_from(SECTORS).unwrap() - 1) * SECTOR], 7);
    until("the last reason", || target.log().matches("still waiting").count() >= 4);
    let log = target.log();
    let count = |part: &str| log.matches(part).count();
    assert_eq!(count("still waiting"), 4, "missing, there, odd, missing, there: each reason once: {log}");
    target.stop();
}

#[test]
fn what_waits_is_saved_and_waits_again_after_a_restart_until_its_disk_is_there() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let [one, two] = ["one", "two"].map(|name| lab.file(name));
    let config = lab.path("config.json");
    let path = config.to_str().unwrap();
    let target = lab.start(&["-e", &format!("1.1=aio:{one}"), "-e", &format!("1.2=spdk-aio:{two}")]);
    fs::write(&config, saved(&mut target.rpc()).to_string()).unwrap();
    target.stop();

    fs::rename(&two, lab.path("elsewhere")).unwrap();
    for round in 0..2 {
        let target = lab.start(&["--config", path]);
        serves_the_other(&lab, &target);
        let mut rpc = target.rpc();
        waits_because(&mut rpc, "bdev_aio_create: No such file or directory");
        let ours = rpc.call("framework_get_config", json!({ "name": "aoe" }));
        let methods: Vec<&str> =
            ours.as_array().unwrap().iter().map(|one| one["method"].as_str().unwrap()).collect();
        assert_eq!(
            methods,
            ["bdev_aio_create", "aoe_create_export", "aoe_create_export"],
            "round {round}: {ours}"
        );
        fs::write(&config, saved(&mut rpc).to_string()).unwrap();
        target.stop();
    }

    let target = lab.start(&["--config", path]);
    let mut rpc = target.rpc();
    let mut initiator = lab.initiator(0);
    fs::rename(lab.path("elsewhere"), &two).unwrap();
    hear(&mut initiator, &[AWAITED]);
    let ours = rpc.call("framework_get_config", json!({ "name": "aoe" }));
    assert_eq!(ours.as_array().unwrap().len(), 2, "the bdev is among the bdevs again: {ours}");
    // SPDK's own line on each attempt comes with the first one only.
    let log = target.log();
    assert_eq!(log.matches("ERROR spdk").count(), log.matches("open() failed").count(), "{log}");
    assert_eq!(log.matches("open() failed").count(), 1, "{log}");
    target.stop();

    lab.start(&["--strict", "--config", path]).stop();
    fs::remove_file(&two).unwrap();
    let place = format!("--config '{path}': entry ");
    let mut daemon =
        lab::Daemon::start(&mut lab.command(&lab.eal(), &["--strict", "--config", path])).unwrap();
    assert_eq!(daemon.wait(crate::lab::PATIENCE).unwrap().code(), Some(1));
    let log = daemon.log().unwrap();
    assert!(log.contains("kvblade-dpdk: 2 entries were refused:\n") && log.contains(&place), "{log}");
}

#[test]
fn strict_ends_the_start_without_the_file() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let gone = lab.path("gone").display().to_string();
    let command =
        lab.command(&lab.eal(), &["--strict", "-e", "9.9=malloc:8M", "-e", &format!("1.1=aio:{gone}")]);
    let sentence = format!(
        "cannot export '{gone}': No such file or directory (os error 2); a regular file or block device is needed"
    );
    refuses(&lab, command, 1, true, &sentence);
}

#[test]
fn an_export_waits_for_a_bdev_that_is_made_by_rpc_and_suits() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let target = lab.start(&["-e", "1.1=malloc:1M", "-e", "1.2=later,length=100"]);
    let mut rpc = target.rpc();
    serves_the_other(&lab, &target);
    waits_because(&mut rpc, "no bdev 'later'");
    let create =
        |blocks: u64, size: u64| json!({ "name": "later", "num_blocks": blocks, "block_size": size });
    rpc.call("bdev_malloc_create", create(64, 512));
    until("the size as a reason", || awaited(&mut rpc).1.contains("bdev 'later': "));
    rpc.call("bdev_malloc_delete", json!({ "name": "later" }));
    until("the bdev to be missed", || awaited(&mut rpc).1 == "there is no bdev 'later'");
    rpc.call("bdev_malloc_create", create(64, 8192));
    until("the block size as a reason", || awaited(&mut rpc).1.contains("has blocks of 8192 bytes"));
    rpc.call("bdev_malloc_delete", json!({ "name": "later" }));
    until("the bdev to be missed", || awaited(&mut rpc).1 == "there is no bdev 'later'");

    let mut initiator = lab.initiator(0);
    rpc.call("bdev_malloc_create", create(128, 512));
    hear(&mut initiator, &[AWAITED]);
    let export = find(&mut initiator, AWAITED);
    initiator.write(&export, 99, &[7; SECTOR]).unwrap();
    assert!(initiator.read(&export, 100, &mut [0; SECTOR]).is_err(), "100 sectors were asked for");
    target.stop();
}

#[test]
fn an_export_that_waits_holds_its_address_and_can_be_deleted() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let [two, three] = ["two", "three"].map(|name| lab.path(name).display().to_string());
    let awaited = [format!("1.2=aio:{two}"), format!("1.3=aio:{three}")];
    let target = lab.start(&["-e", "1.1=malloc:1M,ro", "-e", &awaited[0], "-e", &awaited[1]]);
    let mut rpc = target.rpc();
    let other = json!({ "shelf": 1, "slot": 2, "bdev_name": "malloc1.1", "read_only": true });
    rpc.refused(
        "aoe_create_export",
        other.clone(),
        -17,
        &["1.2 is kept on all ports for bdev 'file1.2'", "delete that"],
    );
    rpc.call("aoe_announce", json!({ "shelf": 1, "slot": 2 }));
    let stats = rpc.call("aoe_get_stats", Value::Null);
    assert_eq!(stats["exports"][1]["state"], "waiting", "{stats}");
    rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 2 }));
    assert_eq!(rpc.state(1, 2), None);

    // Its bdev is not made any more either, and another export has the address.
    rpc.call("aoe_create_export", other);
    lab.file("two");
    // A file that came later is taken, so this one would have been.
    lab.file("three");
    until("the other file is served", || rpc.state(1, 3).as_deref() == Some("online"));
    rpc.refused("bdev_get_bdevs", json!({ "name": "file1.2" }), -19, &[]);
    assert_eq!(rpc.state(1, 2).as_deref(), Some("online"));
    target.stop();
}

#[test]
fn a_target_that_waits_for_all_its_disks_runs_and_ends() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let target = lab.start(&["-e", &format!("1.2=aio:{}", lab.path("two").display())]);
    assert!(target.log().contains(" ready exports=0 waiting=1 "), "{}", target.log());
    waits_because(&mut target.rpc(), "No such file");
    target.stop();
    assert_eq!(lab.sockets_and_locks(), Vec::<String>::new());
}

#[test]
fn a_file_that_is_still_copied_to_its_place_is_not_served() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let two = lab.path("two");
    let target = lab.start(&["-e", &format!("1.2=aio:{}", two.display())]);
    let mut rpc = target.rpc();
    let mut sectors = 0;
    until("a second reason", || {
        sectors += 1;
        fs::File::options()
            .create(true)
            .append(true)
            .open(&two)
            .unwrap()
            .set_len(sectors * SECTOR as u64)
            .unwrap();
        let (state, reason) = awaited(&mut rpc);
        assert_eq!(state, "waiting");
        sectors > 1200 && reason.contains("is taken when it has not changed for 5 s")
    });
    until("the export to be served", || awaited(&mut rpc).0 == "online");
    let exports = rpc.call("aoe_get_exports", Value::Null);
    assert_eq!(exports[0]["size_bytes"], sectors * SECTOR as u64);
    target.stop();
}
