//! Benchmarks of kvblade-dpdk beside its own parts and its peers, in one run on one machine.
//!
//! A [`case`] says which requests, a [`contender`] which target over which link. [`lab`] takes one sample: a fresh server
//! on one core, a fresh initiator on another. [`rounds`] interleaves samples, [`stats`] reduces them, [`checks`] compares
//! them with each other and with the goals, [`report`] prints and records them. [`scaling`] asks whether a request costs
//! more where there are more exports, initiators or ports; [`own_cost`] measures the target without a link, [`distance`] how
//! near the two cores are to each other.
//!
//! The program `bench` has the subcommands `run`, `ab` and `scaling`. The program `responder` is the link alone, with
//! [`store`] as its disk.
#![forbid(unsafe_code)]

pub mod case;
pub mod checks;
pub mod contender;
pub mod distance;
pub mod hugepages;
pub mod interrupt;
pub mod lab;
pub mod loads;
pub mod own_cost;
pub mod report;
pub mod rounds;
pub mod scaling;
pub mod spdk_programs;
pub mod stats;
pub mod store;
