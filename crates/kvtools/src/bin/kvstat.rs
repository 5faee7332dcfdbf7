//! Lists the AoE devices of a running kvblade-dpdk.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use kvtools::command::{self, Connection};
use kvtools::stat::stat;

/// List what is served: device, interface, size in GB (10^9 bytes), file or bdev, and what is not usual
#[derive(Debug, Parser)]
#[command(name = "kvstat", version)]
struct Kvstat {
    #[command(flatten)]
    connection: Connection,
}

fn main() -> ExitCode {
    command::run(|kvstat: Kvstat| stat(&mut kvstat.connection.open()?))
}
