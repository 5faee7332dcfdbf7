//! Safe SPDK, where a request waits for its bdev: the app and its reactors, threads and pollers, bdevs, and
//! I/O straight between a bdev and the bytes of an mbuf.
//!
//! In the order things happen: [`App::run`] starts the event framework; a [`Subsystem`] takes part in its start and
//! stop; [`AppThread`] proves that code runs on the control plane's thread; [`Thread::pinned`] gives each reactor a thread
//! of ours and [`Poller`] makes it turn; [`Bdev::open`] opens a block device and [`IoChannel::open`] one lcore's way into
//! it; [`IoChannel::submit`]
//! consumes an mbuf and [`CompletionQueue::poll`] gives it back, once each. [`rpc`] answers methods on SPDK's
//! own JSON-RPC server.
//!
//! Thread rules are types: what belongs to one SPDK thread is not `Send`.

pub mod abort;
pub mod app;
mod app_thread;
mod bdev;
pub mod block_device;
mod c_string;
mod channel;
mod closing;
mod cores;
mod current_thread;
mod durability;
mod eal_arguments;
mod error;
mod fdsync;
pub mod file;
mod file_flush;
mod health;
mod in_flight;
mod in_flight_table;
mod io;
mod io_abort;
mod kernel_io;
mod miscompares;
mod other_io;
mod pending;
pub mod rpc;
mod sector_buffers;
mod sector_io;
mod sectors;
#[cfg(feature = "simulate")]
pub mod simulated;
mod stage;
mod subsystem;
mod synced_file;
mod thread;

pub use app::App;
pub use app_thread::AppThread;
pub use bdev::{Bdev, BdevEvent, BdevInfo, after_examine};
pub use channel::{Completed, CompletionQueue, IoChannel};
pub use current_thread::{CurrentThread, ThreadTime};
pub use durability::{Durability, FileAccess, FileBeneath, FlushMethod, NVME_HAS_ENABLE_FLUSH};
pub use error::{ChannelError, Error, Result};
pub use fdsync::FileSyncs;
pub use health::{HEALTH_LOG_BYTES, HealthLog};
pub use in_flight::{MAX_SEGMENTS, private_size};
pub use io::{Io, IoKind, Outcome};
pub use io_abort::Abort;
pub use kernel_io::kernel_io_in_flight;
pub use pending::Pending;
pub use sectors::{SECTOR_BYTES, Sectors};
pub use subsystem::{Finished, Initialized, Subsystem};
pub use synced_file::any_file_sync_failed;
pub use thread::{Poller, Thread};
