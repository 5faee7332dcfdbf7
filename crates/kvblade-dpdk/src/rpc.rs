//! Management: the `aoe_*` methods on SPDK's JSON-RPC server.

use std::ffi::CStr;

use control::request::{ANNOUNCE, CLEAR_CLAIMS, CREATE_EXPORT, DELETE_EXPORT, GET_EXPORTS, GET_STATS};
use control::{Action, RpcError};
use serde_json::Value;
use spdk::rpc::{INVALID_PARAMS, Method, Request, register as register_method};

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

    /// Answers with an error. Before the target is ready, that is also why the program does not start: SPDK
    /// carries out the configuration by these methods.
    pub(crate) fn refuse(self, error: &RpcError) {
        target::note_failure(error.message());
        self.0.error(error.code().number(), error.message());
    }
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
