//! Answers read back by those who ask, sums over lcores, and a configuration that makes the same state again.

use aoe_target::{DropCounters, DropReason, ExportCounters, ExportKey, PortCounters, PortId};

use super::*;
use crate::lifecycle::{Effect, Event, Task};
use crate::port::{PortChanges, PortInfo, PortRef, PortTable};
use crate::registry::tests::happens;
use crate::request::{Action, DeleteExport};
use crate::served_bdev::ServedBdev;

fn registry() -> Registry {
    let port = |number, name: &str, netif: Option<&str>| PortInfo {
        number,
        name: name.into(),
        netif: netif.map(Into::into),
        mtu: 9000,
        mac: [0xde, 0xad, 0, 0, 0, 1],
    };
    Registry::new(
        PortTable::new(vec![port(0, "net_af_packet0", Some("veth0")), port(1, "0000:03:00.0", None)]),
        1,
    )
}

fn create(registry: &mut Registry, params: &Value) -> ExportKey {
    let Ok(Action::CreateExport(request)) = Action::decode(CreateExport::NAME, Some(params)) else {
        panic!("{params}");
    };
    let bdev = ServedBdev {
        name: request.bdev_name.clone(),
        uuid: format!("uuid of {}", request.bdev_name),
        sectors: 131_072,
        files: Vec::new(),
    };
    let key = registry.create(&request, &bdev).unwrap().key();
    happens(registry, key, Event::Create);
    key
}

/// The answer to `aoe_get_exports`.
fn list(registry: &Registry) -> Value {
    serde_json::from_str(&ExportList::of(registry).to_json(&crate::GetExports::default())).unwrap()
}

fn filled() -> (Registry, ExportKey, ExportKey) {
    let mut registry = registry();
    let two = create(
        &mut registry,
        &json!({"shelf": 1, "slot": 2, "bdev_name": "aio1.2", "ports": [1], "read_only": true, "offset": 100,
                "length": 20, "vlan": 100, "cache": "write-back", "buffers": 64, "allow": ["52:54:00:00:00:01"], "deny": ["52:54:00:00:00:02"],
                "serial": "S1", "model": "M 1", "firmware": "F1"}),
    );
    let one = create(&mut registry, &json!({"shelf": 1, "slot": 1, "bdev_name": "malloc1.1"}));
    (registry, one, two)
}

#[test]
fn exports_are_listed_by_address_with_their_ports() {
    let (mut registry, _, two) = filled();
    happens(&mut registry, two, Event::BdevRemoved);
    let report = list(&registry);
    let nic = json!({"number": 1, "name": "0000:03:00.0", "netif": null});
    let veth = json!({"number": 0, "name": "net_af_packet0", "netif": "veth0"});
    let listed = [
        json!({"shelf": 1, "slot": 1, "bdev_name": "malloc1.1", "bdev": {"name": "malloc1.1", "uuid": "uuid of malloc1.1"},
               "size_bytes": 67_108_864, "offset": 0, "length": null, "vlan": null, "read_only": false,
               "cache": "write-through", "buffers": 16, "allow": [], "deny": [], "serial": "kvblade-1.1",
               "model": "kvblade-dpdk", "firmware": env!("CARGO_PKG_VERSION"), "state": "online", "reason": null,
               "all_ports": true, "ports": [veth, nic], "timed": false}),
        json!({"shelf": 1, "slot": 2, "bdev_name": "aio1.2", "bdev": {"name": "aio1.2", "uuid": "uuid of aio1.2"},
               "size_bytes": 10240, "offset": 100, "length": 20, "vlan": 100, "read_only": true, "cache": "write-back",
               "buffers": 64, "allow": ["52:54:00:00:00:01"], "deny": ["52:54:00:00:00:02"], "serial": "S1",
               "model": "M 1", "firmware": "F1", "state": "offline", "reason": null, "all_ports": false, "ports": [nic]}),
    ];
    assert_eq!(report.as_array().map(Vec::len), Some(listed.len()));
    for (export, listed) in report.as_array().unwrap().iter().zip(listed) {
        for (name, value) in listed.as_object().unwrap() {
            assert_eq!(export.get(name), Some(value), "{name} of {export}");
        }
    }
    let read_back: Vec<ExportInfo> = serde_json::from_value(report).unwrap();
    assert_eq!(read_back[1].ports[0].name, "0000:03:00.0");
}

#[test]
fn the_configuration_makes_the_same_exports_again() {
    let (mut registry, one, two) = filled();
    happens(&mut registry, two, Event::BdevRemoved);
    let config = registry.config();
    assert_eq!(config.as_array().unwrap().len(), 2);
    let mut again = self::registry();
    for call in config.as_array().unwrap() {
        assert_eq!(call["method"], CreateExport::NAME);
        create(&mut again, &call["params"]);
    }
    assert_eq!(again.config(), config);
    assert_eq!(config[1]["params"]["ports"], json!(["0000:03:00.0"]));

    happens(&mut registry, one, Event::Delete { force: false });
    assert_eq!(registry.config().as_array().unwrap().len(), 1);
}

