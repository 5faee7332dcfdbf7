//! The state manager: the one authority on the initiator state of each export.
//!
//! An lcore defers a request that may change initiator state to it. The change is decided, saved, published to every
//! lcore, and only then is the request answered. Each export has one change at a time.
//!
//! A change of who may use the export is a fence: its ACL is published first, and the state, by which lcores answer
//! questions, when the requests admitted under the ACL before have ended on every lcore. So nobody hears of the new rule
//! while a write of the old one can still land. Where a bdev does not complete them in time, the request is dropped as
//! [`DropReason::NotFenced`], and so is each retransmission until they have ended.
//!
//! A change that can't be saved is not made, and its request is dropped: the initiator retransmits. No AoE error means
//! "not now"; error 3, device unavailable, would speak of the disk, which is there.

mod fences;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use aoe_target::{
    Acl, Applied, DropReason, Export, ExportKey, InitiatorState, MacAddr, ShelfSlot, StateReply,
};
use control::{ClearInitiatorState, ErrorCode, Method, RpcError, StateChange, initiator_state};
use datapath::{Deferred, deferred_channel};
use serde_json::Value;
use spdk::Poller;
use state_store::{Opened, SaveError, Store, Stored, Writer};

use super::lcores::{Lcores, Unreached};
use super::start_state::is_ready;
use crate::answer::Answer;
use crate::launch_error::LaunchError;

/// How often the mailboxes of the lcores are looked into. Config strings and lists change at people's pace.
const PERIOD: Duration = Duration::from_millis(1);

/// At most one line on failed saves in this time; initiators can cause them.
const FAILURE_PERIOD: Duration = Duration::from_secs(10);

/// The state store: the directory as it was read, and the thread that writes to it.
pub(crate) struct StateStore {
    writer: Writer,
    saved: BTreeMap<String, Stored<Arc<InitiatorState>>>,
}

impl StateStore {
    /// Opens the state directory. Before SPDK starts ([`Writer::start`]).
    ///
    /// # Errors
    /// One sentence that names the directory.
    pub(crate) fn open(path: &std::path::Path) -> Result<Self, LaunchError> {
        let decode = |payload: &str| initiator_state::from_payload(payload).map(Arc::new);
        let Opened { store, stored, set_aside } =
            Store::open(path, decode).map_err(|error| LaunchError::environment(error.to_string()))?;
        for damaged in set_aside {
            let now =
                damaged.moved_to.map_or("it could not be renamed".into(), |path| path.display().to_string());
            tracing::error!(
                file = %path.join(&damaged.name).display(),
                reason = %damaged.reason,
                kept_as = %now,
                "damaged state: its export answers nobody until {} clears it",
                ClearInitiatorState::NAME
            );
        }
        let writer = Writer::start(store)
            .map_err(|error| LaunchError::environment(format!("the thread for --state-dir: {error}")))?;
        Ok(Self { writer, saved: stored })
    }
}

/// Runs work on the state manager later, on the app's thread: a poller, or a message, has no reference to it. Returns the result
/// of the work; false if there is no state manager any more.
pub(super) type Reach = fn(Box<dyn FnOnce(&mut StateManager) -> bool>) -> bool;

/// The initiator state of every export, on the app's thread.
pub(super) struct StateManager {
    reach: Reach,
    lcores: Lcores,
    /// Deferred requests, by the index of their lcore.
    mailboxes: Vec<Receiver<Deferred>>,
    store: StateStore,
    managed: BTreeMap<ExportKey, Managed>,
    changes: u64,
    /// Oldest first.
    fences: VecDeque<Fence>,
    failures: u64,
    failure_logged: Option<Instant>,
    _poller: Poller,
}

/// The initiator state of one export.
struct Managed {
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
    queue: VecDeque<Job>,
    change: Option<Change>,
}

/// Work that may change initiator state.
enum Job {
    Deferred(Request),
    Set(StateChange, Answer),
    /// The export has left ports, so its file gets another name.
    Rename(String),
    /// The operator's lists are other ones.
    Access(Lists, Holds),
}

