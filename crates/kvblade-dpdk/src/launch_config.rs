//! From the command line to the one configuration SPDK loads: `--config` with what `--export` asks for merged in.
//!
//! The document has SPDK's own form, `{"subsystems": [{"subsystem": NAME, "config": [{"method", "params"}]}]}`,
//! whose methods SPDK calls in order. Bdevs are appended to subsystem `bdev`, exports to subsystem `aoe`, which
//! is moved to the end because an export needs its bdev.

mod spdk_options;
mod user_config;

use std::collections::BTreeSet;
use std::path::Path;

use control::backing_file::{BackingFile, BackingFileError, SECTOR};
use control::error::Quoted;
use control::request::{CREATE_EXPORT, CreateExport};
use serde_json::{Value, json};

use self::user_config::UserConfig;
use crate::args::LaunchError;
use crate::export_spec::{BdevSpec, ExportSpec, PciAddress};

/// What SPDK is to load, and what it will need for that.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LaunchConfig {
    /// For `spdk_app_opts.json_config_file`, once written to a file.
    pub(crate) document: Value,
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
        let Plan { bdevs, creations, malloc_bytes, nvme, .. } = plan;
        Ok(Self { document: user.merged(bdevs, creations), malloc_bytes, nvme })
    }

    /// Sets SPDK's options, where `--config` does not: the sizes of its pools, for that many lcores, and others. Returns a
    /// sentence for each size of `--config` that is too low for them, and is raised.
    pub(crate) fn preset_spdk_options(&mut self, lcores: usize) -> Vec<String> {
        spdk_options::preset(&mut self.document, lcores)
    }
}

/// The calls gathered so far.
struct Plan<'a> {
    user: &'a UserConfig,
    /// Every distinct file to export, with the exports that serve it.
    files: Vec<ServedFile<'a>>,
    /// Names given to bdevs so far.
    names: BTreeSet<String>,
    bdevs: Vec<Value>,
    creations: Vec<Value>,
    malloc_bytes: u64,
    nvme: BTreeSet<PciAddress>,
}

/// A file behind one bdev, however many exports serve it.
struct ServedFile<'a> {
    file: BackingFile,
    exports: Vec<&'a ExportSpec>,
    bdev_name: Option<String>,
}

impl ServedFile<'_> {
    fn is_read_only(&self) -> bool {
        self.exports.iter().all(|export| export.read_only)
    }
}

impl<'a> Plan<'a> {
    fn new(user: &'a UserConfig, exports: &'a [ExportSpec]) -> Result<Self, LaunchError> {
        let mut files: Vec<ServedFile<'a>> = Vec::new();
        for export in exports {
            let BdevSpec::Aio { path } = &export.bdev else { continue };
            let file = BackingFile::inspect(path).map_err(unservable)?;
            match files.iter_mut().find(|served| served.file.is_same(&file)) {
                Some(served) => served.exports.push(export),
                None => files.push(ServedFile { file, exports: vec![export], bdev_name: None }),
            }
        }
        for served in &files {
            check_sharing(served)?;
            served.file.check_access(served.is_read_only()).map_err(unservable)?;
        }
        Ok(Self {
            user,
            files,
            names: BTreeSet::new(),
            bdevs: Vec::new(),
            creations: Vec::new(),
            malloc_bytes: 0,
            nvme: BTreeSet::new(),
        })
    }

    /// The name of the bdev an export serves; asks for the bdev if nothing has yet.
    fn bdev_for(&mut self, export: &'a ExportSpec) -> Result<String, LaunchError> {
        match &export.bdev {
            BdevSpec::Named(name) => Ok(name.clone()),
            BdevSpec::Malloc { bytes } => {
                let name = self.name("malloc", export)?;
                self.malloc_bytes = self.malloc_bytes.saturating_add(*bytes);
                let params = json!({ "name": name, "num_blocks": bytes / SECTOR, "block_size": SECTOR });
                self.bdevs.push(call("bdev_malloc_create", params));
                Ok(name)
            }
            BdevSpec::Aio { .. } => self.aio(export),
            BdevSpec::Nvme { address, nsid } => self.nvme(export, *address, *nsid),
        }
    }

    fn aio(&mut self, export: &'a ExportSpec) -> Result<String, LaunchError> {
        let serves = |served: &ServedFile<'_>| served.exports.iter().any(|one| std::ptr::eq(*one, export));
        let Some(index) = self.files.iter().position(serves) else {
            return Err(LaunchError::environment(format!(
                "--export {}: its file was not looked at",
                export.text
            )));
        };
        let name = match self.files.get(index).and_then(|served| served.bdev_name.clone()) {
            Some(name) => return Ok(name),
            None => self.name("aio", export)?,
        };
        if let Some(served) = self.files.get_mut(index) {
            served.bdev_name = Some(name.clone());
            let mut params = json!({ "name": name, "filename": served.file.path() });
            // A block device has a block size of its own, and SPDK refuses a smaller one.
            if !served.file.is_block_device() {
                params["block_size"] = SECTOR.into();
            }
            if served.is_read_only() {
                params["readonly"] = true.into();
            }
            self.bdevs.push(call("bdev_aio_create", params));
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
            self.bdevs.push(call("bdev_nvme_attach_controller", params));
        }
        Ok(format!("{controller}n{nsid}"))
    }

    /// A bdev's name after its export, with VLAN and port where several exports of one address need several bdevs; and
    /// a number for the one without either that comes after another.
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
            read_only: export.read_only,
            options: export.options.clone(),
        };
        self.creations.push(call(CREATE_EXPORT, request.to_params()));
    }
}

/// Two addresses look like two disks to an initiator, and writes through one would damage what it keeps on the
/// other, unless they are parts that do not overlap. One address on several ports is one disk with several
/// paths, and readers harm nobody.
fn check_sharing(served: &ServedFile<'_>) -> Result<(), LaunchError> {
    let pairs =
        served.exports.iter().enumerate().flat_map(|(index, first)| {
            served.exports.iter().skip(index + 1).map(move |other| (*first, *other))
        });
    let mut clashing = pairs
        .filter(|(first, other)| first.address != other.address && first.options.overlaps(&other.options));
    match clashing.next() {
        Some((first, other)) if !served.is_read_only() => Err(LaunchError::usage(format!(
            "--export {} and --export {} serve one file as two disks: give all of them the option ro, serve it \
             under one address on several ports, or give them parts of it that do not overlap (offset=, length=)",
            Quoted(&first.text),
            Quoted(&other.text)
        ))),
        _ => Ok(()),
    }
}

fn unservable(error: BackingFileError) -> LaunchError {
    LaunchError::environment(error.to_string())
}

fn call(method: &str, params: Value) -> Value {
    json!({ "method": method, "params": params })
}

#[cfg(test)]
mod tests;
