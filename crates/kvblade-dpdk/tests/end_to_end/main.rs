//! The program itself, end to end: the built binary on an af_packet port at one end of a veth pair, our
//! initiator, raw frames and Debian's aoetools at the other, and its management socket.
//!
//! Each test has namespaces of its own and a target of its own, without hugepages except where those are the
//! subject. A target polls a core at 100 %, so the tests take turns. Needs root and what
//! `scripts/setup --tests` installs; without them a test fails and says so.
#![forbid(unsafe_code)]

mod af_xdp;
mod alignment;
mod aoetools;
mod audit;
mod bad_frames;
mod bdevs;
mod capture;
mod changed_interfaces;
mod changes;
mod commands;
mod disk_faults;
mod disk_states;
mod eal_options;
mod export_options;
mod faulty_file;
mod fences;
mod files;
mod first_use;
mod floods;
mod health;
mod hostile_wire;
mod hot_removal;
mod initiator_state;
mod isolation;
mod lab;
mod lifecycle;
mod limits;
mod links;
mod live_management;
mod loading;
mod log_output;
mod log_targets;
mod management;
mod order;
mod ports;
mod process_faults;
mod refused_machine;
mod refused_values;
mod restart;
mod rpc;
mod service;
mod serving;
mod set_state;
mod shutdown;
mod slow_links;
mod spdk_client;
mod spreading;
mod state_dir;
mod take_over;
mod telemetry;
mod thread_moves;
mod two_ports;
mod volumes;
mod waiting;
mod write_through;
