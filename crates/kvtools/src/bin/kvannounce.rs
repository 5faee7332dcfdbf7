//! Makes a running kvblade-dpdk advertise its AoE devices.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use control::{Announce, Method, Shelf, Slot};
use kvtools::command::{self, Connection, parse_shelf, parse_slot};
use serde_json::Value;

/// Broadcast the advertisement of AoE devices, so that initiators find them
///
/// Without a shelf all devices are advertised, without a slot those of the shelf.
#[derive(Debug, Parser)]
#[command(name = "kvannounce", version)]
struct Kvannounce {
    /// Only this shelf
    #[arg(value_parser = parse_shelf)]
    shelf: Option<Shelf>,
    /// Only this slot of it
    #[arg(value_parser = parse_slot)]
    slot: Option<Slot>,
    #[command(flatten)]
    connection: Connection,
}

fn main() -> ExitCode {
    command::run(|kvannounce: Kvannounce| {
        let request = Announce { shelf: kvannounce.shelf, slot: kvannounce.slot };
        let _done: Value = kvannounce.connection.open()?.call(Announce::NAME, Some(request.to_params()))?;
        Ok(String::new())
    })
}
