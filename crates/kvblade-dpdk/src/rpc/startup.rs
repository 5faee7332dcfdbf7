//! The methods by which SPDK's start reaches the configuration, and the document that calls them.

use std::ffi::CStr;

use serde_json::{Value, json};
use spdk::rpc::Phases;

/// The methods by which SPDK's start reaches the configuration. [`document`] calls them, and the user's configuration may not.
pub(super) const LOAD: [&CStr; 2] = [c"aoe_load_startup", c"aoe_load_runtime"];

/// The configuration for SPDK, which calls the program before its subsystems start and again when they are up.
pub(crate) fn document() -> Value {
    let calls: Vec<Value> = LOAD.iter().map(|name| json!({ "method": name.to_string_lossy() })).collect();
    json!({ "subsystems": [{ "subsystem": "aoe", "config": calls }] })
}

/// When SPDK takes a method that the user's configuration may call.
pub(crate) fn phases(method: &str) -> Option<Phases> {
    let is_ours = LOAD.iter().any(|name| name.to_bytes() == method.as_bytes());
    if is_ours { None } else { spdk::rpc::phases(method) }
}
