//! The verdict on the target, counters that begin anew, and lists of some exports.

use serde_json::{Value, json};

use crate::lab::{Lab, find, until};
use crate::shutdown::{SLOW, in_flight, slow_export};

/// The kinds and subjects of the reasons, but for those of the machine, which differ between machines.
fn reasons(health: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{health}")).to_owned();
    let all = health["reasons"].as_array().unwrap().iter();
    let ours = all.filter(|reason| {
        !["clock", "drops", "hugepages", "numa"].contains(&reason["kind"].as_str().unwrap())
    });
    ours.map(|reason| (text(&reason["kind"]), text(&reason["subject"]))).collect()
}

#[test]
fn the_verdict_follows_exports_and_links() {
    lab::needs_root!();
    let lab = Lab::with_ports(1500, 2);
    let target = lab.start(&["-e", "1.1=malloc:1M", "-e", "1.2@t0=malloc:1M", "-e", "1.3=bdev:later"]);
    let mut rpc = target.rpc();
    let of = |kind: &str, subject: &str| (kind.to_owned(), subject.to_owned());
    let health = rpc.call("aoe_get_health", Value::Null);
    assert_eq!(health["verdict"], "failure", "{health}");
    assert_eq!(reasons(&health), [of("export_waiting", "1.3"), of("one_path", "1.2")]);
    assert!(health["reasons"][0]["text"].as_str().unwrap().contains("'later'"));
    rpc.call("bdev_malloc_create", json!({ "name": "later", "num_blocks": 2048, "block_size": 512 }));
    until("all to be well but for one path", || {
        reasons(&rpc.call("aoe_get_health", Value::Null)) == [of("one_path", "1.2")]
    });
    lab.set_far(0, "down");
    let expected = [
        of("no_path", "1.2"),
        of("link_down", "net_af_packet0"),
        of("one_path", "1.1"),
        of("one_path", "1.3"),
    ];
    until("the link to be missed", || reasons(&rpc.call("aoe_get_health", Value::Null)) == expected);
    lab.set_far(0, "up");
    rpc.call("bdev_malloc_delete", json!({ "name": "later" }));
    until("the bdev to be missed", || {
        reasons(&rpc.call("aoe_get_health", Value::Null))
            == [of("export_offline", "1.3"), of("one_path", "1.2")]
    });
    target.stop();
}

#[test]
fn counters_begin_anew_and_lists_have_what_is_asked_for() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target =
        lab.start_on("0-1", &["-e", "1.1=malloc:1M", "-e", "1.2=malloc:1M", "-e", "2.1=malloc:1M,vlan=7"]);
    let mut rpc = target.rpc();
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, aoe_initiator::ShelfSlot::new(1, 1));
    let mut read = |count| (0..count).for_each(|_| initiator.read(&export, 0, &mut [0; 512]).unwrap());
    let counted = |rpc: &mut crate::rpc::Rpc| {
        let stats = rpc.call("aoe_get_stats", Value::Null);
        (stats["exports"][0]["reads"].clone(), stats["ports"][0]["rx_frames"].as_u64().unwrap(), stats)
    };
    read(5);
    let (reads, frames, _) = counted(&mut rpc);
    assert_eq!(reads, 5);
    assert_eq!(rpc.call("aoe_reset_stats", Value::Null), json!(true));
    read(2);
    let (reads, frames_since, stats) = counted(&mut rpc);
    assert_eq!(reads, 2, "{stats}");
    assert!(frames_since < frames, "{frames_since} after {frames}");
    rpc.refused("aoe_reset_stats", json!({ "shelf": 1 }), -32602, &["the method takes no parameters"]);

    let mut list = |params: Value| -> Vec<String> {
        let exports = rpc.call("aoe_get_exports", params);
        exports.as_array().unwrap().iter().map(|one| format!("{}.{}", one["shelf"], one["slot"])).collect()
    };
    for (params, expected) in [
        (json!({}), &["1.1", "1.2", "2.1"][..]),
        (json!({ "shelf": 1 }), &["1.1", "1.2"]),
        (json!({ "slot": 1 }), &["1.1", "2.1"]),
        (json!({ "vlan": 7 }), &["2.1"]),
        (json!({ "bdev_name": "malloc1.2" }), &["1.2"]),
        (json!({ "state": "online", "slot": 2 }), &["1.2"]),
        (json!({ "state": "offline" }), &[]),
        (json!({ "limit": 2 }), &["1.1", "1.2"]),
        (json!({ "skip": 2, "limit": 2 }), &["2.1"]),
        (json!({ "skip": 9 }), &[]),
    ] {
        assert_eq!(list(params.clone()), expected, "{params}");
    }
    for (params, part) in [
        (json!({ "state": "well" }), "waiting, creating, online"),
        (json!({ "limit": 0 }), "from 1 to 65536"),
        (json!({ "name": "x" }), "the parameters are shelf, slot"),
    ] {
        rpc.refused("aoe_get_exports", params, -32602, &[part]);
    }
    target.stop();
}

