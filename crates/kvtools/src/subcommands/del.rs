//! `kv del` and `kvdel`: stop serving an AoE device on an interface.

use clap::Args;
use control::{PortRef, VlanId};

use crate::del::del;
use crate::progress::{Measure, Progress};
use rpc_client::command::{AddressArgs, CommandError, Connection, Outcome, parse_port, parse_vlan};

/// Stop serving an AoE device on an interface; what is in flight is answered first
///
/// Example: kv del 1 3 eth0
#[derive(Debug, Args)]
pub(super) struct DelArgs {
    #[command(flatten)]
    address: AddressArgs,
    /// Port to leave: its name (net_af_packet0, a PCI address) or number, or the Linux interface behind it
    #[arg(value_parser = parse_port)]
    netif: PortRef,
    /// VLAN it is served in, 1 to 4094 [default: none]
    #[arg(long, value_name = "ID", value_parser = parse_vlan)]
    vlan: Option<VlanId>,
    /// Free the address at once, although requests are in flight: those that the bdev has not answered are quarantined
    #[arg(long)]
    force: bool,
}

impl DelArgs {
    /// Carries it out.
    pub(super) fn carry_out(self, connection: &Connection) -> Result<Outcome, CommandError> {
        let mut client = connection.open()?;
        let _progress = Progress::start("the requests in flight", Measure::AtMost(connection.timeout()));
        Ok(del(&mut client, self.address.address(), self.vlan, &self.netif, self.force)?.into())
    }
}
