//! The flows of an lcore: each is an initiator's requests to one export, with its buckets and those that wait.
//!
//! A flow without waiting requests is kept for its buckets' sake, until its place is needed: then the one goes that was idle for
//! longest. It starts with full buckets when it comes back, which matters only where more initiators are active within a tenth of a
//! second than there are places.

use aoe_wire::MacAddr;

use super::Buckets;
use crate::initiator_hash::InitiatorHash;

/// Flows that are looked at for one that may go.
const LOOKED_AT: usize = 16;

/// A flow's place; 0 is none.
pub(super) type Place = u32;

#[derive(Debug)]
pub(super) struct Flow {
    /// Of its [`Limiter`](super::throttle), never that of another one; 0 while the place is free.
    limiter: u32,
    initiator: MacAddr,
    /// The next flow in the hash table's chain, or among the free ones.
    chain: Place,
    pub(super) buckets: Buckets,
    /// The first and the last of its requests that wait.
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) waiting: u32,
    /// The next flow of the export with waiting requests.
    pub(super) next: Place,
    /// Ticks of the export's rate that it may still use before others have their turn.
    pub(super) credit: u64,
}

impl Flow {
    pub(super) const fn initiator(&self) -> MacAddr {
        self.initiator
    }

    fn free(chain: Place) -> Self {
        Self {
            limiter: 0,
            initiator: MacAddr([0; 6]),
            chain,
            buckets: Buckets::default(),
            head: 0,
            tail: 0,
            waiting: 0,
            next: 0,
            credit: 0,
        }
    }
}

/// A hash table with chains. Its memory is there from the start.
#[derive(Debug)]
pub(super) struct Flows {
    /// By place; 0 is none.
    flows: Box<[Flow]>,
    /// A power of two of them.
    heads: Box<[Place]>,
    free: Place,
    hash: InitiatorHash,
    /// The place at which the search for a flow that may go starts.
    hand: usize,
}

impl Flows {
    pub(super) fn new(count: u32, seed: u64) -> Self {
        let next = |place: u32| if place < count { place + 1 } else { 0 };
        Self {
            flows: (0..=count).map(|place| Flow::free(next(place))).collect(),
            heads: vec![0; (count as usize).max(1).next_power_of_two()].into(),
            free: u32::from(count > 0),
            hash: InitiatorHash::new(seed),
            hand: 0,
        }
    }

    /// The flow at a place.
    pub(super) fn at(&mut self, place: Place) -> &mut Flow {
        &mut self.flows[place as usize]
    }

    /// The place of an initiator's flow; 0 if it has none.
    pub(super) fn find(&self, limiter: u32, initiator: MacAddr) -> Place {
        let mut place = self.heads[self.chain_of(limiter, initiator)];
        while place != 0 {
            let flow = &self.flows[place as usize];
            if flow.limiter == limiter && flow.initiator == initiator {
                break;
            }
            place = flow.chain;
        }
        place
    }

    /// The place of an initiator's flow, which begins with these buckets if it has none. `None` if there is no place.
    pub(super) fn find_or_begin(
        &mut self,
        limiter: u32,
        initiator: MacAddr,
        buckets: impl FnOnce() -> Buckets,
    ) -> Option<Place> {
        let found = self.find(limiter, initiator);
        if found != 0 {
            return Some(found);
        }
        if self.free == 0 {
            self.forget_one();
        }
        let place = self.free;
        if place == 0 {
            return None;
        }
        let chain = self.chain_of(limiter, initiator);
        let flow = &mut self.flows[place as usize];
        self.free = flow.chain;
        *flow = Flow { limiter, initiator, buckets: buckets(), ..Flow::free(self.heads[chain]) };
        self.heads[chain] = place;
        Some(place)
    }

    fn chain_of(&self, limiter: u32, initiator: MacAddr) -> usize {
        self.hash.of(initiator, limiter) as usize & (self.heads.len() - 1)
    }

    /// Frees the place of the flow that was idle for longest, of some.
    #[cold]
    fn forget_one(&mut self) {
        let (mut oldest, mut looked_at) = (0, 0);
        for _ in 1..self.flows.len() {
            self.hand = if self.hand + 1 < self.flows.len() { self.hand + 1 } else { 1 };
            let flow = &self.flows[self.hand];
            if flow.waiting > 0 || flow.limiter == 0 {
                continue;
            }
            if oldest == 0 || is_before(&flow.buckets, &self.flows[oldest].buckets) {
                oldest = self.hand;
            }
            looked_at += 1;
            if looked_at == LOOKED_AT {
                break;
            }
        }
        if oldest == 0 {
            return;
        }
        let Flow { limiter, initiator, chain: next, .. } = self.flows[oldest];
        let chain = self.chain_of(limiter, initiator);
        let mut at = self.heads[chain] as usize;
        if at == oldest {
            self.heads[chain] = next;
        } else {
            while self.flows[at].chain as usize != oldest {
                at = self.flows[at].chain as usize;
            }
            self.flows[at].chain = next;
        }
        self.flows[oldest] = Flow::free(self.free);
        self.free = u32::try_from(oldest).unwrap_or(0);
    }
}

/// Whether one flow's buckets were used before the other's.
fn is_before(one: &Buckets, other: &Buckets) -> bool {
    let at = |buckets: &Buckets| buckets.requests.at().max(buckets.bytes.at());
    at(one) < at(other)
}
