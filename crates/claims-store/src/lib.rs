//! Beside the way of a request: what initiators keep on the target, in the files of one state directory.
//!
//! 1. [`name`]: an export's file is called as its address is written in `--export`;
//! 2. [`record`]: what a file contains: a version, a length and a checksum, then the payload;
//! 3. [`store`]: the directory, with one writer at a time; everything is read and judged when it is opened;
//! 4. [`writer`]: the thread that writes, for a write waits for the disk and a reactor must not.
//!
//! What a payload means is its owner's; this crate hands it to a function that may refuse it. It knows neither
//! SPDK nor DPDK nor AoE.
#![forbid(unsafe_code)]

pub mod name;
pub mod record;
pub mod store;
pub mod writer;

pub use store::{Kept, OpenError, Opened, SaveError, SetAside, Store};
pub use writer::Writer;
