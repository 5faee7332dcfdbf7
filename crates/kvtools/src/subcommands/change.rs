//! `kv set`, `kv replace` and `kv qos`: exports that are changed while they are served.

use clap::Args;
use control::schema::{Field, Fields};
use control::{
    ExportInfo, ExportOptions, GetExports, Method, OneExport, PortRef, RateLimits, ReplaceBdev, SetQos,
    UpdateExport,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::option_args::OptionArgs;
use crate::progress::{Measure, Progress};
use rpc_client::command::{AddressArgs, CommandError, Connection, ExportArgs, Outcome, parse_port};

/// Change options of an export while it is served; those that are left out stay as they are
///
/// Example: kv set 1 3 --buffers 64 --reset serial
#[derive(Debug, Args)]
pub(super) struct SetArgs {
    #[command(flatten)]
    address: AddressArgs,
    /// A port it is served on, where several exports have the address
    #[arg(long, value_name = "PORT", value_parser = parse_port)]
    port: Option<PortRef>,
    /// Option that gets its default, such as read-only; may be given several times
    #[arg(long, value_name = "OPTION", value_parser = parse_reset)]
    reset: Vec<String>,
    /// Print the export as JSON
    #[arg(long)]
    json: bool,
    // Its VLAN says which export is meant.
    #[command(flatten)]
    options: OptionArgs,
}

/// An option's name as the RPC has it.
fn parse_reset(text: &str) -> Result<String, String> {
    let name = text.replace('-', "_");
    let names: Vec<&str> =
        ExportOptions::fields().iter().map(Field::name).filter(|name| *name != "vlan").collect();
    if names.contains(&name.as_str()) {
        return Ok(name);
    }
    let all: Vec<String> = names.into_iter().map(|name| name.replace('_', "-")).collect();
    Err(format!("it must be one of {}", all.join(", ")))
}

impl SetArgs {
    /// Carries it out.
    pub(super) fn carry_out(self, connection: &Connection) -> Result<Outcome, CommandError> {
        let mut params = self.options.into_changes()?;
        if params.keys().all(|name| name == "vlan") && self.reset.is_empty() {
            return Err(CommandError::Usage(
                "no option is given that could be changed (see kv set --help)".into(),
            ));
        }
        let address = self.address.address();
        params.insert("shelf".into(), address.shelf.0.into());
        params.insert("slot".into(), address.slot.0.into());
        if let Some(port) = &self.port {
            params.insert("port".into(), to_value(port));
        }
        if !self.reset.is_empty() {
            params.insert("reset".into(), json!(self.reset));
        }
        change(connection, UpdateExport::NAME, Value::Object(params), self.json)
    }
}

/// Have an export go on with another bdev that holds the same data, while it is served
///
/// Example: kv replace 1 3 raid0
#[derive(Debug, Args)]
pub(super) struct ReplaceArgs {
    #[command(flatten)]
    export: ExportArgs,
    /// Name of the other bdev: its own, an alias such as lvs/volume, or its UUID
    bdev: String,
    /// Print the export as JSON
    #[arg(long)]
    json: bool,
}

impl ReplaceArgs {
    /// Carries it out.
    pub(super) fn carry_out(self, connection: &Connection) -> Result<Outcome, CommandError> {
        let request = ReplaceBdev { export: self.export.export(), bdev_name: self.bdev };
        change(connection, ReplaceBdev::NAME, request.to_params(), self.json)
    }
}

fn to_value(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("an option is JSON")
}

fn change(
    connection: &Connection,
    method: &str,
    params: Value,
    as_json: bool,
) -> Result<Outcome, CommandError> {
    let mut client = connection.open()?;
    let _progress = Progress::start("the requests in flight", Measure::AtMost(connection.timeout()));
    let answer: Value = client.call(method, Some(params))?;
    if as_json {
        return Ok(Outcome::json(&answer));
    }
    let text =
        |name: &str| answer.get(name).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
    let [shelf, slot, bdev, state] =
        ["shelf", "slot", "bdev_name", "state"].map(|name| text(name).unwrap_or_default());
    Ok(format!("e{shelf}.{slot} serves {bdev}, {state}\n").into())
}

/// Set the limits on the rates of an export, in place of those that it has; without any, show them
///
/// Example: kv qos 1 3 --iops 5000 --initiator-bandwidth 50M
#[derive(Debug, Args)]
pub(super) struct QosArgs {
    #[command(flatten)]
    export: ExportArgs,
    /// Requests a second of all initiators together
    #[arg(long, value_name = "N", value_parser = parse_iops)]
    iops: Option<u64>,
    /// Bytes of data a second of all initiators together; K, M, G and T are powers of 1024
    #[arg(long, value_name = "BYTES", value_parser = parse_bandwidth)]
    bandwidth: Option<u64>,
    /// Requests a second of each initiator
    #[arg(long, value_name = "N", value_parser = parse_iops)]
    initiator_iops: Option<u64>,
    /// Bytes of data a second of each initiator
    #[arg(long, value_name = "BYTES", value_parser = parse_bandwidth)]
    initiator_bandwidth: Option<u64>,
    /// Lift all limits
    #[arg(long, conflicts_with_all = ["iops", "bandwidth", "initiator_iops", "initiator_bandwidth"])]
    none: bool,
    /// Print the limits as JSON
    #[arg(long)]
    json: bool,
}

fn parse_iops(text: &str) -> Result<u64, String> {
    limit("iops", text)
}

fn parse_bandwidth(text: &str) -> Result<u64, String> {
    limit("bandwidth", text)
}

/// A limit in the form and the range of the option.
fn limit(option: &str, text: &str) -> Result<u64, String> {
    let field = RateLimits::fields().iter().find(|field| field.name() == option).expect("it is a limit");
    field.read_text(Some(text)).map(|limit| limit.as_u64().unwrap_or_default())
}

impl QosArgs {
    /// Carries it out.
    pub(super) fn carry_out(self, connection: &Connection) -> Result<Outcome, CommandError> {
        let export = self.export.export();
        let limits = RateLimits {
            iops: self.iops,
            bandwidth: self.bandwidth,
            initiator_iops: self.initiator_iops,
            initiator_bandwidth: self.initiator_bandwidth,
        };
        let mut client = connection.open()?;
        if limits != RateLimits::default() || self.none {
            let request = SetQos { export: export.clone(), limits };
            let _done: Value = client.call(SetQos::NAME, Some(request.to_params()))?;
        }
        let wanted = GetExports {
            shelf: Some(export.address.shelf),
            slot: Some(export.address.slot),
            ..GetExports::default()
        };
        let exports: Vec<ExportInfo> = client.call(GetExports::NAME, Some(wanted.to_params()))?;
        let Some(found) = exports.iter().find(|info| is(info, &export)) else {
            return Err(CommandError::Refused(format!("no export {}", export.address)));
        };
        let limits = limits_of(found);
        if self.json {
            return Ok(Outcome::json(&limits));
        }
        let shown = |(name, limit): (&String, &Value)| {
            format!("{name:<20} {}\n", limit.as_u64().map_or("none".into(), |limit| limit.to_string()))
        };
        Ok(limits.as_object().into_iter().flatten().map(shown).collect::<String>().into())
    }
}

/// Whether an export is the one that is meant.
fn is(info: &ExportInfo, export: &OneExport) -> bool {
    let is_port = |port: &PortRef| {
        info.ports.iter().any(|its| match port {
            PortRef::Number(number) => its.number == *number,
            PortRef::Name(name) => its.name == *name || its.netif.as_ref() == Some(name),
        })
    };
    info.options.vlan == export.vlan && export.port.as_ref().is_none_or(is_port)
}

fn limits_of(info: &ExportInfo) -> Value {
    let options = to_value(&info.options);
    let limit =
        |field: &Field| (field.name().to_owned(), options.get(field.name()).cloned().unwrap_or_default());
    RateLimits::fields().iter().map(limit).collect::<Map<String, Value>>().into()
}
