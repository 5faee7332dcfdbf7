//! `kvadd`: from a path to an export. A file becomes an SPDK bdev first, unless one serves it already.

use std::fs;
use std::path::{Path, PathBuf};

use control::error::Quoted;
use control::file_bdev::{self, AIO_PREFIX, FileOptions, NO_IO_URING, aio_params, to_aio};
use control::options::CacheMode;
use control::rbd::{self, RbdImage};
use control::{
    BackingFile, CreateExport, ExportInfo, ExportOptions, GetExports, Method, PortRef, Shelf, ShelfSlot,
    Slot, Use,
};
use serde_json::{Value, json};

use crate::bdev_list::{self, BdevInfo};
use rpc_client::command::CommandError;
use rpc_client::{Client, ClientError};

/// An export to add.
#[derive(Debug, Clone)]
pub struct Addition {
    /// Address to serve.
    pub address: ShelfSlot,
    /// Port to serve on.
    pub port: PortRef,
    /// A file or block device (`file:PATH` for any name, `spdk-aio:PATH` for SPDK's own bdev of it), an image of Ceph's
    /// (`rbd:POOL/IMAGE`) or the name of a bdev.
    pub path: PathBuf,
    /// What is asked of the bdev of a file.
    pub file: FileOptions,
    /// Ceph user of an image.
    pub user: Option<String>,
    /// Ceph's configuration file for an image.
    pub conf: Option<String>,
    /// Options of the export.
    pub options: ExportOptions,
}

/// Adds the export. If it can't be created, a bdev created for it is deleted again.
///
/// A bdev of that name takes precedence over a file. A file that has a bdev already is served through that bdev. It gets a
/// second address only if all of its exports are read-only or the parts do not overlap, because initiators would take the two
/// addresses for independent disks.
///
/// # Errors
/// One sentence; nothing has changed then, unless it says so.
pub fn add(client: &mut Client, addition: &Addition) -> Result<ExportInfo, CommandError> {
    let bdevs = bdev_list::fetch(client)?;
    let name = addition.path.to_str();
    if let Some(name) = name.filter(|name| bdevs.iter().any(|bdev| bdev.is_called(name))) {
        refuse_file_options(addition, "a bdev that is there already")?;
        return Ok(create_export(client, addition, name)?);
    }
    if let Some(image) = image_of(addition)? {
        refuse_file_options(addition, "an image of Ceph's")?;
        return add_image(client, addition, &image, &bdevs);
    }
    let (path, module) = file_of(addition);
    check_is_there(addition, &path, &bdevs)?;
    let file = BackingFile::inspect(&path)?;
    file.check_access(addition.options.read_only)?;
    if let Some(bdev) = bdevs.iter().find(|bdev| bdev.is_on(&file)) {
        refuse_file_options(addition, &format!("a file that bdev '{}' serves already", bdev.name))?;
        check_sharing(client, addition, &bdev.name)?;
        return Ok(create_export(client, addition, &bdev.name)?);
    }
    let bdev_name = create_bdev(client, addition, &module, &file, &bdevs)?;
    create_export(client, addition, &bdev_name).map_err(|error| undo_file(client, &bdev_name, error))
}

/// The module for a file's bdev.
enum Module {
    File,
    SpdkAio,
}

/// The path of a file, without the word before it.
fn file_of(addition: &Addition) -> (PathBuf, Module) {
    let text = addition.path.to_str().unwrap_or_default();
    if let Some(path) = text.strip_prefix(AIO_PREFIX) {
        return (path.into(), Module::SpdkAio);
    }
    (text.strip_prefix("file:").map_or_else(|| addition.path.clone(), PathBuf::from), Module::File)
}

/// Refuses options of a file's bdev where none is made.
fn refuse_file_options(addition: &Addition, what: &str) -> Result<(), CommandError> {
    if addition.file == FileOptions::default() {
        return Ok(());
    }
    Err(CommandError::Usage(format!(
        "--sync, --buffered and --direct are for the bdev that is made of a file, and '{}' is {what}: leave them out",
        addition.path.display()
    )))
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

fn check_is_there(addition: &Addition, path: &Path, bdevs: &[BdevInfo]) -> Result<(), CommandError> {
    let Err(error) = fs::metadata(path) else { return Ok(()) };
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
    module: &Module,
    file: &BackingFile,
    bdevs: &[BdevInfo],
) -> Result<String, CommandError> {
    if file.path().to_str().is_none() {
        return Err(CommandError::Refused(format!(
            "'{}' is not UTF-8: SPDK takes paths in UTF-8 only",
            file.path().display()
        )));
    }
    let read_only = addition.options.read_only;
    let (method, name, params) = match module {
        Module::File => {
            let name = free_name(FILE, addition, bdevs)?;
            let write_back = addition.options.cache == CacheMode::WriteBack;
            let params = addition.file.to_params(&name, file.path(), read_only, write_back);
            (file_bdev::CREATE, name, params)
        }
        Module::SpdkAio => {
            refuse_file_options(addition, "one of SPDK's own")?;
            file.check_whole_sectors()?;
            let name = free_name(AIO, addition, bdevs)?;
            let params = aio_params(&name, file.path(), read_only, file.is_block_device());
            (file_bdev::CREATE_AIO, name, params)
        }
    };
    match client.call::<Value>(method, Some(params.clone())) {
        Ok(_) => Ok(name),
        // The target serves its files by Linux's aio then, as it does at its start.
        Err(ClientError::Refused { message, .. }) if message.contains(NO_IO_URING) => {
            let aio = to_aio(&params, file.is_block_device());
            client.call::<Value>(file_bdev::CREATE_AIO, Some(aio)).map(|_| name).map_err(|error| {
                CommandError::Refused(format!(
                    "{message}, and SPDK's aio does not serve the file either: {error}"
                ))
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// Prefix of the names of bdevs that `kvadd` and `--export` create for a file; the address follows.
pub(crate) const FILE: &str = "file";

/// The same for SPDK's own bdev of a file.
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

/// The target may have made a bdev of SPDK's own where Linux has no io_uring.
fn undo_file(client: &mut Client, bdev_name: &str, error: ClientError) -> CommandError {
    let made = bdev_list::find(client, bdev_name).unwrap_or_default();
    undo(client, made.as_ref().and_then(BdevInfo::deletion).unwrap_or(file_bdev::DELETE), bdev_name, error)
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
