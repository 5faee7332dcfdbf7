//! The program `kv` for a running kvblade-dpdk, which is also kvblade's commands `kvadd`, `kvdel`, `kvstat` and `kvannounce`.
//!
//! [`subcommands`] reads the command lines ([`command`]), makes calls over the RPC socket ([`rpc_client`]) and prints the answers.
//! [`add`] creates an SPDK bdev for a file, and [`del`] deletes it with its last export. The live view is in the module `top`.

#![forbid(unsafe_code)]

pub mod add;
pub mod bdev_list;
pub mod command;
pub mod configuration;
pub mod del;
pub mod json_rpc;
pub mod option_args;
pub mod progress;
pub mod rpc_client;
pub mod stat;
pub mod subcommands;
pub mod table;
mod top;

pub use rpc_client::{Client, ClientError};
