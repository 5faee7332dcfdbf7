//! The user's `--config`: read, checked where the errors of SPDK are poor, and merged with the program's own entries.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use control::error::Quoted;
use control::json_comments::without_comments;
use control::{Action, CreateExport, PortRef};
use serde_json::{Value, json};

use super::entry::{Condition, Entry, Origin};
use crate::export_spec::{ExportSpec, PciAddress};
use crate::launch_error::LaunchError;

pub(super) const BDEV: &str = "bdev";
pub(super) const AOE: &str = "aoe";

/// The subsystems of a configuration file, in order. The default is that of no file.
#[derive(Debug, Default)]
pub(super) struct UserConfig {
    path: PathBuf,
    subsystems: Vec<Subsystem>,
    /// Names that entries of subsystem `bdev` give.
    names: BTreeSet<String>,
    /// Local drives that entries attach, and the names they give them.
    controllers: BTreeMap<PciAddress, String>,
    exports: Vec<CreateExport>,
}

#[derive(Debug)]
struct Subsystem {
    name: String,
    config: Vec<Entry>,
}

impl UserConfig {
    /// Reads a file of SPDK's form; like SPDK, allows comments.
    ///
    /// # Errors
    /// One sentence naming the file, the place in it and what is allowed there.
    pub(super) fn read(path: &Path) -> Result<Self, LaunchError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let path = path.display();
            LaunchError::environment(format!(
                "cannot read --config '{path}': {error}; a JSON file as save_config writes it is needed"
            ))
        })?;
        let mut config = Self { path: path.to_owned(), ..Self::default() };
        config
            .load(&text)
            .map_err(|what| LaunchError::environment(format!("--config '{}': {what}", path.display())))?;
        Ok(config)
    }

    fn load(&mut self, text: &str) -> Result<(), String> {
        let root: Value = serde_json::from_str(&without_comments(text))
            .map_err(|error| format!("{error}; it must be JSON"))?;
        let listed = root
            .get("subsystems")
            .and_then(Value::as_array)
            .ok_or("there is no list \"subsystems\"; write {\"subsystems\": [...]} as save_config does")?;
        for (number, subsystem) in (1..).zip(listed) {
            let name = subsystem.get("subsystem").and_then(Value::as_str).ok_or_else(|| {
                format!(
                    "subsystem number {number} lacks the string \"subsystem\"; it must name the subsystem"
                )
            })?;
            let listed = match subsystem.get("config") {
                Some(Value::Array(config)) => config.as_slice(),
                Some(Value::Null) => &[],
                _ => {
                    return Err(format!(
                        "subsystem {} lacks the list \"config\"; it may be empty",
                        Quoted(name)
                    ));
                }
            };
            let mut config = Vec::new();
            for (number, entry) in (1u32..).zip(listed) {
                // SPDK 26.05 takes a list of entries in the place of one.
                let batch = match entry {
                    Value::Array(batch) => {
                        (1u32..).zip(batch).map(|(part, entry)| (format!("{number}.{part}"), entry)).collect()
                    }
                    entry => vec![(number.to_string(), entry)],
                };
                for (number, entry) in batch {
                    let place = format!("entry {number} of subsystem {}", Quoted(name));
                    config.push(self.learn(name, number, entry).map_err(|what| format!("{place}: {what}"))?);
                }
            }
            self.subsystems.push(Subsystem { name: name.to_owned(), config });
        }
        for (index, export) in self.exports.iter().enumerate() {
            let overlaps = |earlier: &&CreateExport| {
                earlier.address == export.address
                    && earlier.options.vlan == export.options.vlan
                    && share_a_port(earlier.ports.as_deref(), export.ports.as_deref())
            };
            if self.exports.iter().take(index).any(|earlier| overlaps(&earlier)) {
                return Err(format!(
                    "{} is exported twice on a port; an address can be served once on a port",
                    export.address
                ));
            }
        }
        Ok(())
    }

    /// Checks one entry and notes the names it gives.
    fn learn(&mut self, subsystem: &str, number: String, entry: &Value) -> Result<Entry, String> {
        let method = entry
            .get("method")
            .and_then(Value::as_str)
            .ok_or("it lacks the string \"method\", the call to make")?;
        let params = match entry.get("params") {
            Some(params) if params.is_object() => Some(params),
            None => None,
            _ => return Err(format!("the \"params\" of {} must be an object, or left out", Quoted(method))),
        };
        let text = |name: &str| params.and_then(|params| params.get(name)).and_then(Value::as_str);
        // What save_config could not find among the bdevs, because it waits for its disk, stands in our subsystem.
        let is_bdev = subsystem == BDEV || (subsystem == AOE && method.starts_with("bdev_"));
        if subsystem == AOE && !is_bdev {
            match Action::decode(method, params).map_err(|error| error.to_string())? {
                Action::CreateExport(export) => self.exports.push(export),
                _ => {
                    return Err(format!(
                        "{} does not belong into a configuration: only aoe_create_export does",
                        Quoted(method)
                    ));
                }
            }
        }
        if is_bdev {
            self.names.extend(text("name").map(str::to_owned));
            let address = text("traddr").and_then(|address| address.parse().ok());
            if let ("bdev_nvme_attach_controller", Some(address), Some(name)) =
                (method, address, text("name"))
            {
                self.controllers.insert(address, name.to_owned());
            }
        }
        Ok(Entry {
            subsystem: if is_bdev { BDEV } else { subsystem }.to_owned(),
            origin: Origin::Config { file: self.path(), subsystem: subsystem.to_owned(), number },
            method: method.to_owned(),
            params: params.cloned(),
            condition: Condition::Nothing,
        })
    }

    /// For messages: `--config 'PATH'`.
    pub(super) fn path(&self) -> String {
        format!("--config '{}'", self.path.display())
    }

    /// Whether an entry of subsystem `bdev` gives this name.
    pub(super) fn defines(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The name of the controller that an entry attaches at this address.
    pub(super) fn controller_at(&self, address: PciAddress) -> Option<&str> {
        self.controllers.get(&address).map(String::as_str)
    }

    /// Refuses an export at an address that the file exports on the same port.
    ///
    /// # Errors
    /// One sentence naming both.
    pub(super) fn check_distinct(&self, export: &ExportSpec) -> Result<(), LaunchError> {
        let clash = self.exports.iter().find(|theirs| {
            theirs.address == export.address
                && theirs.options.vlan == export.options.vlan
                && share_a_port(theirs.ports.as_deref(), export.port.as_ref().map(std::slice::from_ref))
        });
        match clash {
            None => Ok(()),
            Some(theirs) => Err(LaunchError::environment(format!(
                "--export {}: {} exports {} on that port already, with bdev {}: an address can be served once on \
                 a port",
                Quoted(&export.text),
                self.path(),
                export.address,
                Quoted(&theirs.bdev_name)
            ))),
        }
    }

    /// All calls, as a list and as a document: those of the file, then the program's bdevs, then all exports.
    pub(super) fn merged(self, bdevs: Vec<Entry>, exports: Vec<Entry>) -> (Vec<Entry>, Value) {
        let mut subsystems = self.subsystems;
        let (mut awaited, mut aoe) = (Vec::new(), Vec::new());
        subsystems.retain_mut(|subsystem| {
            let is_aoe = subsystem.name == AOE;
            if is_aoe {
                let (bdevs, exports): (Vec<Entry>, Vec<Entry>) =
                    subsystem.config.drain(..).partition(|entry| entry.subsystem == BDEV);
                awaited.extend(bdevs);
                aoe.extend(exports);
            }
            !is_aoe
        });
        let bdevs = awaited.into_iter().chain(bdevs);
        match subsystems.iter_mut().rfind(|subsystem| subsystem.name == BDEV) {
            Some(subsystem) => subsystem.config.extend(bdevs),
            None => subsystems.push(Subsystem { name: BDEV.into(), config: bdevs.collect() }),
        }
        aoe.extend(exports);
        subsystems.push(Subsystem { name: AOE.into(), config: aoe });
        let listed: Vec<Value> = subsystems
            .iter()
            .map(|subsystem| {
                let config: Vec<Value> = subsystem.config.iter().map(Entry::to_json).collect();
                json!({ "subsystem": subsystem.name, "config": config })
            })
            .collect();
        let entries = subsystems.into_iter().flat_map(|subsystem| subsystem.config).collect();
        (entries, json!({ "subsystems": listed }))
    }
}

/// `None` means all ports. Ports are compared as written.
fn share_a_port(one: Option<&[PortRef]>, other: Option<&[PortRef]>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.iter().any(|port| other.contains(port)),
        _ => true,
    }
}