/// The operator's lists of the only initiators to answer, and of those never to answer.
pub(super) type Lists = (Arc<[MacAddr]>, Arc<[MacAddr]>);

/// Is called when other lists hold, or do not.
pub(super) type Holds = Box<dyn FnOnce(Result<(), RpcError>)>;

/// A request that an lcore deferred, and the index of the lcore.
struct Request {
    lcore: usize,
    deferred: Deferred,
}

/// A change that is being saved, then published.
struct Change {
    number: u64,
    next: Arc<InitiatorState>,
    /// The export stays closed, for this reason.
    closed: Option<String>,
    /// Lcores that do not have the new ACL, or the new state, yet.
    waiting: usize,
    /// Requests admitted under the ACL before have not ended in time.
    overdue: bool,
    end: End,
}

/// The requester of a change.
enum End {
    Deferred(Request, StateReply),
    /// A call of this method.
    Set(&'static str, Answer),
    Access(Holds),
    Nobody,
}

/// A change that waits for requests in flight, with the moment after which its requester is not kept waiting.
#[derive(Debug, Clone, Copy)]
struct Fence {
    limit: Instant,
    key: ExportKey,
    number: u64,
}

/// See [`changing`].
struct Changing<'a> {
    change: &'a mut Change,
    address: ShelfSlot,
    state: &'a Arc<InitiatorState>,
    sent: &'a mut Arc<InitiatorState>,
    acl: &'a Option<Arc<Acl>>,
}

/// The export's change if it is the one of this number, with its address, the state that every lcore has, and the new ACL.
fn changing(managed: Option<&mut Managed>, number: u64) -> Option<Changing<'_>> {
    let Managed { change, address, state, sent, acl, .. } = managed?;
    let change = change.as_mut().filter(|change| change.number == number)?;
    Some(Changing { change, address: *address, state, sent, acl })
}

impl StateManager {
    /// Has every lcore put its deferred requests into a mailbox.
    pub(super) fn start(lcores: Lcores, store: StateStore, reach: Reach) -> Result<Self, String> {
        let mut mailboxes = Vec::new();
        for lcore in lcores.iter() {
            let (sender, receiver) = deferred_channel();
            mailboxes.push(receiver);
            lcore.send(move |lcore| lcore.defer_to(sender)).map_err(|error| error.to_string())?;
        }
        let poller = Poller::register(PERIOD, move || reach(Box::new(Self::collect)))
            .map_err(|error| error.to_string())?;
        Ok(Self {
            reach,
            lcores,
            mailboxes,
            store,
            managed: BTreeMap::new(),
            changes: 0,
            fences: VecDeque::new(),
            failures: 0,
            failure_logged: None,
            _poller: poller,
        })
    }

    /// Takes charge of an export that is being created, and gives it the state that was saved under this file name.
    pub(super) fn register(&mut self, export: &mut Export, name: String) {
        let (state, closed) = match self.store.saved.get(&name) {
            None => (Arc::default(), None),
            Some(Stored::Intact(state)) => (Arc::clone(state), None),
            Some(Stored::Unknown(why)) => (Arc::default(), Some(why.clone())),
        };
        if let Some(why) = &closed {
            tracing::error!(
                export = %export.address(),
                reason = %why,
                "its mask and reservation are unknown: it answers nobody until {} clears them",
                ClearInitiatorState::NAME
            );
        }
        let acl = Acl::build(export.allow(), export.deny(), &state, closed.is_some());
        // No lcore has the export yet, so nothing uses the state before.
        drop(export.publish(Arc::clone(&state), acl.clone()));
        let managed = Managed {
            name,
            address: export.address(),
            allow: Arc::clone(export.allow()),
            deny: Arc::clone(export.deny()),
            sent: Arc::clone(&state),
            state,
            acl,
            closed,
            queue: VecDeque::new(),
            change: None,
        };
        self.managed.insert(export.key(), managed);
    }

