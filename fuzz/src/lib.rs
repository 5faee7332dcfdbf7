//! What the fuzzers do with their inputs, without libFuzzer.
//!
//! [`frame`] gives any bytes to the target as one frame. [`scenario`] makes a sequence of requests and events of its
//! input and plays it to the target ([`subject`]: its table, its exports, a bdev in memory) and to the [`model`], which
//! works out the answers from the protocol alone; the replies must be equal to the byte.
//!
//! `scripts/fuzz` builds and runs the fuzzers.
#![forbid(unsafe_code)]

pub mod frame;
pub mod model;
pub mod scenario;
pub mod subject;
