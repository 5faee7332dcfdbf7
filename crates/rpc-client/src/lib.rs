//! Calls over the RPC socket of a running kvblade-dpdk, and the common part of the programs that make them: `kv`,
//! kvblade-exporter, and kvblade-dpdk itself, which makes its own calls at a start and at a reload.
//!
//! [`Client`] has a connection and deadlines, [`json_rpc`] the text of calls and answers, and [`command`] a program's
//! options, outcome and exit code.

#![forbid(unsafe_code)]

mod call;
pub mod command;
pub mod json_rpc;

pub use call::{Client, ClientError, DEFAULT_SOCKET, DEFAULT_TIMEOUT};
