//! What the micro benches and the instruction counts work on: kinds of requests, and an lcore that is given them.
#![forbid(unsafe_code)]

mod kind;
mod turns;

pub use kind::Kind;
pub use turns::{Turns, end_of_part, run, run_every};
