//! A poll-mode AoE initiator on any DPDK port, as a measuring instrument.
//!
//! In the order of a request's way: [`pattern`] decides what to ask, [`flow`] when and on which path, [`frame`] writes
//! it, [`engine`] sends it, takes its reply and keeps it in [`slots`] in between, [`tally`] records how long that
//! took, and [`report`] says what came of it all. [`ports`] and [`discover`] come before the first request,
//! [`verify`] knows what must be on the disks.
//!
//! One lcore polls all ports and does everything. It shares no code with the target's crates: the codec is
//! `aoe-initiator`'s.
#![forbid(unsafe_code)]

pub mod discover;
pub mod engine;
pub mod flow;
pub mod frame;
pub mod options;
pub mod pattern;
pub mod ports;
pub mod report;
pub mod run;
pub mod slots;
pub mod tally;
pub mod verify;
pub mod windows;
