//! The command `kvadd` in cargo's target directory, where packages have a link to `kv`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    kvtools::subcommands::kvadd()
}
