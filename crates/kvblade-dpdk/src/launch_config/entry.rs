//! One entry of the configuration: a call for SPDK, and its origin.

use std::fmt;
use std::path::Path;

use control::BackingFile;
use control::error::Quoted;
use control::{Action, CreateExport, Method};
use serde_json::{Value, json};

use crate::export_spec::PciAddress;

/// A call and its origin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// Its subsystem.
    pub(crate) subsystem: String,
    /// Its origin.
    pub(crate) origin: Origin,
    /// The method.
    pub(crate) method: String,
    /// Its parameters, an object.
    pub(crate) params: Option<Value>,
    /// A check before the call.
    pub(crate) condition: Condition,
}

/// The origin of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In the file of `--config`.
    Config {
        /// `--config 'PATH'`.
        file: String,
        /// The subsystem in that file.
        subsystem: String,
        /// Its number in the subsystem, from 1; with that in a list of entries after a dot.
        number: String,
    },
    /// By an `--export`, with its text.
    Export(String),
    /// By the program itself.
    Program,
}

/// A check before a call, because the error of SPDK would say less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nothing.
    Nothing,
    /// The file of a bdev that an `--export` asks for: it may have become another kind of file. True if no
    /// export of it takes writes.
    File(bool),
    /// A local drive.
    Drive(PciAddress),
}

impl Entry {
    /// In SPDK's form.
    pub(crate) fn to_json(&self) -> Value {
        let mut call = json!({ "method": self.method });
        if let Some(params) = &self.params {
            call["params"] = params.clone();
        }
        call
    }

    /// The export that it creates, if it creates one.
    pub(crate) fn export(&self) -> Option<CreateExport> {
        if self.method != CreateExport::NAME {
            return None;
        }
        match Action::decode(&self.method, self.params.as_ref()) {
            Ok(Action::CreateExport(request)) => Some(request),
            _ => None,
        }
    }

    /// The name of the object that it creates.
    pub(crate) fn name(&self) -> Option<&str> {
        self.text("name")
    }

    /// Whether it creates the bdev of that name. Bdevs of an NVMe controller have its name as a prefix.
    pub(crate) fn makes(&self, bdev: &str) -> bool {
        let Some(name) = self.name() else { return false };
        let namespace = bdev.strip_prefix(name).and_then(|rest| rest.strip_prefix('n'));
        let is_number =
            |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        bdev == name || (self.method == "bdev_nvme_attach_controller" && namespace.is_some_and(is_number))
    }

    /// The parameters for a call now, or the reason why it would fail. `others` are the files of other bdevs, each with whether
    /// it is only read.
    pub(crate) fn prepare(
        &self,
        others: &[(BackingFile, bool)],
        drive_fault: impl FnOnce(PciAddress) -> Option<String>,
    ) -> Result<Option<Value>, String> {
        match self.condition {
            Condition::Nothing => Ok(self.params.clone()),
            Condition::Drive(address) => drive_fault(address).map_or_else(|| Ok(self.params.clone()), Err),
            Condition::File(read_only) => {
                let mut params = self.params.clone();
                let file = BackingFile::inspect(Path::new(self.text("filename").unwrap_or_default()))
                    .map_err(|error| error.to_string())?;
                file.check_access(read_only).map_err(|error| error.to_string())?;
                if others.iter().any(|(other, only_read)| file.is_same(other) && !(read_only && *only_read)) {
                    let path = file.path().display();
                    return Err(format!(
                        "cannot export '{path}': another export serves that file as another disk"
                    ));
                }
                // A block device has a block size of its own, and SPDK's aio refuses a smaller one.
                if let Some(Value::Object(params)) = &mut params
                    && file.is_block_device()
                {
                    params.remove("block_size");
                }
                Ok(params)
            }
        }
    }

    /// The file of a bdev that an `--export` asks for, if it is there, and whether it is only read.
    pub(crate) fn file(&self) -> Option<(BackingFile, bool)> {
        let Condition::File(read_only) = self.condition else { return None };
        let file = BackingFile::inspect(Path::new(self.text("filename")?)).ok()?;
        Some((file, read_only))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.params.as_ref()?.get(name)?.as_str()
    }
}

