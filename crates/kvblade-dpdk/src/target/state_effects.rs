//! Effects of the state manager, executed: saves go to the state store, publications to the lcores, replies to the lcores of their
//! requests, answers to callers. What has become of them goes back to it, as events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use aoe_target::{Export, ExportKey, InitiatorState};
use control::state_manager::{FENCE_LIMIT, Lists, Publication, SavedState};
use control::{
    ClearInitiatorState, Method, RpcError, StateChange, StateEffect, StateEvent, StateManager, StateNote,
    initiator_state,
};
use datapath::{Deferred, deferred_channel};
use serde_json::Value;
use spdk::Poller;
use state_store::{Opened, Store, Stored, Writer};

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
    saved: BTreeMap<String, SavedState>,
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
        let saved = stored.into_iter().map(|(name, stored)| match stored {
            Stored::Intact(state) => (name, Ok(state)),
            Stored::Unknown(why) => (name, Err(why)),
        });
        Ok(Self { writer, saved: saved.collect() })
    }
}

/// Runs work on the state later, on the app's thread: a poller, or a message, has no reference to it. Returns the result of the
/// work; false if there is no state any more.
pub(super) type Reach = fn(Box<dyn FnOnce(&mut ManagedState) -> bool>) -> bool;

/// Is called when other lists hold, or do not.
pub(super) type Holds = Box<dyn FnOnce(Result<(), RpcError>)>;

/// A request that an lcore deferred, and the index of the lcore.
struct Request {
    lcore: usize,
    deferred: Deferred,
}

impl AsRef<[u8]> for Request {
    fn as_ref(&self) -> &[u8] {
        self.deferred.request()
    }
}

/// Somebody who waits for a change.
enum Caller {
    Call(Answer),
    Options(Holds),
}

/// The initiator state of every export, on the app's thread: the state manager, and all that its effects need.
pub(super) struct ManagedState {
    reach: Reach,
    lcores: Lcores,
    /// Deferred requests, by the index of their lcore.
    mailboxes: Vec<Receiver<Deferred>>,
    writer: Writer,
    manager: StateManager<Request, Caller>,
    /// The moment from which the state manager counts.
    start: Instant,
    failures: u64,
    failure_logged: Option<Instant>,
    _poller: Poller,
}

