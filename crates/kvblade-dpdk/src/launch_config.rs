//! The one configuration for SPDK: `--config`, with the calls for each `--export` merged in.
//!
//! The document has SPDK's own form, `{"subsystems": [{"subsystem": NAME, "config": [{"method", "params"}]}]}`,
//! whose methods SPDK calls in order. Bdevs are appended to subsystem `bdev`, exports to subsystem `aoe`, which
//! is moved to the end because an export needs its bdev.

mod entry;
mod spdk_options;
mod user_config;
mod without_io_uring;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use control::backing_file::{BackingFile, BackingFileError, SECTOR};
use control::error::Quoted;
use control::file_bdev::{CREATE, CREATE_AIO, FileOptions, aio_params};
use control::options::CacheMode;
use control::rbd::{self, RbdImage};
use control::{CreateExport, Method};
use serde_json::{Value, json};

pub(crate) use self::entry::{Condition, Entry, Origin};
use self::user_config::{AOE, BDEV, UserConfig};
use crate::export_spec::{BdevSpec, ExportSpec, PciAddress};
use crate::launch_error::LaunchError;

/// The configuration for SPDK, and the memory and devices that it needs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LaunchConfig {
    /// All calls, in order.
    pub(crate) entries: Vec<Entry>,
    /// The same as one document of SPDK's form.
    pub(crate) document: Value,
    /// A sentence for each file to export that is missing and may appear later.
    pub(crate) missing: Vec<String>,
    /// Memory that the malloc bdevs of `--export` will take, in bytes.
    pub(crate) malloc_bytes: u64,
    /// Drives SPDK will attach for `--export`.
    pub(crate) nvme: BTreeSet<PciAddress>,
}

impl LaunchConfig {
    /// Reads `--config` and every file to export, and puts the document together. Changes nothing.
    ///
    /// # Errors
    /// One sentence naming the file or export that is wrong and what is allowed.
    pub(crate) fn build(exports: &[ExportSpec], config: Option<&Path>) -> Result<Self, LaunchError> {
        let user = match config {
            Some(path) => UserConfig::read(path)?,
            None => UserConfig::default(),
        };
        let mut plan = Plan::new(&user, exports)?;
        for export in exports {
            user.check_distinct(export)?;
            let bdev_name = plan.bdev_for(export)?;
            plan.create_export(export, bdev_name);
        }
        let Plan { bdevs, creations, malloc_bytes, nvme, missing, .. } = plan;
        let (entries, document) = user.merged(bdevs, creations);
        Ok(Self { entries, document, missing, malloc_bytes, nvme })
    }

    /// Sets SPDK's options where `--config` does not: the sizes of its pools for that many lcores, and others. Returns a sentence
    /// for each size of `--config` that was too low and is raised.
    pub(crate) fn preset_spdk_options(&mut self, lcores: usize) -> Vec<String> {
        let raised = spdk_options::preset(&mut self.document, lcores);
        self.adopt();
        raised
    }

    /// Takes over the changes of the document into the entries.
    fn adopt(&mut self) {
        let mut before = std::mem::take(&mut self.entries).into_iter().peekable();
        for subsystem in self.document.get("subsystems").and_then(Value::as_array).into_iter().flatten() {
            let name = subsystem["subsystem"].as_str().unwrap_or_default();
            for call in subsystem["config"].as_array().into_iter().flatten() {
                let method = call["method"].as_str().unwrap_or_default();
                let known = before.next_if(|entry| entry.subsystem == name && entry.method == method);
                let origin = known.as_ref().map_or(Origin::Program, |entry| entry.origin.clone());
                self.entries.push(Entry {
                    subsystem: name.to_owned(),
                    origin,
                    method: method.to_owned(),
                    params: call.get("params").cloned(),
                    condition: known.map_or(Condition::Nothing, |entry| entry.condition),
                });
            }
        }
    }
}

