//! SIGHUP: reads the settings file again and applies the changes that are possible while the target serves. SIGUSR2 starts an
//! [`crate::upgrade`].
//!
//! A thread of its own waits for the signal, because reading files may take long and lcores must not wait. It is started before
//! EAL binds threads to CPUs, so it may run on any CPU. It changes exports by RPCs, as an operator would.

mod changes;

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use control::{CreateExport, DeleteExport, GetExports, Method, UpdateExport};
use rpc_client::{Client, ClientError, DEFAULT_TIMEOUT};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::args::{self, Invocation};
use crate::command_line::CommandLine;
use crate::hugepages::Hugepages;
use crate::launch_config::LaunchConfig;
use crate::launch_error::LaunchError;
use crate::logging;
use crate::notify::service_manager;
use crate::preflight::Host;
use crate::preflight::reserve;
use crate::upgrade::Upgrade;
use changes::{Calls, Changes};

/// Period of the look for the end of the start, if the signal comes before it.
const START_PERIOD: Duration = Duration::from_millis(50);

static SERVING: AtomicBool = AtomicBool::new(false);

/// The target serves, so it can be changed.
pub(crate) fn serving() {
    SERVING.store(true, Ordering::Relaxed);
}

/// Waits for SIGHUP and SIGUSR2 from now on, which do not end the program any more. `command` was read from `argv`.
///
/// # Errors
/// One sentence, if the system has no resources for it.
pub(crate) fn start(argv: Vec<OsString>, command: &CommandLine) -> Result<(), LaunchError> {
    let failed = |error: std::io::Error| LaunchError::environment(format!("waiting for signals: {error}"));
    let mut signals = Signals::new([SIGHUP, SIGUSR2]).map_err(failed)?;
    let upgrade = Upgrade::of(&argv).map_err(failed)?;
    let started = command.clone();
    let wait = move || {
        let mut applied = Applied { command: started.clone(), failed_updates: Vec::new() };
        for signal in signals.forever() {
            if signal == SIGHUP {
                logging::reopen();
            }
            while !SERVING.load(Ordering::Relaxed) {
                std::thread::sleep(START_PERIOD);
            }
            if signal == SIGUSR2 {
                upgrade.begin();
                continue;
            }
            if started.settings.is_none() {
                tracing::info!("SIGHUP: there is no --settings file to read again, so nothing changes");
                continue;
            }
            service_manager().tell_reloading();
            match reload(&argv, &started, &applied) {
                Ok(now) => applied = now,
                Err(sentence) => tracing::error!("SIGHUP: {sentence}; nothing was changed"),
            }
            // The status line follows at the next look at the lcores.
            service_manager().tell("READY=1");
        }
    };
    std::thread::Builder::new().name("reload".into()).spawn(wait).map(drop).map_err(failed)
}

/// What the last reading of the settings has led to.
struct Applied {
    /// The command line whose exports there are now.
    command: CommandLine,
    /// Parameters of `aoe_update_export` with which the call has failed: the exports are there, with other options.
    failed_updates: Vec<Value>,
}

/// Reads the settings and applies them. `started` is the command line that the program started with.
fn reload(argv: &[OsString], started: &CommandLine, applied: &Applied) -> Result<Applied, String> {
    let Applied { command: applied, failed_updates } = applied;
    let command = match args::parse(argv.iter().cloned(), "") {
        Ok(Invocation::Serve(command)) => *command,
        Ok(_) => return Err("the command line is not one that serves".into()),
        Err(error) => return Err(error.to_string()),
    };
    let (before, after) = (calls(applied)?, calls(&command)?);
    let mut client =
        Client::connect(&command_socket(started), DEFAULT_TIMEOUT).map_err(|error| error.to_string())?;
    let before = before.that_are_there(&mut client).map_err(|error| error.to_string())?;
    let changes = Changes::between(&before, &after, failed_updates);
    if let Err(why) = spdk::file::io_uring_available() {
        for bdev in changes.added_files_by_aio() {
            tracing::warn!(
                bdev,
                "SIGHUP: {why}: SPDK's aio serves the file, and sync, buffered and direct have no effect"
            );
        }
    }
    if command.hugepages == Hugepages::Auto && changes.memory() > 0 {
        reserve::see_to(&command, changes.memory(), &Host::this()).map_err(|error| error.to_string())?;
    }
    if command.log_level != applied.log_level {
        logging::set_level(command.log_level).map_err(|error| error.to_string())?;
        tracing::info!(log_level = ?command.log_level, "SIGHUP: the log has another level");
    }
    let needs_restart = needs_restart(started, &command);
    if !needs_restart.is_empty() {
        tracing::warn!("SIGHUP: changes of {} take effect at the next start", needs_restart.join(", "));
    }
    let Failed { calls: failed, updates: failed_updates } = apply(&mut client, &changes);
    tracing::info!(
        added = changes.added_exports.len(),
        removed = changes.removed_exports.len(),
        updated = changes.updated_exports.len(),
        failed,
        "SIGHUP: the settings were read again"
    );
    Ok(Applied { command, failed_updates })
}

/// The socket of the running program, which a change of the file does not move.
fn command_socket(started: &CommandLine) -> std::path::PathBuf {
    started.rpc_socket.clone()
}

