//! The throttle: the limits of an lcore's exports, and the requests that wait for them.
//!
//! # Contract
//!
//! A request to a limited export either starts, which takes its tokens, or is held. A request that is held starts when its
//! initiator's limits and the export's allow it; those of one initiator start in the order of their arrival, and none of
//! them before an earlier one.
//!
//! Initiators that wait for the export's limits have equal parts of them, by deficit round robin (Shreedhar and Varghese): in
//! each round, each may use the export's rates for as long as the largest request does. So large requests do not get more
//! of a bandwidth than small ones, nor many initiators' worth who sends much.
//!
//! The order of requests for the same sectors is not decided here: a request enters the order table first and holds its place
//! while it waits. So a retransmission of it is a copy, which comes to the table and takes no tokens.
//!
//! All memory is there from the start, but for that of an export's limits, which are set between two turns.

use std::collections::VecDeque;

use aoe_wire::MacAddr;

use super::flows::{Flows, Place};
use super::{Buckets, LARGEST_REQUEST, Limits, Pace};
use crate::export::ExportId;

/// Requests that start in one pass, and flows that are looked at in vain.
const PER_PASS: u32 = 64;

/// A request that is held.
#[derive(Debug, PartialEq, Eq)]
pub struct Held<T> {
    /// Its export.
    pub export: ExportId,
    /// Its initiator.
    pub initiator: MacAddr,
    /// What the caller keeps for it.
    pub request: T,
}

/// See the module.
#[derive(Debug)]
pub struct Throttle<T> {
    /// By [`ExportId`].
    limiters: Vec<Option<Box<Limiter>>>,
    /// Those with waiting requests, each once. It has room for all limiters.
    active: VecDeque<ExportId>,
    flows: Flows,
    /// By place; 0 is none.
    requests: Box<[Waiting<T>]>,
    /// The first free place; the others follow by `next`.
    free: u32,
    waiting: u32,
    /// The number of the next limiter.
    number: u32,
    pass: Pass,
}

/// A request that waits.
#[derive(Debug)]
struct Waiting<T> {
    request: Option<T>,
    bytes: u64,
    /// The next one of its flow, or free place.
    next: u32,
}

/// What is left of a pass over the waiting requests.
#[derive(Debug, Clone, Copy, Default)]
struct Pass {
    now: u64,
    /// Requests that may start.
    starts: u32,
    /// Flows and exports that may be looked at in vain.
    looks: u32,
}

/// The limits of an export.
#[derive(Debug)]
struct Limiter {
    /// Its flows have it. Not 0, and another one for each export that comes.
    number: u32,
    export: Pace,
    initiator: Pace,
    buckets: Buckets,
    /// The last flow in the ring of those with waiting requests; the first one follows it.
    last: Place,
    flows: u32,
    /// The first flow has got its credit for this round.
    granted: bool,
    /// No limits any more: it exists until no request waits.
    lifted: bool,
}

impl<T> Throttle<T> {
    /// For so many requests. `seed` is random. Allocates.
    ///
    /// # Panics
    /// For 2^32 requests or more.
    #[must_use]
    pub fn new(requests: usize, seed: u64) -> Self {
        let count = u32::try_from(requests).expect("far fewer mbufs than 2^32");
        let next = |place: u32| if place < count { place + 1 } else { 0 };
        let empty = |place| Waiting { request: None, bytes: 0, next: next(place) };
        Self {
            limiters: Vec::new(),
            active: VecDeque::new(),
            flows: Flows::new(count, seed),
            requests: (0..=count).map(empty).collect(),
            free: u32::from(count > 0),
            waiting: 0,
            number: 0,
            pass: Pass::default(),
        }
    }

    /// Sets the limits of an export, or lifts them. By a clock of `hz` ticks a second. Requests that wait go on by the new ones;
    /// without limits, they start in the next passes. Allocates: between two turns.
    pub fn set(&mut self, export: ExportId, limits: Limits, hz: u64, now: u64) {
        let index = export.0 as usize;
        let present = self.limiters.get_mut(index).and_then(Option::as_mut);
        if !limits.is_some() {
            if let Some(limiter) = present {
                limiter.lifted = true;
                self.forget_if_idle(export);
            }
            return;
        }
        let (own, initiator) = (Pace::new(limits.export, hz), Pace::new(limits.initiator, hz));
        if let Some(limiter) = present {
            (limiter.export, limiter.initiator, limiter.lifted) = (own, initiator, false);
            return;
        }
        self.number = self.number.wrapping_add(1).max(1);
        let limiter = Limiter {
            number: self.number,
            export: own,
            initiator,
            buckets: Buckets::full(&own, now),
            last: 0,
            flows: 0,
            granted: false,
            lifted: false,
        };
        if self.limiters.len() <= index {
            self.limiters.resize_with(index + 1, || None);
        }
        self.limiters[index] = Some(Box::new(limiter));
        self.active.reserve(self.limiters.iter().flatten().count());
    }

