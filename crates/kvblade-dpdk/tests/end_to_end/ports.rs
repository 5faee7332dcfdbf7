//! Ports and lcores as `aoe_get_ports` and `aoe_get_lcores` list them.

use serde_json::{Value, json};

use crate::changes::under_verified_load;
use crate::lab::{Lab, until};
use crate::rpc::Rpc;

/// The values of one field of a list.
#[track_caller]
fn each(rpc: &mut Rpc, method: &str, params: Value, field: &str) -> Vec<Value> {
    let list = rpc.call(method, params);
    list.as_array().unwrap().iter().map(|element| element[field].clone()).collect()
}

#[test]
fn ports_and_lcores_are_listed_under_verified_load() {
    lab::needs_root!();
    let lab = Lab::with_ports(9000, 2);
    let target =
        lab.start_on("0-1", &["-e", "1.1=malloc:8M", "-e", "1.2@t1=malloc:8M", "-e", "1.3=malloc:8M"]);
    let mut rpc = target.rpc();
    under_verified_load(&lab, || look(&mut rpc));
    // What has changed of a port is in the list.
    lab.set_far(1, "down");
    until("the link to be listed as down", || {
        each(&mut rpc, "aoe_get_ports", json!({ "link": "down" }), "number") == [1]
    });
    target.stop();
}

fn look(rpc: &mut Rpc) {
    let ports = rpc.call("aoe_get_ports", Value::Null);
    for (number, exports) in [(0, 2), (1, 3)] {
        let port = &ports[number];
        for (name, value) in [
            ("number", json!(number)),
            ("name", json!(format!("net_af_packet{number}"))),
            ("driver", json!("net_af_packet")),
            ("netif", json!(format!("t{number}"))),
            ("mtu", json!(9000)),
            ("max_sectors", json!(16)),
            ("link", json!("up")),
            ("spread", json!("off")),
            ("queues", json!([{ "queue": 0, "lcore": number }])),
            ("exports", json!(exports)),
        ] {
            assert_eq!(port[name], value, "{name} of {port}");
        }
        assert!(port["mac"].is_string() && port["drops"]["runt"].is_u64(), "{port}");
    }
    until("frames to be counted", || {
        each(rpc, "aoe_get_ports", json!({ "port": "t0" }), "rx_frames")[0] != 0
    });
    for (params, expected) in [
        (json!({ "port": "net_af_packet1" }), json!([1])),
        (json!({ "lcore": 0 }), json!([0])),
        (json!({ "driver": "net_memif" }), json!([])),
        (json!({ "link": "up" }), json!([0, 1])),
    ] {
        assert_eq!(Value::from(each(rpc, "aoe_get_ports", params, "number")), expected);
    }
    rpc.refused("aoe_get_ports", json!({ "port": "eth9" }), -19, &["'eth9'", "net_af_packet0"]);
    rpc.refused("aoe_get_ports", json!({ "link": "sideways" }), -32602, &["sideways", "up"]);

    until("a busy share of each lcore", || {
        each(rpc, "aoe_get_lcores", json!({ "seconds": 1 }), "busy_share").iter().all(Value::is_f64)
    });
    let lcores = rpc.call("aoe_get_lcores", json!({ "seconds": 60 }));
    let lcores = lcores.as_array().unwrap();
    assert_eq!(lcores.len(), 2);
    for (core, lcore) in lcores.iter().enumerate() {
        assert_eq!((&lcore["lcore"], &lcore["cpus"]), (&json!(core), &json!([core])), "{lcore}");
        let share = lcore["busy_share"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&share) && lcore["busy_seconds"].as_f64().unwrap() > 0.5, "{lcore}");
        assert!(lcore["turns"].as_u64().unwrap() > 0 && lcore["in_flight"].is_u64(), "{lcore}");
        // One queue pair of its own, and a way to the other port for the exports that it owns.
        let own = |queue: &&Value| !queue["queue"].is_null();
        let queues = lcore["queues"].as_array().unwrap();
        assert_eq!(queues.iter().filter(own).map(|queue| &queue["port"]).collect::<Vec<_>>(), [&json!(core)]);
    }
    let owned: u64 = lcores.iter().map(|lcore| lcore["exports_owned"].as_u64().unwrap()).sum();
    assert_eq!(owned, 3, "each export has one owner");
    assert_eq!(each(rpc, "aoe_get_lcores", json!({ "port": "t1" }), "lcore"), [1]);
    rpc.refused("aoe_get_lcores", json!({ "seconds": 61 }), -32602, &["seconds is 61", "60"]);
    rpc.refused("aoe_get_lcores", json!({ "port": 7 }), -19, &["'7'"]);
}
