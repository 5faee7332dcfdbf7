//! From the JSON of an RPC to a checked request: the methods and what each may carry.

use aoe_target::{MacAddr, Shelf, ShelfSlot, Slot, VlanId};
use serde_json::{Map, Value, json};

use crate::error::{ErrorCode, Quoted, RpcError};
use crate::options::{self, CacheMode, ExportOptions};
use crate::port::PortRef;

/// Most ports one request may list; DPDK's own limit is `RTE_MAX_ETHPORTS`, 32 in Debian's build.
pub const PORTS_MAX: usize = 256;

/// Name of the method behind [`Action::CreateExport`].
pub const CREATE_EXPORT: &str = "aoe_create_export";
/// Name of the method behind [`Action::DeleteExport`].
pub const DELETE_EXPORT: &str = "aoe_delete_export";
/// Name of the method behind [`Action::GetExports`].
pub const GET_EXPORTS: &str = "aoe_get_exports";
/// Name of the method behind [`Action::Announce`].
pub const ANNOUNCE: &str = "aoe_announce";
/// Name of the method behind [`Action::GetStats`].
pub const GET_STATS: &str = "aoe_get_stats";
/// Name of the method behind [`Action::ClearClaims`].
pub const CLEAR_CLAIMS: &str = "aoe_clear_claims";

/// Every method, in the order the documentation lists them. All are legal once the `aoe` subsystem has been
/// initialised (`SPDK_RPC_RUNTIME`), none before.
pub const METHODS: [&str; 6] = [CREATE_EXPORT, DELETE_EXPORT, GET_EXPORTS, ANNOUNCE, GET_STATS, CLEAR_CLAIMS];

/// What a management request asks for. One variant per RPC method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Serve a bdev under an address. Answered with the export as [`Action::GetExports`] shows it, once every
    /// lcore serves it.
    CreateExport(CreateExport),
    /// Stop serving an address, on all ports or some. Answered with `true` once what was in flight is answered.
    DeleteExport(DeleteExport),
    /// List the exports.
    GetExports,
    /// Broadcast the advertisement of one export, or of all. Answered with `true` once it is queued for sending.
    Announce(Announce),
    /// Counters per export and per port.
    GetStats,
    /// Forget what initiators keep on an export. Answered with `true` once that is on disk and every lcore knows.
    ClearClaims(ClearClaims),
}

/// Parameters of `aoe_create_export`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateExport {
    /// Address to serve.
    pub address: ShelfSlot,
    /// Name of an SPDK bdev; never empty.
    pub bdev_name: String,
    /// Ports to serve on, without duplicates as written; `None` means all ports.
    pub ports: Option<Vec<PortRef>>,
    /// Refuse writes.
    pub read_only: bool,
    /// Everything else the operator may say of it.
    pub options: ExportOptions,
}

/// Parameters of `aoe_delete_export`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteExport {
    /// Address to stop serving.
    pub address: ShelfSlot,
    /// The VLAN it is served in; `None` means the export outside of any.
    pub vlan: Option<VlanId>,
    /// Ports to leave; `None` means every port that address is served on.
    pub ports: Option<Vec<PortRef>>,
}

/// Parameters of `aoe_clear_claims`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearClaims {
    /// Address of the export.
    pub address: ShelfSlot,
    /// Its VLAN; `None` means the export outside of any.
    pub vlan: Option<VlanId>,
    /// A port of it, where several exports have that address.
    pub port: Option<PortRef>,
    /// What is to be forgotten; all of it if that was left out.
    pub what: Claimed,
}

/// What an initiator can keep on an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The config string.
    Config,
    /// The MAC mask list.
    Mask,
    /// The reservation, plain or keyed.
    Reservation,
    /// Everything; the only one that opens an export whose state is not known.
    All,
}

/// Parameters of `aoe_announce`: a missing part matches every export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announce {
    /// Only this shelf.
    pub shelf: Option<Shelf>,
    /// Only this slot.
    pub slot: Option<Slot>,
}