#[test]
fn reads_writes_and_flushes_are_timed_where_that_is_wanted() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start_on("0-1", &["-e", "1.1=malloc:1M", "-e", "1.2=malloc:1M"]);
    let mut rpc = target.rpc();
    // A disk whose reads take 20 ms.
    rpc.call("bdev_malloc_create", json!({ "name": "below", "num_blocks": 2048, "block_size": 512 }));
    let mut delay = json!({ "base_bdev_name": "below", "name": "slow" });
    for (latency, microseconds) in
        [("avg_read", 20_000), ("p99_read", 20_000), ("avg_write", 1), ("p99_write", 1)]
    {
        delay[format!("{latency}_latency")] = microseconds.into();
    }
    rpc.call("bdev_delay_create", delay);
    rpc.call(
        "aoe_create_export",
        json!({ "shelf": 1, "slot": 3, "bdev_name": "slow", "cache": "write-back" }),
    );
    let of_slow = json!({ "shelf": 1, "slot": 3 });
    rpc.refused("aoe_get_histogram", of_slow.clone(), -22, &["1.3 is not timed", "aoe_enable_histogram"]);
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, aoe_initiator::ShelfSlot::new(1, 3));
    initiator.read(&export, 0, &mut [0; 512]).unwrap();
    for _ in 0..2 {
        assert_eq!(rpc.call("aoe_enable_histogram", of_slow.clone()), json!(true));
        let listed = rpc.call("aoe_get_exports", Value::Null);
        assert_eq!([0, 1, 2].map(|place| listed[place]["timed"] == true), [false, false, true], "{listed}");
        for lba in 0..6 {
            initiator.read(&export, lba, &mut [0; 512]).unwrap();
            initiator.write(&export, lba, &[7; 512]).unwrap();
        }
        initiator.flush(&export).unwrap();
        initiator.identify(&export).unwrap();
        let timed = rpc.call("aoe_get_histogram", of_slow.clone());
        let count = |kind: &str| timed[kind]["count"].as_u64().unwrap();
        // A retransmission is a request of its own when its original has been answered.
        assert!(count("reads") >= 6 && count("writes") >= 6 && count("flushes") >= 1, "{timed}");
        let reads = &timed["reads"];
        let ns = |field: &str| reads[field].as_u64().unwrap();
        assert!(
            ns("p50_ns") >= 20_000_000 && ns("p50_ns") <= ns("p999_ns") && ns("p999_ns") <= ns("max_ns"),
            "{reads}"
        );
        let buckets: u64 =
            reads["buckets"].as_array().unwrap().iter().map(|one| one[1].as_u64().unwrap()).sum();
        assert_eq!(buckets, count("reads"));
        let stats = rpc.call("aoe_get_stats", Value::Null);
        assert!(
            stats["exports"][2]["reads"].as_u64().unwrap() >= count("reads"),
            "what came before is not timed: {stats}"
        );
    }
    let mut off = of_slow.clone();
    off["enable"] = false.into();
    rpc.call("aoe_enable_histogram", off);
    rpc.refused("aoe_get_histogram", of_slow.clone(), -22, &["not timed"]);
    initiator.read(&export, 0, &mut [0; 512]).unwrap();
    // An export that goes takes its histograms along.
    rpc.call("aoe_enable_histogram", of_slow.clone());
    rpc.call("aoe_delete_export", of_slow.clone());
    rpc.call(
        "aoe_create_export",
        json!({ "shelf": 1, "slot": 3, "bdev_name": "slow", "cache": "write-back" }),
    );
    rpc.refused("aoe_get_histogram", of_slow, -22, &["not timed"]);
    target.stop();
}

