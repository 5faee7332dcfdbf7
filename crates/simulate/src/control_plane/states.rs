//! The state manager: it decides on the requests that lcores defer, saves, publishes, and answers, as
//! `kvblade-dpdk` `target/state_manager.rs` does. Saves go through the real state store, one after the other as by its writer; they
//! take their time, and some fail.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, mpsc::Receiver},
};

use aoe_target::{Acl, DropReason, Export, ExportKey, InitiatorState, MacAddr, StateReply};
use control::initiator_state;
use datapath::{Deferred, Lcore, deferred_channel};
use state_store::{Store, name};

use crate::{dice::Dice, frame::SHELF, state_directory::StateDirectory};

/// Ticks that a save takes at most.
const SLOWEST_SAVE: u64 = 60;
/// Ticks that a change waits for requests in flight before its requester gets no answer, as in the program.
const FENCE_LIMIT: u64 = 10_000;

/// What every lcore is to have.
#[derive(Clone)]
pub(super) struct Publication {
    pub(super) key: ExportKey,
    pub(super) change: u64,
    pub(super) state: Arc<InitiatorState>,
    pub(super) acl: Option<Arc<Acl>>,
    /// It is reported when the requests admitted before have ended.
    pub(super) fence: bool,
}

/// A request that an lcore deferred.
type Request = (usize, Deferred);

/// How far a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Saving { until: u64 },
    Fencing { left: usize, limit: u64 },
    Publishing { left: usize },
}

struct Change {
    number: u64,
    next: Arc<InitiatorState>,
    /// `None` when it is kept waiting no longer.
    requester: Option<(Request, StateReply)>,
    step: Step,
}

struct Managed {
    /// Under which it is saved.
    slot: u8,
    /// The state that every lcore has, and the one that was sent to them last.
    state: Arc<InitiatorState>,
    sent: Arc<InitiatorState>,
    acl: Option<Arc<Acl>>,
    queue: VecDeque<Request>,
    change: Option<Change>,
}

/// See the module.
pub(super) struct States {
    dice: Dice,
    directory: StateDirectory,
    store: Store<StateDirectory>,
    /// The end of the writer's last save.
    writes_until: u64,
    /// Saves in progress of exports that are gone: the writer's they are all the same.
    orphans: VecDeque<(u64, u8, Arc<InitiatorState>)>,
    mailboxes: Vec<Receiver<Deferred>>,
    managed: BTreeMap<ExportKey, Managed>,
    saved: BTreeMap<u8, Arc<InitiatorState>>,
    changes: u64,
    publications: Vec<Publication>,
    answers: Vec<(usize, Deferred, StateReply)>,
}

/// The name under which the state of the export with this slot is saved.
pub(crate) fn state_name(slot: u8) -> String {
    name::of_export(&format!("{SHELF}.{slot}"), None, None)
}

fn acl_of(state: &InitiatorState) -> Option<Arc<Acl>> {
    Acl::build(&[], &[], state, false)
}

