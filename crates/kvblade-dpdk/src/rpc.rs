//! Management: the `aoe_*` methods on SPDK's JSON-RPC server.

use std::ffi::CStr;

use control::request::{ANNOUNCE, CLEAR_CLAIMS, CREATE_EXPORT, DELETE_EXPORT, GET_EXPORTS, GET_STATS};
use control::{Action, RpcError};
use serde_json::{Value, json};
use spdk::rpc::{INVALID_PARAMS, Method, Phases, Request, register as register_method};

use crate::loading::Phase;
use crate::target;

/// Declares one type for each method, for SPDK calls a handler without its method's name.
macro_rules! methods {
    ( $( $method:ident, $c_name:literal, $name:expr; )+ ) => {
        $(
            struct $method;

            impl Method for $method {
                const NAME: &'static CStr = $c_name;

                fn call(params: Option<&str>, request: Request) {
                    call($name, params, request);
                }
            }
        )+

        /// Registers every method. Before the app runs.
        pub(crate) fn register() {
            $( register_method::<$method>(); )+
            register_method::<LoadStartup>();
            register_method::<LoadRuntime>();
        }

        #[cfg(test)]
        const REGISTERED: &[(&CStr, &str)] = &[$( ($c_name, $name) ),+];
    };
}

methods! {
    CreateExport, c"aoe_create_export", CREATE_EXPORT;
    DeleteExport, c"aoe_delete_export", DELETE_EXPORT;
    GetExports, c"aoe_get_exports", GET_EXPORTS;
    Announce, c"aoe_announce", ANNOUNCE;
    GetStats, c"aoe_get_stats", GET_STATS;
    ClearClaims, c"aoe_clear_claims", CLEAR_CLAIMS;
}

fn call(method: &str, params: Option<&str>, request: Request) {
    let params: Option<Value> = match params.map(serde_json::from_str).transpose() {
        Ok(params) => params,
        Err(error) => return request.error(INVALID_PARAMS, &format!("the parameters are no JSON: {error}")),
    };
    match Action::decode(method, params.as_ref()) {
        Ok(action) => target::act(action, Answer(request)),
        Err(error) => Answer(request).refuse(&error),
    }
}

/// An RPC that waits for its answer.
pub(crate) struct Answer(Request);

impl Answer {
    /// Answers with a result.
    pub(crate) fn give(self, result: &Value) {
        self.0.result(&result.to_string());
    }

    /// Answers with an error.
    pub(crate) fn refuse(self, error: &RpcError) {
        self.0.error(error.code().number(), error.message());
    }
}

/// The methods by which SPDK's start comes to the configuration: [`document`] calls them. Nobody else may.
const LOAD: [&CStr; 2] = [c"aoe_load_startup", c"aoe_load_runtime"];

struct LoadStartup;

impl Method for LoadStartup {
    const NAME: &'static CStr = LOAD[0];
    const PHASES: Phases = Phases::STARTUP;

    fn call(_params: Option<&str>, request: Request) {
        target::carry_out(Phase::Startup, request);
    }
}

struct LoadRuntime;

impl Method for LoadRuntime {
    const NAME: &'static CStr = LOAD[1];

    fn call(_params: Option<&str>, request: Request) {
        target::carry_out(Phase::Runtime, request);
    }
}

/// The configuration for SPDK: it calls us before its subsystems start, and again when they are up.
pub(crate) fn document() -> Value {
    let calls: Vec<Value> = LOAD.iter().map(|name| json!({ "method": name.to_string_lossy() })).collect();
    json!({ "subsystems": [{ "subsystem": "aoe", "config": calls }] })
}

/// When SPDK takes a method that the user's configuration may call.
pub(crate) fn phases(method: &str) -> Option<Phases> {
    let is_ours = LOAD.iter().any(|name| name.to_bytes() == method.as_bytes());
    if is_ours { None } else { spdk::rpc::phases(method) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_there_is_is_registered_under_its_name() {
        let names: Vec<&str> = REGISTERED.iter().map(|(_, name)| *name).collect();
        assert_eq!(names, control::request::METHODS);
        for (c_name, name) in REGISTERED {
            assert_eq!(c_name.to_str(), Ok(*name));
        }
    }
}
