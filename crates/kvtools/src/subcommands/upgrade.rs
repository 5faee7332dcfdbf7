//! `kv upgrade`: the target starts itself anew, and the new process takes over.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use control::{Method, Upgrade};
use serde_json::Value;

use crate::progress::{Measure, Progress};
use rpc_client::command::{CommandError, Connection, Outcome};

/// Period of the look for the new process.
const PERIOD: Duration = Duration::from_millis(20);

/// Start the target anew, from the program that is installed now, while it serves on until the new process takes over
///
/// Initiators notice a short silence. If the new process can't start, the one before serves on, and its log says why.
#[derive(Debug, Args)]
pub(super) struct UpgradeArgs {}

impl UpgradeArgs {
    /// Carries it out.
    pub(super) fn carry_out(&self, connection: &Connection) -> Result<Outcome, CommandError> {
        let failed =
            |error: std::io::Error| CommandError::Refused(format!("the process that listens: {error}"));
        let mut client = connection.open()?;
        let before = client.process().map_err(failed)?;
        let _asked: Value = client.call(Upgrade::NAME, None)?;
        let _progress = Progress::start("the new process", Measure::AtMost(connection.timeout()));
        let deadline = Instant::now() + connection.timeout();
        loop {
            // In between nobody listens.
            let now = connection.open().ok().and_then(|client| client.process().ok());
            match now {
                Some(now) if now != before => {
                    return Ok(format!("process {now} has taken over from {before}\n").into());
                }
                _ if Instant::now() > deadline => return Err(late(before, now.is_some(), connection)),
                _ => thread::sleep(PERIOD),
            }
        }
    }
}

fn late(before: i32, serves: bool, connection: &Connection) -> CommandError {
    let seconds = connection.timeout().as_secs();
    let what = if serves { format!("process {before} serves on") } else { "nobody listens".to_owned() };
    CommandError::Refused(format!(
        "no other process has taken over within {seconds} s, and {what}: the log says why"
    ))
}
