//! `kv add` and `kvadd`: serve a file, block device or bdev.

use std::path::PathBuf;

use clap::Args;
use control::file_bdev::{Caching, FileOptions, SyncMode};
use control::{PortRef, rbd};

use crate::add::{Addition, add, describe};
use crate::option_args::OptionArgs;
use crate::progress::{Measure, Progress};
use rpc_client::command::{AddressArgs, CommandError, Connection, Outcome, parse_port};

/// Serve a file, block device or bdev as an AoE device
///
/// Example: kv add 1 3 eth0 /dev/sdb
#[derive(Debug, Args)]
pub(super) struct AddArgs {
    #[command(flatten)]
    address: AddressArgs,
    /// Port to serve on: its name (net_af_packet0, a PCI address) or number, or the Linux interface behind it
    #[arg(value_parser = parse_port)]
    netif: PortRef,
    /// Regular file, block device, image of a Ceph cluster (rbd:POOL/IMAGE), or name of an SPDK bdev; spdk-aio:PATH for a
    /// file under SPDK's own bdev
    path: PathBuf,
    /// How writes to a file become durable, group, each or none [default: as the disk needs; none with --cache write-back]
    #[arg(long, value_name = "MODE", value_parser = SyncMode::parse)]
    sync: Option<SyncMode>,
    /// Serve a file through the page cache [default with --read-only]
    #[arg(long)]
    buffered: bool,
    /// Serve a file past the page cache [default of what is written]
    #[arg(long, conflicts_with = "buffered")]
    direct: bool,
    /// Ceph user of an image, without "client." [default: admin]
    #[arg(long, value_name = "ID", value_parser = rbd::parse_user)]
    user: Option<String>,
    /// Ceph's configuration file for an image [default: what kvblade-dpdk's CEPH_CONF names, or /etc/ceph/ceph.conf]
    #[arg(long, value_name = "PATH", value_parser = rbd::parse_conf)]
    conf: Option<String>,
    #[command(flatten)]
    options: OptionArgs,
}

impl AddArgs {
    /// Carries it out.
    pub(super) fn carry_out(self, connection: &Connection) -> Result<Outcome, CommandError> {
        let caching = match (self.buffered, self.direct) {
            (true, _) => Some(Caching::Buffered),
            (_, true) => Some(Caching::Direct),
            _ => None,
        };
        let addition = Addition {
            address: self.address.address(),
            port: self.netif,
            path: self.path,
            file: FileOptions { sync: self.sync, caching },
            user: self.user,
            conf: self.conf,
            options: self.options.into_options()?,
        };
        let mut client = connection.open()?;
        let _progress = Progress::start("the disk to be opened", Measure::AtMost(connection.timeout()));
        let export = add(&mut client, &addition)?;
        Ok(describe(&addition.path, &export).into())
    }
}
