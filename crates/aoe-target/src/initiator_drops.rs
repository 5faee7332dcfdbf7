//! Drops for each initiator of each export, in a table of a fixed size.
//!
//! Whoever sends from many addresses fills the table with entries of few drops. So where there is no place, the entry with
//! the fewest gives way, and its drops count among those of the others: the sum is right whatever happens, and the initiators
//! with most drops stay.

use aoe_wire::MacAddr;

use crate::export::ExportKey;
use crate::initiator_hash::InitiatorHash;

/// Entries of a set; a set is where an initiator is looked for.
const WAYS: usize = 8;

/// Sets: with [`WAYS`], room for 1024 initiators.
const SETS: usize = 128;

/// Why requests of an initiator were dropped that broke no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitiatorDrop {
    /// [`DropReason::ExportFull`](crate::DropReason::ExportFull).
    ExportFull,
    /// [`DropReason::RateLimited`](crate::DropReason::RateLimited).
    RateLimited,
}

/// Drops by [`InitiatorDrop`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropsOfInitiator {
    /// Of [`InitiatorDrop::ExportFull`].
    pub export_full: u64,
    /// Of [`InitiatorDrop::RateLimited`].
    pub rate_limited: u64,
}

impl DropsOfInitiator {
    /// Adds those of another lcore.
    pub const fn merge(&mut self, other: &Self) {
        self.export_full += other.export_full;
        self.rate_limited += other.rate_limited;
    }

    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.export_full + self.rate_limited
    }
}

/// The drops of an initiator on an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitiatorDropEntry {
    /// The export.
    pub export: ExportKey,
    /// The initiator.
    pub initiator: MacAddr,
    /// Its drops.
    pub drops: DropsOfInitiator,
}

/// An lcore's table. Its memory is there from the start.
#[derive(Debug)]
pub struct InitiatorDrops {
    sets: Box<[[Option<InitiatorDropEntry>; WAYS]]>,
    /// Those of initiators that have no entry.
    others: DropsOfInitiator,
    hash: InitiatorHash,
}

impl InitiatorDrops {
    /// An empty table. `seed` is random. Allocates.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            sets: vec![[None; WAYS]; SETS].into(),
            others: DropsOfInitiator::default(),
            hash: InitiatorHash::new(seed),
        }
    }

    /// Counts a drop.
    pub fn count(&mut self, export: ExportKey, initiator: MacAddr, why: InitiatorDrop) {
        let set = &mut self.sets[self.hash.of(initiator, export.id.0) as usize % SETS];
        let is_own = |entry: &InitiatorDropEntry| entry.initiator == initiator && entry.export == export;
        let drops_of = |way: &Option<InitiatorDropEntry>| match way {
            Some(entry) if is_own(entry) => (0, 0),
            None => (1, 0),
            Some(entry) => (2, entry.drops.total()),
        };
        let Some(way) = set.iter_mut().min_by_key(|way| drops_of(way)) else { return };
        if let Some(other) = way.take_if(|entry| !is_own(entry)) {
            self.others.merge(&other.drops);
        }
        let fresh = InitiatorDropEntry { export, initiator, drops: DropsOfInitiator::default() };
        let drops = &mut way.get_or_insert(fresh).drops;
        match why {
            InitiatorDrop::ExportFull => drops.export_full += 1,
            InitiatorDrop::RateLimited => drops.rate_limited += 1,
        }
    }

    /// The entries, in no order.
    pub fn entries(&self) -> impl Iterator<Item = InitiatorDropEntry> + '_ {
        self.sets.iter().flatten().flatten().copied()
    }

    /// The drops of initiators that had to give way.
    #[must_use]
    pub const fn others(&self) -> DropsOfInitiator {
        self.others
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::export::ExportId;

    fn export(id: u32, generation: u32) -> ExportKey {
        ExportKey { id: ExportId(id), generation }
    }

    fn mac(number: u32) -> MacAddr {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddr([2, 0, a, b, c, d])
    }

    #[test]
    fn initiators_and_generations_of_exports_are_told_apart() {
        let mut table = InitiatorDrops::new(5);
        table.count(export(1, 0), mac(1), InitiatorDrop::ExportFull);
        table.count(export(1, 0), mac(1), InitiatorDrop::RateLimited);
        table.count(export(1, 0), mac(2), InitiatorDrop::RateLimited);
        table.count(export(1, 1), mac(1), InitiatorDrop::ExportFull);
        let mut found: Vec<_> = table.entries().collect();
        found.sort_by_key(|entry| (entry.export, entry.initiator));
        let of = |export, initiator, export_full, rate_limited| InitiatorDropEntry {
            export,
            initiator,
            drops: DropsOfInitiator { export_full, rate_limited },
        };
        assert_eq!(
            found,
            [of(export(1, 0), mac(1), 1, 1), of(export(1, 0), mac(2), 0, 1), of(export(1, 1), mac(1), 1, 0)]
        );
    }

    #[test]
    fn who_sends_from_many_addresses_hides_nobody_with_many_drops() {
        let mut table = InitiatorDrops::new(5);
        (0..100).for_each(|_| table.count(export(0, 0), mac(0), InitiatorDrop::ExportFull));
        (1..100_000).for_each(|number| table.count(export(0, 0), mac(number), InitiatorDrop::RateLimited));
        let found = table.entries().find(|entry| entry.initiator == mac(0)).expect("it stays");
        assert_eq!(found.drops.export_full, 100);
        assert!(table.entries().count() <= WAYS * SETS);
        let kept: u64 = table.entries().map(|entry| entry.drops.total()).sum();
        assert_eq!(kept + table.others().total(), 100_099);
    }

    proptest! {
        /// As long as there is room, the table counts as a map does; the sum is always right.
        #[test]
        fn drops_are_counted_as_a_map_counts_them(
            seed: u64,
            drops in prop::collection::vec((0u32..3, 0u32..300, any::<bool>()), 0..1000),
        ) {
            let mut table = InitiatorDrops::new(seed);
            let mut map: HashMap<(ExportKey, MacAddr), u64> = HashMap::new();
            for (id, initiator, full) in drops {
                let why = if full { InitiatorDrop::ExportFull } else { InitiatorDrop::RateLimited };
                table.count(export(id, 0), mac(initiator), why);
                *map.entry((export(id, 0), mac(initiator))).or_default() += 1;
            }
            let mut sum = table.others().total();
            for entry in table.entries() {
                let counted = map[&(entry.export, entry.initiator)];
                prop_assert!(entry.drops.total() <= counted);
                prop_assert!(table.others().total() > 0 || entry.drops.total() == counted);
                sum += entry.drops.total();
            }
            prop_assert_eq!(sum, map.values().sum::<u64>());
        }
    }
}
