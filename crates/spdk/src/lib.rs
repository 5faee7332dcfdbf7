//! Safe SPDK, where a request waits for its bdev: the app and its reactors, threads and pollers, bdevs, and
//! I/O straight between a bdev and the bytes of an mbuf.
//!
//! In the order things happen: [`app::run`] starts the event framework; a [`Subsystem`] takes part in its
//! start and stop; [`Thread::pinned`] gives each reactor a thread of ours and [`Poller`] makes it turn;
//! [`Bdev::open`] opens a block device and [`Bdev::channel`] one lcore's way into it; [`IoChannel::submit`]
//! consumes an mbuf and [`CompletionQueue::poll`] gives it back, once each. [`rpc`] answers methods on SPDK's
//! own JSON-RPC server.
//!
//! Thread rules are types: what belongs to one SPDK thread is not `Send`.

pub mod app;
mod bdev;
mod channel;
mod completion;
mod durability;
mod eal_arguments;
mod error;
mod fdsync;
mod health;
mod memory;
mod rmw;
pub mod rpc;
mod subsystem;
mod thread;

pub use bdev::{Bdev, BdevEvent, BdevInfo};
pub use channel::{Io, IoChannel, IoKind, MAX_SEGMENTS, Outcome};
pub use completion::{Completed, CompletionQueue, private_size};
pub use durability::{Durability, FlushMethod, NVME_HAS_ENABLE_FLUSH};
pub use error::{Error, Result};
pub use health::{HEALTH_LOG_BYTES, HealthLog};
pub use subsystem::{Finished, Initialized, Subsystem, add_subsystem};
pub use thread::{Poller, Thread};