    /// Gives the export, which takes the place of the one with its key, the state that the lcores get before it: a change may be
    /// on its way to them.
    pub(super) fn equip(&self, export: &mut Export) {
        match self.managed.get(&export.key()) {
            // No lcore has it yet, so nothing uses the state before.
            Some(managed) => drop(export.publish(Arc::clone(&managed.sent), managed.acl.clone())),
            None => {
                tracing::error!(export = %export.address(), "an export comes back that has no initiator state")
            }
        }
    }

    /// Gives up an export that no lcore serves any more. Its file stays. Requests that still wait are answered.
    pub(super) fn unregister(&mut self, key: ExportKey) {
        let Some(Managed { queue, change, .. }) = self.managed.remove(&key) else {
            // An export that waited for its bdev was never registered.
            return;
        };
        let ends = change.into_iter().map(|change| change.end);
        let jobs = queue.into_iter().map(|job| match job {
            Job::Deferred(request) => End::Deferred(request, StateReply::Drop(DropReason::UnknownShelfSlot)),
            Job::Set(change, answer) => End::Set(change.method(), answer),
            Job::Rename(_) => End::Nobody,
            Job::Access(_, holds) => End::Access(holds),
        });
        for end in ends.chain(jobs) {
            match end {
                End::Deferred(request, _) => {
                    self.answer(request, StateReply::Drop(DropReason::UnknownShelfSlot));
                }
                End::Set(_, answer) => answer.refuse(&not_served()),
                End::Access(holds) => holds(Err(not_served())),
                End::Nobody => {}
            }
        }
    }

    /// The export has left ports: its state goes to the file of its new name.
    pub(super) fn rename(&mut self, key: ExportKey, name: String) {
        self.enqueue(key, Job::Rename(name));
    }

    /// Has other lists of the operator hold: requests that were admitted by the lists before have ended when `holds` is called.
    pub(super) fn set_access(&mut self, key: ExportKey, lists: Lists, holds: Holds) {
        self.enqueue(key, Job::Access(lists, holds));
    }

    /// Makes a change of the state that an operator wants.
    pub(super) fn change(&mut self, key: ExportKey, change: StateChange, answer: Answer) {
        self.enqueue(key, Job::Set(change, answer));
    }

    /// The state of an export, for answers.
    pub(super) fn state_of(&self, key: ExportKey) -> Option<(Arc<InitiatorState>, Option<String>)> {
        self.managed.get(&key).map(|managed| (Arc::clone(&managed.state), managed.closed.clone()))
    }

    /// Pending RPC calls are answered with an error. Deferred requests are still decided.
    pub(super) fn give_up_calls(&mut self) {
        for managed in self.managed.values_mut() {
            // An answer that is dropped is an error.
            managed.queue.retain(|job| !matches!(job, Job::Set(..) | Job::Access(..)));
            if let Some(change) = &mut managed.change
                && matches!(change.end, End::Set(..) | End::Access(_))
            {
                change.end = End::Nobody;
            }
        }
    }

    /// Takes the requests that lie in the mailboxes. True if there was one.
    fn collect(&mut self) -> bool {
        self.expire_fences(Instant::now());
        let taken: Vec<Request> = (0..)
            .zip(&self.mailboxes)
            .flat_map(|(lcore, mailbox)| mailbox.try_iter().map(move |deferred| Request { lcore, deferred }))
            .collect();
        let any = !taken.is_empty();
        for request in taken {
            self.enqueue(request.deferred.export(), Job::Deferred(request));
        }
        any
    }

    fn enqueue(&mut self, key: ExportKey, job: Job) {
        match (self.managed.get_mut(&key), job) {
            (Some(managed), job) => {
                let is_overdue = managed.change.as_ref().is_some_and(|change| change.overdue);
                managed.queue.push_back(job);
                if is_overdue {
                    return self.refuse_queued(key);
                }
                self.advance(key);
            }
            // The export is gone, or its id is another export's by now.
            (None, Job::Deferred(request)) => {
                self.answer(request, StateReply::Drop(DropReason::UnknownShelfSlot));
            }
            (None, Job::Set(_, answer)) => answer.refuse(&not_served()),
            // An export that waits for its bdev gets the state of its name when it is created.
            (None, Job::Rename(_)) => {}
            // It gets the lists with its creation.
            (None, Job::Access(_, holds)) => holds(Ok(())),
        }
    }

