//! Carries out the configuration, by calls to our own RPC server, and tries again what was refused because of a disk.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use control::{BackingFile, CreateExport, ErrorCode};
use serde_json::Value;
use spdk::rpc::{INTERNAL_ERROR, Request};
use spdk::{App, AppThread, Bdev, Poller};

use super::calls::Session;
use super::control_plane::with;
use super::start_state::{is_ready, note_failure};
use crate::launch_config::{Condition, Entry, Origin};
use crate::loading::{Awaited, Fate, Loader, Phase, Refusal, is_there, reason};
use crate::logging;
use crate::preflight::{self, Host};
use crate::rpc::startup;

/// How often the answer to a call is looked for.
const PERIOD: Duration = Duration::from_micros(100);

/// Period after which a refused entry, or an export that waits, is tried again.
pub(super) const RETRY_PERIOD: Duration = Duration::from_secs(5);

/// How long a call may take before a line says which one it is; SPDK's methods have no time limit of their own.
const CALL_PATIENCE: Duration = Duration::from_secs(10);

/// What is to be carried out, and how.
pub(crate) struct Configuration {
    /// All entries, in order.
    pub(crate) entries: Vec<Entry>,
    /// `--strict`.
    pub(crate) strict: bool,
    /// Where the program calls itself.
    pub(crate) socket: PathBuf,
    /// Where drives are looked for.
    pub(crate) host: Host,
}

thread_local! {
    static LOADING: RefCell<Option<Loading>> = const { RefCell::new(None) };
}

struct Loading {
    loader: Loader,
    /// Those whose files are compared, so that none is served twice.
    files: Vec<Entry>,
    socket: PathBuf,
    host: Host,
    awaited: VecDeque<Awaited>,
    /// The size and time of each file that has come back, as it was last seen.
    seen: BTreeMap<PathBuf, (u64, Option<SystemTime>)>,
    run: Option<Run>,
}

/// Calls under way.
struct Run {
    session: Session,
    work: Work,
    /// What the call under way is for, and when a line says that it takes long.
    current: Option<(Entry, Instant)>,
    _poller: Poller,
}

enum Work {
    /// The names of the methods are asked for, since the configuration has wrong ones.
    Methods(Request),
    /// A part of the start.
    Start(Phase, Request),
    /// So many of those awaited are still to be tried.
    Retry(usize),
}

/// Sorts the entries. Before the app runs, on its thread.
pub(super) fn prepare(app: &App, configuration: Configuration) {
    let Configuration { entries, strict, socket, host } = configuration;
    let files =
        entries.iter().filter(|entry| matches!(entry.condition, Condition::File(_))).cloned().collect();
    let (loader, passed_over) = Loader::new(entries, strict, startup::phases, |name| app.has_subsystem(name));
    for entry in passed_over {
        tracing::warn!("{entry}: passed over, for this program has no subsystem '{}'", entry.subsystem);
    }
    LOADING.set(Some(Loading {
        loader,
        files,
        socket,
        host,
        awaited: VecDeque::new(),
        seen: BTreeMap::new(),
        run: None,
    }));
}

/// Carries out a part of the configuration; the request is SPDK's start, which goes on when it is answered.
pub(crate) fn carry_out(phase: Phase, request: Request) {
    LOADING.with_borrow_mut(|loading| match loading {
        Some(loading) if !is_ready() && loading.run.is_none() => loading.begin(phase, request),
        _ => request
            .error(INTERNAL_ERROR, "the program calls this method itself while it starts; nobody else may"),
    });
}

/// Tries again what was refused, if nothing else is under way.
pub(super) fn retry() {
    LOADING.with_borrow_mut(|loading| {
        if let Some(loading) = loading
            && loading.run.is_none()
            && !loading.awaited.is_empty()
        {
            let work = Work::Retry(loading.awaited.len());
            if let Err(sentence) = loading.run(work) {
                tracing::error!("nothing is tried again: {sentence}");
            }
        }
    });
}

/// Why a bdev is not there, if an entry that would make it was refused.
pub(super) fn why_missing(bdev: &str) -> Option<String> {
    LOADING.with_borrow(|loading| loading.as_ref()?.why_missing(bdev))
}

/// The entries that are tried again and whose bdevs nobody has made meanwhile, for `save_config`.
pub(super) fn awaited(app: AppThread<'_>) -> Vec<Value> {
    let is_missing =
        |awaited: &&Awaited| awaited.entry.name().and_then(|name| Bdev::own_name(app, name)).is_none();
    LOADING.with_borrow(|loading| {
        let awaited = loading.iter().flat_map(|loading| &loading.awaited);
        awaited.filter(is_missing).map(|awaited| awaited.entry.to_json()).collect()
    })
}

/// Nobody waits for a bdev of that name any more: one that an `--export` asked for is not made either.
pub(super) fn forget(bdev: &str) {
    LOADING.with_borrow_mut(|loading| {
        if let Some(loading) = loading {
            let is_for_it = |entry: &Entry| matches!(entry.origin, Origin::Export(_)) && entry.makes(bdev);
            loading.awaited.retain(|awaited| !is_for_it(&awaited.entry));
        }
    });
}

