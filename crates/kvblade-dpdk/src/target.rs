//! The running target in the control plane: ports, lcores, exports, and the operations that lcores carry out.
//!
//! All of it lives on the app's thread. Lcores are reached by messages and report by messages ([`lcores`]).

mod announce;
mod backlog;
mod bdevs;
mod calls;
mod capture;
mod captures;
mod change;
mod control_plane;
mod create;
mod degraded;
mod delete;
mod disk_interrupts;
mod effects;
mod file_watch;
mod gathered;
mod gatherings;
mod health;
mod health_watch;
mod histogram;
mod initiator_state;
mod lcore_load;
mod lcore_samples;
mod lcores;
mod loading;
mod operations;
mod port_watch;
mod qos;
mod read_claims;
mod resources;
mod scan;
mod start_state;
mod state_effects;
mod stats;
mod suitable;
mod waiting;
mod watch_degraded;
mod watch_files;
mod watchdog;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use aoe_target::ShelfSlot;
use control::{Action, Baseline, ErrorCode, HandOver, Registry, RpcError, SetLogLevel, StateChange};
use datapath::Remote;
use dpdk::EalStarted;
use serde_json::Value;
use spdk::{AppThread, Finished, Initialized, Thread};

use captures::Captures;
use control_plane::{Target, with};
use gathered::Wanted;
use lcores::{Lcores, ToApp, Unreached};
pub(crate) use loading::{Configuration, carry_out};
use operations::{Operations, Waiting};
use read_claims::ReadClaims;
use resources::Resources;
use scan::Scans;
use start_state::set_ready;
pub(crate) use start_state::{failure, note_failure};
use state_effects::ManagedState;
pub(crate) use state_effects::StateStore;
use watchdog::Watchdog;

use crate::answer::{Answer, Reply};
use crate::bdev_requirements;
use crate::capture::CapturePlace;
use crate::cpus;
use crate::logging;
use crate::notify::service_manager;
use crate::ports::{self, PortOptions};
use crate::take_over::TakeOver;
use crate::upgrade;

thread_local! {
    static OPTIONS: RefCell<Option<(PortOptions, StateSource, CapturePlace)>> = const { RefCell::new(None) };
}

/// Where the state store comes from.
pub(crate) enum StateSource {
    /// It is open.
    Open(StateStore),
    /// Another program has the directory, whose place this one takes.
    TakeOver(TakeOver),
}

/// Stores the options, the state store and the place of captures for [`start`]. Before the app runs, on its thread.
pub(crate) fn prepare(
    app: &spdk::App,
    options: PortOptions,
    state: StateSource,
    captures: CapturePlace,
    configuration: Configuration,
) {
    OPTIONS.set(Some((options, state, captures)));
    loading::prepare(app, configuration);
}

/// Starts ports and lcores; `done` is completed when every lcore turns and every link is up.
pub(crate) fn start(app: AppThread<'_>, done: Initialized) {
    let Some((options, source, captures)) = OPTIONS.take() else {
        done.fail(22);
        return note_failure("the aoe subsystem was started without its options");
    };
    let eal = app.eal();
    let go_on = move |state: Result<StateStore, String>| {
        let started = match state {
            Ok(state) => try_start(eal, done, &options, state, captures),
            Err(sentence) => {
                done.fail(16);
                Err(sentence)
            }
        };
        if let Err(sentence) = started {
            note_failure(&sentence);
        }
    };
    match source {
        StateSource::Open(state) => go_on(Ok(state)),
        StateSource::TakeOver(take_over) => take_over.begin(go_on),
    }
}

