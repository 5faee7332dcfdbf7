//! The initiator state of one export: its jobs, and the way of its change, which is saved, then published, then answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use aoe_target::{
    Acl, Applied, DropReason, Export, ExportKey, InitiatorState, MacAddr, ShelfSlot, StateReply,
};

use super::errors::{not_fenced, not_served, unknown_as_a_whole};
use super::events::{Publication, StateEffect, StateNote};
use super::jobs::{Change, End, Job};
use super::shared::{SavedState, Shared};
use crate::error::{ErrorCode, RpcError};
use crate::initiator_state;

#[derive(Debug)]
pub(super) struct Managed<R, A> {
    key: ExportKey,
    /// Name of its file.
    name: String,
    address: ShelfSlot,
    allow: Arc<[MacAddr]>,
    deny: Arc<[MacAddr]>,
    /// The state that every lcore has.
    state: Arc<InitiatorState>,
    /// The state that was sent to the lcores last.
    sent: Arc<InitiatorState>,
    acl: Option<Arc<Acl>>,
    /// The reason why the export answers nobody.
    closed: Option<String>,
    queue: VecDeque<Job<R, A>>,
    change: Option<Change<R, A>>,
}

impl<R: AsRef<[u8]>, A> Managed<R, A> {
    /// That of an export that no lcore has yet, as it was saved under this file name.
    pub(super) fn new(export: &Export, name: String, saved: Option<&SavedState>) -> Self {
        let (state, closed) = match saved {
            None => (Arc::default(), None),
            Some(Ok(state)) => (Arc::clone(state), None),
            Some(Err(why)) => (Arc::default(), Some(why.clone())),
        };
        Self {
            key: export.key(),
            name,
            address: export.address(),
            allow: Arc::clone(export.allow()),
            deny: Arc::clone(export.deny()),
            acl: Acl::build(export.allow(), export.deny(), &state, closed.is_some()),
            sent: Arc::clone(&state),
            state,
            closed,
            queue: VecDeque::new(),
            change: None,
        }
    }

    /// Gives an export that no lcore has yet the state that was sent to the lcores last.
    pub(super) fn equip(&self, export: &mut Export) {
        // Nothing uses the state before.
        drop(export.publish(Arc::clone(&self.sent), self.acl.clone()));
    }

    pub(super) fn state(&self) -> (Arc<InitiatorState>, Option<String>) {
        (Arc::clone(&self.state), self.closed.clone())
    }

    pub(super) const fn closed(&self) -> Option<&String> {
        self.closed.as_ref()
    }

    /// The state and the ACL of every lcore, if no change is on its way to them.
    pub(super) fn settled(&self) -> Option<(Arc<InitiatorState>, Option<Arc<Acl>>)> {
        self.change.is_none().then(|| (Arc::clone(&self.state), self.acl.clone()))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.change.is_none() && self.queue.is_empty()
    }

    /// Takes the change with this number.
    pub(super) fn take(&mut self, number: u64) -> Option<Change<R, A>> {
        self.change.take_if(|change| change.number == number)
    }

    /// Goes on to wait for the lcores.
    pub(super) fn wait(&mut self, change: Change<R, A>) {
        self.change = Some(change);
    }

    pub(super) fn enqueue(&mut self, job: Job<R, A>, shared: &mut Shared<R, A>, now: Duration) {
        self.queue.push_back(job);
        if self.change.as_ref().is_some_and(|change| change.overdue) {
            self.refuse_queued(shared);
        } else {
            self.advance(shared, now);
        }
    }

    /// Carries out the jobs, up to the next change.
    fn advance(&mut self, shared: &mut Shared<R, A>, now: Duration) {
        // Both ends of the loop are ordinary: no job is left, or a change is in progress.
        while self.change.is_none()
            && let Some(job) = self.queue.pop_front()
        {
            let mut next = InitiatorState::clone(&self.state);
            match job {
                Job::Deferred(request) => {
                    let frame = request.as_ref();
                    let applied = match self.admits(frame) {
                        Ok(()) => next.apply(frame),
                        Err(reason) => Applied { reply: StateReply::Drop(reason), changed: false },
                    };
                    if applied.changed {
                        self.save(next, None, End::Deferred(request, applied.reply), shared);
                    } else {
                        shared.reply(request, applied.reply);
                    }
                }
                Job::Set(change, answer) => {
                    if self.closed.is_some() && !change.is_of_all() {
                        shared.answer(answer, Err(unknown_as_a_whole(self.address)));
                        continue;
                    }
                    let method = change.method();
                    match change.apply(&mut next) {
                        Ok(()) => self.save(next, None, End::Set(method, answer), shared),
                        Err(error) => shared.answer(answer, Err(error)),
                    }
                }
                Job::Rename(name) => {
                    self.name = name;
                    self.save(next, self.closed.clone(), End::Nobody, shared);
                }
                Job::Access((allow, deny), answer) => {
                    (self.allow, self.deny) = (allow, deny);
                    let (number, closed) = (shared.next_change(), self.closed.clone());
                    // The lists are not a part of what is saved.
                    let change = Change::new(number, Arc::new(next), closed, End::Access(answer));
                    self.follow_access(change, shared, now);
                }
            }
        }
    }

    /// Whether the sender is admitted. The mask may have changed since the lcore admitted it.
    fn admits(&self, frame: &[u8]) -> Result<(), DropReason> {
        let Some(acl) = &self.acl else { return Ok(()) };
        let source = frame.get(6..12).and_then(|source| source.first_chunk()).ok_or(DropReason::Runt)?;
        acl.check_sender(MacAddr(*source))
    }

