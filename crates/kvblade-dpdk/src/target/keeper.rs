//! The keeper: the one authority on what initiators keep on each export. A request that may change it comes here
//! from an lcore; the change is made, saved, given to every lcore, and only then answered. One change at a time for
//! each export.
//!
//! A change that can't be saved is not made, and its request gets no answer: the initiator asks again, and no AoE
//! error means "not now" (3, device unavailable, would speak of the disk, which is there).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use aoe_target::{Claims, DropReason, Export, ExportId, Guard, MacAddr, ShelfSlot, Verdict, VlanId};
use claims_store::{Kept, Opened, SaveError, Store, Writer};
use control::{ClearInitiatorState, ErrorCode, Method, RpcError, StatePart, kept_claims};
use datapath::{Deferred, Remote, deferred_channel};
use serde_json::{Value, json};
use spdk::{Poller, Thread};

use super::{Target, announce, is_ready, with};
use crate::args::LaunchError;
use crate::rpc::Answer;

/// How often the lcores' mailboxes are looked into. Config strings and lists change at people's pace.
const PERIOD: Duration = Duration::from_millis(1);

/// At most one line on failed saves in this time; initiators can cause them.
const FAILURE_PERIOD: Duration = Duration::from_secs(10);

/// The state directory, read, and the thread that writes to it.
pub(crate) struct State {
    writer: Writer,
    saved: BTreeMap<String, Kept<Arc<Claims>>>,
}

impl State {
    /// Opens the state directory. Before SPDK starts ([`Writer::start`]).
    ///
    /// # Errors
    /// One sentence that names the directory.
    pub(crate) fn open(path: &std::path::Path) -> Result<Self, LaunchError> {
        let decode = |payload: &str| kept_claims::from_payload(payload).map(Arc::new);
        let Opened { store, kept, set_aside } =
            Store::open(path, decode).map_err(|error| LaunchError::environment(error.to_string()))?;
        for damaged in set_aside {
            let now =
                damaged.moved_to.map_or("it could not be renamed".into(), |path| path.display().to_string());
            tracing::error!(
                file = %path.join(&damaged.name).display(),
                reason = %damaged.reason,
                kept_as = %now,
                "damaged state: its export answers nobody until {} clears its state",
                ClearInitiatorState::NAME
            );
        }
        let writer = Writer::start(store)
            .map_err(|error| LaunchError::environment(format!("the thread for --state-dir: {error}")))?;
        Ok(Self { writer, saved: kept })
    }
}

/// What initiators keep, on the app's thread.
pub(super) struct Keeper {
    app: Thread,
    lcores: Vec<Remote>,
    /// By lcore.
    mailboxes: Vec<Receiver<Deferred>>,
    state: State,
    held: BTreeMap<ExportId, Held>,
    changes: u64,
    failures: u64,
    failure_logged: Option<Instant>,
    _poller: Poller,
}

/// What is kept on one export.
struct Held {
    /// Of its file.
    name: String,
    address: ShelfSlot,
    allow: Arc<[MacAddr]>,
    deny: Arc<[MacAddr]>,
    /// As every lcore has them.
    claims: Arc<Claims>,
    guard: Option<Arc<Guard>>,
    /// Why nobody is answered.
    closed: Option<String>,
    waiting: VecDeque<Job>,
    change: Option<Change>,
}

/// Something that may change what is kept.
enum Job {
    Consult(Asked),
    Clear(StatePart, Answer),
    /// The export has left ports, and its file another name.
    Rename(String),
}

/// A request and the lcore it came from.
struct Asked {
    lcore: usize,
    consult: Deferred,
}

/// A change on its way to the disk, then to the lcores.
struct Change {
    number: u64,
    next: Arc<Claims>,
    /// Stays closed.
    closed: Option<String>,
    /// Lcores that have it not yet.
    waiting: usize,
    end: End,
}

/// Who waits for a change.
enum End {
    Consult(Asked, Verdict),
    Clear(Answer),
    Nobody,
}

impl Keeper {
    /// Has every lcore bring its consults here.
    pub(super) fn start(app: Thread, lcores: Vec<Remote>, state: State) -> Result<Self, String> {
        let mut mailboxes = Vec::new();
        for lcore in &lcores {
            let (sender, receiver) = deferred_channel();
            mailboxes.push(receiver);
            lcore.send(move |lcore| lcore.defer_to(sender)).map_err(|error| error.to_string())?;
        }
        let poller = Poller::register(PERIOD, || with(|target| target.keeper.collect()).unwrap_or(false))
            .map_err(|error| error.to_string())?;
        Ok(Self {
            app,
            lcores,
            mailboxes,
            state,
            held: BTreeMap::new(),
            changes: 0,
            failures: 0,
            failure_logged: None,
            _poller: poller,
        })
    }

