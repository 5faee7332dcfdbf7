//! A deterministic simulation of the data path: real lcores, mbufs, rings and bdev I/O on simulated bdevs, links and
//! initiators. Each seed stands for a plan ([`plan`]) of requests and faults, and takes the same steps each time
//! ([`world`]); an oracle looks for broken promises ([`history`]).
//!
//! A seed's run can end the process, as the target's code ends it on a broken invariant. So seeds run in children of this
//! program ([`child`]), and a parent counts them, reports those that fail, and makes a failing one smaller ([`shrink`]).
#![forbid(unsafe_code)]

mod child;
mod control_plane;
mod deadlines;
mod dice;
mod disk;
mod frame;
mod history;
mod initiators;
mod link;
mod options;
mod parent;
mod plan;
mod questions;
mod registers;
mod rules;
mod shrink;
mod state_directory;
mod target;
mod world;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let options = options::Options::parse();
    if options.child { child::run(&options) } else { parent::run(&options) }
}
