//! Raw SPDK bindings: what the `spdk` crate needs of the event framework, threads, bdevs and JSON-RPC, made at
//! build time from the headers found by pkg-config, and the shim's functions for macros and for what differs
//! between releases.
//!
//! Nothing here is safe to call by itself; the `spdk` crate says under which conditions each is.

#![allow(non_camel_case_types, non_upper_case_globals, non_snake_case)]
#![allow(
    missing_docs,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    unnecessary_transmutes
)]

// Only for its libraries.
use dpdk_sys as _;

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
