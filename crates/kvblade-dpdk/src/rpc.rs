//! The `aoe_*` methods on SPDK's JSON-RPC server.

pub(crate) mod startup;

use std::ffi::CStr;
use std::sync::Once;

use control::Action;
use serde_json::Value;
use spdk::App;
use spdk::rpc::{INVALID_PARAMS, Method, Phases, Request};

use crate::answer::Answer;
use crate::loading::Phase;
use crate::target;
use startup::LOAD;

/// The name of a method as SPDK takes it.
macro_rules! c_name {
    ($name:literal) => {
        match CStr::from_bytes_with_nul(concat!($name, "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => panic!("a method's name holds a zero byte"),
        }
    };
}

/// Registers one type for each name, for SPDK calls a handler without its method's name.
macro_rules! register_methods {
    ( $( $method:ident = $name:literal $(, formerly $former:literal)?; )+ ) => {
        /// Registers every method.
        pub(crate) fn register(app: &mut App) {
            $(
                {
                    struct Current;

                    impl Method for Current {
                        const NAME: &'static CStr = c_name!($name);

                        fn call(params: Option<&str>, request: Request) {
                            call($name, params, request);
                        }
                    }

                    app.register::<Current>();
                }
                $({
                    struct Former;

                    impl Method for Former {
                        const NAME: &'static CStr = c_name!($former);

                        fn call(params: Option<&str>, request: Request) {
                            warn_of_former_name($former);
                            call($name, params, request);
                        }
                    }

                    app.register::<Former>();
                })?
            )+
            app.register::<LoadStartup>();
            app.register::<LoadRuntime>();
        }

        /// Warns, once, of a name that a method had in the release before.
        pub(crate) fn warn_of_former_name(method: &str) {
            $($(
                if method == $former {
                    static WARNED: Once = Once::new();
                    WARNED.call_once(|| {
                        tracing::warn!("{} is called {} now: the next release has the new name only", $former, $name);
                    });
                }
            )?)+
        }
    };
}

control::with_methods!(register_methods);

fn call(method: &str, params: Option<&str>, request: Request) {
    let params: Option<Value> = match params.map(serde_json::from_str).transpose() {
        Ok(params) => params,
        Err(error) => return request.error(INVALID_PARAMS, &format!("the parameters are no JSON: {error}")),
    };
    match Action::decode(method, params.as_ref()) {
        Ok(action) => target::act(action, Answer::from(request)),
        Err(error) => Answer::from(request).refuse(&error),
    }
}

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
