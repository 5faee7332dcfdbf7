//! `kv config`: saves, loads and checks a configuration.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Subcommand};

use crate::configuration::{self, Entry};
use crate::progress::{Measure, Progress};
use rpc_client::command::{CommandError, Connection, Outcome};

/// Save, load or check a configuration in the form of SPDK's save_config
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true, arg_required_else_help = false)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Save(SaveArgs),
    Load(LoadArgs),
    Check(CheckArgs),
}

/// Save the configuration of the running target: its bdevs, its exports, and SPDK's options
///
/// `kvblade-dpdk --config FILE` starts from it. The file has mode 600, unless it is there already, for it may hold keys.
#[derive(Debug, Args)]
struct SaveArgs {
    /// File to write; standard output if left out
    file: Option<PathBuf>,
}

/// Make the calls of a configuration in the running target
///
/// Entries that are only taken at the start are left out, and named. The first entry that is refused ends the command; those before
/// it hold.
#[derive(Debug, Args)]
struct LoadArgs {
    /// File to read; - for standard input
    file: PathBuf,
}

/// Check whether a target can start from a configuration or a settings file, without a running one
///
/// It runs `kvblade-dpdk --check`, and has its output and exit code: 0 if all of it can be served, 1 if this machine or a file does
/// not allow it, 2 if a value is wrong.
#[derive(Debug, Args)]
struct CheckArgs {
    /// Configuration to check
    #[arg(required_unless_present = "settings")]
    file: Option<PathBuf>,
    /// Settings file to check, such as /etc/kvblade/kvblade.toml
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Program to run [default: kvblade-dpdk beside this program, or in the PATH]
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// Further words for kvblade-dpdk, behind --, such as --interface eth1
    #[arg(last = true, value_name = "WORD")]
    words: Vec<OsString>,
}

impl ConfigArgs {
    /// Carries it out.
    pub(super) fn carry_out(self, connection: &Connection) -> Result<Outcome, CommandError> {
        match self.what {
            What::Save(args) => args.carry_out(connection),
            What::Load(args) => args.carry_out(connection),
            What::Check(args) => Err(args.carry_out()),
        }
    }
}

impl SaveArgs {
    fn carry_out(&self, connection: &Connection) -> Result<Outcome, CommandError> {
        let mut client = connection.open()?;
        let saved = {
            let _progress = Progress::start("the configuration", Measure::AtMost(connection.timeout()));
            configuration::fetch(&mut client)?
        };
        let Some(path) = &self.file else { return Ok(Outcome::json(&saved)) };
        configuration::write(path, &saved)?;
        Ok(String::new().into())
    }
}

impl LoadArgs {
    fn carry_out(&self, connection: &Connection) -> Result<Outcome, CommandError> {
        let entries = self.read()?;
        let mut client = connection.open()?;
        let skipped = {
            let progress = Progress::start("entries", Measure::Steps(entries.len()));
            configuration::load(&mut client, &entries, |made| progress.done(made)).map_err(|error| {
                match error {
                    CommandError::Refused(what) => {
                        CommandError::Refused(format!("'{}': {what}", self.file.display()))
                    }
                    other => other,
                }
            })?
        };
        if skipped.is_empty() {
            return Ok(String::new().into());
        }
        let names: Vec<&str> = skipped.iter().map(String::as_str).collect();
        Ok(format!("left out, for a target takes them at its start only: {}\n", names.join(", ")).into())
    }

    fn read(&self) -> Result<Vec<Entry>, CommandError> {
        let mut text = String::new();
        let read = if self.file == Path::new("-") {
            std::io::stdin().read_to_string(&mut text).map(drop)
        } else {
            std::fs::read_to_string(&self.file).map(|read| text = read)
        };
        let of_file = |what: String| CommandError::Refused(format!("'{}': {what}", self.file.display()));
        read.map_err(|error| of_file(format!("cannot be read: {error}")))?;
        configuration::parse(&text).map_err(of_file)
    }
}

impl CheckArgs {
    /// Becomes the program, so that this only returns if it can't.
    fn carry_out(self) -> CommandError {
        let program = self.program.unwrap_or_else(program_of_target);
        let mut command = Command::new(&program);
        command.args(self.words).arg("--check");
        if let Some(file) = self.file {
            command.arg("--config").arg(file);
        }
        if let Some(file) = self.settings {
            command.arg("--settings").arg(file);
        }
        let error = command.exec();
        CommandError::Refused(format!(
            "cannot run '{}': {error}; give its path by --program",
            program.display()
        ))
    }
}

/// The target's program, which packages and builds put beside this one.
fn program_of_target() -> PathBuf {
    const NAME: &str = "kvblade-dpdk";
    let beside = std::env::current_exe().ok().map(|program| program.with_file_name(NAME));
    beside.filter(|program| program.exists()).unwrap_or_else(|| NAME.into())
}
