//! `kvadd`: from a path to an export. A file becomes an SPDK bdev first, unless one serves it already.

use std::fs;
use std::path::{Path, PathBuf};

use control::error::Quoted;
use control::request::{CREATE_EXPORT, GET_EXPORTS};
use control::{BackingFile, CreateExport, ExportInfo, ExportOptions, PortRef, ShelfSlot};
use serde_json::{Value, json};

use crate::bdev_list::{self, BdevInfo};
use crate::command::CommandError;
use crate::rpc_client::{Client, ClientError};

/// What to add.
#[derive(Debug, Clone)]
pub struct Addition {
    /// Address to serve.
    pub address: ShelfSlot,
    /// Port to serve on.
    pub port: PortRef,
    /// A file, a block device or the name of a bdev.
    pub path: PathBuf,
    /// Refuse writes.
    pub read_only: bool,
    /// Everything else to be said of the export.
    pub options: ExportOptions,
}

/// Carries it out. If the export cannot be made, a bdev made for it is deleted again.
///
/// A bdev of that name comes before a file. A file that an aio bdev serves already is served through that one;
/// under another address only if no export of it takes writes, or the parts do not overlap, since initiators
/// would take the two for independent disks.
///
/// # Errors
/// One sentence; nothing has changed then, unless it says so.
pub fn add(client: &mut Client, addition: &Addition) -> Result<ExportInfo, CommandError> {
    let bdevs = bdev_list::fetch(client)?;
    let name = addition.path.to_str();
    if let Some(bdev) = name.and_then(|name| bdevs.iter().find(|bdev| bdev.is_called(name))) {
        return Ok(create_export(client, addition, &bdev.name)?);
    }
    check_is_there(addition, &bdevs)?;
    let file = BackingFile::inspect(&addition.path)?;
    file.check_access(addition.read_only)?;
    if let Some(bdev) = bdevs.iter().find(|bdev| bdev.is_on(&file)) {
        check_sharing(client, addition, &bdev.name)?;
        return Ok(create_export(client, addition, &bdev.name)?);
    }
    let bdev_name = create_bdev(client, addition, &file, &bdevs)?;
    create_export(client, addition, &bdev_name).map_err(|error| undo(client, &bdev_name, error))
}

fn check_is_there(addition: &Addition, bdevs: &[BdevInfo]) -> Result<(), CommandError> {
    let Err(error) = fs::metadata(&addition.path) else { return Ok(()) };
    let names: Vec<&str> = bdevs.iter().take(8).map(|bdev| bdev.name.as_str()).collect();
    Err(CommandError::Refused(format!(
        "'{}' is no bdev, and as a file: {error}; give a file, a block device or one of the bdevs ({})",
        addition.path.display(),
        if names.is_empty() { "there are none".into() } else { names.join(", ") }
    )))
}

fn check_sharing(client: &mut Client, addition: &Addition, bdev_name: &str) -> Result<(), CommandError> {
    let exports: Vec<ExportInfo> = client.call(GET_EXPORTS, None)?;
    let other = exports.iter().find(|export| {
        export.bdev_name == bdev_name
            && (export.shelf, export.slot) != (addition.address.shelf.0, addition.address.slot.0)
            && !(export.read_only && addition.read_only)
            && served_part(export).overlaps(&addition.options)
    });
    match other {
        None => Ok(()),
        Some(other) => Err(CommandError::Refused(format!(
            "'{}' is exported as {}.{} already, and as {} it would look like a second disk: make both read-only, \
             use the same shelf and slot on another interface, or serve parts that do not overlap (--offset, --length)",
            addition.path.display(),
            other.shelf,
            other.slot,
            addition.address
        ))),
    }
}

/// The part of its bdev that an export serves.
fn served_part(export: &ExportInfo) -> ExportOptions {
    ExportOptions { offset: export.offset, length: export.length, ..ExportOptions::default() }
}

fn create_bdev(
    client: &mut Client,
    addition: &Addition,
    file: &BackingFile,
    bdevs: &[BdevInfo],
) -> Result<String, CommandError> {
    let Some(path) = file.path().to_str() else {
        return Err(CommandError::Refused(format!(
            "'{}' is not UTF-8: SPDK takes paths in UTF-8 only",
            file.path().display()
        )));
    };
    let plain = aio_name(addition.address);
    let vlan = addition.options.vlan.map_or_else(String::new, |vlan| format!(".v{vlan}"));
    let with_port = format!("{plain}{vlan}@{}", addition.port);
    let free = |name: &&String| !bdevs.iter().any(|bdev| bdev.is_called(name));
    let Some(name) = [&plain, &with_port].into_iter().find(free) else {
        return Err(CommandError::Refused(format!(
            "bdevs {} and {} exist already, on other files: delete one with SPDK's bdev_aio_delete",
            Quoted(&plain),
            Quoted(&with_port)
        )));
    };
    let mut params = json!({ "name": name, "filename": path });
    if !file.is_block_device() {
        params["block_size"] = control::backing_file::SECTOR.into();
    }
    if addition.read_only {
        params["readonly"] = true.into();
    }
    let _name: Value = client.call("bdev_aio_create", Some(params))?;
    Ok(name.clone())
}

/// The name of a bdev made for the file at an address, by `kvadd` and by `--export` alike.
#[must_use]
pub fn aio_name(address: ShelfSlot) -> String {
    format!("aio{address}")
}

fn create_export(
    client: &mut Client,
    addition: &Addition,
    bdev_name: &str,
) -> Result<ExportInfo, ClientError> {
    let request = CreateExport {
        address: addition.address,
        bdev_name: bdev_name.to_owned(),
        ports: Some(vec![addition.port.clone()]),
        read_only: addition.read_only,
        options: addition.options.clone(),
    };
    client.call(CREATE_EXPORT, Some(request.to_params()))
}

fn undo(client: &mut Client, bdev_name: &str, error: ClientError) -> CommandError {
    match client.call::<Value>("bdev_aio_delete", Some(json!({ "name": bdev_name }))) {
        Ok(_) => error.into(),
        Err(second) => CommandError::Refused(format!(
            "{error} (and the bdev '{bdev_name}' made for it could not be deleted again: {second})"
        )),
    }
}

/// What `kvadd` prints.
#[must_use]
pub fn describe(path: &Path, export: &ExportInfo) -> String {
    let mode = if export.read_only { ", read-only" } else { "" };
    format!("e{}.{} serves {}{mode}\n", export.shelf, export.slot, path.display())
}