#[test]
fn an_export_on_all_ports_but_one_is_saved_with_the_others() {
    let (mut registry, one, _) = filled();
    let address = registry.get(one).unwrap().address();
    let ports = Some(vec![PortRef::Number(0)]);
    registry.delete(&DeleteExport { address, vlan: None, ports, force: false }).unwrap();
    happens(&mut registry, one, Event::LeavePorts);
    assert_eq!(registry.config()[0]["params"]["ports"], json!(["0000:03:00.0"]));
    assert_eq!(list(&registry)[0]["all_ports"], false);
}

#[test]
fn counters_are_summed_over_lcores() {
    let (mut registry, one, _) = filled();
    registry.set_port_changes(PortId(0), PortChanges { link_down: 4, mtu: 1, ..Default::default() });
    let lcore = |core, rx_frames, runts: u64| {
        let mut drops = DropCounters::default();
        for _ in 0..runts {
            drops.count(DropReason::Runt);
        }
        LcoreStats {
            core,
            turns: 10,
            busy_turns: 4,
            owned: 1,
            in_flight: 2,
            bdev_waits: 1,
            bounced: 5,
            compare_faults: 9,
            ports: vec![PortStats {
                port: PortId(0),
                queue: Some(0),
                counters: PortCounters { rx_frames, ..Default::default() },
                drops,
                tx_waiting: 3,
                handed_over: 5,
                taken_over: 2,
                returned: 4,
                return_ring_full: 1,
            }],
        }
    };
    let reads = |record: &Record| if record.key() == one { 11 } else { 0 };
    let of = |record: &Record| {
        ExportStats::of(record, ExportCounters { reads: reads(record), ..Default::default() })
    };
    let stats = Stats {
        ports: registry.ports().clone(),
        exports: vec![registry.among_ids(0, registry.end_of_ids()).map(of).collect()],
        lcores: vec![lcore(3, 8, 2), lcore(0, 7, 1)],
    };
    let report: Value = serde_json::from_str(&stats.to_json()).unwrap();
    assert_eq!(report["exports"][0]["reads"], 11);
    assert_eq!(report["exports"][0]["bdev_name"], "malloc1.1");
    assert_eq!(report["exports"][1]["reads"], 0);
    assert_eq!(report["ports"][0]["rx_frames"], 15);
    assert_eq!(report["ports"][0]["drops"]["runt"], 3);
    assert_eq!(report["ports"][0]["tx_waiting"], 6);
    assert_eq!(report["ports"][0]["mac"], "de:ad:00:00:00:01");
    assert_eq!(report["ports"][1]["rx_frames"], 0);
    let unchanged =
        json!({"link_up": 0, "link_down": 0, "mtu": 0, "mac": 0, "renamed": 0, "deleted": 0, "remade": 0});
    assert_eq!(report["ports"][1]["changes"], unchanged);
    let changes = &report["ports"][0]["changes"];
    assert_eq!((&changes["link_down"], &changes["mtu"]), (&json!(4), &json!(1)));
    assert_eq!(
        report["lcores"][1],
        json!({
            "lcore": 3, "turns": 10, "busy_turns": 4, "in_flight": 2, "under_way": 2, "bdev_waits": 1, "bounced": 5,
            "compare_faults": 9,
            "rx_frames": 8, "tx_frames": 0, "handed_over": 5, "taken_over": 2, "returned": 4, "return_ring_full": 1,
        })
    );
    for reason in DropReason::ALL {
        assert!(report["ports"][1]["drops"][reason.name()].is_u64(), "{}", reason.name());
    }
    for (name, _) in ExportCounters::default().fields() {
        assert!(report["exports"][1][name].is_u64(), "{name}");
    }
}

#[test]
fn exports_deleted_by_force_are_listed_last_with_their_requests_in_flight() {
    let (mut registry, one, _) = filled();
    for effect in registry.step(one, Event::Delete { force: true }) {
        if let Effect::Run(Task::Confirm, round) = effect {
            let answered = registry.step(one, Event::Reported { round, done: true });
            assert_eq!(answered, [Effect::Deleted], "the address is free");
        }
    }
    assert_eq!((registry.len(), registry.end_of_ids()), (1, 2));
    let list = ExportList { in_flight: [(one, 7)].into(), ..ExportList::of(&registry) };
    let list: Value = serde_json::from_str(&list.to_json(&crate::GetExports::default())).unwrap();
    let shown = |at: usize| (list[at]["slot"].as_u64(), list[at].get("in_flight").and_then(Value::as_u64));
    assert_eq!((shown(0), shown(1)), ((Some(2), None), (Some(1), Some(7))));
}

#[test]
fn exports_are_found_by_slices_of_ids_and_counted_without_a_walk() {
    let mut registry = registry();
    let keys: Vec<ExportKey> = (0..100)
        .map(|slot| {
            create(&mut registry, &json!({"shelf": 1, "slot": slot, "bdev_name": format!("m{slot}")}))
        })
        .collect();
    assert_eq!((registry.len(), registry.exports().len()), (100, 100));
    let slices: Vec<usize> =
        (0..registry.end_of_ids()).step_by(32).map(|first| registry.among_ids(first, 32).count()).collect();
    assert_eq!(slices, [32, 32, 32, 4]);
    happens(&mut registry, keys[40], Event::Delete { force: false });
    assert_eq!((registry.len(), registry.exports().len()), (99, 99));
    assert_eq!((registry.among_ids(32, 32).count(), registry.end_of_ids()), (31, 100));
}
