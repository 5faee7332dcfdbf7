//! The oracle for reservations: a request of somebody whom a reservation keeps off has no effect, and no reply with success,
//! after the reservation was answered.

use std::collections::BTreeMap;

use crate::plan::{Op, Operation};

/// A reservation that an initiator made.
#[derive(Debug, Clone, Copy)]
struct Change {
    export: usize,
    /// A bit for each initiator; all of them for none.
    admits: u32,
    /// The moment of its arrival.
    arrived: u64,
    /// Of its first answer.
    answered: Option<u64>,
    /// Of its last answer.
    last: u64,
    /// Copies that arrived, and those that were answered.
    copies: (u32, u32),
}

/// The reservations of all exports.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    changes: BTreeMap<u32, Change>,
}

impl Rules {
    /// A request has arrived, whole.
    pub(crate) fn arrived(&mut self, op: &Op, at: u64) {
        let Operation::Reserve { holders } = op.operation else { return };
        let admits = if holders == 0 { u32::MAX } else { holders };
        let change =
            Change { export: op.export, admits, arrived: at, answered: None, last: 0, copies: (0, 0) };
        self.changes.entry(op.id).or_insert(change).copies.0 += 1;
    }

    /// A request was answered without an error.
    pub(crate) fn answered(&mut self, op: u32, at: u64) {
        if let Some(change) = self.changes.get_mut(&op) {
            change.answered.get_or_insert(at);
            change.last = at;
            change.copies.1 += 1;
        }
    }

    /// The reservation that keeps an initiator off now, for certain: it was answered, and none that admits the initiator can
    /// have come after it.
    pub(crate) fn forbidding(&self, export: usize, initiator: usize) -> Option<u32> {
        let of_export = || self.changes.iter().filter(|(_, change)| change.export == export);
        let admits = |change: &Change| change.admits >> initiator & 1 == 1;
        // Copies that were not answered may be carried out at any time.
        let is_before = |change: &Change, forbidding: &Change| {
            change.copies.0 == change.copies.1 && change.last < forbidding.arrived
        };
        let forbids = |(_, change): &(&u32, &Change)| {
            let mut admitting = of_export().filter(|(_, other)| admits(other));
            change.answered.is_some()
                && !admits(change)
                && admitting.all(|(_, other)| is_before(other, change))
        };
        of_export().find(forbids).map(|(op, _)| *op)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserve(id: u32, holders: u32) -> Op {
        let operation = Operation::Reserve { holders };
        Op { id, initiator: 0, export: 0, operation, lba: 0, sectors: 0, at: 0 }
    }

    #[test]
    fn who_is_kept_off_and_since_when() {
        let mut rules = Rules::default();
        rules.arrived(&reserve(1, 0b01), 10);
        assert_eq!(rules.forbidding(0, 1), None, "it is not answered");
        rules.answered(1, 20);
        assert_eq!((rules.forbidding(0, 0), rules.forbidding(0, 1)), (None, Some(1)));
        assert_eq!(rules.forbidding(1, 1), None, "another export");
        rules.arrived(&reserve(2, 0), 30);
        assert_eq!(rules.forbidding(0, 1), None, "the release may have been carried out");
        rules.answered(2, 31);
        rules.arrived(&reserve(3, 0b10), 40);
        rules.answered(3, 50);
        assert_eq!((rules.forbidding(0, 0), rules.forbidding(0, 1)), (Some(3), None));
        rules.arrived(&reserve(1, 0b01), 60);
        assert_eq!(rules.forbidding(0, 0), None, "a late copy of the first");
    }
}
