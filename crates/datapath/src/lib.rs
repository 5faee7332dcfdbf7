//! One lcore's way of a request, from the rx burst that brings it to the tx burst that takes its reply.
//!
//! The modules in the order of the data:
//!
//! 1. [`Lcore`]: an lcore and its turn, which goes the way once; `pacing`: how much a turn receives, and when replies
//!    leave;
//! 2. [`PortQueue`]: the lcore's rx and tx queue pair of a port; [`distribute`]: frames handed to the lcore that
//!    owns their export (`owner`), and replies handed back;
//! 3. `requests`: the way itself: a frame is parsed and routed (`tag`: out of its VLAN), admitted, submitted, completed
//!    and answered;
//! 4. `exports`: the exports, and what is behind each (`backing`);
//! 5. `order`: a request waits for earlier ones on the same sectors, and a copy for its original;
//! 6. `accounting`: what is counted for each request in flight; for it `budget`, how many of them an export may have, and
//!    `admission`, which applies it; `deadline`, until when they are answered; `fence`, which reports when those admitted
//!    under an old rule have ended;
//! 7. `bdev_io`: a request as bdev I/O; `inflight`: what its mbuf remembers meanwhile.
//!
//! Beside it: `fanout` for what concerns many exports, wildcard requests and advertisements; [`deferred`] for requests that the
//! control plane decides; [`idle`] for what an lcore does between turns without work. [`Remote`] is the control
//! plane's way in: it sends work to the lcore, which owns everything it touches. So a turn takes no lock, shares no cache
//! line that is written, allocates nothing, makes no system call and writes no log line (a PMD or a bdev may do as it
//! must).
//!
//! One mbuf carries a request all the way. Its memory: 128 bytes of head room, then the frame; data starts 36 bytes into
//! an untagged frame ([`PAYLOAD`]), at a multiple of 4 ([`PAYLOAD_ALIGNMENT`]), which suits NVMe. A bdev that wants more
//! (512 for a file opened with O_DIRECT) gets it from port queues whose mempools are made by [`dpdk::Mempool::aligned`];
//! else SPDK copies each I/O through a bounce buffer, which [`Snapshot::bounced`] counts, and the control plane reports
//! when such an export is made. A tag among a frame's bytes moves its data by 4 bytes.
#![forbid(unsafe_code)]

mod accounting;
mod admission;
mod backing;
mod bdev_flushes;
mod bdev_io;
mod budget;
mod capture;
mod deadline;
pub mod deferred;
mod degraded;
pub mod distribute;
mod export_slice;
mod exports;
mod fanout;
mod fence;
pub mod idle;
mod inflight;
mod lcore;
mod order;
mod owner;
mod pacing;
mod port_queue;
mod rate_limits;
mod remote;
mod requests;
mod tag;
mod timing;
mod turn_count;

pub use capture::{
    CAPTURES_MAX, CaptureFilter, CaptureTap, CapturedFrame, CapturedFrames, FrameCopies, RING_MIN,
};
pub use deferred::{Deferred, DeferredSender, MAX_DEFERRED, deferred_channel};
pub use degraded::{Degraded, DegradedChanges};
pub use distribute::{
    DetachedPart, DistributeBy, DistributedPort, Distribution, DistributionCounters, Parts,
};
pub use export_slice::ExportSlice;
pub use exports::AddError;
pub use idle::Idle;
pub use inflight::{PAYLOAD, PAYLOAD_ALIGNMENT, private_size};
pub use lcore::{Lcore, Snapshot};
pub use pacing::{RX_BUDGET, RX_BURST};
pub use port_queue::{PortQueue, PortQueueStats};
pub use remote::Remote;
pub use requests::SeenInitiator;
pub use turn_count::TurnCount;
