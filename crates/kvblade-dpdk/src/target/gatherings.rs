//! Answers that wait for a report of each lcore.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::answer::Answer;

/// Answers that need a report of each lcore, by their operations' numbers.
pub(super) struct Gatherings<T>(BTreeMap<u64, Gathering<T>>);

struct Gathering<T> {
    gathered: T,
    /// Lcores that have not reported.
    waiting: usize,
    answer: Answer,
}

/// What a report changes.
pub(super) enum Reported<T> {
    /// Nothing: the operation has ended.
    Nothing,
    /// Other lcores' reports are still on their way.
    Part,
    /// It was the last one.
    Whole(T, Answer),
}

impl<T> Default for Gatherings<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Default> Gatherings<T> {
    /// Waits for the reports of so many lcores.
    pub(super) fn start(&mut self, operation: u64, lcores: usize, answer: Answer) {
        self.0.insert(operation, Gathering { gathered: T::default(), waiting: lcores, answer });
    }

    /// Adds an lcore's report.
    pub(super) fn report(&mut self, operation: u64, add: impl FnOnce(&mut T)) -> Reported<T> {
        let Entry::Occupied(mut entry) = self.0.entry(operation) else { return Reported::Nothing };
        let gathering = entry.get_mut();
        add(&mut gathering.gathered);
        gathering.waiting = gathering.waiting.saturating_sub(1);
        if gathering.waiting > 0 {
            return Reported::Part;
        }
        let Gathering { gathered, answer, .. } = entry.remove();
        Reported::Whole(gathered, answer)
    }
}
