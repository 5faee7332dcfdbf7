//! `kv completion`: the completions of a shell, for installations without a package.

use clap::{Args, Command};

use rpc_client::command::{CommandError, Outcome};

/// Print the completions for a shell, such as by: source <(kv completion bash)
#[derive(Debug, Args)]
pub(super) struct CompletionArgs {
    /// The shell: bash, zsh or fish
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

impl CompletionArgs {
    /// Carries it out for the program of that definition.
    pub(super) fn carry_out(self, command: impl FnOnce() -> Command) -> Result<Outcome, CommandError> {
        let answer = manual::answer(&["--generate".into(), self.shell.into()], command);
        answer.unwrap_or_else(|| Ok(String::new())).map(Outcome::from).map_err(CommandError::Usage)
    }
}
