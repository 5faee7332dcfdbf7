//! kvblade's commands for a running kvblade-dpdk: `kvadd`, `kvdel`, `kvstat` and `kvannounce`.
//!
//! Each reads its command line ([`command`]), asks over the management socket ([`rpc_client`]) and prints what
//! comes back. What they do beyond one call, [`add`] and [`del`] say: a file becomes an SPDK bdev on the way in,
//! and the bdev goes with its last export.

#![forbid(unsafe_code)]

pub mod add;
pub mod bdev_list;
pub mod command;
pub mod del;
pub mod option_args;
pub mod rpc_client;
pub mod stat;

pub use rpc_client::{Client, ClientError};
