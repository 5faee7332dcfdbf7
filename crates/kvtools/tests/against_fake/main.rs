//! The client and the commands against a fake of kvblade-dpdk's management socket.

mod commands;
mod fake_target;
mod kv;
mod rpc_client;
