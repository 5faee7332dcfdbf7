//! The common part of the commands: their common options, their outcomes and their exit codes.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser};
use control::backing_file::BackingFileError;
use control::error::Quoted;
use control::{OneExport, PortRef, Shelf, ShelfSlot, Slot, VlanId};
use serde_json::Value;
use thiserror::Error;

use crate::call::{Client, ClientError, DEFAULT_SOCKET, DEFAULT_TIMEOUT};

/// Options every command has.
#[derive(Debug, Clone, Args)]
pub struct Connection {
    /// Unix socket that kvblade-dpdk listens on, as its --rpc-socket says
    #[arg(short = 's', long, value_name = "PATH", default_value = DEFAULT_SOCKET, global = true)]
    rpc_socket: PathBuf,

    /// How long to wait for an answer [default: 60]
    #[arg(short, long, value_name = "SECONDS", value_parser = parse_timeout, global = true)]
    timeout: Option<Duration>,
}

impl Connection {
    /// Connects to kvblade-dpdk.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub fn open(&self) -> Result<Client, ClientError> {
        Client::connect(&self.rpc_socket, self.timeout())
    }

    /// How long a call may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.rpc_socket
    }
}

/// What a command that was carried out prints, and its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    text: String,
    code: u8,
}

impl Outcome {
    /// With an exit code that has a meaning of its own.
    #[must_use]
    pub const fn with_code(text: String, code: u8) -> Self {
        Self { text, code }
    }

    /// A value as JSON, for scripts.
    #[must_use]
    pub fn json(value: &Value) -> Self {
        Self::from(format!("{value:#}\n"))
    }
}

impl From<String> for Outcome {
    fn from(text: String) -> Self {
        Self { text, code: 0 }
    }
}

/// Why a command failed. Displays as one sentence; every one but `Usage` exits with 1.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The command line is wrong: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// A call failed.
    #[error(transparent)]
    Call(#[from] ClientError),
    /// The file cannot be exported.
    #[error(transparent)]
    File(#[from] BackingFileError),
    /// The request would do harm or can't be carried out.
    #[error("{0}")]
    Refused(String),
}

/// Exit code after a command line that is wrong.
const WRONG_USE: u8 = 2;

/// Runs a command: reads its command line, carries it out, prints its output, or one sentence on stderr after
/// the command's name. Exits with 0, 1 when it failed or its output can't be written, 2 when the command line was wrong.
pub fn run<C: Parser + CommandFactory, O: Into<Outcome>>(
    carry_out: impl FnOnce(C) -> Result<O, CommandError>,
) -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let name = C::command().get_name().to_owned();
    run_words(&words, &name, None, |command| carry_out(command).map(Into::into))
}

/// As [`run`], for these words, of which the first is the program's name. An error of the command line refers to the help of
/// `command`. With `failure`, every error exits with that.
pub fn run_words<C: Parser + CommandFactory>(
    words: &[OsString],
    command: &str,
    failure: Option<u8>,
    carry_out: impl FnOnce(C) -> Result<Outcome, CommandError>,
) -> ExitCode {
    let name = C::command().get_name().to_owned();
    let outcome = match manual::answer(words.get(1..).unwrap_or_default(), C::command) {
        Some(answer) => answer.map(Outcome::from).map_err(CommandError::Usage),
        None => match C::try_parse_from(words) {
            Ok(command) => carry_out(command),
            Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
                Ok(error.render().to_string().into())
            }
            Err(error) => Err(CommandError::Usage(format!("{} (see {command} --help)", sentence(&error)))),
        },
    };
    let outcome = match outcome {
        Ok(outcome) => manual::print(&outcome.text).map(|()| outcome.code).map_err(CommandError::Refused),
        Err(error) => Err(error),
    };
    let error = match outcome {
        Ok(code) => return ExitCode::from(code),
        Err(error) => error,
    };
    // Standard error is the last place where a failure could be reported.
    writeln!(std::io::stderr(), "{name}: {error}").unwrap_or_default();
    let usual = if matches!(error, CommandError::Usage(_)) { WRONG_USE } else { 1 };
    ExitCode::from(failure.unwrap_or(usual))
}