impl ManagedState {
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
            mailboxes,
            writer: store.writer,
            manager: StateManager::new(lcores.count(), store.saved),
            lcores,
            start: Instant::now(),
            failures: 0,
            failure_logged: None,
            _poller: poller,
        })
    }

    /// Takes charge of an export that is being created, and gives it the state that was saved under this file name.
    pub(super) fn register(&mut self, export: &mut Export, name: String) {
        if let Some(why) = self.manager.register(export, name) {
            tracing::error!(
                export = %export.address(),
                reason = %why,
                "its mask and reservation are unknown: it answers nobody until {} clears them",
                ClearInitiatorState::NAME
            );
        }
    }

    /// Gives the export, which takes the place of the one with its key, the state that the lcores get before it.
    pub(super) fn equip(&self, export: &mut Export) {
        if !self.manager.equip(export) {
            tracing::error!(export = %export.address(), "an export comes back that has no initiator state");
        }
    }

    /// Gives up an export that no lcore serves any more. Its file stays. Requests that still wait are answered.
    pub(super) fn unregister(&mut self, key: ExportKey) {
        self.happens(key, StateEvent::Unregister);
    }

    /// The export has left ports: its state goes to the file of its new name.
    pub(super) fn rename(&mut self, key: ExportKey, name: String) {
        self.happens(key, StateEvent::Rename(name));
    }

    /// Has other lists of the operator hold: requests that were admitted by the lists before have ended when `holds` is called.
    pub(super) fn set_access(&mut self, key: ExportKey, lists: Lists, holds: Holds) {
        self.happens(key, StateEvent::Access(lists, Caller::Options(holds)));
    }

    /// Makes a change of the state that an operator wants.
    pub(super) fn change(&mut self, key: ExportKey, change: StateChange, answer: Answer) {
        self.happens(key, StateEvent::Set(change, Caller::Call(answer)));
    }

    /// The state of an export, for answers.
    pub(super) fn state_of(&self, key: ExportKey) -> Option<(Arc<InitiatorState>, Option<String>)> {
        self.manager.state_of(key)
    }

    /// Pending RPC calls are answered with an error, as an answer that is dropped is one. Deferred requests are still decided.
    pub(super) fn give_up_calls(&mut self) {
        self.manager.give_up_calls();
    }

    /// Takes the requests that lie in the mailboxes. True if there was one.
    fn collect(&mut self) -> bool {
        let effects = self.manager.tick(self.start.elapsed());
        self.execute(effects);
        let taken: Vec<Request> = (0..)
            .zip(&self.mailboxes)
            .flat_map(|(lcore, mailbox)| mailbox.try_iter().map(move |deferred| Request { lcore, deferred }))
            .collect();
        let any = !taken.is_empty();
        for request in taken {
            self.happens(request.deferred.export(), StateEvent::Deferred(request));
        }
        any
    }

    fn happens(&mut self, key: ExportKey, event: StateEvent<Request, Caller>) {
        let effects = self.manager.step(key, event, self.start.elapsed());
        self.execute(effects);
    }

    fn execute(&mut self, effects: Vec<StateEffect<Request, Caller>>) {
        for effect in effects {
            match effect {
                StateEffect::Save { key, change, name, payload } => self.save(key, change, name, payload),
                StateEffect::Fence(publication) => self.fence(publication),
                StateEffect::Publish(publication) => self.publish(publication),
                StateEffect::Reply(Request { lcore, deferred }, reply) => {
                    self.lcores.give_back(lcore, deferred, reply);
                }
                StateEffect::Answer(Caller::Call(answer), Ok(())) => answer.give(&Value::Bool(true)),
                StateEffect::Answer(Caller::Call(answer), Err(error)) => answer.refuse(&error),
                StateEffect::Answer(Caller::Options(holds), result) => holds(result),
                // No export is advertised before it is certain that the program starts.
                StateEffect::Advertise(address) if is_ready() => self.lcores.advertise(None, address),
                StateEffect::Advertise(_) => {}
                StateEffect::Note(note) => self.log(note),
            }
        }
    }

    fn save(&self, key: ExportKey, change: u64, name: String, payload: String) {
        let (app, reach) = (self.lcores.app().clone(), self.reach);
        self.writer.save(name, payload, move |result| {
            let result = result.map_err(|error| error.to_string());
            app.send(move || report(reach, key, StateEvent::Saved(change, result)));
        });
    }

    fn fence(&self, Publication { key, change, state, acl }: Publication) {
        let reach = self.reach;
        self.lcores.start(
            // The state before is freed on the app's thread.
            move |lcore, report| {
                let old = lcore.publish(key, &state, acl.as_ref());
                lcore.fence(key.id, move || report.give(old));
            },
            move |core, old| {
                let reached = old.is_ok();
                drop(old);
                if !reached {
                    tracing::error!(
                        export = key.id.0,
                        lcore = core,
                        "a new ACL is not published: {Unreached}"
                    );
                }
                report(reach, key, StateEvent::Fenced { change, reached });
            },
        );
    }

    fn publish(&self, Publication { key, change, state, acl }: Publication) {
        let reach = self.reach;
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
                report(reach, key, StateEvent::Published(change));
            },
        );
    }

    fn log(&mut self, note: StateNote) {
        match note {
            StateNote::Changed(export, method) => {
                tracing::info!(%export, "initiator state changed, by {method}");
            }
            StateNote::NotSaved(error) => self.log_failure(&error),
            StateNote::Overdue(export) => tracing::error!(
                %export,
                "a change of its mask or reservation is not answered: its bdev has not completed requests from before \
                 the change within {} s",
                FENCE_LIMIT.as_secs()
            ),
            StateNote::NoLongerOverdue(export) => {
                tracing::info!(%export, "the requests from before the change have ended: it holds now");
            }
            StateNote::Gone(key, step) => {
                tracing::debug!(export = key.id.0, "{step} has ended for an export that is gone");
            }
            StateNote::Stray(key, step, number) => {
                tracing::error!(export = key.id.0, number, "{step} has ended that nothing waits for");
            }
        }
    }

    fn log_failure(&mut self, error: &str) {
        self.failures += 1;
        if self.failure_logged.is_some_and(|logged| logged.elapsed() < FAILURE_PERIOD) {
            return;
        }
        self.failure_logged = Some(Instant::now());
        tracing::error!(%error, failures = self.failures, "initiator state can't be saved: changes are refused");
    }
}

/// Reports what an effect has led to.
fn report(reach: Reach, key: ExportKey, event: StateEvent<Request, Caller>) {
    reach(Box::new(move |state| {
        state.happens(key, event);
        true
    }));
}