impl Announce {
    /// Whether the export at `address` is meant.
    #[must_use]
    pub fn matches(&self, address: ShelfSlot) -> bool {
        self.shelf.is_none_or(|shelf| shelf == address.shelf)
            && self.slot.is_none_or(|slot| slot == address.slot)
    }
}

impl Action {
    /// Reads a request. `params` is `None` when the request had none; JSON's `null` counts as none too.
    ///
    /// # Errors
    /// [`ErrorCode::MethodNotFound`], or [`ErrorCode::InvalidParams`] naming the first value that is wrong and
    /// what is allowed there.
    pub fn decode(method: &str, params: Option<&Value>) -> Result<Self, RpcError> {
        let mut fields = Fields::new(method, params)?;
        let action = match method {
            CREATE_EXPORT => Self::CreateExport(CreateExport {
                address: fields.address()?,
                bdev_name: fields.bdev_name()?,
                ports: fields.ports()?,
                read_only: fields.flag("read_only")?,
                options: fields.options()?,
            }),
            DELETE_EXPORT => Self::DeleteExport(DeleteExport {
                address: fields.address()?,
                vlan: fields.vlan()?,
                ports: fields.ports()?,
            }),
            GET_EXPORTS => Self::GetExports,
            ANNOUNCE => Self::Announce(Announce { shelf: fields.shelf()?, slot: fields.slot()? }),
            GET_STATS => Self::GetStats,
            CLEAR_CLAIMS => Self::ClearClaims(ClearClaims {
                address: fields.address()?,
                vlan: fields.vlan()?,
                port: fields.port()?,
                what: fields.claimed()?,
            }),
            _ => {
                return Err(RpcError::new(
                    ErrorCode::MethodNotFound,
                    format!("no method {}: the methods are {}", Quoted(method), METHODS.join(", ")),
                ));
            }
        };
        fields.finish()?;
        Ok(action)
    }
}

impl CreateExport {
    /// The parameters as JSON, for a configuration file or a request. Defaults are left out.
    #[must_use]
    pub fn to_params(&self) -> Value {
        let mut params = json!({
            "shelf": self.address.shelf.0,
            "slot": self.address.slot.0,
            "bdev_name": self.bdev_name,
        });
        put_ports(&mut params, self.ports.as_deref());
        if self.read_only {
            params["read_only"] = Value::Bool(true);
        }
        if let Value::Object(params) = &mut params {
            self.options.put(params);
        }
        params
    }
}

impl DeleteExport {
    /// The parameters as JSON.
    #[must_use]
    pub fn to_params(&self) -> Value {
        let mut params = json!({ "shelf": self.address.shelf.0, "slot": self.address.slot.0 });
        if let Some(vlan) = self.vlan {
            params["vlan"] = vlan.get().into();
        }
        put_ports(&mut params, self.ports.as_deref());
        params
    }
}

impl Announce {
    /// The parameters as JSON.
    #[must_use]
    pub fn to_params(&self) -> Value {
        let mut params = Map::new();
        if let Some(shelf) = self.shelf {
            params.insert("shelf".into(), shelf.0.into());
        }
        if let Some(slot) = self.slot {
            params.insert("slot".into(), slot.0.into());
        }
        Value::Object(params)
    }
}

fn put_ports(params: &mut Value, ports: Option<&[PortRef]>) {
    if let Some(ports) = ports {
        params["ports"] = ports.iter().map(PortRef::to_json).collect();
    }
}

