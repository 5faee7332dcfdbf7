//! The methods that change an export while it is served: its options, and its bdev.

use std::borrow::Cow;

use aoe_target::{ShelfSlot, VlanId};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::OneExport;
use crate::error::{Quoted, RpcError};
use crate::options::ExportOptions;
use crate::port::PortRef;
use crate::schema::{self, Field, Fields};
use crate::value;

/// Changes options of an export while it is served.
///
/// Options that are left out stay as they are; those that `reset` names get their defaults. The VLAN is a part of the address and
/// can't be changed. `read_only`, `offset`, `length` and `cache` take an exchange as `aoe_replace_bdev` does. The answer is the
/// export as `aoe_get_exports` shows it, once the options hold on every lcore and requests that were admitted by another `allow` or
/// `deny` have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateExport {
    // Not a `OneExport`: flattened, it would leave its parameters to `changes`, too.
    /// Address of the export.
    #[serde(flatten, with = "value::address")]
    #[schemars(with = "value::Address")]
    pub address: ShelfSlot,
    /// VLAN it is served in; the export outside of any VLAN if left out.
    #[serde(default, with = "value::number")]
    #[schemars(with = "Option<u16>", range(min = 1, max = VlanId::MAX), extend(
        "x-allowed" = format!("the number of a VLAN, from 1 to {}", VlanId::MAX)))]
    pub vlan: Option<VlanId>,
    /// A port it is served on, where several exports have the address.
    #[serde(default, deserialize_with = "value::read_port")]
    #[schemars(with = "Value", extend("x-allowed" = value::PORT))]
    pub port: Option<PortRef>,
    /// Options that get their defaults.
    #[serde(default)]
    #[schemars(extend("x-allowed" = format!("a list of names of options, among {}", names())))]
    pub reset: Vec<String>,
    /// The options that change.
    #[serde(flatten)]
    pub changes: OptionChanges,
}

/// Has an export go on with another bdev while it is served, without an error for its initiators.
///
/// The other bdev must hold the same data: it is opened first; then every lcore drops new requests, which initiators repeat,
/// until those in flight at the bdev before have ended and what it has in a volatile cache is flushed; then all go on with the other.
/// If the bdev before does not answer within 10 s, the call gets an error and the export goes on as before. The other bdev
/// must have all sectors that the export serves. An export that waits or is offline is served by the other bdev at once. The
/// answer is the export as `aoe_get_exports` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplaceBdev {
    /// The export.
    #[serde(flatten)]
    pub export: OneExport,
    /// Name of the other bdev: its own, an alias such as `lvs/volume`, or its UUID.
    #[serde(deserialize_with = "value::read_bdev_name")]
    #[schemars(extend("x-allowed" = value::BDEV_NAME))]
    pub bdev_name: String,
}

/// Options with new values: those of [`ExportOptions`], but for the VLAN.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OptionChanges(Map<String, Value>);

/// An option that tells one export from another, so that it is no change of one.
const FIXED: &str = "vlan";

/// The default of each, in documents.
const UNCHANGED: &str = "as it is";

impl JsonSchema for OptionChanges {
    fn schema_name() -> Cow<'static, str> {
        "OptionChanges".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = ExportOptions::json_schema(generator);
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for (name, property) in properties.into_iter().flatten() {
            if name != FIXED
                && let Some(property) = property.as_object_mut()
            {
                property.insert("default".into(), Value::Null);
                property.insert("x-default".into(), UNCHANGED.into());
            }
        }
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties.shift_remove(FIXED);
        }
        schema
    }
}

fn changeable() -> impl Iterator<Item = &'static str> {
    ExportOptions::fields().iter().map(Field::name).filter(|name| *name != FIXED)
}

fn names() -> String {
    changeable().collect::<Vec<_>>().join(", ")
}

impl UpdateExport {
    /// The export that is changed.
    #[must_use]
    pub fn export(&self) -> OneExport {
        OneExport { address: self.address, vlan: self.vlan, port: self.port.clone() }
    }

