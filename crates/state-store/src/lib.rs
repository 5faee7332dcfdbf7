//! The state store: what initiators set and what must persist, in the files of one state directory.
//!
//! 1. [`name`]: the file of an export has the name of its address in `--export`;
//! 2. [`record`]: a file contains a version, a length and a checksum, then the payload;
//! 3. [`directory`]: what the store asks of a directory; the kernel's, or a simulated one;
//! 4. [`store`]: the directory has one writer at a time; all files are read and checked when it is opened;
//! 5. [`writer`]: a thread writes, because a write waits for the disk and a reactor must not.
//!
//! The caller gives a function that decodes a payload and may refuse it. This crate knows neither SPDK nor DPDK nor AoE.
#![forbid(unsafe_code)]

pub mod directory;
pub mod name;
pub mod record;
pub mod store;
pub mod writer;

pub use directory::{Directory, LockedDirectory, Written};
pub use store::{OpenError, Opened, SaveError, SetAside, Store, Stored};
pub use writer::Writer;