#[test]
fn initiators_are_listed_with_what_is_seen_of_them() {
    lab::needs_root!();
    let lab = Lab::with_ports(9000, 2);
    let target = lab.start_on("0-1", &["-e", "1.1=malloc:8M"]);
    let mut rpc = target.rpc();
    assert_eq!(rpc.call("aoe_get_initiators", Value::Null)["initiators"], json!([]));
    slow_export(&mut rpc, 2_000_000);
    let (mut one, mut other) = (lab.initiator(0), lab.initiator(1));
    let export = find(&mut other, aoe_initiator::ShelfSlot::new(1, 1));
    other.identify(&export).unwrap();
    let slow = find(&mut one, SLOW);
    let tags = in_flight(&mut one, &slow, &mut rpc);
    let listed = rpc.call("aoe_get_initiators", Value::Null);
    let of = |listed: &Value, mac: String, slot: u8| -> Value {
        let mut all = listed["initiators"].as_array().unwrap().iter();
        let found = all.find(|one| one["mac"] == mac.as_str() && one["slot"] == slot).cloned();
        found.unwrap_or_else(|| panic!("no {mac} of 1.{slot} in {listed}"))
    };
    let (mac, other_mac) = (lab.link(0).mac().to_string(), lab.link(1).mac().to_string());
    let seen = of(&listed, mac.clone(), SLOW.slot);
    assert_eq!(
        (&seen["outstanding"], &seen["largest_frame"]),
        (&json!(tags.len()), &json!(36 + 512)),
        "{seen}"
    );
    assert_eq!((&seen["retransmissions"], &seen["requests"]), (&json!(0), &Value::Null), "{seen}");
    assert!(seen["first_seen_seconds"].as_u64() >= seen["last_seen_seconds"].as_u64(), "{seen}");
    let seen = of(&listed, other_mac, 1);
    assert!(seen["messages"].as_u64().unwrap() >= 2, "a query and IDENTIFY: {seen}");
    assert_eq!(seen["outstanding"], 0);
    // A copy of a request in flight is recognised.
    let envelope = one.envelope(&slow);
    one.send_raw(&aoe_initiator::wire::AtaRequest::read(0, 1).frame(&envelope, &[])).unwrap();
    until("the copy to be recognised", || {
        of(&rpc.call("aoe_get_initiators", Value::Null), mac.clone(), SLOW.slot)["retransmissions"] == 1
    });
    // All requests are counted where the export is timed.
    rpc.call("aoe_enable_histogram", json!({ "shelf": 1, "slot": 1 }));
    let export = find(&mut one, aoe_initiator::ShelfSlot::new(1, 1));
    (0..5).for_each(|lba| one.read(&export, lba, &mut [0; 512]).unwrap());
    let counted = of(&rpc.call("aoe_get_initiators", Value::Null), mac, 1)["requests"].clone();
    assert!(counted.as_u64().is_some_and(|requests| requests >= 5), "{counted}");
    target.stop();
}
