//! The methods of the RPC server and what each takes: one row of [`with_methods`](crate::with_methods) and one struct for each.

mod capture;
mod change;
mod histogram;
mod initiator_state;
mod list;
mod log_level;
mod one_export;
mod ports;

use aoe_target::{Shelf, ShelfSlot, Slot, VlanId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{ErrorCode, Quoted, RpcError, kind, nearest};
use crate::options::ExportOptions;
use crate::port::PortRef;
use crate::rate_limits::RateLimits;
use crate::schema::{self, Field, Fields};
use crate::value;
pub use capture::{GetCaptures, StartCapture, StopCapture};
pub use change::{OptionChanges, ReplaceBdev, UpdateExport};
pub use histogram::{EnableHistogram, GetHistogram};
pub use initiator_state::{SetConfigString, SetMaskList, SetReservation};
pub use list::{GetExports, ListedState};
pub use log_level::{GetLogLevel, SetLogLevel};
pub use one_export::OneExport;
pub use ports::{BUSY_SECONDS_MAX, GetLcores, GetPorts, LinkState};

/// Passes every method to a macro: the struct of its parameters and its name, and where it was renamed, its name in the
/// release before, which is still accepted. Their order is that of the documentation.
#[macro_export]
macro_rules! with_methods {
    ($callback:ident) => {
        $callback! {
            CreateExport = "aoe_create_export";
            UpdateExport = "aoe_update_export";
            ReplaceBdev = "aoe_replace_bdev";
            DeleteExport = "aoe_delete_export";
            GetExports = "aoe_get_exports";
            ClearInitiatorState = "aoe_clear_initiator_state", formerly "aoe_clear_claims";
            SetConfigString = "aoe_set_config_string";
            SetMaskList = "aoe_set_mask_list";
            SetReservation = "aoe_set_reservation";
            Announce = "aoe_announce";
            GetStats = "aoe_get_stats";
            ResetStats = "aoe_reset_stats";
            GetHealth = "aoe_get_health";
            EnableHistogram = "aoe_enable_histogram";
            GetHistogram = "aoe_get_histogram";
            SetQos = "aoe_set_qos";
            GetInitiators = "aoe_get_initiators";
            SetLogLevel = "aoe_set_log_level";
            GetLogLevel = "aoe_get_log_level";
            StartCapture = "aoe_start_capture";
            StopCapture = "aoe_stop_capture";
            GetCaptures = "aoe_get_captures";
            GetPorts = "aoe_get_ports";
            GetLcores = "aoe_get_lcores";
            HandOver = "aoe_hand_over";
            Upgrade = "aoe_upgrade";
        }
    };
}

/// A struct of parameters, which stands for its method.
pub trait Method: Serialize + Fields {
    /// Name of the method.
    const NAME: &'static str;

    /// The parameters as JSON, for a request or a configuration file. Defaults are left out.
    fn to_params(&self) -> Value {
        let mut params = value::object(self);
        let is_default = |name: &String, value: &Value| {
            Self::fields().iter().any(|field| {
                field.name() == name
                    && !field.is_required()
                    && (value.is_null() || value == field.json_default())
            })
        };
        params.retain(|name, value| !is_default(name, value));
        Value::Object(params)
    }
}

/// A method as documents describe it.
#[derive(Debug)]
pub struct MethodInfo {
    /// Its name.
    pub name: &'static str,
    /// Its name in the release before.
    pub former_name: Option<&'static str>,
    /// Its documentation, a line for each paragraph.
    pub description: String,
    /// Its parameters.
    pub fields: &'static [Field],
}

macro_rules! define_methods {
    ( $( $method:ident = $name:literal $(, formerly $former:literal)?; )+ ) => {
        /// A request. One variant for each method.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Action {
            $( #[doc = concat!("`", $name, "`")] $method($method), )+
        }

        /// The names of the methods.
        pub const NAMES: &[&str] = &[$( $name ),+];

        impl Action {
            /// Reads a request. `params` is `None` when the request had none; JSON's `null` counts as none too.
            ///
            /// # Errors
            /// [`ErrorCode::MethodNotFound`], or [`ErrorCode::InvalidParams`] naming the first value that is wrong and
            /// what is allowed there.
            pub fn decode(method: &str, params: Option<&Value>) -> Result<Self, RpcError> {
                $(
                    if method == $name $( || method == $former )? {
                        let decoded = schema::decode(object(params, $name)?, "parameter");
                        return decoded
                            .map(Self::$method)
                            .map_err(|sentence| RpcError::invalid(format!("{}: {sentence}", $name)));
                    }
                )+
                Err(unknown_method(method))
            }
        }

        $(
            schema::impl_fields!($method);

            impl Method for $method {
                const NAME: &'static str = $name;
            }
        )+

        /// Every method, for documents.
        #[must_use]
        pub fn methods() -> Vec<MethodInfo> {
            vec![$( MethodInfo {
                name: $name,
                former_name: None $( .or(Some($former)) )?,
                description: schema::description::<$method>(),
                fields: $method::fields(),
            } ),+]
        }
    };
}

with_methods!(define_methods);

/// Serves a bdev as an AoE device.
///
/// The answer is the export as `aoe_get_exports` shows it, once every lcore serves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateExport {
    /// Address to serve.
    #[serde(flatten, with = "value::address")]
    #[schemars(with = "value::Address")]
    pub address: ShelfSlot,
    /// Name of an SPDK bdev: its own, an alias such as `lvs/volume`, or its UUID.
    #[serde(deserialize_with = "value::read_bdev_name")]
    #[schemars(extend("x-allowed" = value::BDEV_NAME))]
    pub bdev_name: String,
    /// Ports to serve on, by number, name, PCI address or Linux interface; all ports if left out.
    #[serde(default, deserialize_with = "value::read_ports")]
    #[schemars(with = "Option<Vec<Value>>", length(min = 1), extend(
        "x-allowed" = "a list of port numbers or names that is not empty, or left out for all ports"))]
    pub ports: Option<Vec<PortRef>>,
    /// Everything else.
    #[serde(flatten)]
    pub options: ExportOptions,
}

