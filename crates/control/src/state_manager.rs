//! The state manager: the one authority on the initiator state of each export. It decides, as the lifecycle does: an event in,
//! effects out. The glue executes the effects, in their order, and reports; it decides nothing.
//!
//! An lcore defers a request that may change initiator state to it. The change is decided, saved, published to every
//! lcore, and only then is the request answered. Each export has one change at a time.
//!
//! A change of who may use the export is a fence: its ACL is published first, and the state, by which lcores answer
//! questions, when the requests admitted under the ACL before have ended on every lcore. So no answer shows the new rule
//! while a write of the old one can still land. Where a bdev does not complete them in time, the request is dropped as
//! [`DropReason::NotFenced`], and so is each retransmission until they have ended.
//!
//! A change that can't be saved is not made, and its request is dropped: the initiator retransmits. No AoE error means
//! "not now"; error 3, device unavailable, would speak of the disk, which is there.

mod errors;
mod events;
mod jobs;
mod managed;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aoe_target::{Acl, DropReason, Export, ExportKey, InitiatorState};

use errors::not_served;
pub use events::{Lists, Publication, StateEffect, StateEvent, StateNote};
use jobs::{Change, Job};
use managed::Managed;
use shared::Shared;
pub use shared::{FENCE_LIMIT, SavedState};

/// The initiator state of every export. `R` is a request that an lcore deferred: its bytes are the frame, from the Ethernet
/// header on. `A` is the way to answer a caller.
#[derive(Debug)]
pub struct StateManager<R, A> {
    managed: BTreeMap<ExportKey, Managed<R, A>>,
    shared: Shared<R, A>,
}

/// A change whose step has ended, taken from its export, and what the export shares with others.
type Ended<'a, R, A> = (&'a mut Managed<R, A>, Change<R, A>, &'a mut Shared<R, A>);

impl<R: AsRef<[u8]>, A> StateManager<R, A> {
    /// One for so many lcores, with what was saved, by name of the file.
    #[must_use]
    pub const fn new(lcores: usize, saved: BTreeMap<String, SavedState>) -> Self {
        Self { managed: BTreeMap::new(), shared: Shared::new(lcores, saved) }
    }

    /// Takes charge of an export that is being created, and gives it the state that was saved under this file name. Returns the
    /// reason why the export answers nobody, if its state is unknown.
    pub fn register(&mut self, export: &mut Export, name: String) -> Option<String> {
        let saved = self.shared.saved.get(&name);
        let managed = Managed::new(export, name, saved);
        managed.equip(export);
        let closed = managed.closed().cloned();
        self.managed.insert(export.key(), managed);
        closed
    }

    /// Gives the export, which takes the place of the one with its key, the state that the lcores get before it: a change may be
    /// on its way to them. Whether there is such an export.
    #[must_use]
    pub fn equip(&self, export: &mut Export) -> bool {
        let managed = self.managed.get(&export.key());
        managed.inspect(|managed| managed.equip(export)).is_some()
    }

    /// The state that every lcore has of an export, for answers, and the reason why it answers nobody.
    #[must_use]
    pub fn state_of(&self, key: ExportKey) -> Option<(Arc<InitiatorState>, Option<String>)> {
        self.managed.get(&key).map(Managed::state)
    }

    /// The state and the ACL that every lcore has of an export, if no change is on its way to them.
    #[must_use]
    pub fn settled(&self, key: ExportKey) -> Option<(Arc<InitiatorState>, Option<Arc<Acl>>)> {
        self.managed.get(&key).and_then(Managed::settled)
    }

