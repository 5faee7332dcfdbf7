//! DPDK's telemetry socket (EAL's `--telemetry`): the `/kvblade/...` commands.
//!
//! They are answered from the answers of `aoe_get_stats` and `aoe_get_health`, which the app's thread makes as for any client of
//! the management socket. So the threads of the socket touch nothing of an lcore's, and a client that asks for one export after
//! the other costs the target one scan a second.

mod commands;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use control::Action;
use dpdk::EalStarted;
use dpdk::telemetry::Answer;
use nix::sys::signal::{SigSet, SigmaskHow};
use serde_json::Value;

use crate::answer::Reply;
use crate::cpus;
use crate::eal_options::EalOptions;
use crate::launch_error::LaunchError;
use crate::target;

/// Name of the directory of the socket, where the operator has given no prefix for EAL's files. SPDK's own has the number of the
/// process in it.
const DIRECTORY: &str = "kvblade";

/// Permissions of the directory, as EAL gives its own.
const MODE: u32 = 0o700;

/// Age of an answer of the target up to which it is used again.
const FRESH: Duration = Duration::from_secs(1);

/// Longest wait for an answer of the target, which gives up a late scan after 10 s.
const PATIENCE: Duration = Duration::from_secs(11);

type CarryOut = Box<dyn Fn(Action, Reply) + Send + Sync>;

/// The target as the socket's threads see it.
struct Source {
    carry_out: CarryOut,
    stats: Snapshot,
    health: Snapshot,
}

/// An answer of the target, and when it came.
type Snapshot = Mutex<Option<(Instant, Arc<Value>)>>;

static SOURCE: OnceLock<Source> = OnceLock::new();

/// The socket before it is open, if there is to be one.
#[derive(Debug)]
pub(crate) struct Telemetry(Option<Wanted>);

#[derive(Debug)]
struct Wanted {
    prefix: Option<String>,
    cpus: Vec<u32>,
}

impl Telemetry {
    /// As these options say. Call it before EAL binds this thread to a CPU: the socket's threads stay on those that it may use
    /// now, but for the lcores'.
    ///
    /// # Errors
    /// One sentence, if the CPUs are not known.
    pub(crate) fn of(eal: &EalOptions) -> Result<Self, LaunchError> {
        if !eal.telemetry {
            return Ok(Self(None));
        }
        let cpus = cpus::beside(&eal.lcores)
            .map_err(|error| LaunchError::environment(format!("the CPUs for telemetry: {error}")))?;
        Ok(Self(Some(Wanted { prefix: eal.file_prefix.clone(), cpus: cpus.into_iter().collect() })))
    }

    /// Opens the socket, if there is to be one. Does nothing without a target.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn open(self, eal: EalStarted) -> Result<(), String> {
        let (Some(Wanted { prefix, cpus }), Some(carry_out)) = (self.0, target::entrance()) else {
            return Ok(());
        };
        let directory = directory(eal, prefix.as_deref());
        let failed = |error: &dyn std::fmt::Display| {
            format!("EAL option --telemetry: no socket in '{}': {error}", directory.display())
        };
        let made = DirBuilder::new().mode(MODE).create(&directory);
        made.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
            .map_err(|error| failed(&error))?;
        let source =
            Source { carry_out: Box::new(carry_out), stats: Mutex::default(), health: Mutex::default() };
        if SOURCE.set(source).is_err() {
            return Err(failed(&"it is open"));
        }
        // SPDK handles signals on its own thread, and the socket's threads inherit the mask. Should it fail, they arrive there a
        // moment later.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
        let served = dpdk::telemetry::serve(eal, &directory, &cpus, commands::ALL, answer);
        if let Ok(before) = before {
            before.thread_set_mask().map_err(|error| failed(&error))?;
        }
        served.map_err(|error| failed(&error))?;
        tracing::info!(directory = %directory.display(), "telemetry for dpdk-telemetry.py");
        Ok(())
    }
}

/// The directory of the socket: beside EAL's own files, by a name that stays the same from start to start.
fn directory(eal: EalStarted, prefix: Option<&str>) -> PathBuf {
    dpdk::eal::runtime_directory(eal).with_file_name(prefix.unwrap_or(DIRECTORY))
}

fn answer(command: &str, parameter: Option<&str>) -> Option<Answer> {
    let source = SOURCE.get()?;
    commands::answer(command, parameter, &|action| match action {
        Action::GetHealth(_) => source.latest(action, &source.health),
        _ => source.latest(action, &source.stats),
    })
}

impl Source {
    /// The answer to a call, not older than a second. Clients that come together wait for one answer.
    fn latest(&self, action: Action, snapshot: &Snapshot) -> Option<Arc<Value>> {
        let mut snapshot = snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, value)) = &*snapshot
            && when.elapsed() < FRESH
        {
            return Some(Arc::clone(value));
        }
        let (reply, arrives) = Reply::channel();
        (self.carry_out)(action, reply);
        let text = match arrives.recv_timeout(PATIENCE) {
            Ok(Ok(make)) => make(),
            Ok(Err(error)) => {
                tracing::warn!("telemetry has no numbers: {}", error.message());
                return None;
            }
            Err(error) => {
                tracing::warn!("telemetry has no numbers: {error}");
                return None;
            }
        };
        let value = match serde_json::from_str(&text) {
            Ok(value) => Arc::new(value),
            Err(error) => {
                tracing::error!("telemetry can't read an answer of the target: {error}");
                return None;
            }
        };
        *snapshot = Some((Instant::now(), Arc::clone(&value)));
        Some(value)
    }
}