/// Stops serving an AoE device, on all ports or some.
///
/// The answer is `true`, once the requests in flight are answered. If its bdev does not answer them within 10 s, the call gets
/// an error, and the deletion goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeleteExport {
    /// Address to stop serving.
    #[serde(flatten, with = "value::address")]
    #[schemars(with = "value::Address")]
    pub address: ShelfSlot,
    /// VLAN it is served in; the export outside of any VLAN if left out.
    #[serde(default, with = "value::number")]
    #[schemars(with = "Option<u16>", range(min = 1, max = VlanId::MAX), extend(
        "x-allowed" = format!("the number of a VLAN, from 1 to {}", VlanId::MAX)))]
    pub vlan: Option<VlanId>,
    /// Ports to leave; all ports if left out.
    #[serde(default, deserialize_with = "value::read_ports")]
    #[schemars(with = "Option<Vec<Value>>", length(min = 1), extend(
        "x-allowed" = "a list of port numbers or names that is not empty, or left out for all ports"))]
    pub ports: Option<Vec<PortRef>>,
    /// Frees the address at once, although requests are in flight.
    ///
    /// Requests that the bdev has not answered are quarantined: `aoe_get_exports` lists the export with their number until the
    /// bdev has answered, and the bdev stays open until then. An export that is being deleted can be deleted by force, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// Clears the initiator state of an export: its config string, MAC mask list and reservation, or one of them.
///
/// An export whose state file was damaged answers nobody until all of its state is cleared. The answer is `true`, once
/// the change is on disk and on every lcore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClearInitiatorState {
    /// The export.
    #[serde(flatten)]
    pub export: OneExport,
    /// Part of the state to clear.
    #[serde(default)]
    #[schemars(extend("x-formerly" = "what"))]
    pub part: StatePart,
}

/// A part of the initiator state of an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum StatePart {
    /// The config string.
    Config,
    /// The MAC mask list.
    Mask,
    /// The reservation, plain or keyed.
    Reservation,
    /// All parts; the only choice for an export whose state is unknown.
    #[default]
    All,
}