    /// The options of an export after this change of `options`.
    ///
    /// # Errors
    /// A value or a name in `reset` that is not allowed, or an option that is both set and reset.
    pub fn apply(&self, options: &ExportOptions) -> Result<ExportOptions, RpcError> {
        let mut all = value::object(options);
        for name in &self.reset {
            if !changeable().any(|option| option == name) {
                return Err(RpcError::invalid(format!(
                    "reset names {}: the options that can be changed are {}",
                    Quoted(name),
                    names()
                )));
            }
            if self.changes.0.contains_key(name) {
                return Err(RpcError::invalid(format!("{name} is given and in reset: leave it out of one")));
            }
            all.shift_remove(name);
        }
        all.extend(self.changes.0.iter().map(|(name, value)| (name.clone(), value.clone())));
        schema::decode(all, "option").map_err(RpcError::invalid)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::options::CacheMode;
    use crate::request::{Action, CreateExport, Method};

    fn decode(params: &Value) -> Result<UpdateExport, RpcError> {
        match Action::decode(UpdateExport::NAME, Some(params))? {
            Action::UpdateExport(request) => Ok(request),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_that_are_left_out_stay_and_those_that_are_reset_get_their_defaults() {
        let before = ExportOptions {
            read_only: true,
            length: Some(8),
            vlan: VlanId::new(7),
            serial: Some("s".into()),
            ..ExportOptions::default()
        };
        let params = json!({
            "shelf": 1, "slot": 2, "vlan": 7, "read_only": false, "cache": "write-back", "reset": ["length"],
        });
        let request = decode(&params).unwrap();
        assert_eq!((request.vlan, request.to_params()), (VlanId::new(7), params));
        let after = request.apply(&before).unwrap();
        let expected = ExportOptions {
            vlan: VlanId::new(7),
            serial: Some("s".into()),
            cache: CacheMode::WriteBack,
            ..ExportOptions::default()
        };
        assert_eq!(after, expected);
        assert_eq!(decode(&json!({ "shelf": 1, "slot": 2 })).unwrap().apply(&before).unwrap(), before);
    }

    #[test]
    fn every_option_but_the_vlan_can_be_changed_and_is_refused_as_at_the_creation() {
        let changed: Vec<&str> = changeable().collect();
        let parameters: Vec<&str> = UpdateExport::fields().iter().map(Field::name).collect();
        assert!(changed.iter().all(|name| parameters.contains(name)), "{parameters:?}");
        assert_eq!(changed.len() + 1, ExportOptions::fields().len());
        for (name, value) in [
            ("buffers", json!(1)),
            ("io_timeout", json!(0)),
            ("cache", json!("off")),
            ("iops", json!("5")),
            ("allow", json!("x")),
            ("length", json!(0)),
        ] {
            let refused = |method: &str| {
                let params = json!({ "shelf": 1, "slot": 1, "bdev_name": "b", name: value });
                let mut params = params.as_object().unwrap().clone();
                if method == UpdateExport::NAME {
                    params.shift_remove("bdev_name");
                }
                Action::decode(method, Some(&Value::Object(params))).unwrap_err().message().to_owned()
            };
            let (create, update) = (refused(CreateExport::NAME), refused(UpdateExport::NAME));
            assert_eq!(create.split_once(": ").unwrap().1, update.split_once(": ").unwrap().1);
        }
        let apply = |params: Value| decode(&params).unwrap().apply(&ExportOptions::default());
        for (params, parts) in [
            (json!({ "shelf": 1, "slot": 1, "deny": ["x"] }), ["'x'", "six bytes"]),
            (json!({ "shelf": 1, "slot": 1, "serial": "" }), ["serial ''", "1 to 20"]),
            (json!({ "shelf": 1, "slot": 1, "reset": ["vlan"] }), ["'vlan'", "read_only, offset"]),
            (json!({ "shelf": 1, "slot": 1, "iops": 5, "reset": ["iops"] }), ["iops is given", "reset"]),
        ] {
            let error = apply(params).unwrap_err();
            assert!(parts.iter().all(|part| error.message().contains(part)), "{error}");
        }
    }

    #[test]
    fn a_replacement_names_its_bdev() {
        let error = Action::decode(ReplaceBdev::NAME, Some(&json!({ "shelf": 1, "slot": 1 }))).unwrap_err();
        assert!(error.message().contains("bdev_name is missing"), "{error}");
    }
}
