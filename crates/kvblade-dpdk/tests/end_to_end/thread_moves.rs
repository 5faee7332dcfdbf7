//! SPDK's own RPC to move threads: an lcore's thread and the app's stay where their state is.

use std::collections::BTreeMap;

use aoe_initiator::ShelfSlot;
use aoe_initiator::wire::SECTOR;
use serde_json::{Value, json};

use crate::lab::{Lab, find};
use crate::rpc::Rpc;

/// The core of each thread, by its number.
fn places(rpc: &mut Rpc) -> BTreeMap<u64, u64> {
    let reactors = rpc.call("framework_get_reactors", Value::Null);
    let of = |reactor: &Value| -> Vec<(u64, u64)> {
        let core = reactor["lcore"].as_u64().unwrap();
        let threads = reactor["lw_threads"].as_array().unwrap();
        threads.iter().map(|thread| (thread["id"].as_u64().unwrap(), core)).collect()
    };
    reactors["reactors"].as_array().unwrap().iter().flat_map(of).collect()
}

#[test]
fn threads_that_spdk_is_asked_to_move_stay_and_the_target_serves_and_ends() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start_on("0-1", &["-e", "1.1=malloc:1M"]);
    let mut rpc = target.rpc();
    let before = places(&mut rpc);
    let mut initiator = lab.initiator(0);
    let export = find(&mut initiator, ShelfSlot::new(1, 1));
    let threads = rpc.call("thread_get_stats", Value::Null)["threads"].clone();
    let ids = |threads: &Value| -> Vec<(String, u64)> {
        let named = |thread: &Value| Some((thread["name"].as_str()?.to_owned(), thread["id"].as_u64()?));
        threads.as_array().unwrap().iter().filter_map(named).collect()
    };
    let ours: Vec<(String, u64)> = ids(&threads)
        .into_iter()
        .filter(|(name, _)| name.starts_with("aoe_lcore_") || name == "app_thread")
        .collect();
    assert_eq!(ours.len(), 3, "{threads}");
    for (number, byte) in (1..=2).zip([0x11, 0x22]) {
        for (name, id) in &ours {
            let mask = format!("{number:x}");
            // SPDK takes the mask, and leaves a bound thread where it is.
            rpc.call("thread_set_cpumask", json!({ "id": id, "cpumask": mask }));
            initiator.write(&export, 3, &[byte; SECTOR]).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let mut sector = [0; SECTOR];
        initiator.read(&export, 3, &mut sector).unwrap();
        assert_eq!(sector, [byte; SECTOR]);
    }
    assert_eq!(places(&mut rpc), before);
    assert_eq!(rpc.state(1, 1).as_deref(), Some("online"));
    target.stop();
}
