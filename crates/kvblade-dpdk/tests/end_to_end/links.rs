//! A link that goes down and comes up again, and initiators that only listen.

use std::sync::atomic::{AtomicBool, Ordering};

use aoe_initiator::{ShelfSlot, load};
use serde_json::Value;

use crate::lab::{Lab, PATIENCE, SECTORS, find, hear, random_load, until};

#[test]
fn a_link_that_goes_down_under_load_is_served_and_announced_on_when_it_is_up_again() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let target = lab.start(&["-e", "1.1=malloc:8M", "-e", "1.2=malloc:8M"]);
    let mut initiator = lab.initiator(0);
    let addresses = [ShelfSlot::new(1, 1), ShelfSlot::new(1, 2)];
    let export = find(&mut initiator, addresses[0]);
    let mut spec = random_load(16);
    spec.duration = 10 * PATIENCE;
    let (link, stop) = (lab.link(0), AtomicBool::new(false));
    let mut ledger = load::ledger_for(&spec, SECTORS).unwrap();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| load::run_verified(link, &export, SECTORS, &spec, &stop, &mut ledger));
        let mut rpc = target.rpc();
        let mut served = move || {
            let stats = rpc.call("aoe_get_stats", Value::Null);
            let bytes = |counter| stats["exports"][0][counter].as_u64().unwrap();
            bytes("read_bytes") + bytes("written_bytes")
        };
        let rounds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 1..=3 {
                let before = served();
                until("I/O with the link up", || served() > before);
                lab.set_far(0, "down");
                until("the link to be seen down", || target.log().matches("link down").count() == round);
                initiator.drain().unwrap();
                lab.set_far(0, "up");
                hear(&mut initiator, &addresses);
                let before = served();
                until("I/O with the link up again", || served() > before);
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let report = load.join().unwrap().unwrap();
        rounds.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert_eq!(report.failures(), 0, "{report:?}");
    });
    assert_eq!(load::sweep(lab.link(0), &export, &ledger, &spec).unwrap(), ledger.written());
    target.stop();
}

#[test]
fn a_start_without_a_link_waits_for_it_and_then_serves() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    // The other end of the pair down, once Linux has taken notice of it.
    lab.near.ip(&["link", "set", "i0", "down"]).unwrap();
    until("t0 to have no carrier", || {
        let shown = lab.far.command("ip").args(["link", "show", "t0"]).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).contains("NO-CARRIER")
    });
    let target = lab.start(&["-e", "1.1=malloc:8M"]);
    let warning = "port net_af_packet0 is down: bring its interface up with 'ip link set t0 up', and the other end of a \
                   veth pair too: it is served when it is up";
    assert!(target.log().contains(warning), "{}", target.log());
    lab.near.ip(&["link", "set", "i0", "up"]).unwrap();
    let mut initiator = lab.initiator(0);
    let address = ShelfSlot::new(1, 1);
    hear(&mut initiator, &[address]);
    find(&mut initiator, address);
    target.stop();
}

#[test]
fn a_stop_with_the_link_down_ends_like_any_other() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:8M"]);
    lab.set_far(0, "down");
    until("the link to be seen down", || target.log().contains("link down"));
    target.stop();
    assert_eq!(lab.sockets_and_locks(), Vec::<String>::new());
}