/// The calls gathered so far.
struct Plan<'a> {
    user: &'a UserConfig,
    /// Every distinct file to export, with the exports that serve it.
    files: Vec<ServedFile<'a>>,
    /// The same for images.
    images: Vec<ServedImage<'a>>,
    /// Names given to bdevs so far.
    names: BTreeSet<String>,
    bdevs: Vec<Entry>,
    creations: Vec<Entry>,
    missing: Vec<String>,
    malloc_bytes: u64,
    nvme: BTreeSet<PciAddress>,
}

/// A file with one bdev, whatever the number of its exports.
struct ServedFile<'a> {
    path: PathBuf,
    /// `None` if it can't be looked at now.
    file: Option<BackingFile>,
    exports: Vec<&'a ExportSpec>,
    bdev_name: Option<String>,
}

/// An image with one bdev: a program can't hold its exclusive lock twice.
struct ServedImage<'a> {
    image: &'a RbdImage,
    exports: Vec<&'a ExportSpec>,
    bdev_name: Option<String>,
}

/// The module of a file's bdev.
enum Module {
    /// The kernel's file by io_uring.
    File(FileOptions),
    /// SPDK's own.
    SpdkAio,
}

impl Module {
    /// The beginning of the names of its bdevs.
    fn prefix(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::SpdkAio => "aio",
        }
    }
}

impl ServedFile<'_> {
    fn is_under_aio(&self) -> bool {
        self.exports.iter().any(|export| matches!(export.bdev, BdevSpec::SpdkAio { .. }))
    }

    /// The module that all of its exports ask for, with the options of all.
    fn module(&self) -> Result<Module, LaunchError> {
        let clash = |what: &str| {
            let texts: Vec<String> =
                self.exports.iter().map(|export| format!("--export {}", Quoted(&export.text))).collect();
            LaunchError::usage(format!(
                "{} serve one file with different {what}: they share one bdev, so give all of them the same",
                texts.join(" and ")
            ))
        };
        let mut options = FileOptions::default();
        for export in &self.exports {
            match &export.bdev {
                BdevSpec::File { options: asked, .. } if !self.is_under_aio() => {
                    options =
                        options.merge(*asked).map_err(|option| clash(&format!("values of {option}")))?;
                }
                BdevSpec::SpdkAio { .. } => {}
                _ => return Err(clash("kinds of bdev")),
            }
        }
        Ok(if self.is_under_aio() { Module::SpdkAio } else { Module::File(options) })
    }
}

fn are_read_only(exports: &[&ExportSpec]) -> bool {
    exports.iter().all(|export| export.options.read_only)
}

/// Whether each export that writes has `cache=write-back`.
fn are_written_back(exports: &[&ExportSpec]) -> bool {
    let mut writing = exports.iter().filter(|export| !export.options.read_only);
    writing.all(|export| export.options.cache == CacheMode::WriteBack)
}

fn served_by(exports: &[&ExportSpec], export: &ExportSpec) -> bool {
    exports.iter().any(|one| std::ptr::eq(*one, export))
}

