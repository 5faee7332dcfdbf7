//! Adds an AoE device to a running kvblade-dpdk.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use control::file_bdev::{Caching, FileOptions, SyncMode};
use control::{PortRef, rbd};
use kvtools::add::{self, Addition};
use kvtools::command::{self, AddressArgs, Connection, parse_port};
use kvtools::option_args::OptionArgs;

/// Serve a file, block device or bdev as an AoE device
///
/// Example: kvadd 1 3 eth0 /dev/sdb
#[derive(Debug, Parser)]
#[command(name = "kvadd", version)]
struct Kvadd {
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
    #[command(flatten)]
    connection: Connection,
}

fn main() -> ExitCode {
    command::run(|kvadd: Kvadd| {
        let caching = match (kvadd.buffered, kvadd.direct) {
            (true, _) => Some(Caching::Buffered),
            (_, true) => Some(Caching::Direct),
            _ => None,
        };
        let addition = Addition {
            address: kvadd.address.address(),
            port: kvadd.netif,
            path: kvadd.path,
            file: FileOptions { sync: kvadd.sync, caching },
            user: kvadd.user,
            conf: kvadd.conf,
            options: kvadd.options.into_options()?,
        };
        let export = add::add(&mut kvadd.connection.open()?, &addition)?;
        Ok(add::describe(&addition.path, &export))
    })
}
