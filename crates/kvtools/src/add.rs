//! `kvadd`: from a path to an export. A file becomes an SPDK bdev first, unless one serves it already.

use std::fs;
use std::path::{Path, PathBuf};

use control::error::Quoted;
use control::rbd::{self, RbdImage};
use control::{
    BackingFile, CreateExport, ExportInfo, ExportOptions, GetExports, Method, PortRef, Shelf, ShelfSlot,
    Slot, Use,
};
use serde_json::{Value, json};

use crate::bdev_list::{self, BdevInfo};
use crate::command::CommandError;
use crate::rpc_client::{Client, ClientError};

/// An export to add.
#[derive(Debug, Clone)]
pub struct Addition {
    /// Address to serve.
    pub address: ShelfSlot,
    /// Port to serve on.
    pub port: PortRef,
    /// A file, a block device, an image of Ceph's (`rbd:POOL/IMAGE`) or the name of a bdev.
    pub path: PathBuf,
    /// Ceph user of an image.
    pub user: Option<String>,
    /// Ceph's configuration file for an image.
    pub conf: Option<String>,
    /// Options of the export.
    pub options: ExportOptions,
}

/// Adds the export. If it can't be created, a bdev created for it is deleted again.
///
/// A bdev of that name takes precedence over a file. A file that has an aio bdev already is served through that bdev. It gets a
/// second address only if all of its exports are read-only or the parts do not overlap, because initiators would take the two
/// addresses for independent disks.
///
/// # Errors
/// One sentence; nothing has changed then, unless it says so.
pub fn add(client: &mut Client, addition: &Addition) -> Result<ExportInfo, CommandError> {
    let bdevs = bdev_list::fetch(client)?;
    let name = addition.path.to_str();
    if let Some(name) = name.filter(|name| bdevs.iter().any(|bdev| bdev.is_called(name))) {
        return Ok(create_export(client, addition, name)?);
    }
    if let Some(image) = image_of(addition)? {
        return add_image(client, addition, &image, &bdevs);
    }
    check_is_there(addition, &bdevs)?;
    let file = BackingFile::inspect(&addition.path)?;
    file.check_access(addition.options.read_only)?;
    if let Some(bdev) = bdevs.iter().find(|bdev| bdev.is_on(&file)) {
        check_sharing(client, addition, &bdev.name)?;
        return Ok(create_export(client, addition, &bdev.name)?);
    }
    let bdev_name = create_bdev(client, addition, &file, &bdevs)?;
    create_export(client, addition, &bdev_name)
        .map_err(|error| undo(client, "bdev_aio_delete", &bdev_name, error))
}

/// The image that was named, if it was one.
fn image_of(addition: &Addition) -> Result<Option<RbdImage>, CommandError> {
    let image = addition.path.to_str().and_then(|path| path.strip_prefix("rbd:")).map(RbdImage::parse);
    match image.transpose().map_err(CommandError::Usage)? {
        Some(image) => {
            Ok(Some(RbdImage { user: addition.user.clone(), conf: addition.conf.clone(), ..image }))
        }
        None if addition.user.is_some() || addition.conf.is_some() => Err(CommandError::Usage(format!(
            "--user and --conf are for images of Ceph's, and '{}' is none: write rbd:POOL/IMAGE",
            addition.path.display()
        ))),
        None => Ok(None),
    }
}

/// An image that is open already is served through its bdev: its exclusive lock can't be had twice.
fn add_image(
    client: &mut Client,
    addition: &Addition,
    image: &RbdImage,
    bdevs: &[BdevInfo],
) -> Result<ExportInfo, CommandError> {
    let serves =
        |bdev: &&BdevInfo| bdev.opens(image).is_some_and(|writes| writes || addition.options.read_only);
    if let Some(bdev) = bdevs.iter().find(serves) {
        check_sharing(client, addition, &bdev.name)?;
        return Ok(create_export(client, addition, &bdev.name)?);
    }
    let name = free_name(RBD, addition, bdevs)?;
    let params = image.to_params(&name, addition.options.read_only);
    client.call::<Value>(rbd::CREATE, Some(params)).map_err(|error| match error {
        ClientError::NoMethod { .. } => {
            CommandError::Refused(format!("'{}': {}", addition.path.display(), rbd::LEFT_OUT))
        }
        other => other.into(),
    })?;
    create_export(client, addition, &name).map_err(|error| undo(client, rbd::DELETE, &name, error))
}

