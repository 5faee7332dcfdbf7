//! The command line: from the words of `argv` to an [`Invocation`].

mod help;
pub(crate) mod options;
mod reference;
pub(crate) mod values;
mod vblade;
mod words;

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};

use crate::command_line::CommandLine;
use crate::eal_options::{EalOptions, looks_like_eal_option};
use crate::export_spec::{self, ExportSpec};
use crate::interfaces;
use crate::launch_error::LaunchError;
use crate::management::access::SocketAccess;
use crate::payload_alignment::PayloadAlignment;
use crate::settings::Settings;
use options::Options;
use values::{DEFAULT_RPC_SOCKET, DEFAULT_STATE_DIR, MBUFS_DEFAULT, RPC_CONNECTIONS_DEFAULT};
use words::Words;

/// The request of a command line.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// Serve.
    Serve(Box<CommandLine>),
    /// Report whether it could be served, and exit (`--check`).
    Check(Box<CommandLine>),
    /// Reserve hugepages for it, and exit (`--reserve-hugepages`).
    ReserveHugepages(Box<CommandLine>),
    /// Print this text on stdout and exit with 0 (`--help`, `--version`).
    Print(String),
}

/// Reads `argv`, its first word being the program's name, and the settings file that it names. `version` is what
/// `--version` prints.
///
/// # Errors
/// One sentence: a [`LaunchError::Usage`], unless the settings file can't be read.
pub(crate) fn parse(
    argv: impl IntoIterator<Item = OsString>,
    version: &str,
) -> Result<Invocation, LaunchError> {
    let words: Vec<OsString> = argv.into_iter().skip(1).collect();
    let command = || Options::command().version(env!("CARGO_PKG_VERSION"));
    if let Some(answer) = manual::answer_with(&words, command, &reference::DOCUMENTS) {
        return answer.map(Invocation::Print).map_err(LaunchError::usage);
    }
    let Words { eal, mut ours } = Words::divide(&words);
    // --help and --version count on both sides of the `--`. EAL has --help too, which is not used.
    let asks = |word: &&OsString| matches!(word.to_str(), Some("-h" | "--help" | "-V" | "--version"));
    if let Some(question) = eal.iter().find(asks) {
        ours = vec![question.clone()];
    }

    let command = Options::command().version(env!("CARGO_PKG_VERSION"));
    let matches = match command.try_get_matches_from(
        std::iter::once(OsStr::new("kvblade-dpdk")).chain(ours.iter().map(OsString::as_os_str)),
    ) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return Ok(Invocation::Print(error.render().to_string()));
        }
        Err(error) if error.kind() == ErrorKind::DisplayVersion => {
            return Ok(Invocation::Print(format!("kvblade-dpdk {version}\n")));
        }
        Err(error) => return Err(refused(&error)),
    };
    let options = Options::from_arg_matches(&matches).map_err(|error| refused(&error))?;
    let eal = EalOptions::parse(&eal, dpdk::eal::release())?;
    let (check, reserve_hugepages) = (options.check, options.reserve_hugepages);
    let command = Box::new(options.complete(eal)?);
    Ok(match (check, reserve_hugepages) {
        (true, _) => Invocation::Check(command),
        (_, true) => Invocation::ReserveHugepages(command),
        _ => Invocation::Serve(command),
    })
}

impl Options {
    /// Completes the options from the settings file, then from the defaults.
    fn complete(self, eal: EalOptions) -> Result<CommandLine, LaunchError> {
        let file = match &self.settings {
            Some(path) => Settings::read(path)?,
            None => Settings::default(),
        };
        let mut exports =
            self.exports.iter().map(|value| ExportSpec::parse(value)).collect::<Result<Vec<_>, _>>()?;
        let mut interfaces = self.interfaces;
        if let Some((interface, export)) = vblade::read(&self.vblade)? {
            if !interfaces.contains(&interface) {
                interfaces.push(interface);
            }
            exports.push(export);
        }
        if exports.is_empty() {
            exports = file.exports.unwrap_or_default();
        }
        if interfaces.is_empty() {
            interfaces = file.interfaces.unwrap_or_default();
        }
        export_spec::check_distinct(&exports)?;
        let eal = eal.over(file.eal);
        eal.check()?;
        interfaces::check(&interfaces, &eal)?;
        let rpc_socket = self.rpc_socket.or(file.rpc_socket).unwrap_or_else(|| DEFAULT_RPC_SOCKET.into());
        let rpc_socket = std::path::absolute(&rpc_socket).map_err(|error| {
            LaunchError::usage(format!("--rpc-socket '{}': {error}: give a path", rpc_socket.display()))
        })?;
        let log_format = self.log_format.or(file.log_format).unwrap_or_default();
        let log_target = self.log_target.or(file.log_target).unwrap_or_default();
        log_target.check(log_format)?;
        Ok(CommandLine {
            eal,
            settings: self.settings,
            interfaces,
            hugepages: self.hugepages.or(file.hugepages).unwrap_or_default(),
            exports,
            config: self.config.or(file.config),
            strict: self.strict || file.strict.unwrap_or(false),
            take_over: self.take_over,
            rpc_socket,
            rpc_connections: self.rpc_connections.or(file.rpc_connections).unwrap_or(RPC_CONNECTIONS_DEFAULT),
            rpc_access: SocketAccess {
                mode: self.rpc_mode.or(file.rpc_mode),
                group: self.rpc_group.or(file.rpc_group),
            },
            audit_log: self.audit_log.or(file.audit_log).map(absolute_audit_log).transpose()?,
            state_dir: self.state_dir.or(file.state_dir).unwrap_or_else(|| DEFAULT_STATE_DIR.into()),
            mtu: self.mtu.or(file.mtu),
            mbufs: self.mbufs.or(file.mbufs).unwrap_or(MBUFS_DEFAULT),
            io_timeout: self.io_timeout.or(file.io_timeout),
            spread: self.spread.or(file.spread).unwrap_or_default(),
            idle: self.idle.or(file.idle).unwrap_or_default(),
            payload_alignment: self
                .payload_alignment
                .or(file.payload_alignment)
                .unwrap_or(PayloadAlignment::Auto),
            log_level: self.log_level.or(file.log_level),
            log_format,
            log_target,
        })
    }
}

/// The working directory may change.
fn absolute_audit_log(path: std::path::PathBuf) -> Result<std::path::PathBuf, LaunchError> {
    std::path::absolute(&path).map_err(|error| {
        LaunchError::usage(format!("--audit-log '{}': {error}: give a path", path.display()))
    })
}

/// What clap found, in one sentence.
fn refused(error: &clap::Error) -> LaunchError {
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
        && error.kind() == ErrorKind::UnknownArgument
        && looks_like_eal_option(word)
    {
        return LaunchError::usage(format!(
            "'{word}' is an EAL option: EAL's options stand before '--', or anywhere if there is none, as in \
                 kvblade-dpdk -l 0-1 --interface eth1 --export 1.1=malloc:64M"
        ));
    }
    LaunchError::usage(format!("{} (see kvblade-dpdk --help)", rpc_client::command::sentence(error)))
}

/// The command line of a test, which serves.
#[cfg(test)]
#[track_caller]
pub(crate) fn command_line(line: &str) -> CommandLine {
    let words = std::iter::once("kvblade-dpdk").chain(line.split_whitespace()).map(Into::into);
    match parse(words, "") {
        Ok(Invocation::Serve(command)) => *command,
        other => panic!("{line}: {other:?}"),
    }
}

#[cfg(test)]
mod tests;
