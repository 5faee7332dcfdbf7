//! `kv announce` and `kvannounce`: broadcast the advertisement of AoE devices.

use clap::Args;
use control::{Announce, Method, Shelf, Slot};
use serde_json::Value;

use rpc_client::command::{CommandError, Connection, Outcome, parse_shelf, parse_slot};

/// Broadcast the advertisement of AoE devices, so that initiators find them
///
/// Without a shelf all devices are advertised, without a slot those of the shelf.
#[derive(Debug, Args)]
pub(super) struct AnnounceArgs {
    /// Only this shelf
    #[arg(value_parser = parse_shelf)]
    shelf: Option<Shelf>,
    /// Only this slot of it
    #[arg(value_parser = parse_slot)]
    slot: Option<Slot>,
}

impl AnnounceArgs {
    /// Carries it out.
    pub(super) fn carry_out(&self, connection: &Connection) -> Result<Outcome, CommandError> {
        let request = Announce { shelf: self.shelf, slot: self.slot };
        let _done: Value = connection.open()?.call(Announce::NAME, Some(request.to_params()))?;
        Ok(String::new().into())
    }
}