    /// Carries out the jobs of an export, up to the next change.
    fn advance(&mut self, key: ExportKey) {
        // Both ends of the loop are ordinary: no job is left, or a change is in progress and returns here.
        while let Some(managed) = self.managed.get_mut(&key)
            && managed.change.is_none()
            && let Some(job) = managed.queue.pop_front()
        {
            let mut next = InitiatorState::clone(&managed.state);
            let (closed, end) = match job {
                Job::Deferred(request) => {
                    let applied = match managed.admits(request.deferred.request()) {
                        Ok(()) => next.apply(request.deferred.request()),
                        Err(reason) => Applied { reply: StateReply::Drop(reason), changed: false },
                    };
                    if !applied.changed {
                        self.answer(request, applied.reply);
                        continue;
                    }
                    (None, End::Deferred(request, applied.reply))
                }
                Job::Set(change, answer) => {
                    if managed.closed.is_some() && !change.is_of_all() {
                        answer.refuse(&unknown_as_a_whole(managed.address));
                        continue;
                    }
                    let method = change.method();
                    if let Err(error) = change.apply(&mut next) {
                        answer.refuse(&error);
                        continue;
                    }
                    (None, End::Set(method, answer))
                }
                Job::Rename(name) => {
                    managed.name = name;
                    (managed.closed.clone(), End::Nobody)
                }
                Job::Access((allow, deny), holds) => {
                    (managed.allow, managed.deny) = (allow, deny);
                    self.changes += 1;
                    let (number, closed) = (self.changes, managed.closed.clone());
                    let end = End::Access(holds);
                    managed.change = Some(Change {
                        number,
                        next: Arc::new(next),
                        closed,
                        waiting: 0,
                        overdue: false,
                        end,
                    });
                    // The lists are not a part of what is saved.
                    self.follow_access(key, number);
                    continue;
                }
            };
            self.changes += 1;
            let number = self.changes;
            let payload = match &closed {
                None => initiator_state::to_payload(&next),
                Some(_) => initiator_state::UNKNOWN.to_owned(),
            };
            managed.change =
                Some(Change { number, next: Arc::new(next), closed, waiting: 0, overdue: false, end });
            let (app, reach) = (self.lcores.app().clone(), self.reach);
            self.store.writer.save(managed.name.clone(), payload, move |result| {
                app.send(move || {
                    reach(Box::new(move |manager| {
                        manager.saved(key, number, result);
                        true
                    }));
                });
            });
        }
    }

    /// A save has ended. The export may be gone meanwhile, and its requests are answered then.
    fn saved(&mut self, key: ExportKey, number: u64, result: Result<(), SaveError>) {
        let Some(managed) = self.managed.get_mut(&key) else {
            tracing::debug!(export = key.id.0, "state was saved for an export that is gone");
            return;
        };
        let Some(change) = managed.change.take_if(|change| change.number == number) else {
            tracing::error!(export = %managed.address, number, "a save has ended that nothing waits for");
            return;
        };
        if let Err(error) = result {
            match change.end {
                End::Deferred(request, _) => self.answer(request, StateReply::Drop(DropReason::NotStored)),
                End::Set(_, answer) => answer.refuse(&RpcError::new(ErrorCode::Internal, error.to_string())),
                // Nothing was saved for it.
                End::Access(holds) => holds(Ok(())),
                End::Nobody => {}
            }
            self.log_failure(&error);
            return self.advance(key);
        }
        let saved = match &change.closed {
            None => Stored::Intact(Arc::clone(&change.next)),
            Some(why) => Stored::Unknown(why.clone()),
        };
        self.store.saved.insert(managed.name.clone(), saved);
        managed.change = Some(change);
        self.follow_access(key, number);
    }

