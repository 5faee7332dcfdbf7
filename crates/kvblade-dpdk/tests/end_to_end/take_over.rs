//! `--take-over`: a program takes the place of one that serves.

use aoe_initiator::ShelfSlot;
use lab::Daemon;
use serde_json::json;

use crate::changes::under_verified_load;
use crate::lab::{Lab, PATIENCE, find};
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
            let told = manager.until("READY=1");
            assert!(
                told.iter().any(|lines| lines.contains(&format!("MAINPID={}", serving.daemon.pid()))),
                "{told:?}"
            );
            assert!(!told.iter().any(|lines| lines.contains("STOPPING")), "{told:?}");
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
