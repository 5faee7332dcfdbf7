//! An ATA-over-Ethernet initiator over a packet socket, for tests and benchmarks of targets.
//!
//! It shares no code with the target, so that an error in one is not repeated in the other. In the order of the data: [`sector`] makes the contents, [`load`] decides what to ask, [`queue`]
//! and [`window`] keep track of what was asked, [`wire`] puts it into frames, [`link`] sends and receives
//! them. [`initiator`] is the plain way to one request at a time.
#![forbid(unsafe_code)]

pub mod cpu;
pub mod error;
pub mod initiator;
pub mod ledger;
pub mod link;
pub mod load;
pub mod output;
pub mod queue;
pub mod sector;
pub mod window;
pub mod wire;

pub use error::{Error, Result};
pub use initiator::{Export, Initiator};
pub use link::Link;
pub use window::Retransmit;
pub use wire::{Mac, ShelfSlot};