/// Ends calls under way: the program ends.
pub(super) fn stop() {
    LOADING.set(None);
}

/// Looks for the answer to the call under way. True if there was one.
fn turn() -> bool {
    LOADING.with_borrow_mut(|loading| {
        let Some(loading) = loading else { return false };
        let Some(run) = &mut loading.run else { return false };
        match run.session.poll() {
            Ok(None) => {
                run.watch();
                return false;
            }
            Ok(Some(answer)) => loading.answered(answer),
            // The entry that was under way is refused by this; there is no way to any other.
            Err(sentence) => loading.broken(&sentence),
        }
        true
    })
}

impl Loading {
    fn begin(&mut self, phase: Phase, request: Request) {
        let work =
            if self.loader.has_unknown() { Work::Methods(request) } else { Work::Start(phase, request) };
        if let Err(sentence) = self.run(work) {
            note_failure(&format!("the configuration can't be carried out: {sentence}"));
        }
    }

    /// Opens a session and begins.
    fn run(&mut self, work: Work) -> Result<(), String> {
        let session = Session::open(&self.socket)?;
        let poller = Poller::register(PERIOD, turn).map_err(|error| error.to_string())?;
        let mut run = Run { session, work, current: None, _poller: poller };
        if let Work::Methods(_) = run.work {
            run.session.send("rpc_get_methods", None);
            self.run = Some(run);
        } else {
            self.run = Some(run);
            self.advance();
        }
        Ok(())
    }

    fn answered(&mut self, answer: Result<Value, Refusal>) {
        let Some(run) = &mut self.run else { return };
        let attempted = logging::end_attempt();
        let current = run.current.take();
        match (&run.work, current) {
            (Work::Methods(_), _) => {
                let listed = answer.ok();
                let listed = listed.as_ref().and_then(Value::as_array).into_iter().flatten();
                let methods = listed.filter_map(Value::as_str).filter(|name| startup::phases(name).is_some());
                let methods: Vec<String> = methods.map(str::to_owned).collect();
                self.loader.refuse_unknown(&methods);
                return self.finish();
            }
            (Work::Start(phase, _), Some((entry, _))) => {
                let phase = *phase;
                if let Err(refusal) = answer {
                    self.refused(phase, entry, &refusal, attempted);
                }
            }
            (Work::Retry(_), Some((entry, _))) => self.tried_again(entry, answer, attempted),
            (_, None) => {}
        }
        self.advance();
    }

    /// Makes the next call, or comes to the end.
    fn advance(&mut self) {
        while let Some(run) = &mut self.run {
            if spdk::app::asked_to_stop() {
                self.loader.give_up();
            }
            let (entry, known) = match &mut run.work {
                Work::Start(phase, _) => match self.loader.next(*phase) {
                    Some(entry) => (entry, BTreeSet::new()),
                    None => return self.finish(),
                },
                Work::Retry(left) if *left > 0 && !spdk::app::asked_to_stop() => {
                    *left -= 1;
                    // Each goes to the end of the queue again, unless it succeeds: the order stays.
                    match self.awaited.pop_front() {
                        Some(awaited) => {
                            let next = (awaited.entry.clone(), awaited.said.clone());
                            self.awaited.push_back(awaited);
                            next
                        }
                        None => return self.finish(),
                    }
                }
                _ => return self.finish(),
            };
            logging::begin_attempt(known);
            let settled = match self.run.as_ref().map(|run| &run.work) {
                Some(Work::Retry(_)) => self.settled(&entry),
                _ => Ok(()),
            };
            let drive_fault = |address| preflight::drive_fault(address, &self.host);
            match settled.and_then(|()| entry.prepare(&self.others(&entry), drive_fault)) {
                Ok(params) => {
                    let Some(run) = &mut self.run else { return };
                    run.session.send(&entry.method, params.as_ref());
                    run.current = Some((entry, Instant::now() + CALL_PATIENCE));
                    return;
                }
                Err(message) => {
                    let refusal = Refusal { code: i64::from(ErrorCode::NoSuchExport.number()), message };
                    let attempted = logging::end_attempt();
                    match self.run.as_ref().map(|run| &run.work) {
                        Some(Work::Start(phase, _)) => self.refused(*phase, entry, &refusal, attempted),
                        _ => self.tried_again(entry, Err(refusal), attempted),
                    }
                }
            }
        }
    }