    /// Puts what is kept from before into an export that is made now. `name` is that of its file.
    pub(super) fn hold(&mut self, export: &mut Export, name: String) {
        let (claims, closed) = match self.state.saved.get(&name) {
            None => (Arc::default(), None),
            Some(Kept::Intact(claims)) => (Arc::clone(claims), None),
            Some(Kept::Unknown(why)) => (Arc::default(), Some(why.clone())),
        };
        if let Some(why) = &closed {
            tracing::error!(
                export = %export.address(),
                reason = %why,
                "its mask and reservation are unknown: it answers nobody until {} clears its state",
                ClearInitiatorState::NAME
            );
        }
        let guard = Guard::build(&export.allow, &export.deny, &claims, closed.is_some());
        // The export is not on an lcore yet.
        drop(export.publish(Arc::clone(&claims), guard.clone()));
        let held = Held {
            name,
            address: export.address(),
            allow: Arc::clone(&export.allow),
            deny: Arc::clone(&export.deny),
            claims,
            guard,
            closed,
            waiting: VecDeque::new(),
            change: None,
        };
        self.held.insert(export.id(), held);
    }

    /// The export is gone from every lcore. Its file stays.
    pub(super) fn release(&mut self, id: ExportId) {
        self.held.remove(&id);
    }

    /// The export has left ports: what is kept goes to the file of its new name.
    pub(super) fn rename(&mut self, id: ExportId, name: String) {
        self.enqueue(id, Job::Rename(name));
    }

    /// Forgets what a request says.
    pub(super) fn clear(&mut self, id: ExportId, part: StatePart, answer: Answer) {
        self.enqueue(id, Job::Clear(part, answer));
    }

    /// What is kept, for answers.
    pub(super) fn report(&self, id: ExportId) -> Value {
        let held = self.held.get(&id);
        held.map_or(Value::Null, |held| kept_claims::report(&held.claims, held.closed.as_deref()))
    }

    /// The callers of RPCs are told that their calls are given up. Requests are still answered.
    pub(super) fn give_up_calls(&mut self) {
        for held in self.held.values_mut() {
            held.waiting.retain(|job| !matches!(job, Job::Clear(..)));
            if let Some(change) = &mut held.change
                && matches!(change.end, End::Clear(_))
            {
                change.end = End::Nobody;
            }
        }
    }

    /// Takes what lies in the mailboxes. True if there was anything.
    fn collect(&mut self) -> bool {
        let taken: Vec<Asked> = (0..)
            .zip(&self.mailboxes)
            .flat_map(|(lcore, mailbox)| mailbox.try_iter().map(move |consult| Asked { lcore, consult }))
            .collect();
        let any = !taken.is_empty();
        for from in taken {
            self.enqueue(from.consult.export(), Job::Consult(from));
        }
        any
    }

    fn enqueue(&mut self, id: ExportId, job: Job) {
        match (self.held.get_mut(&id), job) {
            (Some(held), job) => {
                held.waiting.push_back(job);
                self.advance(id);
            }
            // Its creation failed on another lcore.
            (None, Job::Consult(from)) => self.answer(from, Verdict::Drop(DropReason::UnknownShelfSlot)),
            (None, Job::Clear(_, answer)) => {
                let gone = "the export is being created or deleted: wait until that request is answered";
                answer.refuse(&RpcError::new(ErrorCode::Busy, gone));
            }
            (None, Job::Rename(_)) => {}
        }
    }

    /// Does what waits for an export, up to the next change.
    fn advance(&mut self, id: ExportId) {
        loop {
            let Some(held) = self.held.get_mut(&id) else { return };
            if held.change.is_some() {
                return;
            }
            let Some(job) = held.waiting.pop_front() else { return };
            let mut next = Claims::clone(&held.claims);
            let (closed, end) = match job {
                Job::Consult(from) => {
                    let applied = match held.hears(from.consult.request()) {
                        Ok(()) => next.apply(from.consult.request()),
                        Err(reason) => aoe_target::Applied { verdict: Verdict::Drop(reason), changed: false },
                    };
                    if !applied.changed {
                        self.answer(from, applied.verdict);
                        continue;
                    }
                    (None, End::Consult(from, applied.verdict))
                }
                Job::Clear(part, answer) => {
                    if held.closed.is_some() && part != StatePart::All {
                        answer.refuse(&RpcError::new(
                            ErrorCode::Unsuitable,
                            format!(
                                "what is kept on {} is unknown as a whole, so it can't be cleared in part: part \
                                 must be all",
                                held.address
                            ),
                        ));
                        continue;
                    }
                    match part {
                        StatePart::Config => next.config = Claims::default().config,
                        StatePart::Mask => next.mask = Claims::default().mask,
                        StatePart::Reservation => next.reservation = Claims::default().reservation,
                        StatePart::All => next = Claims::default(),
                    }
                    (None, End::Clear(answer))
                }
                Job::Rename(name) => {
                    held.name = name;
                    (held.closed.clone(), End::Nobody)
                }
            };
            self.changes += 1;
            let number = self.changes;
            let payload = match &closed {
                None => kept_claims::to_payload(&next),
                Some(_) => kept_claims::UNKNOWN.to_owned(),
            };
            held.change =
                Some(Change { number, next: Arc::new(next), closed, waiting: self.lcores.len(), end });
            let app = self.app.clone();
            self.state.writer.save(held.name.clone(), payload, move |result| {
                let _ = app.send(move || {
                    with(|target| target.keeper.stored(id, number, result));
                });
            });
        }
    }

