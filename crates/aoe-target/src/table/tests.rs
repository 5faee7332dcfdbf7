//! The table against a list that is searched from front to back.

use proptest::prelude::*;

use super::*;
use crate::ports::PortSet;
use ata::Identity;

fn at(shelf: u16, slot: u8) -> ShelfSlot {
    ShelfSlot::new(Shelf(shelf), Slot(slot))
}

fn on(ports: &[u16]) -> Ports {
    let mut set = PortSet::EMPTY;
    for port in ports {
        set.insert(PortId(*port)).unwrap();
    }
    Ports::Set(set)
}

fn export(id: u32, address: ShelfSlot, ports: Ports) -> Export {
    Export::new(ExportId(id), address, ports, 8, Identity::new("s", "m", "f").unwrap())
}

fn vlan(number: u16) -> Option<VlanId> {
    VlanId::new(number)
}

fn matches(table: &Table, port: u16, pattern: ShelfSlot) -> Vec<u32> {
    matches_in(table, port, Vlans::One(None), pattern)
}

fn matches_in(table: &Table, port: u16, vlans: Vlans, pattern: ShelfSlot) -> Vec<u32> {
    let mut cursor = Cursor::default();
    std::iter::from_fn(|| table.next_match(&mut cursor, PortId(port), vlans, pattern))
        .map(|id| id.0)
        .collect()
}

#[test]
fn one_address_may_be_two_disks_on_two_ports() {
    let mut table = Table::new();
    table.insert(export(0, at(1, 1), on(&[0]))).unwrap();
    table.insert(export(1, at(1, 1), on(&[1, 2]))).unwrap();
    table.insert(export(2, at(1, 2), Ports::All)).unwrap();
    assert_eq!(table.route(PortId(0), None, at(1, 1)), Route::One(ExportId(0)));
    assert_eq!(table.route(PortId(1), None, at(1, 1)), Route::One(ExportId(1)));
    assert_eq!(table.route(PortId(2), None, at(1, 1)), Route::One(ExportId(1)));
    assert_eq!(table.route(PortId(3), None, at(1, 1)), Route::None);
    assert_eq!(table.route(PortId(200), None, at(1, 2)), Route::One(ExportId(2)));
    assert_eq!(table.route(PortId(0), None, at(2, 1)), Route::None);
    assert_eq!(table.route(PortId(0), None, at(1, 255)), Route::Many(at(1, 255)));
    assert_eq!(matches(&table, 1, ShelfSlot::WILDCARD), [1, 2]);
    assert_eq!(matches(&table, 3, at(1, 255)), [2]);
    assert_eq!(matches(&table, 0, at(0xffff, 1)), [0]);
    assert_eq!(matches(&table, 0, at(9, 255)), [0u32; 0]);
}

#[test]
fn refusals_name_shelf_slot_and_port() {
    let mut table = Table::new();
    table.insert(export(0, at(7, 3), on(&[0, 4]))).unwrap();
    let mut refusal = |id, address, ports| table.insert(export(id, address, ports)).unwrap_err().to_string();
    assert_eq!(refusal(1, at(7, 3), on(&[3, 4])), "shelf 7, slot 3 is already exported on port 4");
    assert_eq!(refusal(1, at(7, 3), Ports::All), "shelf 7, slot 3 is already exported on port 0, 4");
    assert_eq!(refusal(0, at(7, 4), Ports::All), "export id 0 is in use");
    assert_eq!(
        refusal(1, at(0xffff, 3), Ports::All),
        "shelf 65535, slot 3: a disk's shelf is 0 to 65534, its slot 0 to 254"
    );
    assert_eq!(refusal(1 << 20, at(7, 4), Ports::All), "export id 1048576: expected 0 to 1048575");
    assert_eq!(table.len(), 1, "a refused export leaves no trace");
    assert_eq!(matches(&table, 4, ShelfSlot::WILDCARD), [0]);
    table.insert(export(1, at(7, 3), on(&[3]))).unwrap();
}