impl<'a> Plan<'a> {
    fn new(user: &'a UserConfig, exports: &'a [ExportSpec]) -> Result<Self, LaunchError> {
        let mut files: Vec<ServedFile<'a>> = Vec::new();
        let mut missing = Vec::new();
        for export in exports {
            let Some(path) = export.bdev.path() else { continue };
            let (path, file) = match BackingFile::inspect(path) {
                Ok(file) => (file.path().to_owned(), Some(file)),
                Err(error) if error.fault.may_pass() => {
                    missing.push(error.to_string());
                    (error.path, None)
                }
                Err(error) => return Err(unservable(error)),
            };
            let is_same = |served: &&mut ServedFile<'_>| match (&served.file, &file) {
                (Some(one), Some(other)) => one.is_same(other),
                _ => served.path == path,
            };
            match files.iter_mut().find(is_same) {
                Some(served) => served.exports.push(export),
                None => files.push(ServedFile { path, file, exports: vec![export], bdev_name: None }),
            }
        }
        for served in &files {
            check_sharing("file", &served.exports)?;
            served.module()?;
            if served.is_under_aio() {
                let whole = served.file.as_ref().map_or(Ok(()), BackingFile::check_whole_sectors);
                whole.map_err(unservable)?;
            }
            let access =
                served.file.as_ref().map_or(Ok(()), |file| file.check_access(are_read_only(&served.exports)));
            missing.extend(access.err().map(|error| error.to_string()));
        }
        missing.dedup();
        let images = images_of(exports)?;
        Ok(Self {
            user,
            files,
            images,
            names: BTreeSet::new(),
            bdevs: Vec::new(),
            creations: Vec::new(),
            missing,
            malloc_bytes: 0,
            nvme: BTreeSet::new(),
        })
    }

    /// The name of the bdev of an export. Adds the call that creates the bdev, if there is none yet.
    fn bdev_for(&mut self, export: &'a ExportSpec) -> Result<String, LaunchError> {
        match &export.bdev {
            BdevSpec::Named(name) => Ok(name.clone()),
            BdevSpec::Malloc { bytes } => {
                let name = self.name("malloc", export)?;
                self.malloc_bytes = self.malloc_bytes.saturating_add(*bytes);
                let params = json!({ "name": name, "num_blocks": bytes / SECTOR, "block_size": SECTOR });
                self.bdevs.push(bdev(export, "bdev_malloc_create", params, Condition::Nothing));
                Ok(name)
            }
            BdevSpec::File { .. } | BdevSpec::SpdkAio { .. } => self.file(export),
            BdevSpec::Nvme { address, nsid } => self.nvme(export, *address, *nsid),
            BdevSpec::Rbd(_) => self.rbd(export),
        }
    }

    fn rbd(&mut self, export: &'a ExportSpec) -> Result<String, LaunchError> {
        let Some(index) = self.images.iter().position(|served| served_by(&served.exports, export)) else {
            return Err(LaunchError::environment(format!(
                "--export {}: its image was not looked at",
                export.text
            )));
        };
        if let Some(name) = self.images.get(index).and_then(|served| served.bdev_name.clone()) {
            return Ok(name);
        }
        let name = self.name("rbd", export)?;
        if let Some(served) = self.images.get_mut(index) {
            served.bdev_name = Some(name.clone());
            let params = served.image.to_params(&name, are_read_only(&served.exports));
            self.bdevs.push(bdev(export, rbd::CREATE, params, Condition::Nothing));
        }
        Ok(name)
    }

    fn file(&mut self, export: &'a ExportSpec) -> Result<String, LaunchError> {
        let not_looked_at =
            || LaunchError::environment(format!("--export {}: its file was not looked at", export.text));
        let index = self.files.iter().position(|served| served_by(&served.exports, export));
        let index = index.ok_or_else(not_looked_at)?;
        let Some(served) = self.files.get(index) else { return Err(not_looked_at()) };
        let module = served.module()?;
        let name = match &served.bdev_name {
            Some(name) => return Ok(name.clone()),
            None => self.name(module.prefix(), export)?,
        };
        if let Some(served) = self.files.get_mut(index) {
            served.bdev_name = Some(name.clone());
            let read_only = are_read_only(&served.exports);
            let is_block_device = served.file.as_ref().is_some_and(BackingFile::is_block_device);
            let (method, params) = match module {
                Module::SpdkAio => (CREATE_AIO, aio_params(&name, &served.path, read_only, is_block_device)),
                Module::File(options) => {
                    let write_back = are_written_back(&served.exports);
                    (CREATE, options.to_params(&name, &served.path, read_only, write_back))
                }
            };
            self.bdevs.push(bdev(export, method, params, Condition::File(read_only)));
        }
        Ok(name)
    }

    fn nvme(&mut self, export: &ExportSpec, address: PciAddress, nsid: u32) -> Result<String, LaunchError> {
        if let Some(controller) = self.user.controller_at(address) {
            return Err(LaunchError::environment(format!(
                "--export {}: {} attaches that drive as '{controller}': export its bdev, such as {}={controller}n{nsid}",
                Quoted(&export.text),
                self.user.path(),
                export.place(),
            )));
        }
        let controller = format!("nvme{address}");
        if self.nvme.insert(address) {
            self.check_free(&controller, export)?;
            let params = json!({ "name": controller, "trtype": "PCIe", "traddr": address.to_string() });
            self.bdevs.push(bdev(export, "bdev_nvme_attach_controller", params, Condition::Drive(address)));
        }
        Ok(format!("{controller}n{nsid}"))
    }

    /// The name of a bdev: that of its export, with VLAN and port where exports of one address need several bdevs, and with a
    /// number where that is taken too.
    fn name(&mut self, kind: &str, export: &ExportSpec) -> Result<String, LaunchError> {
        let plain = format!("{kind}{}", export.address);
        let distinct = format!("{kind}{}", export.distinct_name());
        let numbered = (2u32..).map(|number| format!("{distinct}.{number}"));
        let mut names = [plain, distinct.clone()].into_iter().chain(numbered);
        let name = names.find(|name| !self.names.contains(name)).unwrap_or(distinct);
        self.check_free(&name, export)?;
        self.names.insert(name.clone());
        Ok(name)
    }

    fn check_free(&self, name: &str, export: &ExportSpec) -> Result<(), LaunchError> {
        if self.user.defines(name) {
            return Err(LaunchError::environment(format!(
                "--export {} would define the bdev '{name}', which {} defines already: rename that one, or serve \
                 it with --export {}={name}",
                Quoted(&export.text),
                self.user.path(),
                export.place()
            )));
        }
        Ok(())
    }

    fn create_export(&mut self, export: &ExportSpec, bdev_name: String) {
        let request = CreateExport {
            address: export.address,
            bdev_name,
            ports: export.port.clone().map(|port| vec![port]),
            options: export.options.clone(),
        };
        self.creations.push(Entry {
            subsystem: AOE.into(),
            ..bdev(export, CreateExport::NAME, request.to_params(), Condition::Nothing)
        });
    }
}

