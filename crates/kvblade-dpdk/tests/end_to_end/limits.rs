//! Limits on rates, of an export and of its initiators, by option and by RPC while it is served.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use aoe_initiator::load::{LoadReport, LoadSpec, Workload};
use aoe_initiator::{ShelfSlot, load};
use serde_json::{Value, json};

use crate::lab::{Lab, SECTORS, find, random_load};

const DISK: ShelfSlot = ShelfSlot::new(1, 1);
/// Requests a second of all initiators together.
const ALL: u64 = 1000;
/// Requests a second of each.
const EACH: u64 = 300;

/// Two initiators at once, with as many requests in flight as the export advertises. Returns the requests of each, and the time
/// that both took at most.
fn both(lab: &Lab) -> ([u64; 2], Duration) {
    let run = |port| {
        let spec = LoadSpec {
            workload: Workload::RandomMixed(50),
            duration: Duration::from_secs(2),
            ..random_load(2)
        };
        let export = find(&mut lab.initiator(port), DISK);
        load::run(lab.link(port), &export, SECTORS, &spec, &AtomicBool::new(false)).unwrap()
    };
    let count = |report: &LoadReport| {
        let failed = (report.ata_failures, report.aoe_errors, report.unanswered);
        assert_eq!(failed, (0, 0, 0), "{report:?}");
        report.reads + report.writes
    };
    let begun = Instant::now();
    let reports = std::thread::scope(|scope| {
        let [one, other] = [0, 1].map(|port| scope.spawn(move || run(port)));
        [one.join().unwrap(), other.join().unwrap()]
    });
    let counted = [count(&reports[0]), count(&reports[1])];
    println!("{counted:?} requests in {:?} of {:.1} s", begun.elapsed(), reports[0].seconds);
    (counted, begun.elapsed())
}

/// At most what a rate gives in this time, and its burst.
fn at_most(rate: u64, time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap() * rate / 1000 + rate / 10 + 2
}

fn stats_of(stats: &Value, counter: &str) -> u64 {
    stats["exports"][0][counter].as_u64().unwrap()
}

#[test]
fn initiators_share_an_exports_rate_and_each_keeps_to_its_own() {
    lab::needs_root!();
    let lab = Lab::with_ports(1500, 2);
    let target = lab.start(&["-e", &format!("1.1=malloc:8M,iops={ALL},bandwidth=1M")]);
    let mut rpc = target.rpc();
    let shown = rpc.call("aoe_get_exports", Value::Null);
    assert_eq!(
        (&shown[0]["iops"], &shown[0]["bandwidth"], &shown[0]["initiator_iops"]),
        (&json!(ALL), &json!(1 << 20), &Value::Null)
    );

    let (counts, time) = both(&lab);
    let sum = counts[0] + counts[1];
    assert!(sum <= at_most(ALL, time), "{sum} in {time:?}");
    assert!(counts.iter().all(|count| count * 5 >= sum * 2), "{counts:?}: unequal parts");
    let stats = rpc.call("aoe_get_stats", Value::Null);
    assert!(stats_of(&stats, "rate_waits") > 0);
    assert_eq!(stats_of(&stats, "rate_limited"), 0, "nobody had more in flight than advertised: {stats}");

    let limits = json!({ "shelf": 1, "slot": 1, "initiator_iops": EACH });
    assert_eq!(rpc.call("aoe_set_qos", limits), json!(true));
    let shown = rpc.call("aoe_get_exports", Value::Null);
    assert_eq!((&shown[0]["iops"], &shown[0]["initiator_iops"]), (&Value::Null, &json!(EACH)));
    let (counts, time) = both(&lab);
    assert!(counts.iter().all(|count| *count <= at_most(EACH, time)), "{counts:?} in {time:?}");

    let saved = rpc.call("framework_get_config", json!({ "name": "aoe" }));
    assert_eq!(saved[0]["params"]["initiator_iops"], EACH, "{saved}");
    assert!(saved[0]["params"].get("iops").is_none(), "{saved}");
    assert_eq!(rpc.call("aoe_set_qos", json!({ "shelf": 1, "slot": 1 })), json!(true), "all are lifted");
    let waits = stats_of(&rpc.call("aoe_get_stats", Value::Null), "rate_waits");
    both(&lab);
    assert_eq!(stats_of(&rpc.call("aoe_get_stats", Value::Null), "rate_waits"), waits);
    target.stop();
}

#[test]
fn who_sends_more_than_was_advertised_beyond_a_limit_is_named() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M,initiator_iops=1"]);
    let mut rpc = target.rpc();
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, DISK);
    for request in 0..64 {
        let to = aoe_initiator::wire::Envelope {
            dst: export.mac,
            src: initiator.link().mac(),
            address: DISK,
            tag: request,
        };
        let read = aoe_initiator::wire::AtaRequest::read(u64::from(request), 1).frame(&to, &[]);
        initiator.send_raw(&read).unwrap();
    }
    crate::lab::until("the flood is dropped", || {
        let told = rpc.call("aoe_get_initiators", Value::Null);
        told["initiators"][0]["rate_limited"].as_u64().is_some_and(|drops| drops >= 40)
    });
    let told = rpc.call("aoe_get_initiators", Value::Null);
    let one = &told["initiators"][0];
    assert_eq!(one["mac"], initiator.link().mac().to_string(), "{told}");
    assert_eq!(
        (&one["shelf"], &one["slot"], &one["export_full"]),
        (&json!(1), &json!(1), &json!(0)),
        "{told}"
    );
    let stats = rpc.call("aoe_get_stats", Value::Null);
    assert_eq!(&stats["exports"][0]["rate_limited"], &one["rate_limited"], "{stats}");
    assert_eq!(&stats["ports"][0]["drops"]["rate_limited"], &one["rate_limited"], "{stats}");
    // What waits does not keep the export from being deleted.
    assert_eq!(rpc.call("aoe_delete_export", json!({ "shelf": 1, "slot": 1 })), json!(true));
    target.stop();
}