/// The parameters of one request; each field is taken out once, and what is left over is unknown.
struct Fields<'a> {
    method: &'a str,
    fields: Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    fn new(method: &'a str, params: Option<&Value>) -> Result<Self, RpcError> {
        let fields = match params {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(fields)) => fields.clone(),
            Some(other) => {
                return Err(RpcError::invalid(format!(
                    "{method}: the parameters are {}: they must be an object",
                    kind(other)
                )));
            }
        };
        Ok(Self { method, fields, known: Vec::new() })
    }

    /// JSON's `null` counts as a field left out.
    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, value: &Value, allowed: &str) -> RpcError {
        RpcError::invalid(format!("{}: {name} is {}: it must be {allowed}", self.method, shown(value)))
    }

    fn missing(&self, name: &str, allowed: &str) -> RpcError {
        RpcError::invalid(format!("{}: {name} is missing: it must be {allowed}", self.method))
    }

    fn shelf(&mut self) -> Result<Option<Shelf>, RpcError> {
        let Some(value) = self.take("shelf") else { return Ok(None) };
        value
            .as_u64()
            .and_then(|shelf| Shelf::try_from(shelf).ok())
            .map(Some)
            .ok_or_else(|| self.wrong("shelf", &value, &shelf_range()))
    }

    fn slot(&mut self) -> Result<Option<Slot>, RpcError> {
        let Some(value) = self.take("slot") else { return Ok(None) };
        value
            .as_u64()
            .and_then(|slot| Slot::try_from(slot).ok())
            .map(Some)
            .ok_or_else(|| self.wrong("slot", &value, &slot_range()))
    }

    fn address(&mut self) -> Result<ShelfSlot, RpcError> {
        let shelf = self.shelf()?.ok_or_else(|| self.missing("shelf", &shelf_range()))?;
        let slot = self.slot()?.ok_or_else(|| self.missing("slot", &slot_range()))?;
        Ok(ShelfSlot::new(shelf, slot))
    }

    fn bdev_name(&mut self) -> Result<String, RpcError> {
        const ALLOWED: &str = "the name of a bdev, a string that is not empty";
        match self.take("bdev_name") {
            Some(Value::String(name)) if !name.is_empty() && !name.contains('\0') => Ok(name),
            Some(value) => Err(self.wrong("bdev_name", &value, ALLOWED)),
            None => Err(self.missing("bdev_name", ALLOWED)),
        }
    }

    fn flag(&mut self, name: &'static str) -> Result<bool, RpcError> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(value) => Err(self.wrong(name, &value, "true or false")),
        }
    }

    fn options(&mut self) -> Result<ExportOptions, RpcError> {
        let buffers =
            format!("a number of messages from {} to {}", options::BUFFERS_MIN, options::BUFFERS_MAX);
        Ok(ExportOptions {
            offset: self.number("offset", "a number of sectors of 512 bytes, from 0", Some)?.unwrap_or(0),
            length: self.number("length", "a number of sectors of 512 bytes, from 1", |length| {
                (length > 0).then_some(length)
            })?,
            vlan: self.vlan()?,
            cache: self.cache()?,
            buffers: self.number("buffers", &buffers, options::buffers_from)?,
            allow: self.macs("allow")?,
            deny: self.macs("deny")?,
            serial: self.text("serial", options::parse_serial)?,
            model: self.text("model", options::parse_model)?,
            firmware: self.text("firmware", options::parse_firmware)?,
        })
    }

    fn cache(&mut self) -> Result<CacheMode, RpcError> {
        let Some(value) = self.take("cache") else { return Ok(CacheMode::default()) };
        let mode = value.as_str().and_then(CacheMode::from_name);
        mode.ok_or_else(|| self.wrong("cache", &value, CacheMode::ALLOWED))
    }

    fn vlan(&mut self) -> Result<Option<VlanId>, RpcError> {
        let allowed = format!("the number of a VLAN, from 1 to {}", VlanId::MAX);
        self.number("vlan", &allowed, options::vlan_from)
    }

    fn number<N>(
        &mut self,
        name: &'static str,
        allowed: &str,
        convert: impl FnOnce(u64) -> Option<N>,
    ) -> Result<Option<N>, RpcError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_u64().and_then(convert).map(Some).ok_or_else(|| self.wrong(name, &value, allowed))
    }

    fn macs(&mut self, name: &'static str) -> Result<Vec<MacAddr>, RpcError> {
        const ALLOWED: &str = "a list of MAC addresses in text, such as \"52:54:00:12:34:56\"";
        let listed = match self.take(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(listed)) => listed,
            Some(value) => return Err(self.wrong(name, &value, ALLOWED)),
        };
        let texts: Option<Vec<&str>> = listed.iter().map(Value::as_str).collect();
        let texts = texts.ok_or_else(|| self.wrong(name, &Value::Array(listed.clone()), ALLOWED))?;
        options::collect_macs(name, texts)
            .map_err(|message| RpcError::invalid(format!("{}: {message}", self.method)))
    }

    fn text(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<String, String>,
    ) -> Result<Option<String>, RpcError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => parse(&text)
                .map(Some)
                .map_err(|message| RpcError::invalid(format!("{}: {message}", self.method))),
            Some(value) => Err(self.wrong(name, &value, "a string")),
        }
    }

    fn ports(&mut self) -> Result<Option<Vec<PortRef>>, RpcError> {
        const ALLOWED: &str = "a list of port numbers or names that is not empty, or left out for all ports";
        let listed = match self.take("ports") {
            None => return Ok(None),
            Some(Value::Array(listed)) if !listed.is_empty() => listed,
            Some(value) => return Err(self.wrong("ports", &value, ALLOWED)),
        };
        if listed.len() > PORTS_MAX {
            return Err(RpcError::invalid(format!(
                "{}: ports lists {} ports: at most {PORTS_MAX} are allowed",
                self.method,
                listed.len()
            )));
        }
        let mut ports: Vec<PortRef> = Vec::with_capacity(listed.len());
        for value in &listed {
            let port = match value {
                Value::String(name) => PortRef::parse(name)
                    .map_err(|message| RpcError::invalid(format!("{}: ports: {message}", self.method)))?,
                _ => value
                    .as_u64()
                    .and_then(|number| u16::try_from(number).ok())
                    .map(PortRef::Number)
                    .ok_or_else(|| {
                        self.wrong("a port", value, "a port number from 0 to 65535 or a port name")
                    })?,
            };
            if ports.contains(&port) {
                return Err(RpcError::invalid(format!(
                    "{}: ports lists {} twice: each port may be given once",
                    self.method,
                    Quoted(&port.to_string())
                )));
            }
            ports.push(port);
        }
        Ok(Some(ports))
    }

    fn port(&mut self) -> Result<Option<PortRef>, RpcError> {
        let Some(value) = self.take("port") else { return Ok(None) };
        match &value {
            Value::String(name) => PortRef::parse(name)
                .map(Some)
                .map_err(|message| RpcError::invalid(format!("{}: port: {message}", self.method))),
            other => other
                .as_u64()
                .and_then(|number| u16::try_from(number).ok())
                .map(|number| Some(PortRef::Number(number)))
                .ok_or_else(|| self.wrong("port", &value, "a port number from 0 to 65535 or a port name")),
        }
    }

    fn claimed(&mut self) -> Result<Claimed, RpcError> {
        let Some(value) = self.take("what") else { return Ok(Claimed::All) };
        match value.as_str() {
            Some("config") => Ok(Claimed::Config),
            Some("mask") => Ok(Claimed::Mask),
            Some("reservation") => Ok(Claimed::Reservation),
            Some("all") => Ok(Claimed::All),
            _ => Err(self.wrong("what", &value, "config, mask, reservation or all")),
        }
    }

    fn finish(self) -> Result<(), RpcError> {
        let Some(name) = self.fields.keys().next() else { return Ok(()) };
        let allowed = if self.known.is_empty() {
            "the method takes no parameters".to_owned()
        } else {
            format!("the parameters are {}", self.known.join(", "))
        };
        Err(RpcError::invalid(format!("{}: unknown parameter {}: {allowed}", self.method, Quoted(name))))
    }
}

fn shelf_range() -> String {
    format!("a number from 0 to {}", Shelf::MAX)
}

fn slot_range() -> String {
    format!("a number from 0 to {}", Slot::MAX)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A JSON value in an error message, bounded in length.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => Quoted(text).to_string(),
        Value::Array(list) if list.is_empty() => "an empty list".into(),
        Value::Array(_) | Value::Object(_) => kind(value).into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
