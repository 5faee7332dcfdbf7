//! Benchmarks of kvblade-dpdk against its peers, with an initiator that is the same for all of them.
//!
//! `scripts/bench NAME` runs one. `peers`: [`contender`] starts each target, [`matrix`] measures it, [`table`] puts
//! the figures side by side; [`hugepages`] and [`interrupt`] see to it that the machine is left as it was.
#![forbid(unsafe_code)]

pub mod contender;
pub mod hugepages;
pub mod interrupt;
pub mod matrix;
pub mod table;