fn try_start(
    eal: EalStarted,
    done: Initialized,
    options: &PortOptions,
    state: StateStore,
    captures: CapturePlace,
) -> Result<(), String> {
    let thread = Thread::current().ok_or("the aoe subsystem was started outside SPDK's app thread")?;
    let (app, undelivered) = match ToApp::new(thread) {
        Ok(made) => made,
        Err(error) => {
            done.fail(error.errno);
            return Err(error.to_string());
        }
    };
    let cores = spdk::app::cores();
    let mut ports = match ports::start(eal, &cores, options) {
        Ok(ports) => ports,
        Err(sentence) => {
            done.fail(19);
            return Err(sentence);
        }
    };
    bdev_requirements::warn_of_drives_across_nodes(&options.requirements.drives, &cores);
    let mut lcores = Vec::new();
    for core in &cores {
        let queues = ports.queues.remove(core).unwrap_or_default();
        let idle = match options.idle.on(*core, &queues) {
            Ok(idle) => idle,
            Err(sentence) => {
                done.fail(95);
                return Err(sentence);
            }
        };
        let (core, reporter) = (*core, app.clone());
        let started = move |result: spdk::Result<()>| {
            if let Err(error) = result {
                reporter.send(move || note_failure(&format!("lcore {core}: {error}")));
            }
        };
        match Remote::start(core, queues, started) {
            Ok(lcore) => {
                if let Err(error) = lcore.send(move |lcore| lcore.rest_by(idle)) {
                    done.fail(error.errno);
                    return Err(format!("lcore {core}: {error}"));
                }
                lcores.push(lcore);
            }
            Err(error) => {
                done.fail(error.errno);
                return Err(format!("lcore {core}: {error}"));
            }
        }
    }
    let lcores = match Lcores::new(app, lcores) {
        Ok(lcores) => lcores,
        Err(error) => {
            done.fail(error.errno);
            return Err(error.to_string());
        }
    };
    let count = u32::try_from(lcores.count()).map_err(|error| error.to_string())?;
    let state_manager = match ManagedState::start(lcores.clone(), state, reach) {
        Ok(state_manager) => state_manager,
        Err(sentence) => {
            done.fail(12);
            return Err(sentence);
        }
    };
    let target = Target {
        state_manager,
        ports: ports.started,
        starting: lcores.count(),
        lcores,
        _undelivered: undelivered,
        registry: Registry::new(ports.table, count),
        resources: BTreeMap::new(),
        with_calls: BTreeSet::new(),
        read_claims: ReadClaims::default(),
        operations: Operations::default(),
        scans: Scans::default(),
        baseline: Baseline::default(),
        health: health_watch::HealthWatch::default(),
        lcore_load: lcore_load::LcoreLoad::default(),
        timed: BTreeSet::new(),
        captures: Captures::new(captures),
        waiting: Waiting::default(),
        watch: None,
        watchdog: None,
        degraded: degraded::DegradedExports::default(),
        file_watch: file_watch::FileWatch::default(),
        files_poller: None,
        stopping: None,
    };
    let lcores = target.lcores.clone();
    control_plane::set(target);
    // After the message that starts an lcore, so the report comes from one that has started.
    lcores.run(
        |_| cpus::own().unwrap_or_default(),
        |core, started| {
            with(|target| target.lcore_started(core, started));
        },
    );
    port_watch::wait_for_start(done)
}

/// Runs work on the state manager.
fn reach(work: Box<dyn FnOnce(&mut ManagedState) -> bool>) -> bool {
    with(|target| work(&mut target.state_manager)).unwrap_or(false)
}

/// Runs when all subsystems are up and the configuration is carried out.
pub(crate) fn ready(_: AppThread<'_>) {
    set_ready();
    with(|target| {
        // No export is advertised before it is certain that the program starts.
        target.lcores.advertise(None, ShelfSlot::WILDCARD);
        // From here on peers can cause log lines of SPDK and DPDK.
        crate::logging::limit_foreign_lines();
        let waiting = target.registry.waiting().len();
        let exports = target.registry.len() - waiting;
        tracing::info!(exports, waiting, ports = target.ports.len(), lcores = target.lcores.count(), "ready");
        let look = || {
            with(Target::watch_lcores);
        };
        match Watchdog::start(&target.lcores, look) {
            Ok(watchdog) => target.watchdog = Some(watchdog),
            Err(error) => {
                tracing::error!(%error, "lcores are not watched, so the service manager is not notified")
            }
        }
        // Tells that it is ready.
        target.watch_lcores();
    });
    waiting::watch();
    watch_files::start();
    crate::reload::serving();
}

