//! The program `kv` for a running kvblade-dpdk, which is also kvblade's commands `kvadd`, `kvdel`, `kvstat` and `kvannounce`.
//!
//! [`subcommands`] reads the command lines ([`rpc_client::command`]), makes calls over the RPC socket ([`rpc_client`]) and prints the answers.
//! [`add`] creates an SPDK bdev for a file, and [`del`] deletes it with its last export. The live view is in the module `top`.

#![forbid(unsafe_code)]

pub mod add;
pub mod bdev_list;
pub mod configuration;
pub mod del;
pub mod option_args;
pub mod progress;
pub mod stat;
pub mod subcommands;
pub mod table;
mod top;
