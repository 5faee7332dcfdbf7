//! One `[[export]]` of a settings file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aoe_target::ShelfSlot;
use control::error::{Quoted, nearest};
use control::schema::{Field, Fields, Kind};
use control::{ExportOptions, PortRef};
use toml::{Spanned, Value};

use super::place::{Place, absolute};
use crate::export_spec::{BdevSpec, ExportSpec};
use crate::launch_error::LaunchError;

/// As it is written: each value with its place in the file. Its keys are [`KEYS`] and the options of an export.
pub(super) type Table = BTreeMap<Spanned<String>, Spanned<Value>>;

/// The keys beside the options.
const KEYS: [&str; 8] = ["shelf", "slot", "path", "bdev", "port", "sync", "buffered", "direct"];

/// Reads each value as `--export` does.
pub(super) fn check(table: &Spanned<Table>, place: &Place<'_>) -> Result<ExportSpec, LaunchError> {
    let entry = Entry { table, place };
    entry.check_keys()?;
    let address = entry.address()?;
    let (mut bdev, named) = entry.bdev(address)?;
    entry.set_file_options(&mut bdev)?;
    let mut spec = ExportSpec {
        text: named,
        address,
        port: entry.value("port", |port| PortRef::parse(&scalar(port)?))?,
        bdev,
        options: entry.options()?,
    };
    spec.text = format!("{}={}", spec.place(), spec.text);
    Ok(spec)
}

struct Entry<'a> {
    table: &'a Spanned<Table>,
    place: &'a Place<'a>,
}

impl Entry<'_> {
    fn check_keys(&self) -> Result<(), LaunchError> {
        let options: Vec<String> = ExportOptions::fields().iter().map(Field::long).collect();
        let known: Vec<&str> = KEYS.into_iter().chain(options.iter().map(String::as_str)).collect();
        for key in self.table.get_ref().keys() {
            let name = key.get_ref().as_str();
            if known.contains(&name) {
                continue;
            }
            let near = nearest(name, known.iter().copied());
            let near = near.map_or_else(String::new, |near| format!(", the nearest is {}", Quoted(near)));
            let keys: Vec<String> = known.iter().map(|key| Quoted(key).to_string()).collect();
            let sentence =
                format!("there is no key {}{near}: the keys are {}", Quoted(name), keys.join(", "));
            return Err(self.place.mistake("export", Some(key.span()), &sentence));
        }
        Ok(())
    }

    /// Reads a value that may be left out.
    fn value<R>(
        &self,
        key: &str,
        read: impl FnOnce(&Value) -> Result<R, String>,
    ) -> Result<Option<R>, LaunchError> {
        self.place.optional(key, self.table.get_ref().get(key), read)
    }

    fn span(&self, key: &str) -> std::ops::Range<usize> {
        self.table.get_ref().get(key).map_or_else(|| self.table.span(), Spanned::span)
    }

    fn address(&self) -> Result<ShelfSlot, LaunchError> {
        let number = |key: &str| {
            let number = self.value(key, |value| {
                value.as_integer().ok_or_else(|| format!("{} is no number: a number is needed", shown(value)))
            })?;
            number.ok_or_else(|| {
                self.place.mistake(key, Some(self.table.span()), "it is missing: a number is needed")
            })
        };
        let text = format!("{}.{}", number("shelf")?, number("slot")?);
        text.parse().map_err(|error: control::AddressError| {
            self.place.mistake("shelf and slot", Some(self.span("shelf")), &error.to_string())
        })
    }

    /// What it serves, and the text of that.
    fn bdev(&self, address: ShelfSlot) -> Result<(BdevSpec, String), LaunchError> {
        let path = self.value("path", |path| {
            let path = absolute(&PathBuf::from(text(path)?))?;
            let text = path.to_str().map(str::to_owned);
            let text = text.ok_or("it is not UTF-8, as SPDK's configuration must be")?;
            Ok((BdevSpec::at(path), text))
        })?;
        let bdev = self.value("bdev", |bdev| {
            let text = text(bdev)?;
            Ok((BdevSpec::parse(text)?, text.to_owned()))
        })?;
        let (key, sentence) = match (path, bdev) {
            (Some(one), None) | (None, Some(one)) => return Ok(one),
            (None, None) => (
                "shelf",
                "neither path nor bdev is given: give path, a file or block device, or bdev, such as \"malloc:64M\"",
            ),
            (Some(_), Some(_)) => ("path", "path and bdev are both given: give one of them"),
        };
        let span = if key == "path" { self.span(key) } else { self.table.span() };
        Err(self.place.mistake(&format!("export {address}"), Some(span), sentence))
    }

    /// The options of a file's bdev.
    fn set_file_options(&self, bdev: &mut BdevSpec) -> Result<(), LaunchError> {
        for key in ["sync", "buffered", "direct"] {
            let is_taken = self.value(key, |value| match (key, value) {
                ("sync", value) => bdev.set(key, Some(text(value)?)),
                (_, Value::Boolean(true)) => bdev.set(key, None),
                (_, Value::Boolean(false)) => Ok(true),
                (_, other) => Err(format!("{} is not allowed: it is a boolean, true or false", shown(other))),
            })?;
            if is_taken == Some(false) {
                let sentence = "it is for a file or block device, and another kind of bdev is served";
                return Err(self.place.mistake(key, Some(self.span(key)), sentence));
            }
        }
        Ok(())
    }

    fn options(&self) -> Result<ExportOptions, LaunchError> {
        let mut options = ExportOptions::default();
        for option in ExportOptions::fields() {
            self.value(&option.long(), |value| match (option.kind(), value) {
                (Kind::Flag, Value::Boolean(false)) => Ok(()),
                (Kind::Flag, Value::Boolean(true)) => options.set(option, None),
                (Kind::Flag, other) => {
                    Err(format!("{} is not allowed: it is a boolean, true or false", shown(other)))
                }
                // An empty list is that of an option left out.
                (Kind::List { .. }, Value::Array(list)) if list.is_empty() => Ok(()),
                (Kind::List { .. }, Value::Array(list)) => {
                    let texts = list.iter().map(text).collect::<Result<Vec<_>, _>>()?;
                    options.set(option, Some(&texts.join("+")))
                }
                (Kind::List { .. }, other) => Err(format!("{} is no list: a list is needed", shown(other))),
                (_, other) => options.set(option, Some(&scalar(other)?)),
            })?;
        }
        Ok(options)
    }
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("{} is no string: a string is needed", shown(value)))
}

/// A value that may be written with or without quotation marks.
fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        other => Err(format!("{} is neither a number nor a string: one of them is needed", shown(other))),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => Quoted(text).to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        other => format!("a value of the type {}", other.type_str()),
    }
}