/// Carries out an RPC.
pub(crate) fn act(action: Action, answer: Answer) {
    // Without a target the answer is dropped, which answers with an error.
    with(move |target| match action {
        Action::CreateExport(request) => target.create(request, answer),
        Action::UpdateExport(request) => target.update_export(&request, answer),
        Action::ReplaceBdev(request) => target.replace_bdev(&request, answer),
        Action::DeleteExport(request) => target.delete(&request, answer),
        Action::GetExports(request) => target.scan_for(Wanted::List(request), answer),
        Action::ClearInitiatorState(request) => {
            target.change_state(&request.export, Ok(StateChange::Clear(request.part)), answer);
        }
        Action::SetConfigString(request) => {
            target.change_state(&request.export, request.change(), answer);
        }
        Action::SetMaskList(request) => target.change_state(&request.export, request.change(), answer),
        Action::SetReservation(request) => {
            target.change_state(&request.export, Ok(StateChange::Reservation(request.macs)), answer);
        }
        Action::Announce(request) => target.announce(request, answer),
        Action::GetStats(_) => target.scan_for(Wanted::Stats, answer),
        Action::ResetStats(_) => target.scan_for(Wanted::Reset, answer),
        Action::GetHealth(_) => target.scan_for(Wanted::Health, answer),
        Action::EnableHistogram(request) => target.enable_histogram(&request, answer),
        Action::GetHistogram(request) => target.get_histogram(&request, answer),
        Action::SetQos(request) => target.set_qos(&request, answer),
        Action::GetInitiators(_) => target.list_initiators(answer),
        Action::SetLogLevel(request) => set_log_level(&request, answer),
        Action::GetLogLevel(_) => answer.give(&logging::report()),
        Action::StartCapture(request) => target.start_capture(request, answer),
        Action::StopCapture(request) => target.stop_capture(&request, answer),
        Action::GetCaptures(_) => answer.give(&target.captures.list()),
        Action::GetPorts(request) => {
            target.scan_for_port(request.port.clone().as_ref(), Wanted::Ports(request), answer);
        }
        Action::GetLcores(request) => {
            target.scan_for_port(request.port.clone().as_ref(), Wanted::Lcores(request), answer);
        }
        Action::HandOver(request) => hand_over(request, answer),
        Action::Upgrade(_) => match upgrade::ask() {
            Ok(()) => answer.give(&Value::Bool(true)),
            Err(error) => answer.refuse(&RpcError::new(ErrorCode::Internal, error.to_string())),
        },
    });
}

fn set_log_level(request: &SetLogLevel, answer: Answer) {
    match logging::set_directives(request.directives.as_ref()) {
        Ok(()) => answer.give(&Value::Bool(true)),
        Err(sentence) => answer.refuse(&RpcError::new(ErrorCode::Unsuitable, sentence)),
    }
}

thread_local! {
    /// Another program takes this one's place, so the service goes on when this one stops.
    static HANDED_OVER: Cell<bool> = const { Cell::new(false) };
}

/// Ends the program in favour of another one. The last answers are sent before the end.
fn hand_over(request: HandOver, answer: Answer) {
    let ended = AppThread::with(|app| {
        tracing::info!(process = request.pid, "another program takes over");
        HANDED_OVER.set(true);
        service_manager().tell(&format!("MAINPID={}\nSTATUS=another program takes over", request.pid));
        app.stop(0);
    });
    match ended {
        Ok(()) => answer.give(&Value::Bool(true)),
        Err(error) => answer.refuse(&RpcError::new(ErrorCode::Internal, error.to_string())),
    }
}

/// The way in for calls from other threads: carries out an action on the app's thread. `None` without a target.
pub(crate) fn entrance() -> Option<impl Fn(Action, Reply) + Send + Sync + 'static> {
    let app = with(|target| target.lcores.app().clone())?;
    Some(move |action, reply| app.send(move || act(action, Answer::from(reply))))
}

