//! kvblade's commands for a running kvblade-dpdk: `kvadd`, `kvdel`, `kvstat` and `kvannounce`.
//!
//! Each reads its command line ([`command`]), makes calls over the RPC socket ([`rpc_client`]) and prints the answer. [`add`]
//! creates an SPDK bdev for a file, and [`del`] deletes it with its last export.

#![forbid(unsafe_code)]

pub mod add;
pub mod bdev_list;
pub mod command;
pub mod del;
pub mod json_rpc;
pub mod option_args;
pub mod rpc_client;
pub mod stat;

pub use rpc_client::{Client, ClientError};
