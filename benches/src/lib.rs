//! Benchmarks of kvblade-dpdk against its limits and its peers, all in one run on one machine.
//!
//! The program `bench` measures: a [`contender`] in a [`cell`], in a [`lab`], round after [`round`], gives [`sample`]s, and
//! [`weather`] says what else the machine did meanwhile.
//! [`verdict`] holds them against the targets; [`table`], [`plot`] and [`record`] show them. [`scaling`] asks whether a
//! request costs more where there are more exports, initiators or ports. [`aoeperf`] and [`spdk_programs`] drive the
//! load; [`process`], [`hugepages`] and [`interrupt`] see to it that the machine is left as it was.
//!
//! The program `responder` is the yardstick, with [`store`] as its disk.
//!
//! The program `profile` shows where the target's lcore spends its time: [`profile`]. The program `ab` measures two builds of the
//! target in turns: [`ab`].
#![forbid(unsafe_code)]

pub mod ab;
pub mod aoeperf;
pub mod cell;
pub mod contender;
pub mod hugepages;
pub mod interrupt;
pub mod lab;
pub mod plot;
pub mod process;
pub mod profile;
pub mod record;
pub mod round;
pub mod sample;
pub mod scaling;
pub mod spdk_programs;
pub mod store;
pub mod table;
pub mod verdict;
pub mod weather;