/// The RPC calls that would create the present exports.
pub(crate) fn config(app: AppThread<'_>) -> Value {
    // Entries that make missing bdevs are in no other subsystem's configuration.
    let mut calls = loading::awaited(app);
    let config = with(|target| {
        target.follow_all_names(app);
        target.registry.config()
    });
    if let Some(Value::Array(exports)) = config {
        calls.extend(exports);
    }
    Value::Array(calls)
}

impl Target {
    /// An lcore has started, or has not: then its reason came before this report, unless it is lost.
    fn lcore_started(&mut self, core: u32, started: Result<Vec<u32>, Unreached>) {
        match started {
            Ok(cpus) => {
                self.lcore_load.note_cpus(core, cpus);
                self.starting = self.starting.saturating_sub(1);
            }
            Err(unreached) => note_failure(&format!("lcore {core} has not started: {unreached}")),
        }
    }

    /// Looks at every lcore once.
    fn watch_lcores(&mut self) {
        // The watchdog starts at the end of the start, and ends as the stop begins.
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.look(&self.lcores, self.registry.len(), self.ports.len());
            self.look_for_degraded();
            self.look_for_late_scans();
            self.captures.look_for_late();
            // For aoe_get_initiators. An lcore without requests in flight has nothing to look at.
            self.lcores.post(|lcore| lcore.sample_initiators());
            self.sample_lcores();
        }
    }
}

/// Stops the lcores after the requests in flight, then closes bdevs and ports; then drops `done`.
pub(crate) fn stop(done: Finished) {
    waiting::stop();
    watch_files::stop();
    loading::stop();
    // Without a target the start has failed before there was one, and dropping `done` lets SPDK go on.
    let Some(mut target) = control_plane::take() else { return };
    if !HANDED_OVER.get() {
        service_manager().tell("STOPPING=1\nSTATUS=answering requests in flight");
    }
    target.watch = None;
    target.watchdog = None;
    // Pending calls are answered with an error.
    target.operations = Operations::default();
    target.scans = Scans::default();
    target.resources.values_mut().for_each(Resources::give_up_calls);
    target.state_manager.give_up_calls();
    target.captures.stop_all();
    target.stopping = Some(done);
    let lcores = target.lcores.clone();
    let count = lcores.count();
    control_plane::set(target);
    if count == 0 {
        finish();
    }
    lcores.stop(move |core, unanswered| {
        if let Err(Unreached) = unanswered {
            tracing::error!(lcore = core, "an lcore does not stop: {Unreached}");
        }
        lcore_stopped(count, unanswered.unwrap_or(0));
    });
}

thread_local! {
    /// The number of lcores that have stopped, and of requests that bdevs have not completed.
    static STOPPED: Cell<(usize, u32)> = const { Cell::new((0, 0)) };
}

/// Counts an lcore that has stopped; the last one ends the target.
fn lcore_stopped(of: usize, unanswered: u32) {
    let (stopped, before) = STOPPED.get();
    let (stopped, unanswered) = (stopped + 1, before + unanswered);
    STOPPED.set((stopped, unanswered));
    if stopped < of {
        return;
    }
    if unanswered > 0 {
        // SPDK would wait for these bdevs for ever. The RPC server and its socket are gone by now. Memory that the bdevs
        // may still use is not freed.
        std::mem::forget(control_plane::take());
        logging::exit_with(&format!(
            "{unanswered} requests in flight are left without an answer: their bdevs have not answered within 5 s"
        ));
    }
    finish();
}

/// Closes bdevs and ports, which no lcore uses any more.
fn finish() {
    let Some(mut target) = control_plane::take() else {
        tracing::error!("the target has ended twice");
        return;
    };
    let done = target.stopping.take();
    // Bdevs and ports are closed here; SPDK goes on with its own subsystems after that.
    drop(target);
    drop(done);
}
