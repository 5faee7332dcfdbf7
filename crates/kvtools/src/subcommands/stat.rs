//! `kv stat`: the exports, as `kvstat` lists them or as JSON.

use clap::Args;
use control::{GetExports, Method};
use serde_json::Value;

use crate::stat::stat;
use rpc_client::command::{CommandError, Connection, Outcome};

/// List what is served: device, interface, size in GB (10^9 bytes), file or bdev, and what is not usual
#[derive(Debug, Args)]
pub(super) struct StatArgs {
    /// Print all that is known of each export as JSON
    #[arg(long)]
    json: bool,
}

impl StatArgs {
    /// Carries it out.
    pub(super) fn carry_out(&self, connection: &Connection) -> Result<Outcome, CommandError> {
        let mut client = connection.open()?;
        if self.json {
            let exports: Value = client.call(GetExports::NAME, None)?;
            return Ok(Outcome::json(&exports));
        }
        Ok(stat(&mut client)?.into())
    }
}
