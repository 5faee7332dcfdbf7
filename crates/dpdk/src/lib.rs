//! Safe DPDK, where a frame arrives and leaves: ports, their queues, and the mbufs that frames live in.
//!
//! In the order of a frame's way: [`Port`] is configured and started once by the control plane and hands out
//! a [`RxQueue`] and a [`TxQueue`] per lcore; a rx queue fills a [`Burst`] with [`Mbuf`]s from its
//! [`Mempool`]; a tx queue takes them back. [`FlowRule`]s bring frames to several rx queues where the NIC can;
//! a [`handover()`] takes them from one lcore to another where it can't.
//!
//! Ownership is the point of this crate. An [`Mbuf`] is owned by exactly one place at a time, and dropping it
//! frees it. Queues are `Send`, so that they can be moved to their lcore, and not `Sync`: no two lcores can
//! use one. A port is stopped and closed when the last of its queues is gone, and its mempools are freed
//! after that.
//!
//! This crate knows neither AoE nor SPDK.

pub mod eal;
mod error;
pub mod flow;
mod handover;
mod interface;
mod layout;
mod mbuf;
mod memory;
mod mempool;
pub mod port;
mod prefetch;
mod queue;
mod rest;
mod ring;
pub mod tsc;

pub use error::{Error, Result};
pub use flow::FlowRule;
pub use handover::{FrameReceiver, FrameSender, handover};
pub use interface::Interface;
pub use layout::DataAlignment;
pub use mbuf::{HEADROOM, Mbuf, VLAN_TAG};
pub use memory::Memory;
pub use mempool::Mempool;
pub use port::{Link, Port, PortConfig, PortInfo, PortStats, PortUse};
pub use prefetch::{prefetch, prefetch_at};
pub use queue::{BURST, Burst, RxQueue, TxQueue};
pub use rest::{RxInterrupts, can_pause, pause};
pub use ring::{PeerRing, ring_port, ring_port_with_queues};