impl States {
    pub(super) fn new(dice: Dice, not_stored: u64, lcores: &mut [Lcore]) -> Self {
        let mailbox = |lcore: &mut Lcore| {
            let (sender, receiver) = deferred_channel();
            lcore.defer_to(sender);
            receiver
        };
        let directory = StateDirectory::new(dice, not_stored);
        let opened = Store::of(directory.clone(), initiator_state::from_payload);
        Self {
            dice,
            store: opened.expect("an empty directory").store,
            directory,
            writes_until: 0,
            orphans: VecDeque::new(),
            mailboxes: lcores.iter_mut().map(mailbox).collect(),
            managed: BTreeMap::new(),
            saved: BTreeMap::new(),
            changes: 0,
            publications: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// The directory in which state is saved.
    pub(super) fn directory(&self) -> &StateDirectory {
        &self.directory
    }

    pub(super) fn take_publications(&mut self) -> Vec<Publication> {
        std::mem::take(&mut self.publications)
    }

    pub(super) fn take_answers(&mut self) -> Vec<(usize, Deferred, StateReply)> {
        std::mem::take(&mut self.answers)
    }

    /// When something happens here next.
    pub(super) fn next(&self) -> Option<u64> {
        let due = |managed: &Managed| match managed.change.as_ref()?.step {
            Step::Saving { until } => Some(until),
            Step::Fencing { limit, .. } => Some(limit).filter(|limit| *limit < u64::MAX),
            Step::Publishing { .. } => None,
        };
        let orphan = self.orphans.front().map(|(until, ..)| *until);
        self.managed.values().filter_map(due).chain(orphan).min()
    }

    pub(super) fn is_quiet(&self) -> bool {
        let is_idle = |managed: &Managed| managed.change.is_none() && managed.queue.is_empty();
        self.orphans.is_empty() && self.managed.values().all(is_idle)
    }

    /// Takes charge of an export that is being created.
    pub(super) fn register(&mut self, key: ExportKey, slot: u8) {
        let state = self.saved.get(&slot).cloned().unwrap_or_default();
        let acl = acl_of(&state);
        let sent = Arc::clone(&state);
        self.managed.insert(key, Managed { slot, state, sent, acl, queue: VecDeque::new(), change: None });
    }

    /// Gives an export that is being made the state that the lcores get.
    pub(super) fn equip(&self, export: &mut Export) {
        if let Some(managed) = self.managed.get(&export.key()) {
            drop(export.publish(Arc::clone(&managed.sent), managed.acl.clone()));
        }
    }

    /// Gives up an export that no lcore has.
    pub(super) fn unregister(&mut self, key: ExportKey) {
        let Some(managed) = self.managed.remove(&key) else { return };
        if let Some(Change { step: Step::Saving { until }, next, .. }) = &managed.change {
            self.orphans.push_back((*until, managed.slot, Arc::clone(next)));
        }
        let requester = managed.change.and_then(|change| change.requester);
        let requests = requester.map(|(request, _)| request).into_iter().chain(managed.queue);
        for (lcore, deferred) in requests {
            self.answers.push((lcore, deferred, StateReply::Drop(DropReason::UnknownShelfSlot)));
        }
    }

    /// The state and the ACL that every lcore has, if nothing is being changed.
    pub(super) fn of(&self, key: ExportKey) -> Option<(Arc<InitiatorState>, Option<Arc<Acl>>)> {
        let managed = self.managed.get(&key).filter(|managed| managed.change.is_none())?;
        Some((Arc::clone(&managed.state), managed.acl.clone()))
    }

    /// Takes the requests that lcores have deferred, and goes on with what is due. Whether there was something.
    pub(super) fn tick(&mut self, now: u64) -> bool {
        let mut busy = false;
        for lcore in 0..self.mailboxes.len() {
            while let Ok(deferred) = self.mailboxes[lcore].try_recv() {
                busy = true;
                self.enqueue(lcore, deferred, now);
            }
        }
        while self.orphans.front().is_some_and(|(until, ..)| *until <= now)
            && let Some((_, slot, state)) = self.orphans.pop_front()
        {
            busy = true;
            // Nobody waits for its outcome.
            self.save(slot, &state);
        }
        let keys: Vec<ExportKey> = self.managed.keys().copied().collect();
        for key in keys {
            busy |= self.go_on(key, now);
        }
        busy
    }

    fn enqueue(&mut self, lcore: usize, deferred: Deferred, now: u64) {
        let key = deferred.export();
        let Some(managed) = self.managed.get_mut(&key) else {
            return self.answers.push((lcore, deferred, StateReply::Drop(DropReason::UnknownShelfSlot)));
        };
        if managed.change.as_ref().is_some_and(|change| change.requester.is_none()) {
            return self.answers.push((lcore, deferred, StateReply::Drop(DropReason::NotFenced)));
        }
        managed.queue.push_back((lcore, deferred));
        self.advance(key, now);
    }

    /// Carries out the requests of an export, up to the next change.
    fn advance(&mut self, key: ExportKey, now: u64) {
        let Some(managed) = self.managed.get_mut(&key) else { return };
        while managed.change.is_none()
            && let Some((lcore, deferred)) = managed.queue.pop_front()
        {
            let mut next = InitiatorState::clone(&managed.state);
            let admitted = managed.acl.as_ref().map_or(Ok(()), |acl| acl.check_sender(sender(&deferred)));
            let applied = match admitted {
                Ok(()) => next.apply(deferred.request()),
                Err(reason) => {
                    self.answers.push((lcore, deferred, StateReply::Drop(reason)));
                    continue;
                }
            };
            if !applied.changed {
                self.answers.push((lcore, deferred, applied.reply));
                continue;
            }
            self.changes += 1;
            let until = self.writes_until.max(now) + self.dice.below(SLOWEST_SAVE, &[self.changes, 0]);
            self.writes_until = until;
            managed.change = Some(Change {
                number: self.changes,
                next: Arc::new(next),
                requester: Some(((lcore, deferred), applied.reply)),
                step: Step::Saving { until },
            });
        }
    }

    /// Goes on with an export's change, if that is due.
    fn go_on(&mut self, key: ExportKey, now: u64) -> bool {
        let Some(managed) = self.managed.get_mut(&key) else { return false };
        let Some(change) = &mut managed.change else { return false };
        match change.step {
            Step::Saving { until } if until <= now => self.saved(key, now),
            Step::Fencing { left, limit } if limit <= now => {
                change.step = Step::Fencing { left, limit: u64::MAX };
                let requester = change.requester.take().map(|(request, _)| request);
                for (lcore, deferred) in requester.into_iter().chain(managed.queue.drain(..)) {
                    self.answers.push((lcore, deferred, StateReply::Drop(DropReason::NotFenced)));
                }
            }
            _ => return false,
        }
        true
    }

    fn saved(&mut self, key: ExportKey, now: u64) {
        let Some(managed) = self.managed.get_mut(&key) else { return };
        let Some(change) = &mut managed.change else { return };
        let (slot, next) = (managed.slot, Arc::clone(&change.next));
        let is_saved = self.save(slot, &next);
        let Some(managed) = self.managed.get_mut(&key) else { return };
        let Some(change) = &mut managed.change else { return };
        if !is_saved {
            let requester = managed.change.take().and_then(|change| change.requester);
            if let Some(((lcore, deferred), _)) = requester {
                self.answers.push((lcore, deferred, StateReply::Drop(DropReason::NotStored)));
            }
            return self.advance(key, now);
        }
        self.saved.insert(managed.slot, Arc::clone(&change.next));
        let acl = acl_of(&change.next);
        let is_fence = acl != managed.acl;
        managed.acl = acl;
        if is_fence {
            change.step = Step::Fencing { left: self.mailboxes.len(), limit: now + FENCE_LIMIT };
            let (number, state, acl) = (change.number, Arc::clone(&managed.state), managed.acl.clone());
            self.publications.push(Publication { key, change: number, state, acl, fence: true });
        } else {
            self.publish(key);
        }
    }

    /// Whether it could be saved.
    fn save(&self, slot: u8, state: &InitiatorState) -> bool {
        self.store.save(&state_name(slot), &initiator_state::to_payload(state)).is_ok()
    }

    fn publish(&mut self, key: ExportKey) {
        let lcores = self.mailboxes.len();
        let Some(managed) = self.managed.get_mut(&key) else { return };
        let Some(change) = &mut managed.change else { return };
        change.step = Step::Publishing { left: lcores };
        managed.sent = Arc::clone(&change.next);
        let (number, state, acl) = (change.number, Arc::clone(&change.next), managed.acl.clone());
        self.publications.push(Publication { key, change: number, state, acl, fence: false });
    }

    /// An lcore has what was published; if that was a fence, requests admitted before have ended there.
    pub(super) fn published(&mut self, key: ExportKey, number: u64, now: u64) {
        let Some(managed) = self.managed.get_mut(&key) else { return };
        let Some(change) = managed.change.as_mut().filter(|change| change.number == number) else { return };
        match &mut change.step {
            Step::Saving { .. } => {}
            Step::Fencing { left, .. } => {
                *left -= 1;
                if *left == 0 {
                    self.publish(key);
                }
            }
            Step::Publishing { left } => {
                *left -= 1;
                if *left == 0 {
                    self.finish(key, now);
                }
            }
        }
    }

    fn finish(&mut self, key: ExportKey, now: u64) {
        let Some(managed) = self.managed.get_mut(&key) else { return };
        let Some(change) = managed.change.take() else { return };
        managed.state = change.next;
        if let Some(((lcore, deferred), reply)) = change.requester {
            self.answers.push((lcore, deferred, reply));
        }
        self.advance(key, now);
    }
}

fn sender(deferred: &Deferred) -> MacAddr {
    let source = deferred.request().get(6..12).and_then(|source| source.first_chunk());
    MacAddr(source.copied().unwrap_or_default())
}