#[test]
fn all_ports_leave_no_room_for_another() {
    let mut table = Table::new();
    table.insert(export(0, at(7, 3), Ports::All)).unwrap();
    let refused = table.insert(export(1, at(7, 3), on(&[5]))).unwrap_err();
    assert_eq!(
        refused,
        TableError::AddressTaken { address: at(7, 3), ports: on(&[5]), vlan: None, by: ExportId(0) }
    );
    let refused = table.insert(export(1, at(7, 3), Ports::All)).unwrap_err();
    assert_eq!(refused.to_string(), "shelf 7, slot 3 is already exported on all ports");
}

#[test]
fn one_address_may_be_a_disk_in_each_vlan_and_one_outside() {
    let mut table = Table::new();
    table.insert(export(0, at(1, 1), Ports::All)).unwrap();
    table.insert(export(1, at(1, 1), Ports::All).in_vlan(vlan(100))).unwrap();
    table.insert(export(2, at(1, 1), on(&[0])).in_vlan(vlan(4094))).unwrap();
    let refused = table.insert(export(3, at(1, 1), on(&[2])).in_vlan(vlan(100))).unwrap_err();
    assert_eq!(refused.to_string(), "shelf 1, slot 1 is already exported on port 2 in VLAN 100");
    assert_eq!(table.route(PortId(0), None, at(1, 1)), Route::One(ExportId(0)));
    assert_eq!(table.route(PortId(0), vlan(100), at(1, 1)), Route::One(ExportId(1)));
    assert_eq!(table.route(PortId(0), vlan(4094), at(1, 1)), Route::One(ExportId(2)));
    assert_eq!(table.route(PortId(1), vlan(4094), at(1, 1)), Route::None);
    assert_eq!(table.route(PortId(0), vlan(101), at(1, 1)), Route::None);
    let wild = ShelfSlot::WILDCARD;
    assert_eq!(matches(&table, 0, wild), [0]);
    assert_eq!(matches_in(&table, 0, Vlans::One(vlan(100)), wild), [1]);
    assert_eq!(matches_in(&table, 0, Vlans::Every, wild), [0, 1, 2]);
    table.remove(ExportId(0)).unwrap();
    assert_eq!(table.route(PortId(0), None, at(1, 1)), Route::None);
    assert_eq!(table.route(PortId(0), vlan(100), at(1, 1)), Route::One(ExportId(1)));
}

#[test]
fn removal_hands_the_export_back_and_frees_its_address() {
    let mut table = Table::new();
    for (id, port) in [(0, 0), (1, 1), (2, 2)] {
        table.insert(export(id, at(1, 1), on(&[port]))).unwrap();
    }
    assert_eq!(table.remove(ExportId(1)).map(|export| export.id()), Some(ExportId(1)));
    assert!(table.remove(ExportId(1)).is_none() && table.remove(ExportId(99)).is_none());
    assert_eq!(table.route(PortId(0), None, at(1, 1)), Route::One(ExportId(0)));
    assert_eq!(table.route(PortId(1), None, at(1, 1)), Route::None);
    assert_eq!(table.route(PortId(2), None, at(1, 1)), Route::One(ExportId(2)));
    table.insert(export(1, at(1, 1), on(&[1]))).unwrap();
    assert_eq!(table.route(PortId(1), None, at(1, 1)), Route::One(ExportId(1)));
    for id in [0, 1, 2] {
        table.remove(ExportId(id)).unwrap();
    }
    assert!(table.is_empty());
    assert_eq!(table.route(PortId(0), None, at(1, 1)), Route::None);
}

#[test]
fn get_mut_changes_what_may_change() {
    let mut table = Table::new();
    table.insert(Box::new(export(5, at(1, 1), Ports::All))).unwrap();
    table.get_mut(ExportId(5)).unwrap().resize(99);
    assert_eq!(table.get(ExportId(5)).unwrap().sectors(), 99);
    assert!(table.get_mut(ExportId(4)).is_none() && table.get(ExportId(u32::MAX)).is_none());
    assert_eq!(table.iter().map(Export::id).collect::<Vec<_>>(), [ExportId(5)]);
}

