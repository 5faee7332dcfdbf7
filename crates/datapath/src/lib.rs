//! The way of a request through one lcore, from the rx burst that brings it to the tx burst that takes its
//! reply.
//!
//! The modules in the order of the data:
//!
//! 1. [`lane`]: an lcore's share of a port, with its rx and tx queue and its counters;
//! 2. `receive`: a burst of frames in, as long as their data fits the cache (`intake`), judged and routed to their
//!    exports, and their memory asked for ahead (`foresee`);
//!    [`spread`]: or first handed to another lcore, where a port's frames are spread over several;
//! 3. `fanout`: what goes to many exports at once, in slices: wildcard requests and advertisements;
//! 4. `submit`: to the bdev, with the frame's own bytes;
//!    ([`consult`]: or to the control plane, if it may change what initiators keep on the export)
//! 5. `complete`: what the bdevs have finished;
//!    `follow` is for those that are not done with one I/O, or whose data must be worked on: TRIM, SMART, and
//!    writes with the write cache off;
//! 6. `reply`: the answer written over the request, and queued for tx.
//!
//! Around them [`Lcore`] is the state of it all with [`Lcore::turn`], which goes the way once;
//! [`Remote`] is the control plane's way in: it sends work to the lcore, which owns everything it touches. So
//! a turn takes no lock, shares no cache line that is written, allocates nothing, makes no system call and
//! writes no log line (a PMD or a bdev may do as it must). Between turns without work it may rest ([`idle`]).
//!
//! One mbuf carries a request all the way. Its memory: 128 bytes of head room, then the frame; data starts 36
//! bytes into an untagged frame ([`PAYLOAD`]), at a multiple of 4 ([`PAYLOAD_ALIGNMENT`]). That is what NVMe wants. A
//! bdev that wants more (512 for a file opened with O_DIRECT) gets it from lanes whose mempools are made by
//! [`dpdk::Mempool::aligned`]; else SPDK copies each I/O through a bounce buffer, which [`Snapshot::bounced`] counts,
//! and the control plane says when such an export is made. A tag among a frame's bytes moves its data 4 bytes on.
#![forbid(unsafe_code)]

mod complete;
pub mod consult;
mod fanout;
mod follow;
mod foresee;
pub mod idle;
mod intake;
pub mod lane;
mod lcore;
mod receive;
mod remote;
mod reply;
pub mod spread;
mod submit;
mod turn_count;

pub use consult::{Consult, MAX_CONSULTS, Mailbox, mailbox};
pub use idle::Idle;
pub use lane::{Lane, LaneStats};
pub use lcore::{AddError, Lcore, Snapshot};
pub use remote::Remote;
pub use spread::{Spread, SpreadBy, SpreadCounters};
pub use submit::{PAYLOAD, PAYLOAD_ALIGNMENT, private_size};
pub use turn_count::TurnCount;
