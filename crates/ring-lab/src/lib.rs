//! For tests and benches: an lcore with ports and bdevs, without hugepages, NIC or interface.
//!
//! A port is made of two rings, whose far end the test holds ([`dpdk::PeerRing`]); bdevs are whatever SPDK's
//! configuration makes; requests are bytes, written by the protocol's tables ([`frames`]) and not by the code under
//! test. All of it lives inside SPDK's app, which runs once in a process and on its main thread: so a user of this
//! crate has a `main` function of its own.
//!
//! Nothing here is part of the target. What is wrong with it panics.
#![forbid(unsafe_code)]

mod app;
pub mod frames;
mod port;

pub use app::run;
pub use port::{eal, export, filled, mempool, open, port_queue, start, stop};