/// Broadcasts the advertisement of exports, so that initiators find them.
///
/// The answer is `true`, once the advertisements are queued for sending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Announce {
    /// Only exports of this shelf.
    #[serde(with = "value::number")]
    #[schemars(with = "Option<u16>", range(max = Shelf::MAX.0))]
    pub shelf: Option<Shelf>,
    /// Only exports of this slot.
    #[serde(with = "value::number")]
    #[schemars(with = "Option<u8>", range(max = Slot::MAX.0))]
    pub slot: Option<Slot>,
}

/// Reports counters: by export, by port with drop reasons, and the load of each lcore.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GetStats {}

/// Has the counters of `aoe_get_stats` begin anew.
///
/// The answer is `true`. Numbers of what is so now, such as requests in flight, and the drops of `aoe_get_initiators` stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResetStats {}

/// Ends the program for another one that takes its place, as `kvblade-dpdk --take-over` asks.
///
/// The answer is `true`. Requests in flight are answered before the end, as after SIGTERM. A message to the service manager names the
/// other process as the service's main one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HandOver {
    /// Number of the process that takes over.
    #[schemars(range(min = 1))]
    pub pid: u32,
}

/// Starts the program anew while this one serves, and has the new one take over: `kv upgrade`.
///
/// The new process has this one's command line, and the program that is now in the file that this one was started from. The answer is
/// `true` when it has been asked for. If it fails before it takes over, the log says why, and this process serves on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upgrade {}

/// Reports whether all is well: a verdict, and the reasons for it.
///
/// The verdict is `ok`, `warning` or `failure`: the gravest severity among the reasons, where `note` counts as `ok`. Each reason
/// has its `severity`, a `kind` for programs, its `subject` (an export, a port, an lcore, a device or the machine) and a `text`.
/// Drops count from the call before on, if that was at least 60 s ago, else from the one before that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GetHealth {}

/// Sets the limits on the rates of an export, in place of those that it has.
///
/// A limit that is left out is lifted. The answer is `true`, once the limits hold on every lcore; requests that wait go on by
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetQos {
    /// The export.
    #[serde(flatten)]
    pub export: OneExport,
    /// The limits.
    #[serde(flatten)]
    pub limits: RateLimits,
}

/// Lists the initiators of each export: since when they are seen, and the drops of those that broke no rule.
///
/// `first_seen_seconds` and `last_seen_seconds`: so many seconds ago. `messages`: requests other than reads and writes.
/// `outstanding`: requests at the bdev now. `retransmissions`: copies of requests in flight. `largest_frame`: bytes of the largest read
/// or write, with its reply; reads and writes are seen in samples, one a second, so that they cost nothing. `requests`: all
/// requests to the bdev, where the export is timed (`aoe_enable_histogram`). `export_full` and `rate_limited`: drops because the export had
/// too many in flight, or for a limit on rates. Tables of 1024 initiators on each lcore tell them apart; the drops of those that
/// had no place stand under `others`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GetInitiators {}

impl Announce {
    /// Whether the export at `address` is meant.
    #[must_use]
    pub fn matches(&self, address: ShelfSlot) -> bool {
        self.shelf.is_none_or(|shelf| shelf == address.shelf)
            && self.slot.is_none_or(|slot| slot == address.slot)
    }
}

fn object(params: Option<&Value>, method: &str) -> Result<Map<String, Value>, RpcError> {
    match params {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(object)) => Ok(object.clone()),
        Some(other) => Err(RpcError::invalid(format!(
            "{method}: the parameters are {}: they must be an object",
            kind(other)
        ))),
    }
}

fn unknown_method(method: &str) -> RpcError {
    let near = nearest(method, NAMES.iter().copied())
        .map_or_else(String::new, |near| format!(", the nearest is {near}"));
    RpcError::new(
        ErrorCode::MethodNotFound,
        format!("no method {}{near}: the methods are {}", Quoted(method), NAMES.join(", ")),
    )
}

#[cfg(test)]
mod tests;