impl fmt::Display for Entry {
    /// Its origin, its method and its object.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Config { file, subsystem, number } => {
                write!(f, "{file}: entry {number} of subsystem {}", Quoted(subsystem))?;
            }
            Origin::Export(text) => write!(f, "--export {}", Quoted(text))?,
            Origin::Program => f.write_str("the program's own options of SPDK")?,
        }
        write!(f, ": {}", self.method)?;
        if let Some(export) = self.export() {
            let vlan = export.options.vlan.map(|vlan| format!(" in VLAN {vlan}")).unwrap_or_default();
            return write!(f, " of {}{vlan} with bdev {}", export.address, Quoted(&export.bdev_name));
        }
        match self.name() {
            Some(name) => write!(f, " of {}", Quoted(name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(method: &str, params: Value, condition: Condition) -> Entry {
        Entry {
            subsystem: "bdev".into(),
            origin: Origin::Config {
                file: "--config 'c'".into(),
                subsystem: "bdev".into(),
                number: "2".into(),
            },
            method: method.into(),
            params: Some(params),
            condition,
        }
    }

    #[test]
    fn an_entry_is_named_by_its_place_its_method_and_what_it_is_for() {
        let malloc = entry("bdev_malloc_create", json!({ "name": "x" }), Condition::Nothing);
        assert_eq!(
            malloc.to_string(),
            "--config 'c': entry 2 of subsystem 'bdev': bdev_malloc_create of 'x'"
        );
        let params = json!({ "shelf": 1, "slot": 2, "bdev_name": "x", "vlan": 7 });
        let mut export = entry("aoe_create_export", params, Condition::Nothing);
        export.origin = Origin::Export("1.2=x".into());
        assert_eq!(export.to_string(), "--export '1.2=x': aoe_create_export of 1.2 in VLAN 7 with bdev 'x'");
        let options = Entry { params: None, ..entry("bdev_set_options", Value::Null, Condition::Nothing) };
        assert_eq!(options.to_string(), "--config 'c': entry 2 of subsystem 'bdev': bdev_set_options");
        assert_eq!(options.to_json(), json!({ "method": "bdev_set_options" }));
    }

    #[test]
    fn the_bdevs_of_an_nvme_controller_are_known_by_its_name() {
        let nvme = entry("bdev_nvme_attach_controller", json!({ "name": "N0" }), Condition::Nothing);
        for (bdev, made) in
            [("N0", true), ("N0n1", true), ("N0n12", true), ("N0n", false), ("N01", false), ("N0nx", false)]
        {
            assert_eq!(nvme.makes(bdev), made, "{bdev}");
        }
        let malloc = entry("bdev_malloc_create", json!({ "name": "N0" }), Condition::Nothing);
        assert!(malloc.makes("N0") && !malloc.makes("N0n1"));
    }

    #[test]
    fn a_file_is_looked_at_before_each_call() {
        let directory = tempfile::tempdir().unwrap();
        let [path, link] = ["disk", "link"].map(|name| directory.path().join(name));
        let params = json!({ "name": "a", "filename": path, "block_size": 512 });
        let create = entry("bdev_aio_create", params.clone(), Condition::File(false));
        let nobody = |_| None;
        let error = create.prepare(&[], nobody).unwrap_err();
        assert!(error.contains("/disk'") && error.contains("No such file"), "{error}");
        assert_eq!(create.file(), None);
        std::fs::write(&path, [0; 1024]).unwrap();
        assert_eq!(create.prepare(&[], nobody), Ok(Some(params)));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let other = |read_only| [(BackingFile::inspect(&link).unwrap(), read_only)];
        let error = create.prepare(&other(true), nobody).unwrap_err();
        assert!(error.contains("as another disk"), "{error}");
        let reads = Entry { condition: Condition::File(true), ..create.clone() };
        assert!(reads.prepare(&other(false), nobody).is_err());
        assert!(reads.prepare(&other(true), nobody).is_ok());
        let drive = Entry { condition: Condition::Drive("0000:01:00.0".parse().unwrap()), ..create };
        assert_eq!(drive.prepare(&[], |_| Some("absent".into())), Err("absent".into()));
    }
}
