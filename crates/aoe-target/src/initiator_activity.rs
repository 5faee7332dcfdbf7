//! The initiators of each export that have been seen, in a table of a fixed size.
//!
//! Nothing is counted for a read or write that meets nothing: those are seen in samples of what is in flight. All else takes slower
//! ways, where it is counted. Where there is no place for another initiator, the one that was seen longest ago gives way.

use aoe_wire::MacAddr;

use crate::export::ExportKey;
use crate::initiator_hash::InitiatorHash;

/// Entries of a set; a set is where an initiator is looked for.
const WAYS: usize = 8;

/// Sets: with [`WAYS`], room for 1024 initiators.
const SETS: usize = 128;

/// What is known of an initiator of an export. Times are of the clock that the lcore reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitiatorActivity {
    /// The export.
    pub export: ExportKey,
    /// The initiator.
    pub initiator: MacAddr,
    /// When it was first seen.
    pub first_seen: u64,
    /// When it was last seen.
    pub last_seen: u64,
    /// Requests other than reads and writes that were not dropped.
    pub messages: u64,
    /// All requests that went to the bdev while the export was timed.
    pub requests: u64,
    /// Copies of requests in flight.
    pub retransmissions: u64,
    /// Reads and writes that were seen in samples.
    pub sampled: u64,
    /// Largest frame that a sampled read or write takes, its reply included, in bytes.
    pub largest_frame: u32,
    /// Its requests at the bdev that were found since [`InitiatorActivities::begin_sample`].
    pub outstanding: u32,
}

/// An lcore's table. Its memory is there from the start.
#[derive(Debug)]
pub struct InitiatorActivities {
    sets: Box<[[Option<InitiatorActivity>; WAYS]]>,
    hash: InitiatorHash,
    /// An entry may have requests in flight.
    any_outstanding: bool,
}

impl InitiatorActivities {
    /// An empty table. `seed` is random. Allocates.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { sets: vec![[None; WAYS]; SETS].into(), hash: InitiatorHash::new(seed), any_outstanding: false }
    }

    /// The entry of an initiator, which is seen now.
    pub fn seen(&mut self, export: ExportKey, initiator: MacAddr, now: u64) -> &mut InitiatorActivity {
        let set = &mut self.sets[self.hash.of(initiator, export.id.0) as usize % SETS];
        let is_own = |entry: &InitiatorActivity| entry.initiator == initiator && entry.export == export;
        let (mut chosen, mut rank) = (0, (3, u64::MAX));
        for (index, way) in set.iter().enumerate() {
            let of = match way {
                Some(entry) if is_own(entry) => (0, 0),
                None => (1, 0),
                Some(entry) => (2, entry.last_seen),
            };
            if of < rank {
                (chosen, rank) = (index, of);
            }
        }
        let fresh = InitiatorActivity {
            export,
            initiator,
            first_seen: now,
            last_seen: now,
            messages: 0,
            requests: 0,
            retransmissions: 0,
            sampled: 0,
            largest_frame: 0,
            outstanding: 0,
        };
        let way = &mut set[chosen];
        way.take_if(|entry| !is_own(entry));
        let entry = way.get_or_insert(fresh);
        entry.last_seen = now;
        entry
    }

    /// Begins a look at all requests in flight: no entry has any until they are found.
    pub fn begin_sample(&mut self) {
        if std::mem::take(&mut self.any_outstanding) {
            self.sets.iter_mut().flatten().flatten().for_each(|entry| entry.outstanding = 0);
        }
    }

    /// A read or write of an initiator is in flight, which takes a frame of so many bytes.
    pub fn sample(&mut self, export: ExportKey, initiator: MacAddr, frame: u32, now: u64) {
        self.any_outstanding = true;
        let entry = self.seen(export, initiator, now);
        entry.outstanding += 1;
        entry.sampled += 1;
        entry.largest_frame = entry.largest_frame.max(frame);
    }

    /// The entries, in no order.
    pub fn entries(&self) -> impl Iterator<Item = InitiatorActivity> + '_ {
        self.sets.iter().flatten().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::ExportId;

    fn key(id: u32) -> ExportKey {
        ExportKey { id: ExportId(id), generation: 0 }
    }

    fn mac(number: u32) -> MacAddr {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddr([2, 0, a, b, c, d])
    }

    #[test]
    fn initiators_are_told_apart_by_export_and_keep_when_they_were_first_seen() {
        let mut table = InitiatorActivities::new(5);
        table.seen(key(1), mac(1), 10).messages += 1;
        table.seen(key(1), mac(1), 20).retransmissions += 1;
        table.seen(key(2), mac(1), 30);
        for frame in [100, 1060, 548] {
            table.sample(key(1), mac(1), frame, 40);
        }
        let mut found: Vec<_> = table.entries().collect();
        found.sort_by_key(|entry| entry.export);
        assert_eq!(found.len(), 2);
        let one = found[0];
        assert_eq!((one.first_seen, one.last_seen, one.messages, one.retransmissions), (10, 40, 1, 1));
        assert_eq!((one.outstanding, one.sampled, one.largest_frame), (3, 3, 1060));
        table.begin_sample();
        assert!(table.entries().all(|entry| entry.outstanding == 0));
    }

    #[test]
    fn who_was_seen_longest_ago_gives_way() {
        let mut table = InitiatorActivities::new(5);
        for number in 0..100_000 {
            table.seen(key(0), mac(number), u64::from(number));
            // This one is always among those seen last.
            table.seen(key(0), mac(7), u64::from(number)).messages += 1;
        }
        let entries: Vec<_> = table.entries().collect();
        assert_eq!(entries.len(), WAYS * SETS);
        let kept = entries.iter().find(|entry| entry.initiator == mac(7)).expect("it stays");
        assert_eq!(kept.messages, 100_000);
    }
}