    /// Whether nothing is being changed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.managed.values().all(Managed::is_idle)
    }

    /// When the next [`StateManager::tick`] has something to do, unless something else happens before.
    #[must_use]
    pub fn next_limit(&self) -> Option<Duration> {
        self.shared.next_limit()
    }

    /// Drops the ways to answer callers, who get no answer to their changes. Deferred requests are still decided.
    pub fn give_up_calls(&mut self) {
        self.managed.values_mut().for_each(Managed::give_up_calls);
    }

    /// Something has happened to the state of this export. `now` is the time since a moment that stays the same.
    #[must_use]
    pub fn step(&mut self, key: ExportKey, event: StateEvent<R, A>, now: Duration) -> Vec<StateEffect<R, A>> {
        match event {
            StateEvent::Deferred(request) => self.enqueue(key, Job::Deferred(request), now),
            StateEvent::Set(change, answer) => self.enqueue(key, Job::Set(change, answer), now),
            StateEvent::Access(lists, answer) => self.enqueue(key, Job::Access(lists, answer), now),
            StateEvent::Rename(name) => self.enqueue(key, Job::Rename(name), now),
            StateEvent::Saved(change, result) => self.saved(key, change, result, now),
            StateEvent::Fenced { change, reached } => self.fenced(key, change, reached),
            StateEvent::Published(change) => self.published(key, change, now),
            StateEvent::Unregister => {
                // An export that waited for its bdev was never registered.
                if let Some(managed) = self.managed.remove(&key) {
                    managed.end(&mut self.shared);
                }
            }
        }
        self.shared.take_effects()
    }

    /// Time has passed: nobody is kept waiting whose change does not hold in time.
    #[must_use]
    pub fn tick(&mut self, now: Duration) -> Vec<StateEffect<R, A>> {
        let shared = &mut self.shared;
        while let Some((key, number)) = shared.expired_fence(now) {
            if let Some(managed) = self.managed.get_mut(&key)
                && let Some(change) = managed.take(number)
            {
                managed.overdue(change, shared);
            }
        }
        self.shared.take_effects()
    }

    fn enqueue(&mut self, key: ExportKey, job: Job<R, A>, now: Duration) {
        let shared = &mut self.shared;
        match (self.managed.get_mut(&key), job) {
            (Some(managed), job) => managed.enqueue(job, shared, now),
            // The export is gone, or its id is another export's by now.
            (None, Job::Deferred(request)) => shared.drop_request(request, DropReason::UnknownShelfSlot),
            (None, Job::Set(_, answer)) => shared.answer(answer, Err(not_served())),
            // An export that waits for its bdev gets the state of its name when it is created.
            (None, Job::Rename(_)) => {}
            // It gets the lists with its creation.
            (None, Job::Access(_, answer)) => shared.answer(answer, Ok(())),
        }
    }

    /// Takes the change with this number from its export. `step` of it has ended.
    fn take(&mut self, key: ExportKey, number: u64, step: &'static str) -> Option<Ended<'_, R, A>> {
        let shared = &mut self.shared;
        let Some(managed) = self.managed.get_mut(&key) else {
            // Its requests were answered when it went.
            shared.note(StateNote::Gone(key, step));
            return None;
        };
        let Some(change) = managed.take(number) else {
            shared.note(StateNote::Stray(key, step, number));
            return None;
        };
        Some((managed, change, shared))
    }

    fn saved(&mut self, key: ExportKey, number: u64, result: Result<(), String>, now: Duration) {
        let Some((managed, change, shared)) = self.take(key, number, "a save") else { return };
        match result {
            Ok(()) => managed.saved(change, shared, now),
            Err(error) => managed.not_saved(change, error, shared, now),
        }
    }

    fn fenced(&mut self, key: ExportKey, number: u64, reached: bool) {
        let Some((managed, mut change, shared)) = self.take(key, number, "a fence") else { return };
        if !reached {
            managed.give_up(&mut change, shared);
        }
        if change.is_reported() { managed.fenced(change, shared) } else { managed.wait(change) }
    }

    fn published(&mut self, key: ExportKey, number: u64, now: Duration) {
        let Some((managed, mut change, shared)) = self.take(key, number, "a publication") else { return };
        if change.is_reported() { managed.published(change, shared, now) } else { managed.wait(change) }
    }
}
