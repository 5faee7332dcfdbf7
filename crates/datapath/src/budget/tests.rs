use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}

fn load(in_flight: u32) -> Load {
    let mut load = Load::default();
    (0..in_flight).for_each(|_| load.started());
    load
}

/// What a queue decides as [`Requests`](crate::requests) does, on exports that hang and one that does not.
#[derive(Debug)]
struct Model {
    room: Room,
    loads: HashMap<u32, Load>,
    paths: Paths,
}

impl Model {
    fn new(mbufs: u32) -> Self {
        Self { room: Room::of(mbufs), loads: HashMap::new(), paths: Paths::new(mbufs as usize, 0x9e37_79b9) }
    }

    fn request(&mut self, initiator: u8, export: u32, advertised: u32, is_well: bool) -> bool {
        let load = self.loads.entry(export).or_default();
        let own = self.paths.in_flight(mac(initiator), ExportId(export));
        let admitted = !self.room.is_short(*load) || self.room.admits(*load, own, advertised, is_well);
        if admitted {
            load.started();
            self.room.started();
            self.paths.started(mac(initiator), ExportId(export));
        }
        admitted
    }

    fn end(&mut self, initiator: u8, export: u32) {
        self.loads.get_mut(&export).expect("it was admitted").ended();
        self.room.ended();
        self.paths.ended(mac(initiator), ExportId(export));
    }
}

#[test]
fn an_export_that_hangs_leaves_half_of_the_capacity_and_the_next_one_a_third() {
    let mut model = Model::new(2048);
    let first = (0..4000).filter(|_| model.request(1, 1, 16, false)).count();
    let second = (0..4000).filter(|_| model.request(1, 2, 16, false)).count();
    let capacity = 2048 - 2048 / 8;
    assert_eq!(first, capacity / 2);
    assert_eq!(second, capacity / 4);
}

#[test]
fn an_initiator_that_keeps_to_what_was_advertised_is_admitted_beside_one_that_does_not() {
    let mut model = Model::new(2048);
    (0..4000).for_each(|_| {
        model.request(1, 1, 16, false);
    });
    assert!(!model.request(1, 1, 16, false));
    for _ in 0..16 {
        assert!(model.request(2, 1, 16, false));
    }
    assert!(!model.request(2, 1, 16, false), "a seventeenth was not advertised");
}

#[test]
fn an_export_that_is_well_has_a_reserve_when_many_others_hang() {
    let mut model = Model::new(2048);
    for export in 1..1000 {
        (0..16).for_each(|_| {
            model.request(1, export, 16, false);
        });
    }
    assert!(!model.request(2, 1000, 16, false), "nothing is left");
    for _ in 0..16 {
        assert!(model.request(2, 2000, 16, true));
    }
    let taken = model.room.in_flight;
    (2001..3000).for_each(|export| {
        model.request(2, export, 16, true);
    });
    assert!(model.room.in_flight > taken);
    assert!(
        model.room.in_flight <= 2048 - 2048 / 16,
        "a half of the reserve is for what is answered at once"
    );
}

#[test]
fn progress_is_recent_until_nothing_has_changed_for_longer_than_the_patience() {
    let mut progress = Progress::default();
    assert!(progress.is_recent(5, 100, 2), "it has completed 5");
    assert!(progress.is_recent(5, 102, 2));
    assert!(!progress.is_recent(5, 103, 2));
    assert!(progress.is_recent(6, 1000, 2));
}

#[test]
fn a_tracked_export_is_short_of_room_and_its_flag_is_not_counted_in_flight() {
    let room = Room::of(2048);
    let mut flagged = load(3);
    assert!(!room.is_short(flagged));
    flagged.set_tracked(true);
    assert!(room.is_short(flagged));
    flagged.started();
    flagged.ended();
    assert_eq!(flagged.in_flight(), 3);
    flagged.set_tracked(false);
    assert_eq!(flagged, load(3));
}

#[test]
fn the_flag_of_limited_rates_is_seen_by_the_first_rule_and_counts_nothing() {
    let room = Room::of(2048);
    let mut flagged = load(3);
    flagged.set_limited(true);
    assert!(room.is_short(flagged) && flagged.is_limited());
    assert!(!room.is_short(flagged.unlimited()), "there is room");
    assert_eq!((flagged.in_flight(), flagged.is_watched()), (3, false));
    flagged.set_tracked(true);
    assert!(room.is_short(flagged.unlimited()), "another flag stays");
    flagged.set_tracked(false);
    flagged.set_limited(false);
    assert_eq!(flagged, load(3));
}

#[test]
fn a_full_table_of_paths_admits_and_stays_as_it_is() {
    let mut paths = Paths::new(8, 7);
    (0..8).for_each(|number| paths.started(mac(number), ExportId(0)));
    paths.started(mac(8), ExportId(0));
    assert_eq!(paths.in_flight(mac(8), ExportId(0)), 0);
    paths.ended(mac(8), ExportId(0));
    (0..8).for_each(|number| assert_eq!(paths.in_flight(mac(number), ExportId(0)), 1));
}

proptest! {
    /// A table with a bad multiplier, so that many paths collide, counts as a map does.
    #[test]
    fn paths_are_counted_as_a_map_counts_them(
        seed in prop_oneof![Just(1), any::<u64>()],
        steps in prop::collection::vec((0u8..40, 0u32..3, any::<bool>()), 0..400),
    ) {
        let mut paths = Paths::new(400, seed);
        let mut map: HashMap<(u8, u32), u32> = HashMap::new();
        for (initiator, export, starts) in steps {
            let count = map.entry((initiator, export)).or_default();
            if starts {
                paths.started(mac(initiator), ExportId(export));
                *count += 1;
            } else {
                paths.ended(mac(initiator), ExportId(export));
                *count = count.saturating_sub(1);
            }
            for ((initiator, export), count) in &map {
                prop_assert_eq!(paths.in_flight(mac(*initiator), ExportId(*export)), *count);
            }
        }
        prop_assert_eq!(paths.used, map.values().filter(|count| **count > 0).count());
    }

    /// Whatever greedy initiators do, at most as many initiators as the capacity has room for are never refused what was
    /// advertised to them, and the reserve stays.
    #[test]
    fn what_was_advertised_is_never_refused_while_it_fits(
        steps in prop::collection::vec((0u8..12, 0u32..4, any::<bool>()), 0..3000),
    ) {
        const ADVERTISED: u32 = 8;
        // Initiators 0 to 3 keep to it, on exports 0 to 3: 128 requests at most. The others are greedy, and what they get
        // beyond the first rule is what was advertised to them: 8 initiators, 4 exports, 8 requests.
        let mut model = Model::new(1024);
        let mut in_flight: HashMap<(u8, u32), u32> = HashMap::new();
        for (initiator, export, starts) in steps {
            let own = in_flight.entry((initiator, export)).or_default();
            let keeps_to_it = initiator < 4;
            if starts && !(keeps_to_it && *own == ADVERTISED) {
                let admitted = model.request(initiator, export, ADVERTISED, false);
                prop_assert!(admitted || !keeps_to_it);
                *own += u32::from(admitted);
            } else if *own > 0 {
                model.end(initiator, export);
                *own -= 1;
            }
            prop_assert!(model.room.in_flight <= 1024 - 128);
        }
    }
}
