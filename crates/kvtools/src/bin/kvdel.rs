//! Removes an AoE device from a running kvblade-dpdk.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use control::{PortRef, VlanId};
use kvtools::command::{self, AddressArgs, Connection, parse_port};
use kvtools::del::del;

/// Stop serving an AoE device on an interface; what is in flight is answered first
///
/// Example: kvdel 1 3 eth0
#[derive(Debug, Parser)]
#[command(name = "kvdel", version)]
struct Kvdel {
    #[command(flatten)]
    address: AddressArgs,
    /// Port to leave: its name (net_af_packet0, a PCI address) or number, or the Linux interface behind it
    #[arg(value_parser = parse_port)]
    netif: PortRef,
    /// VLAN it is served in, 1 to 4094 [default: none]
    #[arg(long, value_name = "ID", value_parser = command::parse_vlan)]
    vlan: Option<VlanId>,
    /// Free the address at once, although requests are in flight: those that the bdev has not answered are quarantined
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    connection: Connection,
}

fn main() -> ExitCode {
    command::run(|kvdel: Kvdel| {
        let mut client = kvdel.connection.open()?;
        del(&mut client, kvdel.address.address(), kvdel.vlan, &kvdel.netif, kvdel.force)
    })
}