    /// Lifts all limits.
    pub fn lift_all(&mut self) {
        for export in (0u32..).take(self.limiters.len()).map(ExportId) {
            // No clock is needed for that.
            self.set(export, Limits::default(), 1, 0);
        }
    }

    /// Whether requests to an export must ask [`Throttle::start`].
    #[must_use]
    pub fn limits(&self, export: ExportId) -> bool {
        self.limiters.get(export.0 as usize).is_some_and(Option::is_some)
    }

    /// The requests that wait.
    #[must_use]
    pub const fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Starts a request with so many bytes of data, which takes its tokens. False: it is to be held.
    pub fn start(&mut self, export: ExportId, initiator: MacAddr, bytes: u64, now: u64) -> bool {
        let Some(limiter) = self.limiters.get_mut(export.0 as usize).and_then(Option::as_deref_mut) else {
            return true;
        };
        if limiter.flows > 0 {
            let found = self.flows.find(limiter.number, initiator);
            let has_earlier = found != 0 && self.flows.at(found).waiting > 0;
            // Where others wait for the export, it takes its turn among them.
            if has_earlier || limiter.export.is_some() {
                return false;
            }
        }
        if limiter.lifted {
            return true;
        }
        if !limiter.initiator.is_some() {
            let starts = limiter.buckets.allow(&limiter.export, bytes, now);
            if starts {
                limiter.buckets.take(&limiter.export, bytes);
            }
            return starts;
        }
        let full = || Buckets::full(&limiter.initiator, now);
        let Some(place) = self.flows.find_or_begin(limiter.number, initiator, full) else { return false };
        let flow = self.flows.at(place);
        let starts = flow.buckets.allow(&limiter.initiator, bytes, now)
            && limiter.buckets.allow(&limiter.export, bytes, now);
        if starts {
            flow.buckets.take(&limiter.initiator, bytes);
            limiter.buckets.take(&limiter.export, bytes);
        }
        starts
    }

    /// Holds a request that does not start, with so many bytes of data, behind at most `most - 1` of its initiator.
    ///
    /// # Errors
    /// What was to be kept for it, if its initiator has as many that wait, or there is no place.
    pub fn hold(&mut self, held: Held<T>, bytes: u64, most: u32, now: u64) -> Result<(), T> {
        let Held { export, initiator, request } = held;
        let Some(limiter) = self.limiters.get_mut(export.0 as usize).and_then(Option::as_deref_mut) else {
            debug_assert!(false, "held without a limit");
            return Err(request);
        };
        let full = || Buckets::full(&limiter.initiator, now);
        let Some(place) = self.flows.find_or_begin(limiter.number, initiator, full) else {
            return Err(request);
        };
        let flow = self.flows.at(place);
        let slot = self.free;
        if flow.waiting >= most || slot == 0 {
            return Err(request);
        }
        let waiting = &mut self.requests[slot as usize];
        self.free = std::mem::replace(waiting, Waiting { request: Some(request), bytes, next: 0 }).next;
        self.waiting += 1;
        flow.waiting += 1;
        let before = std::mem::replace(&mut flow.tail, slot);
        if before != 0 {
            self.requests[before as usize].next = slot;
            return Ok(());
        }
        (flow.head, flow.credit) = (slot, 0);
        if limiter.flows == 0 {
            self.active.push_back(export);
            flow.next = place;
        } else {
            let first = std::mem::replace(&mut self.flows.at(limiter.last).next, place);
            self.flows.at(place).next = first;
        }
        // It is the last one now.
        limiter.last = place;
        limiter.flows += 1;
        Ok(())
    }

    /// Starts a pass over the waiting requests: [`Throttle::pop`] returns those that may start now.
    pub fn begin_pass(&mut self, now: u64) {
        let flows = self.waiting.saturating_add(u32::try_from(self.active.len()).unwrap_or(u32::MAX));
        self.pass = Pass { now, starts: PER_PASS, looks: PER_PASS.min(flows) };
    }

