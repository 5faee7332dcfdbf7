//! Raw DPDK bindings: what the `dpdk` crate needs of `rte_eal`, `rte_mbuf` and `rte_ethdev`, generated at
//! build time from the headers found by pkg-config, and the shim's functions for what is inline or a macro.
//!
//! Nothing here is safe to call by itself; the `dpdk` crate says under which conditions each is.

#![allow(non_camel_case_types, non_upper_case_globals, non_snake_case)]
#![allow(
    missing_docs,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    unnecessary_transmutes
)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