/// One sentence of what clap found, from the facts that its error carries; its own report has several lines and repeats
/// the usage.
#[must_use]
pub fn sentence(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(" ")),
        Some(other) => Some(other.to_string()),
        None => None,
    };
    let argument = text(ContextKind::InvalidArg).unwrap_or_default();
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let near = text(ContextKind::SuggestedArg);
            let near = near.map_or_else(String::new, |near| format!(", the nearest is '{near}'"));
            format!("there is no option '{argument}'{near}")
        }
        ErrorKind::ValueValidation => {
            let why = error.source().map_or_else(|| "it is not allowed".to_owned(), ToString::to_string);
            format!("invalid value '{value}' for '{argument}': {why}")
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            format!("a value is required for '{argument}', and none is given")
        }
        ErrorKind::InvalidValue => {
            let allowed = text(ContextKind::ValidValue).unwrap_or_default();
            format!("invalid value '{value}' for '{argument}': it must be one of {allowed}")
        }
        ErrorKind::ArgumentConflict => match text(ContextKind::PriorArg) {
            Some(prior) if prior != argument => format!("'{argument}' and '{prior}' can't be given together"),
            _ => format!("'{argument}' is given twice: once is enough"),
        },
        ErrorKind::MissingRequiredArgument => format!("these words are missing: {argument}"),
        ErrorKind::InvalidSubcommand => {
            let given = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            // The nearest is the last.
            let near = text(ContextKind::SuggestedSubcommand).unwrap_or_default();
            let near = near.split(' ').next_back().filter(|near| !near.is_empty());
            let near = near.map_or_else(String::new, |near| format!(", the nearest is '{near}'"));
            format!("there is no subcommand '{given}'{near}")
        }
        ErrorKind::MissingSubcommand => {
            let all = text(ContextKind::ValidSubcommand).unwrap_or_default().replace(' ', ", ");
            format!("a subcommand is required, one of {all}")
        }
        ErrorKind::InvalidUtf8 => "a word is not UTF-8, as it must be".to_owned(),
        // Kinds that no option of ours can cause have clap's own words.
        other => match (argument.as_str(), other.as_str()) {
            ("", words) => words.unwrap_or("the command line is wrong").to_owned(),
            (argument, words) => format!("'{argument}': {}", words.unwrap_or("it is wrong")),
        },
    }
}

/// For clap: a shelf in decimal.
///
/// # Errors
/// A sentence naming the text and the range.
pub fn parse_shelf(text: &str) -> Result<Shelf, String> {
    text.parse().map_err(|error: control::AddressError| error.to_string())
}

/// For clap: a slot in decimal.
///
/// # Errors
/// A sentence naming the text and the range.
pub fn parse_slot(text: &str) -> Result<Slot, String> {
    text.parse().map_err(|error: control::AddressError| error.to_string())
}

/// For clap: a port's name or number, or the Linux interface behind it.
///
/// # Errors
/// A sentence naming the text and what is allowed.
pub fn parse_port(text: &str) -> Result<PortRef, String> {
    PortRef::parse(text)
}

/// For clap: a VLAN.
///
/// # Errors
/// A sentence naming the text and the range.
pub fn parse_vlan(text: &str) -> Result<VlanId, String> {
    let vlan = text.parse().ok().and_then(VlanId::new);
    vlan.ok_or_else(|| {
        format!("vlan {} is not allowed: it is the number of a VLAN, from 1 to {}", Quoted(text), VlanId::MAX)
    })
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    const ALLOWED: &str = "a time is a number of seconds above 0, up to 86400";
    let seconds: f64 = text.parse().map_err(|_| ALLOWED.to_owned())?;
    if seconds > 0.0 && seconds <= 86_400.0 {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(ALLOWED.into())
    }
}

/// Address as two words of the command line.
#[derive(Debug, Clone, Copy, Args)]
pub struct AddressArgs {
    /// Shelf of the AoE device, 0 to 65534
    #[arg(value_parser = parse_shelf)]
    shelf: Shelf,
    /// Slot of the AoE device, 0 to 254
    #[arg(value_parser = parse_slot)]
    slot: Slot,
}

impl AddressArgs {
    /// The address.
    #[must_use]
    pub fn address(self) -> ShelfSlot {
        ShelfSlot::new(self.shelf, self.slot)
    }
}

/// One of the exports, as words and options of the command line.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    address: AddressArgs,
    /// VLAN it is served in, 1 to 4094 [default: none]
    #[arg(long, value_name = "ID", value_parser = parse_vlan)]
    vlan: Option<VlanId>,
    /// A port it is served on, where several exports have the address
    #[arg(long, value_name = "PORT", value_parser = parse_port)]
    port: Option<PortRef>,
}

impl ExportArgs {
    /// The export.
    #[must_use]
    pub fn export(self) -> OneExport {
        OneExport { address: self.address.address(), vlan: self.vlan, port: self.port }
    }
}