    /// The next request of this pass that may start; its tokens are taken.
    pub fn pop(&mut self) -> Option<Held<T>> {
        while self.pass.starts > 0 && self.pass.looks > 0 {
            let export = *self.active.front()?;
            let Some(limiter) = self.limiters.get_mut(export.0 as usize).and_then(Option::as_deref_mut)
            else {
                debug_assert!(false, "an active export without limits");
                self.active.pop_front();
                continue;
            };
            let now = self.pass.now;
            let place = self.flows.at(limiter.last).next;
            let flow = self.flows.at(place);
            let bytes = self.requests[flow.head as usize].bytes;
            if !limiter.lifted {
                if !flow.buckets.allow(&limiter.initiator, bytes, now) {
                    // It has no use for its credit.
                    flow.credit = 0;
                    limiter.turn_to_next(place);
                    self.pass.looks -= 1;
                    continue;
                }
                let ticks = limiter.export.ticks_for(bytes);
                if !std::mem::replace(&mut limiter.granted, true) {
                    let round = limiter.export.ticks_for(LARGEST_REQUEST);
                    flow.credit = flow.credit.saturating_add(round);
                }
                if ticks > flow.credit {
                    limiter.turn_to_next(place);
                    continue;
                }
                if !limiter.buckets.allow(&limiter.export, bytes, now) {
                    self.active.rotate_left(1);
                    self.pass.looks -= 1;
                    continue;
                }
                flow.credit -= ticks;
                flow.buckets.take(&limiter.initiator, bytes);
                limiter.buckets.take(&limiter.export, bytes);
            }
            self.pass.starts -= 1;
            return self.take_first(export);
        }
        None
    }

    /// Takes out each request that is due, whatever its limits say. Requests of one initiator are due in the order of their
    /// arrival.
    pub fn expire(&mut self, is_due: impl Fn(&T) -> bool, mut ended: impl FnMut(Held<T>)) {
        for _ in 0..self.active.len() {
            let Some(&export) = self.active.front() else { return };
            let flows = self.limiters[export.0 as usize].as_ref().map_or(0, |limiter| limiter.flows);
            for _ in 0..flows {
                let Some(limiter) = self.limiters[export.0 as usize].as_deref_mut() else { break };
                let number = limiter.flows;
                let place = self.flows.at(limiter.last).next;
                let first = self.flows.at(place).head;
                let due = self.requests[first as usize].request.as_ref().is_some_and(&is_due);
                if !due {
                    limiter.turn_to_next(place);
                    continue;
                }
                while self.requests[self.flows.at(place).head as usize].request.as_ref().is_some_and(&is_due)
                    && let Some(held) = self.take_first(export)
                {
                    ended(held);
                }
                if let Some(limiter) = self.limiters[export.0 as usize].as_deref_mut()
                    && limiter.flows == number
                {
                    limiter.turn_to_next(place);
                }
            }
            if self.active.front() == Some(&export) {
                self.active.rotate_left(1);
            }
        }
    }

    /// Calls `visit` with the initiator of each request to an export that waits.
    pub fn for_each_waiting(&mut self, export: ExportId, mut visit: impl FnMut(MacAddr)) {
        let Some(limiter) = self.limiters.get(export.0 as usize).and_then(Option::as_deref) else { return };
        let (mut place, flows) = (limiter.last, limiter.flows);
        for _ in 0..flows {
            let flow = self.flows.at(place);
            (0..flow.waiting).for_each(|_| visit(flow.initiator()));
            place = flow.next;
        }
    }

    /// Takes out the first request of an export's first flow.
    fn take_first(&mut self, export: ExportId) -> Option<Held<T>> {
        let limiter = self.limiters.get_mut(export.0 as usize).and_then(Option::as_deref_mut)?;
        let place = self.flows.at(limiter.last).next;
        let flow = self.flows.at(place);
        let (slot, initiator) = (flow.head, flow.initiator());
        let waiting = &mut self.requests[slot as usize];
        let request = waiting.request.take()?;
        flow.head = std::mem::replace(&mut waiting.next, self.free);
        self.free = slot;
        self.waiting -= 1;
        flow.waiting -= 1;
        if flow.head == 0 {
            (flow.tail, flow.credit) = (0, 0);
            let after = std::mem::take(&mut flow.next);
            limiter.flows -= 1;
            limiter.granted = false;
            if limiter.flows == 0 {
                limiter.last = 0;
                debug_assert_eq!(self.active.front(), Some(&export));
                self.active.pop_front();
                self.forget_if_idle(export);
            } else {
                self.flows.at(limiter.last).next = after;
            }
        }
        Some(Held { export, initiator, request })
    }

    /// Forgets limits that were lifted, once no request waits.
    fn forget_if_idle(&mut self, export: ExportId) {
        if let Some(place) = self.limiters.get_mut(export.0 as usize) {
            place.take_if(|limiter| limiter.lifted && limiter.flows == 0);
        }
    }
}

impl Limiter {
    /// The first flow, at this place, becomes the last one.
    fn turn_to_next(&mut self, first: Place) {
        self.last = first;
        self.granted = false;
    }
}