#[test]
fn ten_thousand_exports_are_found() {
    // Full shelves, one slot on many shelves, and a shelf number that is a multiple of a power of two.
    let layouts: [fn(u32) -> (u32, u32); 3] =
        [|i| (i / 255, i % 255), |i| (i, 0), |i| (i % 16 * 4096, i / 16 % 255)];
    for layout in layouts {
        let mut table = Table::new();
        let addresses: std::collections::BTreeSet<ShelfSlot> = (0..10_000)
            .map(layout)
            .map(|(shelf, slot)| at(u16::try_from(shelf).unwrap(), u8::try_from(slot).unwrap()))
            .collect();
        for (id, address) in (0..).zip(&addresses) {
            table.insert(export(id, *address, Ports::All)).unwrap();
        }
        for (id, address) in (0..).zip(&addresses) {
            assert_eq!(table.route(PortId(0), None, *address), Route::One(ExportId(id)));
        }
    }
}

#[test]
fn a_scan_pauses_when_its_budget_is_used_up() {
    let mut table = Table::new();
    for id in 0..10 {
        let slot = u8::try_from(id).unwrap();
        table.insert(export(id, at(u16::from(slot / 5), slot), Ports::All)).unwrap();
    }
    let mut cursor = Cursor::default();
    let mut step = |budget| table.scan(&mut cursor, PortId(0), Vlans::Every, at(1, 255), budget);
    assert_eq!(step(0), Scan::Paused);
    assert_eq!(step(4), Scan::Paused);
    assert_eq!(step(4), Scan::Match(ExportId(5)));
    assert_eq!(step(1), Scan::Match(ExportId(6)));
    assert_eq!(step(usize::MAX), Scan::Match(ExportId(7)));
    assert_eq!(step(1), Scan::Match(ExportId(8)));
    assert_eq!(step(1), Scan::Match(ExportId(9)));
    assert_eq!(step(0), Scan::Done);
    assert_eq!(step(1), Scan::Done);
}

#[test]
fn a_table_that_changes_during_a_scan_is_safe() {
    let mut table = Table::new();
    for id in 0..6 {
        table.insert(export(id, at(1, u8::try_from(id).unwrap()), Ports::All)).unwrap();
    }
    let mut cursor = Cursor::default();
    let mut next =
        |table: &Table| table.next_match(&mut cursor, PortId(0), Vlans::Every, ShelfSlot::WILDCARD);
    assert_eq!(next(&table), Some(ExportId(0)));
    table.remove(ExportId(0));
    table.remove(ExportId(1));
    table.insert(export(0, at(2, 0), Ports::All)).unwrap();
    assert_eq!(next(&table), Some(ExportId(2)), "0 came back behind the scan and is not found again");
    table.insert(export(9, at(2, 9), Ports::All)).unwrap();
    for id in 3..6 {
        table.remove(ExportId(id));
    }
    assert_eq!(next(&table), Some(ExportId(9)));
    assert_eq!(next(&table), None);
    assert_eq!(Table::new().next_match(&mut cursor, PortId(0), Vlans::Every, ShelfSlot::WILDCARD), None);
}

/// The same table as a list.
#[derive(Default)]
struct Model(Vec<(u32, ShelfSlot, Ports, Option<VlanId>)>);

impl Model {
    fn insert(&mut self, id: u32, address: ShelfSlot, ports: Ports, vlan: Option<VlanId>) -> bool {
        let free = self.0.iter().all(|(other_id, other, other_ports, other_vlan)| {
            let shared = (0..64).map(PortId).any(|port| ports.contains(port) && other_ports.contains(port));
            *other_id != id && !(*other == address && *other_vlan == vlan && shared)
        });
        if free {
            self.0.push((id, address, ports, vlan));
        }
        free
    }

