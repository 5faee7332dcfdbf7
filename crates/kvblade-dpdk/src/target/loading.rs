//! Carries out the configuration by calls to the program's own RPC server, and retries entries that a missing disk refused.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use control::{BackingFile, CreateExport, ErrorCode};
use rpc_client::json_rpc::Refusal;
use serde_json::Value;
use spdk::rpc::{INTERNAL_ERROR, Request};
use spdk::{App, AppThread, Bdev, Poller};

use super::calls::Session;
use super::control_plane::with;
use super::start_state::{is_ready, note_failure};
use crate::launch_config::{Condition, Entry, Origin};
use crate::loading::{Awaited, Fate, Loader, Phase, is_there, reason};
use crate::logging;
use crate::preflight::{self, Host};
use crate::rpc::startup;

/// Period of the look for the answer to a call.
const PERIOD: Duration = Duration::from_micros(100);

/// Period after which a refused entry, or an export that waits, is tried again.
pub(super) const RETRY_PERIOD: Duration = Duration::from_secs(5);

/// Time after which the log names a call that takes long. SPDK's methods have no time limit of their own.
const CALL_PATIENCE: Duration = Duration::from_secs(10);

/// The configuration, and how to carry it out.
pub(crate) struct Configuration {
    /// All entries, in order.
    pub(crate) entries: Vec<Entry>,
    /// `--strict`.
    pub(crate) strict: bool,
    /// Socket at which the program calls itself.
    pub(crate) socket: PathBuf,
    /// The machine, for checks of drives.
    pub(crate) host: Host,
}

thread_local! {
    static LOADING: RefCell<Option<Loading>> = const { RefCell::new(None) };
}

struct Loading {
    loader: Loader,
    /// Entries whose files are compared, so that no file is served twice.
    files: Vec<Entry>,
    socket: PathBuf,
    host: Host,
    awaited: VecDeque<Awaited>,
    /// Size and time of each file that has reappeared, at the last look.
    seen: BTreeMap<PathBuf, (u64, Option<SystemTime>)>,
    run: Option<Run>,
}

/// Calls in progress.
struct Run {
    session: Session,
    work: Work,
    /// The entry of the call in progress, and the time when the log names it.
    current: Option<(Entry, Instant)>,
    _poller: Poller,
}

enum Work {
    /// Asks for the names of the methods, because the configuration has unknown ones.
    Methods(Request),
    /// A part of the start.
    Start(Phase, Request),
    /// A retry of refused entries; so many are left.
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

/// Retries refused entries, if no calls are in progress.
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

/// The reason why a bdev is missing, if the entry that creates it was refused.
pub(super) fn why_missing(bdev: &str) -> Option<String> {
    LOADING.with_borrow(|loading| loading.as_ref()?.why_missing(bdev))
}

/// The refused entries whose bdevs are still missing, for `save_config`.
pub(super) fn awaited(app: AppThread<'_>) -> Vec<Value> {
    let is_missing =
        |awaited: &&Awaited| awaited.entry.name().and_then(|name| Bdev::own_name(app, name)).is_none();
    LOADING.with_borrow(|loading| {
        let awaited = loading.iter().flat_map(|loading| &loading.awaited);
        awaited.filter(is_missing).map(|awaited| awaited.entry.to_json()).collect()
    })
}

/// No export waits for a bdev of that name any more: its entry is not retried, if an `--export` asked for it.
pub(super) fn forget(bdev: &str) {
    LOADING.with_borrow_mut(|loading| {
        if let Some(loading) = loading {
            let is_for_it = |entry: &Entry| matches!(entry.origin, Origin::Export(_)) && entry.makes(bdev);
            loading.awaited.retain(|awaited| !is_for_it(&awaited.entry));
        }
    });
}

/// Ends the calls in progress, because the program ends.
pub(super) fn stop() {
    LOADING.set(None);
}

/// Looks for the answer to the call in progress. True if there was one.
fn turn() -> bool {
    LOADING.with_borrow_mut(|loading| {
        // The poller is a part of the run, so it does not outlive the run.
        let Some(loading) = loading else {
            nothing_in_progress("a look for an answer");
            return false;
        };
        let Some(run) = &mut loading.run else {
            nothing_in_progress("a look for an answer");
            return false;
        };
        match run.session.poll() {
            Ok(None) => {
                run.watch();
                return false;
            }
            Ok(Some(answer)) => loading.answered(answer),
            // This refuses the entry in progress, and no other can be called.
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
        let Some(run) = &mut self.run else { return nothing_in_progress("an answer") };
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

    /// Makes the next call, or finishes.
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
                    // Each entry returns to the end of the queue unless it succeeds, so their order stays.
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
                    let Some(run) = &mut self.run else { return nothing_in_progress("a call") };
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

    /// Refuses a file that has reappeared and still changes. A file that is still being copied to its place would be served with
    /// the size of the moment, and written by two programs.
    fn settled(&mut self, entry: &Entry) -> Result<(), String> {
        let path = entry.params.as_ref().and_then(|params| params.get("filename")).and_then(Value::as_str);
        let Some(path) = path.map(PathBuf::from) else { return Ok(()) };
        let found = match std::fs::metadata(&path) {
            Ok(found) if found.is_file() => (found.len(), found.modified().ok()),
            // Opening it reports the fault.
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

    /// The entry at the end of the queue was retried.
    fn tried_again(&mut self, entry: Entry, answer: Result<Value, Refusal>, attempted: logging::Attempted) {
        // The deletion of its export may have removed it meanwhile.
        let found = self.awaited.iter_mut().enumerate().find(|(_, awaited)| awaited.entry == entry);
        let Some((index, awaited)) = found else { return };
        match answer {
            Err(refusal) if !is_there(&refusal) => {
                let reason = in_full(&entry, &refusal, &attempted);
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
        let Some(run) = &mut self.run else { return nothing_in_progress("a broken connection") };
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
        let Some(Run { work, session, .. }) = self.run.take() else { return nothing_in_progress("the end") };
        // The server of the session is closed before SPDK's start continues.
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

/// Logs a step that comes while no calls are in progress, which is a mistake of this file.
fn nothing_in_progress(step: &str) {
    tracing::error!(step, "the configuration: no calls are in progress");
}

impl Run {
    /// Logs a call that takes long.
    fn watch(&mut self) {
        // The question for the names of the methods has no entry, and is answered at once.
        let Some((entry, deadline)) = &mut self.current else { return };
        if Instant::now() < *deadline {
            return;
        }
        *deadline = Instant::now() + CALL_PATIENCE;
        if spdk::app::asked_to_stop() {
            // SPDK can't cancel a call, and its objects can't be freed while it uses them.
            logging::exit_with(&format!("{entry}: it has not been answered, and the program is to end"));
        }
        tracing::warn!("{entry}: it has been in progress for {} s or longer", CALL_PATIENCE.as_secs());
    }
}

/// Lets the export wait for its bdev.
fn wait(request: &CreateExport, reason: &str) -> Result<(), String> {
    let waits = with(|target| target.wait(request, reason));
    waits.unwrap_or_else(|| Err("the target has ended".into()))
}

/// The refusal in words, with SPDK's log line where that has more.
fn in_full(entry: &Entry, refusal: &Refusal, attempted: &logging::Attempted) -> String {
    let reason = reason(entry, refusal);
    match &attempted.last_error {
        Some(line) if !line.contains(&refusal.message) => format!("{reason} ({line})"),
        _ => reason,
    }
}
