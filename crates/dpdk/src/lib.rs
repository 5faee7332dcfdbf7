//! Safe DPDK, where a frame arrives and leaves: ports, their queues, and the mbufs that frames live in.
//!
//! In the order of a frame's way: [`Port`] is configured and started once by the control plane and hands out
//! a [`RxQueue`] and a [`TxQueue`] per lcore; a rx queue fills a [`Burst`] with [`RxMbuf`]s from its
//! [`Mempool`]; a tx queue takes them back as [`TxMbuf`]s. [`FlowRule`]s bring frames to several rx queues where the NIC can;
//! a [`frame_ring()`] takes them from one lcore to another where it can't. All of it asks for the proof that EAL has
//! started ([`EalStarted`]).
//!
//! Ownership is the point of this crate. An [`Mbuf`] is owned by exactly one place at a time, and dropping it
//! frees it. Queues are `Send`, so that they can be moved to their lcore, and not `Sync`: no two lcores can
//! use one. A port is stopped and closed when the last of its queues is gone, and its mempools are freed
//! after that.
//!
//! This crate knows neither AoE nor SPDK.

mod atomic;
mod control;
pub mod eal;
mod error;
pub mod flow;
mod frame_ring;
mod gate;
mod interface;
mod interrupt_pass;
mod layout;
mod mbuf;
mod memory;
mod mempool;
mod packet_ring;
mod pause;
mod peer_changes;
pub mod port;
mod queue;
mod ring_port;
mod rx_interrupts;
mod started_port;
pub mod telemetry;
mod text;
pub mod tsc;

pub use eal::EalStarted;
pub use error::{Error, Result};
pub use flow::FlowRule;
pub use frame_ring::{FrameReceiver, FrameSender, frame_ring};
pub use interface::Interface;
pub use layout::DataAlignment;
pub use mbuf::{HEADROOM, Mbuf, RxMbuf, TxMbuf, VLAN_TAG};
pub use memory::Memory;
pub use mempool::Mempool;
pub use pause::{can_pause, pause};
pub use port::{Link, Port, PortConfig, PortInfo, PortStats, PortUse};
pub use queue::{BURST, Burst, RxQueue, TxQueue};
pub use ring_port::{PeerRing, ring_port, ring_port_with_queues};
pub use rx_interrupts::RxInterrupts;
