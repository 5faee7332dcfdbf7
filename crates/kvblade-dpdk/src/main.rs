//! Serves bdevs over ATA over Ethernet. This file connects command line, SPDK and DPDK.
//!
//! Start: [`args`] and [`eal_options`] read the command line, [`preflight`] looks at the machine,
//! [`launch_config`] writes SPDK's configuration. SPDK's app starts its reactors and subsystems, ours ([`subsystem`])
//! among them, which starts the [`ports`] and an lcore on each reactor. From then on the reactors turn, and [`target`]
//! carries out RPCs.
#![forbid(unsafe_code)]

mod answer;
mod args;
mod bdev_requirements;
mod capture;
mod command_line;
mod cpus;
mod distribution;
mod eal_options;
mod export_spec;
mod hugepages;
mod idle;
mod interfaces;
mod launch_config;
mod launch_error;
mod lcore_choice;
mod loading;
mod logging;
mod management;
mod notify;
mod payload_alignment;
mod ports;
mod preflight;
mod provision;
mod reload;
mod rpc;
mod settings;
mod subsystem;
mod take_over;
mod target;
mod telemetry;
mod upgrade;

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::Duration;

use args::Invocation;
use bdev_requirements::BdevRequirements;
use capture::CapturePlace;
use command_line::CommandLine;
use eal_options::EalOptions;
use launch_config::LaunchConfig;
use launch_error::LaunchError;
use management::Management;
use nix::sys::memfd::{MFdFlags, memfd_create};
use notify::service_manager;
use ports::PortOptions;
use preflight::reserve;
use spdk::app::{AppOptions, LogLevel, LogLine};
use spdk::{App, AppThread};
use subsystem::AoeSubsystem;
use take_over::TakeOver;
use telemetry::Telemetry;

/// Time that the end of the program gives the last answers of RPCs.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Time that the end of the program gives the files of captures.
const LAST_FRAMES: Duration = Duration::from_secs(1);

/// Directory of captures in the state directory.
const CAPTURES: &str = "captures";

fn main() -> ExitCode {
    let code = run().unwrap_or_else(|error| {
        logging::print_error(&format!("kvblade-dpdk: {error}"));
        error.exit_code().into()
    });
    capture::finish(LAST_FRAMES);
    management::finish(LAST_ANSWERS);
    logging::flush();
    code
}

/// Prints to standard output, which may be full or closed.
fn print(text: &str) -> Result<ExitCode, LaunchError> {
    manual::print(text).map_err(LaunchError::environment)?;
    Ok(ExitCode::SUCCESS)
}

/// The text of `--version`.
fn version() -> String {
    format!("{} ({}, {})", env!("CARGO_PKG_VERSION"), spdk::app::version(), dpdk::eal::version())
}

fn run() -> Result<ExitCode, LaunchError> {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let invocation = args::parse(argv.iter().cloned(), &version())?;
    let (mut command, purpose) = match invocation {
        Invocation::Print(text) => {
            return print(&text);
        }
        Invocation::Serve(command) => (command, Purpose::Serve),
        Invocation::Check(command) => (command, Purpose::Check),
        Invocation::ReserveHugepages(command) => (command, Purpose::ReserveHugepages),
    };
    logging::start(command.log_level, command.log_format, &command.log_target)?;
    let mut management = None;
    if purpose == Purpose::Serve {
        management = Some(Management::start(
            command.rpc_connections,
            command.rpc_access,
            command.audit_log.as_deref(),
        )?);
        reload::start(argv, &command)?;
        service_manager().tell("STATUS=starting");
    }
    let host = preflight::Host::this();
    preflight::check_user(&host)?;
    let mut launch = LaunchConfig::build(&command.exports, command.config.as_deref())?;
    if let Err(why) = spdk::file::io_uring_available() {
        for bdev in launch.serve_files_by_aio() {
            tracing::warn!(
                bdev,
                "{why}: SPDK's aio serves the file, and sync, buffered and direct have no effect"
            );
        }
    }
    let provision = provision::complete(&mut command, &launch, &host)?;
    for raised in launch.preset_spdk_options(command.eal.lcores.len()) {
        tracing::warn!("{raised}");
    }
    match purpose {
        Purpose::Check => {
            preflight::check_devices(&command, &launch, &host)?;
            return print(&format!("{}\n", provision::summary(&command, provision.needed)));
        }
        Purpose::ReserveHugepages => {
            reserve::see_to(&command, provision.needed, &host)?;
            return Ok(ExitCode::SUCCESS);
        }
        Purpose::Serve => {}
    }
    reserve::see_to(&command, provision.needed, &host)?;
    preflight::check(&command, &launch, &host)?;
    logging::leave(&command.eal.lcores);
    let Some(management) = management else { return Ok(ExitCode::SUCCESS) };
    management.leave(&command.eal.lcores);
    provision.log(&command, &host);
    let state = if command.take_over {
        target::StateSource::TakeOver(TakeOver::prepare(&command)?)
    } else {
        target::StateSource::Open(target::StateStore::open(&command.state_dir)?)
    };
    serve(&command, &launch, state, management)
}