/// The calls that make the exports of a command line. Those of `--config` are carried out at the start only.
fn calls(command: &CommandLine) -> Result<Calls, String> {
    let mut launch = LaunchConfig::build(&command.exports, None).map_err(|error| error.to_string())?;
    if spdk::file::io_uring_available().is_err() {
        launch.serve_files_by_aio();
    }
    Ok(Calls::of(&launch.document))
}

/// Calls that failed, which the next SIGHUP repeats.
#[derive(Default)]
struct Failed {
    calls: usize,
    /// The parameters of those of `aoe_update_export`, whose exports are there all the same.
    updates: Vec<Value>,
}

/// Makes the calls, in an order that frees names, addresses and parts of bdevs before they are used again.
fn apply(client: &mut Client, changes: &Changes) -> Failed {
    let removals = changes
        .removed_exports
        .iter()
        .map(|call| (DeleteExport::NAME.to_owned(), changes::delete_params(call)));
    let bdev_removals = changes.removed_bdevs.iter().filter_map(changes::undo);
    let bdevs = changes.added_bdevs.iter().map(|call| (call.method.clone(), call.params.clone()));
    let exports = changes.added_exports.iter().map(|params| (CreateExport::NAME.to_owned(), params.clone()));
    let updates =
        changes.updated_exports.iter().map(|params| (UpdateExport::NAME.to_owned(), params.clone()));
    let mut failed = Failed::default();
    for (method, params) in removals.chain(bdev_removals).chain(updates).chain(bdevs).chain(exports) {
        if let Err(error) = call(client, &method, &params) {
            tracing::error!("SIGHUP: {method} {params}: {error}");
            failed.calls += 1;
            if method == UpdateExport::NAME {
                failed.updates.push(params);
            }
        }
    }
    failed
}

fn call(client: &mut Client, method: &str, params: &Value) -> Result<Value, ClientError> {
    client.call::<Value>(method, Some(params.clone()))
}

impl Calls {
    /// The calls whose exports and bdevs still exist: an operator may have deleted some, and some calls may have failed.
    fn that_are_there(mut self, client: &mut Client) -> Result<Self, ClientError> {
        let exports: Vec<Value> = client.call(GetExports::NAME, None)?;
        self.exports.retain(|params| exports.iter().any(|export| changes::is_made_by(export, params)));
        let bdevs: Vec<Value> = client.call("bdev_get_bdevs", None)?;
        let names: Vec<&str> = bdevs.iter().filter_map(|bdev| bdev["name"].as_str()).collect();
        self.bdevs.retain(|call| names.iter().any(|name| call.makes(name)));
        Ok(self)
    }
}

/// The settings that differ from those of the start and are not applied while the target serves.
fn needs_restart(started: &CommandLine, now: &CommandLine) -> Vec<&'static str> {
    let (a, b) = (&started.eal, &now.eal);
    let lcores = a.lcores != b.lcores || a.main_lcore != b.main_lcore;
    let eal = (a.mem_mb, a.no_pci, a.huge_unlink, &a.passthrough)
        != (b.mem_mb, b.no_pci, b.huge_unlink, &b.passthrough);
    [
        ("interfaces", started.interfaces != now.interfaces),
        ("lcores", lcores),
        ("pci-devices or eal-options", eal),
        ("config", started.config != now.config),
        ("rpc-socket", started.rpc_socket != now.rpc_socket),
        ("rpc-connections", started.rpc_connections != now.rpc_connections),
        ("rpc-mode or rpc-group", started.rpc_access != now.rpc_access),
        ("audit-log", started.audit_log != now.audit_log),
        ("state-dir", started.state_dir != now.state_dir),
        ("mtu", started.mtu != now.mtu),
        ("mbufs", started.mbufs != now.mbufs),
        ("io-timeout", started.io_timeout != now.io_timeout),
        ("spread", started.spread != now.spread),
        ("idle", started.idle != now.idle),
        ("payload-alignment", started.payload_alignment != now.payload_alignment),
        ("log-format", started.log_format != now.log_format),
        ("log-target", started.log_target != now.log_target),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::command_line;

    #[test]
    fn what_needs_a_restart_is_named() {
        let started = command_line("-l 1 --interface eth1 --mtu 9000");
        assert_eq!(needs_restart(&started, &started), Vec::<&str>::new());
        let exports = command_line(
            "-l 1 --interface eth1 --mtu 9000 -e 1.1=malloc:1M --log-level debug --hugepages auto",
        );
        assert_eq!(needs_restart(&started, &exports), Vec::<&str>::new(), "exports and levels are applied");
        let all = "-l 2 -i eth2 -a 01:00.0 -c /a --rpc-socket /b --rpc-connections 9 --rpc-mode 600 --audit-log /d --state-dir /c --mtu 1500 --mbufs 8191 --io-timeout 20 --spread off \
                   --idle pause --payload-alignment 4 --log-format json --log-target file:/log";
        assert_eq!(
            needs_restart(&started, &command_line(all)),
            [
                "interfaces",
                "lcores",
                "pci-devices or eal-options",
                "config",
                "rpc-socket",
                "rpc-connections",
                "rpc-mode or rpc-group",
                "audit-log",
                "state-dir",
                "mtu",
                "mbufs",
                "io-timeout",
                "spread",
                "idle",
                "payload-alignment",
                "log-format",
                "log-target"
            ]
        );
    }
}