    fn stored(&mut self, id: ExportId, number: u64, result: Result<(), SaveError>) {
        let Some(held) = self.held.get_mut(&id) else { return };
        let Some(change) = held.change.take_if(|change| change.number == number) else { return };
        if let Err(error) = result {
            match change.end {
                End::Consult(from, _) => self.answer(from, Verdict::Drop(DropReason::NotStored)),
                End::Clear(answer) => answer.refuse(&RpcError::new(ErrorCode::Internal, error.to_string())),
                End::Nobody => {}
            }
            self.log_failure(&error);
            return self.advance(id);
        }
        let kept = match &change.closed {
            None => Kept::Intact(Arc::clone(&change.next)),
            Some(why) => Kept::Unknown(why.clone()),
        };
        self.state.saved.insert(held.name.clone(), kept);
        held.guard = Guard::build(&held.allow, &held.deny, &change.next, change.closed.is_some());
        for lcore in &self.lcores {
            let (claims, guard, app) = (Arc::clone(&change.next), held.guard.clone(), self.app.clone());
            let sent = lcore.send(move |lcore| {
                let old = lcore.publish(id, claims, guard);
                let _ = app.send(move || {
                    drop(old);
                    published(id, number);
                });
            });
            if sent.is_err() {
                // An lcore that can't be told serves nothing.
                let _ = self.app.send(move || published(id, number));
            }
        }
        held.change = Some(change);
    }

    fn published(&mut self, id: ExportId, number: u64) {
        let Some(held) = self.held.get_mut(&id) else { return };
        let Some(change) = held.change.as_mut().filter(|change| change.number == number) else { return };
        change.waiting -= 1;
        if change.waiting > 0 {
            return;
        }
        let Some(change) = held.change.take() else { return };
        let announced =
            held.claims.config != change.next.config || (held.closed.is_some() && change.closed.is_none());
        held.claims = change.next;
        held.closed = change.closed;
        let address = held.address;
        match change.end {
            End::Consult(from, verdict) => self.answer(from, verdict),
            End::Clear(answer) => {
                tracing::info!(export = %address, "initiator state cleared");
                answer.give(&Value::Bool(true));
            }
            End::Nobody => {}
        }
        if announced && is_ready() {
            announce::send(&self.lcores, None, address);
        }
        self.advance(id);
    }

    /// Gives a request back to its lcore, to be answered.
    fn answer(&self, from: Asked, verdict: Verdict) {
        let Asked { lcore, consult } = from;
        if let Some(lcore) = self.lcores.get(lcore) {
            // An lcore that has ended has no use for it.
            let _ = lcore.send(move |lcore| lcore.complete_deferred(consult, verdict));
        }
    }

    fn log_failure(&mut self, error: &SaveError) {
        self.failures += 1;
        if self.failure_logged.is_some_and(|logged| logged.elapsed() < FAILURE_PERIOD) {
            return;
        }
        self.failure_logged = Some(Instant::now());
        tracing::error!(%error, failures = self.failures, "what initiators keep can't be saved: changes are refused");
    }
}

impl Held {
    /// Whether the sender is heard: the mask may have changed since its lcore let it through.
    fn hears(&self, frame: &[u8]) -> Result<(), DropReason> {
        let Some(guard) = &self.guard else { return Ok(()) };
        let source = frame.get(6..12).and_then(|source| source.first_chunk()).ok_or(DropReason::Runt)?;
        guard.hears(MacAddr(*source))
    }
}

fn published(id: ExportId, number: u64) {
    with(|target| target.keeper.published(id, number));
}

impl Target {
    /// Carries out `aoe_clear_claims`.
    pub(super) fn clear_initiator_state(&mut self, request: &ClearInitiatorState, answer: Answer) {
        match self.registry.one(request.address, request.vlan, request.port.as_ref()) {
            Ok(record) => {
                let id = record.id;
                self.keeper.clear(id, request.part, answer);
            }
            Err(error) => answer.refuse(&error),
        }
    }

    /// The name of the file for an export.
    pub(super) fn file_name(&self, id: ExportId) -> String {
        let Some(record) = self.registry.get(id) else { return String::new() };
        let ports: Vec<&str> = self.registry.ports_of(record).iter().map(|port| port.name.as_str()).collect();
        let listed = (record.ports != aoe_target::Ports::All).then_some(ports.as_slice());
        let vlan = record.options.vlan.map(VlanId::get);
        claims_store::name::of_export(&record.address.to_string(), vlan, listed)
    }

    /// An export as answers show it, with what is kept on it.
    pub(super) fn shown(&self, record: &control::Record) -> Value {
        let mut info = json!(self.registry.info(record));
        info["claims"] = self.keeper.report(record.id);
        info
    }
}