/// Every distinct image to export.
fn images_of(exports: &[ExportSpec]) -> Result<Vec<ServedImage<'_>>, LaunchError> {
    let mut images: Vec<ServedImage<'_>> = Vec::new();
    for export in exports {
        let BdevSpec::Rbd(image) = &export.bdev else { continue };
        if !cfg!(feature = "rbd") {
            return Err(LaunchError::environment(format!(
                "--export {}: {}",
                Quoted(&export.text),
                rbd::LEFT_OUT
            )));
        }
        match images.iter_mut().find(|served| served.image == image) {
            Some(served) => served.exports.push(export),
            None => images.push(ServedImage { image, exports: vec![export], bdev_name: None }),
        }
    }
    for served in &images {
        check_sharing("image", &served.exports)?;
    }
    Ok(images)
}

/// Refuses exports that would serve one file or image as two disks. Two addresses are two disks to an initiator, so writes to one
/// would damage the data on the other, unless the parts do not overlap. One address on several ports is one disk with several
/// paths. Read-only exports do no harm.
fn check_sharing(what: &str, exports: &[&ExportSpec]) -> Result<(), LaunchError> {
    let pairs = exports
        .iter()
        .enumerate()
        .flat_map(|(index, first)| exports.iter().skip(index + 1).map(move |other| (*first, *other)));
    let mut clashing = pairs.filter(|(first, other)| first.as_use().is_second_disk(&other.as_use()));
    match clashing.next() {
        Some((first, other)) => Err(LaunchError::usage(format!(
            "--export {} and --export {} serve one {what} as two disks: give all of them the option ro, serve it \
             under one address on several ports, or give them parts of it that do not overlap (offset=, length=)",
            Quoted(&first.text),
            Quoted(&other.text)
        ))),
        None => Ok(()),
    }
}

fn unservable(error: BackingFileError) -> LaunchError {
    LaunchError::environment(error.to_string())
}

/// An entry of subsystem `bdev` that an `--export` asks for.
fn bdev(export: &ExportSpec, method: &str, params: Value, condition: Condition) -> Entry {
    Entry {
        subsystem: BDEV.into(),
        origin: Origin::Export(export.text.clone()),
        method: method.into(),
        params: Some(params),
        condition,
    }
}

#[cfg(test)]
mod tests;
