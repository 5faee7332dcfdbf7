//! One `[[export]]` of a settings file.

use std::path::PathBuf;

use aoe_target::ShelfSlot;
use control::{ExportOptions, PortRef};
use serde::Deserialize;
use toml::Spanned;

use super::{Place, Scalar, absolute};
use crate::args::LaunchError;
use crate::export_spec::{BdevSpec, ExportSpec};

/// As it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Table {
    shelf: Spanned<i64>,
    slot: Spanned<i64>,
    path: Option<Spanned<PathBuf>>,
    bdev: Option<Spanned<String>>,
    port: Option<Spanned<Scalar>>,
    #[serde(default)]
    read_only: bool,
    offset: Option<Spanned<i64>>,
    length: Option<Spanned<i64>>,
    vlan: Option<Spanned<i64>>,
    cache: Option<Spanned<String>>,
    buffers: Option<Spanned<i64>>,
    allow: Option<Spanned<Vec<String>>>,
    deny: Option<Spanned<Vec<String>>>,
    serial: Option<Spanned<String>>,
    model: Option<Spanned<String>>,
    firmware: Option<Spanned<String>>,
}

/// Reads each value as `--export` does.
pub(super) fn check(table: &Spanned<Table>, place: &Place<'_>) -> Result<ExportSpec, LaunchError> {
    let Table { shelf, slot, path, bdev, port, read_only, .. } = table.get_ref();
    let address = place.value("shelf and slot", shelf, |shelf| {
        format!("{shelf}.{}", slot.get_ref()).parse::<ShelfSlot>().map_err(|error| error.to_string())
    })?;
    let (bdev, named) = match (path, bdev) {
        (Some(path), None) => {
            let path = place.value("path", path, absolute)?;
            let text = path.to_str().map(str::to_owned).ok_or_else(|| {
                place.mistake("path", Some(table.span()), "it is not UTF-8, as SPDK's configuration must be")
            })?;
            (BdevSpec::Aio { path }, text)
        }
        (None, Some(bdev)) => {
            (place.value("bdev", bdev, |bdev| BdevSpec::parse(bdev))?, bdev.get_ref().clone())
        }
        (None, None) => {
            let sentence = "neither path nor bdev is given: give path, a file or block device, or bdev, such as \
                            \"malloc:64M\"";
            return Err(place.mistake(&format!("export {address}"), Some(table.span()), sentence));
        }
        (Some(path), Some(_)) => {
            let sentence = "path and bdev are both given: give one of them";
            return Err(place.mistake(&format!("export {address}"), Some(path.span()), sentence));
        }
    };
    let port = place.optional("port", port.as_ref(), |port| PortRef::parse(&port.to_string()))?;
    let mut spec = ExportSpec {
        text: named,
        address,
        port,
        bdev,
        read_only: *read_only,
        options: options(table.get_ref(), place)?,
    };
    spec.text = format!("{}={}", spec.place(), spec.text);
    Ok(spec)
}

fn options(table: &Table, place: &Place<'_>) -> Result<ExportOptions, LaunchError> {
    let mut options = ExportOptions::default();
    let mut set = |name: &str, text: &str| options.set(name, text).map(|_known| ());
    let numbers = [
        ("offset", &table.offset),
        ("length", &table.length),
        ("vlan", &table.vlan),
        ("buffers", &table.buffers),
    ];
    for (name, value) in numbers {
        place.optional(name, value.as_ref(), |number| set(name, &number.to_string()))?;
    }
    let texts = [
        ("cache", &table.cache),
        ("serial", &table.serial),
        ("model", &table.model),
        ("firmware", &table.firmware),
    ];
    for (name, value) in texts {
        place.optional(name, value.as_ref(), |text| set(name, text))?;
    }
    for (name, value) in [("allow", &table.allow), ("deny", &table.deny)] {
        // An empty list is that of an option left out.
        place.optional(name, value.as_ref(), |macs| {
            if macs.is_empty() { Ok(()) } else { set(name, &macs.join("+")) }
        })?;
    }
    Ok(options)
}
