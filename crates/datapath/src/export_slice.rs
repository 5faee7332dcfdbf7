//! The counters of some exports, on their way from an lcore to the control plane.

use aoe_target::{ExportCounters, ExportId, ExportKey};

/// The counters of a few exports with consecutive ids, as one lcore has them.
///
/// The control plane makes it, and reads and frees it; the lcore fills it between two turns, without allocating. However
/// many exports there are, an lcore visits no more than [`ExportSlice::IDS`] of them at a time.
#[derive(Debug)]
pub struct ExportSlice {
    first: u32,
    counted: Vec<(ExportKey, ExportCounters)>,
}

impl ExportSlice {
    /// Ids that an lcore visits between two turns. The counters of an export and its key lie in about six cache lines.
    pub const IDS: u32 = 16;

    /// For the exports with ids from `first` on.
    #[must_use]
    pub fn starting_at(first: u32) -> Self {
        Self { first, counted: Vec::with_capacity(Self::IDS as usize) }
    }

    /// The exports that the lcore has among them, and their counters.
    pub fn counted(&self) -> &[(ExportKey, ExportCounters)] {
        &self.counted
    }

    /// Looks up each of its ids, and keeps what is there.
    pub(crate) fn fill(&mut self, counters: impl Fn(ExportId) -> Option<(ExportKey, ExportCounters)>) {
        let ids = self.first..self.first.saturating_add(Self::IDS);
        self.counted.extend(ids.filter_map(|id| counters(ExportId(id))).take(Self::IDS as usize));
    }
}

/// With room of its own: an lcore that fills it does not allocate.
impl Clone for ExportSlice {
    fn clone(&self) -> Self {
        let mut counted = Vec::with_capacity(Self::IDS as usize);
        counted.extend_from_slice(&self.counted);
        Self { first: self.first, counted }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_slice_visits_its_ids_once_and_has_room_for_all_of_them() {
        let visited = Cell::new(0);
        let mut slice = ExportSlice::starting_at(64).clone();
        let room = slice.counted.capacity();
        slice.fill(|id| {
            visited.set(visited.get() + 1);
            Some((id.into(), ExportCounters { reads: u64::from(id.0), ..Default::default() }))
        });
        assert_eq!(visited.get(), ExportSlice::IDS);
        assert_eq!(slice.counted.capacity(), room, "the lcore has not allocated");
        let (first, last) = (slice.counted()[0], slice.counted()[ExportSlice::IDS as usize - 1]);
        assert_eq!((first.0.id.0, first.1.reads), (64, 64));
        assert_eq!(last.0.id.0, 63 + ExportSlice::IDS);
    }

    #[test]
    fn a_slice_ends_with_the_largest_id() {
        let mut slice = ExportSlice::starting_at(u32::MAX - 2);
        slice.fill(|id| Some((id.into(), ExportCounters::default())));
        assert_eq!(slice.counted().len(), 2);
    }
}
