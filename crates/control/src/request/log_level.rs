//! The methods that concern the log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::log_directives::{ALLOWED, LogDirectives};

/// Changes how much is logged, by module, until the next start.
///
/// Modules are `kvblade_dpdk` and its parts such as `kvblade_dpdk::target`, `state_store`, `spdk` and `dpdk`. All others log at the
/// level that stands without a module, or at `info`. SPDK has lines of `debug` and `trace` only where its `log_set_flag` asks for
/// them. A SIGHUP that changes `log-level` in the settings takes the place of this. The answer is `true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetLogLevel {
    /// The levels; those of the command line and the settings if left out.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("x-allowed" = ALLOWED, "x-default" = "the level at the start"))]
    pub directives: Option<LogDirectives>,
}

/// Reports how much is logged and where to.
///
/// The answer has `directives`, as `aoe_set_log_level` takes them, `format` (`text`, `json` or `journal`), `target` (`stderr`, `journald`
/// or `file:PATH`) and `lost`: lines since the start that had no room, or that could not be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GetLogLevel {}