fn check_is_there(addition: &Addition, bdevs: &[BdevInfo]) -> Result<(), CommandError> {
    let Err(error) = fs::metadata(&addition.path) else { return Ok(()) };
    let names: Vec<&str> = bdevs.iter().take(8).map(|bdev| bdev.name.as_str()).collect();
    Err(CommandError::Refused(format!(
        "'{}' is no bdev, and as a file: {error}; give a file, a block device, rbd:POOL/IMAGE or one of the bdevs ({})",
        addition.path.display(),
        if names.is_empty() { "there are none".into() } else { names.join(", ") }
    )))
}

fn check_sharing(client: &mut Client, addition: &Addition, bdev_name: &str) -> Result<(), CommandError> {
    let exports: Vec<ExportInfo> = client.call(GetExports::NAME, None)?;
    let wanted = Use { address: addition.address, options: &addition.options };
    let other = exports.iter().find(|export| {
        let address = ShelfSlot::new(Shelf(export.shelf), Slot(export.slot));
        let has = Use { address, options: &export.options };
        export.own_bdev_name() == bdev_name && wanted.is_second_disk(&has)
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
    let name = free_name(AIO, addition, bdevs)?;
    let mut params = json!({ "name": name, "filename": path });
    if !file.is_block_device() {
        params["block_size"] = control::backing_file::SECTOR.into();
    }
    if addition.options.read_only {
        params["readonly"] = true.into();
    }
    let _name: Value = client.call("bdev_aio_create", Some(params))?;
    Ok(name)
}

/// Prefix of the names of bdevs that `kvadd` and `--export` create for a file; the address follows.
pub(crate) const AIO: &str = "aio";

/// The same for an image of Ceph's.
pub(crate) const RBD: &str = "rbd";

fn free_name(kind: &str, addition: &Addition, bdevs: &[BdevInfo]) -> Result<String, CommandError> {
    let plain = format!("{kind}{}", addition.address);
    let vlan = addition.options.vlan.map_or_else(String::new, |vlan| format!(".v{vlan}"));
    let with_port = format!("{plain}{vlan}@{}", addition.port);
    let free = |name: &&String| !bdevs.iter().any(|bdev| bdev.is_called(name));
    match [&plain, &with_port].into_iter().find(free) {
        Some(name) => Ok(name.clone()),
        None => Err(CommandError::Refused(format!(
            "bdevs {} and {} exist already, on something else: delete one with SPDK's bdev_{kind}_delete",
            Quoted(&plain),
            Quoted(&with_port)
        ))),
    }
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
        options: addition.options.clone(),
    };
    client.call(CreateExport::NAME, Some(request.to_params()))
}

fn undo(client: &mut Client, deletion: &str, bdev_name: &str, error: ClientError) -> CommandError {
    match client.call::<Value>(deletion, Some(json!({ "name": bdev_name }))) {
        Ok(_) => error.into(),
        Err(second) => CommandError::Refused(format!(
            "{error} (and the bdev '{bdev_name}' made for it could not be deleted again: {second})"
        )),
    }
}

/// What `kvadd` prints.
#[must_use]
pub fn describe(path: &Path, export: &ExportInfo) -> String {
    let mode = if export.options.read_only { ", read-only" } else { "" };
    format!("e{}.{} serves {}{mode}\n", export.shelf, export.slot, path.display())
}