    /// Publishes what a change leads to: by a fence, if it changes who may use the export.
    fn follow_access(&mut self, key: ExportKey, number: u64) {
        let Some(managed) = self.managed.get_mut(&key) else {
            return tracing::error!(export = key.id.0, number, "a change has no export");
        };
        let Some(change) = &managed.change else {
            return tracing::error!(export = %managed.address, number, "a change is gone before its publication");
        };
        let acl = Acl::build(&managed.allow, &managed.deny, &change.next, change.closed.is_some());
        let is_fence = acl != managed.acl;
        managed.acl = acl;
        if is_fence { self.fence(key, number) } else { self.publish(key, number) }
    }

    /// Publishes the new state to every lcore.
    fn publish(&mut self, key: ExportKey, number: u64) {
        let (count, reach) = (self.lcores.count(), self.reach);
        let Some(Changing { change, sent, acl, .. }) = changing(self.managed.get_mut(&key), number) else {
            return tracing::error!(
                export = key.id.0,
                number,
                "new initiator state has no change to go with"
            );
        };
        change.waiting = count;
        *sent = Arc::clone(&change.next);
        let (state, acl) = (Arc::clone(&change.next), acl.clone());
        self.lcores.run(
            // The state before is freed on the app's thread.
            move |lcore| lcore.publish(key, &state, acl.as_ref()),
            move |core, old| {
                if let Err(Unreached) = old {
                    tracing::error!(
                        export = key.id.0,
                        lcore = core,
                        "new initiator state is not published: {Unreached}"
                    );
                }
                drop(old);
                reach(Box::new(move |manager| {
                    manager.published(key, number);
                    true
                }));
            },
        );
    }

    /// An lcore has the new state, or serves nothing any more.
    fn published(&mut self, key: ExportKey, number: u64) {
        let Some(managed) = self.managed.get_mut(&key) else {
            tracing::debug!(export = key.id.0, "state was published for an export that is gone");
            return;
        };
        let Some(mut change) = managed.change.take_if(|change| change.number == number) else {
            tracing::error!(export = %managed.address, number, "a publication has ended that nothing waits for");
            return;
        };
        change.waiting = change.waiting.saturating_sub(1);
        if change.waiting > 0 {
            managed.change = Some(change);
            return;
        }
        let is_announced = managed.state.config != change.next.config
            || (managed.closed.is_some() && change.closed.is_none());
        managed.state = change.next;
        managed.closed = change.closed;
        let address = managed.address;
        match change.end {
            End::Deferred(request, reply) => self.answer(request, reply),
            End::Set(method, answer) => {
                tracing::info!(export = %address, "initiator state changed, by {method}");
                answer.give(&Value::Bool(true));
            }
            End::Access(holds) => holds(Ok(())),
            End::Nobody => {}
        }
        if is_announced && is_ready() {
            self.lcores.advertise(None, address);
        }
        self.advance(key);
    }

    /// Returns a request to its lcore with the reply on it.
    fn answer(&self, request: Request, reply: StateReply) {
        let Request { lcore, deferred } = request;
        self.lcores.give_back(lcore, deferred, reply);
    }

    fn log_failure(&mut self, error: &SaveError) {
        self.failures += 1;
        if self.failure_logged.is_some_and(|logged| logged.elapsed() < FAILURE_PERIOD) {
            return;
        }
        self.failure_logged = Some(Instant::now());
        tracing::error!(%error, failures = self.failures, "initiator state can't be saved: changes are refused");
    }
}

impl Managed {
    /// Whether the sender is admitted. The mask may have changed since the lcore admitted it.
    fn admits(&self, frame: &[u8]) -> Result<(), DropReason> {
        let Some(acl) = &self.acl else { return Ok(()) };
        let source = frame.get(6..12).and_then(|source| source.first_chunk()).ok_or(DropReason::Runt)?;
        acl.check_sender(MacAddr(*source))
    }
}

fn not_served() -> RpcError {
    let why = "the export is being created or deleted: wait until that request is answered";
    RpcError::new(ErrorCode::Busy, why)
}

fn unknown_as_a_whole(address: ShelfSlot) -> RpcError {
    RpcError::new(
        ErrorCode::Unsuitable,
        format!(
            "the initiator state of {address} is unknown as a whole, so no part can be set or cleared alone: {} comes first, \
             and its part must be all",
            ClearInitiatorState::NAME
        ),
    )
}
