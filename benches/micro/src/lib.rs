//! What is measured without a link: kinds of requests, and an lcore that is given them.
#![forbid(unsafe_code)]

mod kind;
mod turns;

pub use kind::Kind;
pub use turns::{Turns, end_of_part, run, run_every};

/// The number above 0 that is the only argument.
#[must_use]
pub fn single_number(arguments: &[String]) -> Option<u64> {
    let [number] = arguments else { return None };
    number.parse().ok().filter(|number| *number > 0)
}