    /// A file that has come back may still be copied to its place: one that grows would be served with the size of the
    /// moment, and be written by two.
    fn settled(&mut self, entry: &Entry) -> Result<(), String> {
        let path = entry.params.as_ref().and_then(|params| params.get("filename")).and_then(Value::as_str);
        let Some(path) = path.map(PathBuf::from) else { return Ok(()) };
        let found = match std::fs::metadata(&path) {
            Ok(found) if found.is_file() => (found.len(), found.modified().ok()),
            // What is wrong with it is said where it is opened.
            _ => {
                self.seen.remove(&path);
                return Ok(());
            }
        };
        if self.seen.insert(path.clone(), found) == Some(found) {
            return Ok(());
        }
        let seconds = RETRY_PERIOD.as_secs();
        Err(format!(
            "'{}' is there now, and is taken when it has not changed for {seconds} s",
            path.display()
        ))
    }

    /// The other files of `--export`, as they are now.
    fn others(&self, entry: &Entry) -> Vec<(BackingFile, bool)> {
        if entry.file().is_none() {
            return Vec::new();
        }
        let others = self.files.iter().filter(|other| other.name() != entry.name());
        others.filter_map(Entry::file).collect()
    }

    fn refused(&mut self, phase: Phase, entry: Entry, refusal: &Refusal, attempted: logging::Attempted) {
        if self.loader.refused(phase, &entry, refusal) == Fate::Ends {
            return;
        }
        if let Some(request) = entry.export() {
            let reason = match self.why_missing(&request.bdev_name) {
                Some(why) if refusal.code == i64::from(ErrorCode::NoDevice.number()) => why,
                _ => refusal.message.clone(),
            };
            if let Err(message) = wait(&request, &reason) {
                self.loader.fail(&entry, &message);
            }
            return;
        }
        let reason = in_full(&entry, refusal, &attempted);
        tracing::warn!("{entry}: {reason}; it is tried again every {} s", RETRY_PERIOD.as_secs());
        self.awaited.push_back(Awaited { entry, reason, said: attempted.said });
    }

    /// The one at the end of the queue was tried.
    fn tried_again(&mut self, entry: Entry, answer: Result<Value, Refusal>, attempted: logging::Attempted) {
        // It may have been forgotten meanwhile.
        let Some(index) = self.awaited.iter().position(|awaited| awaited.entry == entry) else { return };
        match answer {
            Err(refusal) if !is_there(&refusal) => {
                let reason = in_full(&entry, &refusal, &attempted);
                let Some(awaited) = self.awaited.get_mut(index) else { return };
                awaited.said = attempted.said;
                if awaited.reason != reason {
                    tracing::warn!("{entry}: {reason}; it is tried again");
                    awaited.reason = reason;
                }
            }
            _ => {
                tracing::info!("{entry}: done");
                self.awaited.remove(index);
            }
        }
    }

    fn why_missing(&self, bdev: &str) -> Option<String> {
        let awaited = self.awaited.iter().find(|awaited| awaited.entry.makes(bdev))?;
        Some(match awaited.entry.condition {
            Condition::Nothing => format!("{}: {}", awaited.entry.method, awaited.reason),
            _ => awaited.reason.clone(),
        })
    }

    fn broken(&mut self, sentence: &str) {
        logging::end_attempt();
        let Some(run) = &mut self.run else { return };
        match run.current.take() {
            Some((entry, _)) => self.loader.fail(&entry, sentence),
            None => note_failure(sentence),
        }
        if let Work::Retry(_) = run.work {
            tracing::error!("nothing is tried again for now: {sentence}");
        }
        self.finish();
    }

    fn finish(&mut self) {
        let Some(Run { work, session, .. }) = self.run.take() else { return };
        // Its server goes before SPDK's start goes on.
        drop(session);
        match work {
            Work::Methods(request) => self.answer_start(request),
            Work::Start(_, request) => self.answer_start(request),
            Work::Retry(_) => {}
        }
    }

    fn answer_start(&self, request: Request) {
        match self.loader.failure() {
            None => request.result("true"),
            Some(failure) => {
                note_failure(&failure);
                request.error(INTERNAL_ERROR, "the configuration was refused");
            }
        }
    }
}

impl Run {
    /// Tells of a call that takes long.
    fn watch(&mut self) {
        let Some((entry, deadline)) = &mut self.current else { return };
        if Instant::now() < *deadline {
            return;
        }
        *deadline = Instant::now() + CALL_PATIENCE;
        if spdk::app::asked_to_stop() {
            // SPDK can't take back a call, and what it works on can't be taken apart under it.
            eprintln!("kvblade-dpdk: {entry}: it has not been answered, and the program is to end");
            std::process::exit(1);
        }
        tracing::warn!("{entry}: it has been under way for {} s or longer", CALL_PATIENCE.as_secs());
    }
}

/// Has the export wait.
fn wait(request: &CreateExport, reason: &str) -> Result<(), String> {
    let waits = with(|target| target.wait(request, reason));
    waits.unwrap_or_else(|| Err("the target has ended".into()))
}

/// The refusal in words, with what SPDK logged where it says more.
fn in_full(entry: &Entry, refusal: &Refusal, attempted: &logging::Attempted) -> String {
    let reason = reason(entry, refusal);
    match &attempted.last_error {
        Some(line) if !line.contains(&refusal.message) => format!("{reason} ({line})"),
        _ => reason,
    }
}
