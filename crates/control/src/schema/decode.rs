//! From a JSON object to a checked value, with refusals that name the parameter, its value and what is allowed.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::field::{Field, Fields};
use crate::error::{Quoted, nearest};

/// Reads an object. Names, kinds and ranges are checked by the schema; the rest is for the types of the fields, whose
/// errors are whole sentences. JSON's `null` counts as a field left out. `noun` is what the fields are called.
///
/// # Errors
/// A sentence about the first value that is wrong.
pub fn decode<T: Fields + DeserializeOwned>(object: Map<String, Value>, noun: &str) -> Result<T, String> {
    let fields = T::fields();
    let mut known = Map::new();
    for (name, value) in object {
        let field = fields.iter().find(|field| field.name() == name || field.former_name() == Some(&name));
        let field = field.ok_or_else(|| unknown(&name, fields, noun))?;
        if value.is_null() {
            continue;
        }
        if known.insert(field.name().to_owned(), value).is_some() {
            let former = field.former_name().unwrap_or_default();
            return Err(format!("{0} and its former name {former} are both given: give {0}", field.name()));
        }
    }
    for field in fields {
        match known.get(field.name()) {
            Some(value) => field.check(value)?,
            None if field.is_required() => {
                return Err(format!("{} is missing: it must be {}", field.name(), field.allowed()));
            }
            None => {}
        }
    }
    serde_json::from_value(Value::Object(known)).map_err(|error| error.to_string())
}

fn unknown(name: &str, fields: &[Field], noun: &str) -> String {
    let names: Vec<&str> = fields.iter().map(Field::name).collect();
    let near = nearest(name, names.iter().copied())
        .map_or_else(String::new, |near| format!(", the nearest is {}", Quoted(near)));
    let allowed = if names.is_empty() {
        format!("the method takes no {noun}s")
    } else {
        format!("the {noun}s are {}", names.join(", "))
    };
    format!("unknown {noun} {}{near}: {allowed}", Quoted(name))
}