    fn remove(&mut self, id: u32) -> bool {
        let before = self.0.len();
        self.0.retain(|(other, ..)| *other != id);
        self.0.len() < before
    }

    fn matches(&self, port: u16, vlans: Vlans, pattern: ShelfSlot) -> Vec<u32> {
        let mut found: Vec<u32> = self
            .0
            .iter()
            .filter(|(_, address, ports, vlan)| {
                (pattern.shelf.0 == 0xffff || pattern.shelf == address.shelf)
                    && (pattern.slot.0 == 0xff || pattern.slot == address.slot)
                    && ports.contains(PortId(port))
                    && vlans.contains(*vlan)
            })
            .map(|(id, ..)| *id)
            .collect();
        found.sort_unstable();
        found
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, ShelfSlot, Ports, Option<VlanId>),
    Remove(u32),
    Route(u16, Option<VlanId>, ShelfSlot),
}

fn some_address() -> impl Strategy<Value = ShelfSlot> {
    // Few addresses, so that they meet often, on shelves that come and go.
    (prop_oneof![0..4u16, Just(256), Just(4096), Just(0xfffe)], 0..6u8)
        .prop_map(|(shelf, slot)| at(shelf, slot))
}

fn some_pattern() -> impl Strategy<Value = ShelfSlot> {
    (some_address(), any::<bool>(), any::<bool>()).prop_map(|(address, shelf, slot)| {
        ShelfSlot::new(
            if shelf { Shelf::WILDCARD } else { address.shelf },
            if slot { Slot::WILDCARD } else { address.slot },
        )
    })
}

fn some_ports() -> impl Strategy<Value = Ports> {
    prop_oneof![Just(Ports::All), proptest::collection::vec(0..4u16, 0..3).prop_map(|ports| on(&ports)),]
}

fn some_vlan() -> impl Strategy<Value = Option<VlanId>> {
    (0..3u16).prop_map(vlan)
}

fn some_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..150u32, some_address(), some_ports(), some_vlan())
            .prop_map(|(id, at, on, vlan)| Step::Insert(id, at, on, vlan)),
        2 => (0..150u32).prop_map(Step::Remove),
        2 => (0..5u16, some_vlan(), some_pattern())
            .prop_map(|(port, vlan, pattern)| Step::Route(port, vlan, pattern)),
    ]
}

proptest! {
    #[test]
    fn behaves_as_a_list(steps in proptest::collection::vec(some_step(), 1..250)) {
        let (mut table, mut model) = (Table::new(), Model::default());
        for step in steps {
            match step {
                Step::Insert(id, address, ports, vlan) => prop_assert_eq!(
                    table.insert(export(id, address, ports).in_vlan(vlan)).is_ok(),
                    model.insert(id, address, ports, vlan)
                ),
                Step::Remove(id) => {
                    prop_assert_eq!(table.remove(ExportId(id)).is_some(), model.remove(id));
                }
                Step::Route(port, vlan, pattern) => {
                    let every = model.matches(port, Vlans::Every, pattern);
                    prop_assert_eq!(matches_in(&table, port, Vlans::Every, pattern), every);
                    let expected = model.matches(port, Vlans::One(vlan), pattern);
                    prop_assert_eq!(matches_in(&table, port, Vlans::One(vlan), pattern), expected.clone());
                    let route = match expected[..] {
                        _ if pattern.is_wildcard() => Route::Many(pattern),
                        [] => Route::None,
                        [id] => Route::One(ExportId(id)),
                        _ => panic!("two exports at {pattern} on port {port}"),
                    };
                    prop_assert_eq!(table.route(PortId(port), vlan, pattern), route);
                }
            }
            prop_assert_eq!(table.len(), model.0.len());
        }
        for (id, address, ports, vlan) in &model.0 {
            if let Some(port) = (0..5).find(|port| ports.contains(PortId(*port))) {
                prop_assert_eq!(table.route(PortId(port), *vlan, *address), Route::One(ExportId(*id)));
            }
        }
    }
}