    /// Begins a change: it is saved first.
    fn save(
        &mut self,
        next: InitiatorState,
        closed: Option<String>,
        end: End<R, A>,
        shared: &mut Shared<R, A>,
    ) {
        let payload = match &closed {
            None => initiator_state::to_payload(&next),
            Some(_) => initiator_state::UNKNOWN.to_owned(),
        };
        let (key, name, number) = (self.key, self.name.clone(), shared.next_change());
        shared.push(StateEffect::Save { key, change: number, name, payload });
        self.change = Some(Change::new(number, Arc::new(next), closed, end));
    }

    /// The change could not be saved, and is not made.
    pub(super) fn not_saved(
        &mut self,
        change: Change<R, A>,
        error: String,
        shared: &mut Shared<R, A>,
        now: Duration,
    ) {
        match change.end {
            End::Deferred(request, _) => shared.drop_request(request, DropReason::NotStored),
            End::Set(_, answer) => {
                shared.answer(answer, Err(RpcError::new(ErrorCode::Internal, error.clone())));
            }
            // Nothing was saved for it.
            End::Access(answer) => shared.answer(answer, Ok(())),
            End::Nobody => {}
        }
        shared.note(StateNote::NotSaved(error));
        self.advance(shared, now);
    }

    /// The change is saved.
    pub(super) fn saved(&mut self, change: Change<R, A>, shared: &mut Shared<R, A>, now: Duration) {
        let saved = match &change.closed {
            None => Ok(Arc::clone(&change.next)),
            Some(why) => Err(why.clone()),
        };
        shared.saved.insert(self.name.clone(), saved);
        self.follow_access(change, shared, now);
    }

    /// Publishes what a change leads to: by a fence, if it changes who may use the export.
    fn follow_access(&mut self, change: Change<R, A>, shared: &mut Shared<R, A>, now: Duration) {
        let acl = Acl::build(&self.allow, &self.deny, &change.next, change.closed.is_some());
        let is_fence = acl != self.acl;
        self.acl = acl;
        if is_fence { self.fence(change, shared, now) } else { self.publish(change, shared) }
    }

    /// Publishes the new ACL with the old state, and waits for the requests admitted before.
    fn fence(&mut self, mut change: Change<R, A>, shared: &mut Shared<R, A>, now: Duration) {
        change.waiting = shared.lcores;
        shared.begin_fence(self.key, change.number, now);
        shared.push(StateEffect::Fence(self.publication(change.number, &self.state)));
        self.change = Some(change);
    }

    /// The requests admitted before have ended on every lcore.
    pub(super) fn fenced(&mut self, mut change: Change<R, A>, shared: &mut Shared<R, A>) {
        if std::mem::take(&mut change.overdue) {
            shared.note(StateNote::NoLongerOverdue(self.address));
        }
        shared.end_fence(change.number);
        self.publish(change, shared);
    }

    /// The requests admitted before have not ended in time.
    pub(super) fn overdue(&mut self, mut change: Change<R, A>, shared: &mut Shared<R, A>) {
        shared.note(StateNote::Overdue(self.address));
        self.give_up(&mut change, shared);
        self.change = Some(change);
    }

    /// The requester of the change gets no answer, nor do those behind it, until the requests admitted before have ended.
    pub(super) fn give_up(&mut self, change: &mut Change<R, A>, shared: &mut Shared<R, A>) {
        change.overdue = true;
        let end = std::mem::replace(&mut change.end, End::Nobody);
        end.refuse(DropReason::NotFenced, not_fenced, shared);
        self.refuse_queued(shared);
    }

    /// Refuses what waits behind a change that is overdue.
    fn refuse_queued(&mut self, shared: &mut Shared<R, A>) {
        for job in std::mem::take(&mut self.queue) {
            match job {
                Job::Rename(_) => self.queue.push_back(job),
                _ => job.refuse(DropReason::NotFenced, not_fenced, shared),
            }
        }
    }

    /// Publishes the new state.
    fn publish(&mut self, mut change: Change<R, A>, shared: &mut Shared<R, A>) {
        change.waiting = shared.lcores;
        self.sent = Arc::clone(&change.next);
        shared.push(StateEffect::Publish(self.publication(change.number, &change.next)));
        self.change = Some(change);
    }

    fn publication(&self, change: u64, state: &Arc<InitiatorState>) -> Publication {
        Publication { key: self.key, change, state: Arc::clone(state), acl: self.acl.clone() }
    }

    /// Every lcore has the new state: the change is answered.
    pub(super) fn published(&mut self, change: Change<R, A>, shared: &mut Shared<R, A>, now: Duration) {
        let is_announced =
            self.state.config != change.next.config || (self.closed.is_some() && change.closed.is_none());
        (self.state, self.closed) = (change.next, change.closed);
        match change.end {
            End::Deferred(request, reply) => shared.reply(request, reply),
            End::Set(method, answer) => {
                shared.note(StateNote::Changed(self.address, method));
                shared.answer(answer, Ok(()));
            }
            End::Access(answer) => shared.answer(answer, Ok(())),
            End::Nobody => {}
        }
        if is_announced {
            shared.push(StateEffect::Advertise(self.address));
        }
        self.advance(shared, now);
    }

    /// Callers get no answer.
    pub(super) fn give_up_calls(&mut self) {
        self.queue.retain(|job| !job.is_call());
        if let Some(change) = &mut self.change
            && change.end.is_call()
        {
            change.end = End::Nobody;
        }
    }

    /// The export is gone: requests that still wait are answered.
    pub(super) fn end(self, shared: &mut Shared<R, A>) {
        if let Some(change) = self.change {
            change.end.refuse(DropReason::UnknownShelfSlot, not_served, shared);
        }
        for job in self.queue {
            job.refuse(DropReason::UnknownShelfSlot, not_served, shared);
        }
    }
}
