//! The request at a bdev that a frame without room repeats, found by its place in the order.
//!
//! A request does not write down where its mbuf is, so that one without copies costs nothing. So the first look for one goes
//! through all that bdevs have, and takes down where each is. That is a hint: it is checked, and good as long as the request
//! keeps its index among those in flight, which a request that its bdev does not answer does.

use aoe_target::Place;
use dpdk::tsc;
use spdk::{CompletionQueue, Pending};

use crate::inflight::InFlight;

/// Requests that are looked at in a second at most: some milliseconds of it, whatever initiators send.
const MOST_IN_A_SECOND: u32 = 1 << 18;

/// Where requests are among those that bdevs have.
#[derive(Debug)]
pub(super) struct Originals {
    /// By place. Of a request that came since, or that has left, it is wrong.
    indices: Box<[u32]>,
    /// Ticks of the TSC in a second.
    second: u64,
    /// The TSC at which the present second began.
    since: u64,
    /// Requests that were looked at in it.
    looked_at: u32,
}

impl Originals {
    /// For so many requests in flight.
    pub(super) fn new(capacity: usize) -> Self {
        let indices = vec![u32::MAX; capacity + 1].into();
        Self { indices, second: tsc::hz().max(1), since: tsc::now(), looked_at: 0 }
    }

    /// Whether the request at `place` is at a bdev, waits for its answer, and `is_repeated`. False, too, if too many were looked at
    /// lately.
    pub(super) fn is_at_bdev(
        &mut self,
        bdevs: &mut CompletionQueue<InFlight>,
        place: Place,
        mut is_repeated: impl FnMut(&Pending<'_, InFlight>) -> bool,
    ) -> bool {
        let mut look = |request: &Pending<'_, InFlight>| {
            let InFlight { place: found, next, .. } = request.context();
            (found == place && !next.is_answered()).then(|| is_repeated(request))
        };
        let hint = self.indices.get(place.index()).copied().unwrap_or(u32::MAX);
        if let Some(is_repeated) = bdevs.look_at(hint, |request| look(request)).flatten() {
            return is_repeated;
        }
        if !self.may_search(bdevs.in_flight()) {
            return false;
        }
        let (mut found, mut index) = (None, 0);
        bdevs.for_each_in_flight(|request| {
            if let Some(hint) = self.indices.get_mut(request.context().place.index()) {
                *hint = index;
            }
            index += 1;
            found = found.or_else(|| look(request));
        });
        found.unwrap_or(false)
    }

    /// Whether so many may be looked at now. They are counted then.
    fn may_search(&mut self, requests: u32) -> bool {
        let now = tsc::now();
        if now.wrapping_sub(self.since) >= self.second {
            (self.since, self.looked_at) = (now, 0);
        }
        let sum = self.looked_at.saturating_add(requests);
        // One search is always allowed.
        let is_allowed = self.looked_at == 0 || sum <= MOST_IN_A_SECOND;
        if is_allowed {
            self.looked_at = sum;
        }
        is_allowed
    }
}
