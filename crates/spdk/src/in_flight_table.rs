//! A queue's requests in flight, all of them.

use std::{cell::Cell, ffi::c_void, ptr};

/// The arguments of requests in flight, one after the other. Its memory is there from the start.
pub(crate) struct InFlightTable {
    requests: Box<[Cell<*mut c_void>]>,
    count: Cell<u32>,
}

/// The place of a table's next request.
pub(crate) struct FreePlace<'table> {
    table: &'table InFlightTable,
    place: &'table Cell<*mut c_void>,
    pub(crate) index: u32,
}

impl FreePlace<'_> {
    /// Puts a request there.
    #[inline(always)]
    pub(crate) fn take(self, request: *mut c_void) {
        self.place.set(request);
        self.table.count.set(self.index + 1);
    }
}

impl InFlightTable {
    pub(crate) fn new(capacity: usize) -> Self {
        // An index has 32 bits.
        let capacity = capacity.min(u32::MAX as usize);
        Self { requests: (0..capacity).map(|_| Cell::new(ptr::null_mut())).collect(), count: Cell::new(0) }
    }

    /// The requests in flight.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.count.get()
    }

    /// The next request's place; `None` if the table is full.
    #[inline(always)]
    pub(crate) fn next(&self) -> Option<FreePlace<'_>> {
        let index = self.count.get();
        Some(FreePlace { table: self, place: self.requests.get(index as usize)?, index })
    }

    /// Takes the request with this index out. The last one gets its index, and is returned; it may be the same.
    #[inline(always)]
    pub(crate) fn remove(&self, index: u32) -> *mut c_void {
        let last = self.count.get() - 1;
        self.count.set(last);
        let moved = self.requests[last as usize].get();
        self.requests[index as usize].set(moved);
        moved
    }

    /// The request with this index.
    pub(crate) fn get(&self, index: u32) -> Option<*mut c_void> {
        (index < self.count.get()).then(|| self.requests[index as usize].get())
    }

    /// Calls `look` with each request, from index 0 on.
    pub(crate) fn for_each(&self, mut look: impl FnMut(*mut c_void)) {
        for request in self.requests.iter().take(self.count.get() as usize) {
            look(request.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_found_at_its_index_until_it_is_removed() {
        let requests: Vec<*mut c_void> = (1..=4usize).map(ptr::without_provenance_mut).collect();
        let table = InFlightTable::new(4);
        let add = |request| {
            let place = table.next().expect("room");
            let index = place.index;
            place.take(request);
            index
        };
        let mut indices: Vec<(*mut c_void, u32)> =
            requests.iter().map(|request| (*request, add(*request))).collect();
        assert!(table.next().is_none(), "it is full");
        for removed in [1, 0, 1, 0] {
            let (_, index) = indices.remove(removed);
            let moved = table.remove(index);
            if let Some((_, place)) = indices.iter_mut().find(|(request, _)| *request == moved) {
                *place = index;
            }
            let mut found = Vec::new();
            table.for_each(|request| found.push(request));
            assert!((0u32..).zip(&found).all(|(index, request)| table.get(index) == Some(*request)));
            assert_eq!(table.get(table.count()), None);
            found.sort();
            let mut expected: Vec<_> = indices.iter().map(|(request, _)| *request).collect();
            expected.sort();
            assert_eq!(found, expected);
            assert_eq!(table.count() as usize, indices.len());
        }
    }
}