/// The purpose of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Serve,
    Check,
    ReserveHugepages,
}

/// Runs until a signal or an RPC stops the app.
fn serve(
    command: &CommandLine,
    launch: &LaunchConfig,
    state: target::StateSource,
    management: Management,
) -> Result<ExitCode, LaunchError> {
    let failed =
        |what: &str, error: &dyn std::error::Error| LaunchError::environment(format!("{what}: {error}"));

    dpdk::eal::log_to(logging::dpdk_log).map_err(|error| failed("DPDK's log", &error))?;
    let mut app = App::new().map_err(|error| failed("SPDK", &error))?;
    app.add_subsystem::<AoeSubsystem>().map_err(|error| failed("the aoe subsystem", &error))?;
    rpc::register(&mut app);
    if let Some(seconds) = command.io_timeout {
        control::options::set_default_io_timeout(seconds);
    }
    target::prepare(
        &app,
        PortOptions {
            mtu: command.mtu,
            mbufs: command.mbufs,
            alignment: command.payload_alignment,
            requirements: BdevRequirements::of(&launch.document),
            vdevs: command.eal.vdevs().map(str::to_owned).collect(),
            spread: command.spread,
            idle: command.idle,
        },
        state,
        CapturePlace {
            directory: command.state_dir.join(CAPTURES),
            cpus: cpus::beside(&command.eal.lcores).map_err(|error| failed("the CPUs", &error))?,
        },
        target::Configuration {
            entries: launch.entries.clone(),
            strict: command.strict,
            socket: preflight::own_socket(&command.rpc_socket),
            host: preflight::Host::this(),
        },
    );

    // SPDK reads its configuration from a path. This file has no name, so a crash leaves none behind.
    let config = memfd_create("kvblade-dpdk.json", MFdFlags::MFD_CLOEXEC)
        .map_err(|error| failed("memfd_create", &error))?;
    let mut config = std::fs::File::from(config);
    config
        .write_all(rpc::startup::document().to_string().as_bytes())
        .map_err(|error| failed("writing the configuration", &error))?;

    let spdk_socket = preflight::spdk_socket(&command.rpc_socket, command.take_over);
    let options = AppOptions {
        name: "kvblade-dpdk".into(),
        reactor_mask: command.eal.reactor_mask.clone(),
        main_core: command.eal.main_lcore,
        mem_mb: command.eal.mem_mb,
        eal_arguments: command.eal.env_context().unwrap_or_default(),
        no_pci: command.eal.no_pci,
        huge_unlink: command.eal.huge_unlink || unlinks_by_default(&command.eal),
        rpc_socket: Some(spdk_socket.display().to_string()),
        config_file: Some(format!("/proc/self/fd/{}", config.as_raw_fd())),
        log: Some(spdk_log),
        // The log's own filter decides, which aoe_set_log_level changes. SPDK has few such lines without its log_set_flag.
        log_verbose: true,
    };
    let rpc_socket = command.rpc_socket.clone();
    let telemetry = Telemetry::of(&command.eal)?;
    let ready = move |app: AppThread<'_>| {
        let opened = match target::entrance() {
            Some(carry_out) => management.listen(&rpc_socket, spdk_socket, carry_out),
            None => Ok(()),
        };
        match opened.and_then(|()| telemetry.open(app.eal())) {
            Ok(()) => target::ready(app),
            Err(sentence) => {
                target::note_failure(&sentence);
                app.stop(1);
            }
        }
    };
    let code = app.run(&options, ready).map_err(|error| failed("SPDK", &error))?;
    match target::failure() {
        Some(sentence) => Err(LaunchError::environment(sentence)),
        None if code == 0 => Ok(ExitCode::SUCCESS),
        None => {
            Err(LaunchError::environment(format!("SPDK ended with code {code}: the log lines above say why")))
        }
    }
}

/// Whether hugepage files are unlinked as soon as they are mapped, so that a crash leaves none for the next start. Not without
/// hugepages, and not beside options that exclude it: DPDK refuses `--huge-unlink` with `--single-file-segments`, which
/// memif needs.
fn unlinks_by_default(eal: &EalOptions) -> bool {
    let decided = |word: &String| word.starts_with("--huge-unlink") || word == "--single-file-segments";
    !eal.in_memory && !eal.no_huge && !eal.passthrough.iter().any(decided)
}

fn spdk_log(line: LogLine<'_>) {
    let level = match line.level {
        LogLevel::Error => 0,
        LogLevel::Warn => 1,
        LogLevel::Notice => 2,
        LogLevel::Info => 3,
        LogLevel::Debug => 4,
    };
    logging::spdk_log(level, line.file, line.line, line.function, line.text);
}
