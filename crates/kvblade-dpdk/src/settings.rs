//! The settings file: the options of a command line in one commented TOML file, for a service.
//!
//! Keys have the names of the options. The command line takes precedence over the file.

mod export;
mod place;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use tracing::level_filters::LevelFilter;

use crate::args::values;
use crate::eal_options::EalOptions;
use crate::export_spec::{ExportSpec, PciAddress};
use crate::hugepages::Hugepages;
use crate::idle::IdleOption;
use crate::launch_error::LaunchError;
use crate::logging::{LogFormat, LogTarget};
use crate::management::access;
use crate::payload_alignment::PayloadAlignment;

use crate::distribution::DistributionOption;
use place::{Place, absolute};

/// The contents of a settings file. `None` for keys that it does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) interfaces: Option<Vec<String>>,
    /// `lcores`, `pci-devices` and `eal-options`.
    pub(crate) eal: EalOptions,
    pub(crate) hugepages: Option<Hugepages>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) strict: Option<bool>,
    pub(crate) rpc_socket: Option<PathBuf>,
    pub(crate) rpc_connections: Option<usize>,
    pub(crate) rpc_mode: Option<u32>,
    pub(crate) rpc_group: Option<u32>,
    pub(crate) audit_log: Option<PathBuf>,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) mtu: Option<u16>,
    pub(crate) mbufs: Option<u32>,
    pub(crate) io_timeout: Option<u8>,
    pub(crate) spread: Option<DistributionOption>,
    pub(crate) idle: Option<IdleOption>,
    pub(crate) payload_alignment: Option<PayloadAlignment>,
    pub(crate) log_level: Option<LevelFilter>,
    pub(crate) log_format: Option<LogFormat>,
    pub(crate) log_target: Option<LogTarget>,
    pub(crate) exports: Option<Vec<ExportSpec>>,
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    interfaces: Option<Vec<Spanned<String>>>,
    lcores: Option<Spanned<String>>,
    pci_devices: Option<Vec<Spanned<String>>>,
    eal_options: Option<Spanned<Vec<String>>>,
    hugepages: Option<Spanned<String>>,
    config: Option<Spanned<PathBuf>>,
    strict: Option<bool>,
    rpc_socket: Option<Spanned<PathBuf>>,
    rpc_connections: Option<Spanned<i64>>,
    rpc_mode: Option<Spanned<String>>,
    rpc_group: Option<Spanned<Scalar>>,
    audit_log: Option<Spanned<PathBuf>>,
    state_dir: Option<Spanned<PathBuf>>,
    mtu: Option<Spanned<i64>>,
    mbufs: Option<Spanned<i64>>,
    io_timeout: Option<Spanned<i64>>,
    spread: Option<Spanned<String>>,
    idle: Option<Spanned<String>>,
    payload_alignment: Option<Spanned<Scalar>>,
    log_level: Option<Spanned<String>>,
    log_format: Option<Spanned<String>>,
    log_target: Option<Spanned<String>>,
    export: Option<Vec<Spanned<export::Table>>>,
}

/// A value that may be written with or without quotation marks.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Number(i64),
    Text(String),
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(formatter),
            Self::Text(text) => text.fmt(formatter),
        }
    }
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// One sentence with the file, the line, the key and what is allowed there.
    pub(crate) fn read(path: &Path) -> Result<Self, LaunchError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            LaunchError::environment(format!(
                "cannot read --settings '{}': {error}; a TOML file such as /etc/kvblade/kvblade.toml is needed",
                path.display()
            ))
        })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, LaunchError> {
        let place = Place::new(path, text);
        let file: File = toml::from_str(text).map_err(|error| place.refused(&error))?;
        file.check(&place)
    }
}

impl File {
    /// Reads each value as its option does.
    fn check(self, place: &Place<'_>) -> Result<Settings, LaunchError> {
        let eal = self.eal(place)?;
        Ok(Settings {
            interfaces: self
                .interfaces
                .map(|names| {
                    let checked = |name: &Spanned<String>| {
                        place.value("interfaces", name, |name| {
                            crate::interfaces::check_name(name).map(|()| name.clone())
                        })
                    };
                    names.iter().map(checked).collect::<Result<Vec<_>, _>>()
                })
                .transpose()?,
            eal,
            hugepages: place.optional("hugepages", self.hugepages.as_ref(), |text| Hugepages::parse(text))?,
            config: place.optional("config", self.config.as_ref(), absolute)?,
            strict: self.strict,
            rpc_socket: place.optional("rpc-socket", self.rpc_socket.as_ref(), absolute)?,
            rpc_connections: place.optional("rpc-connections", self.rpc_connections.as_ref(), |number| {
                values::parse_rpc_connections(&number.to_string())
            })?,
            rpc_mode: place.optional("rpc-mode", self.rpc_mode.as_ref(), |text| access::parse_mode(text))?,
            rpc_group: place.optional("rpc-group", self.rpc_group.as_ref(), |group| {
                access::parse_group(&group.to_string())
            })?,
            audit_log: place.optional("audit-log", self.audit_log.as_ref(), absolute)?,
            state_dir: place.optional("state-dir", self.state_dir.as_ref(), absolute)?,
            mtu: place.optional("mtu", self.mtu.as_ref(), |mtu| values::parse_mtu(&mtu.to_string()))?,
            mbufs: place
                .optional("mbufs", self.mbufs.as_ref(), |mbufs| values::parse_mbufs(&mbufs.to_string()))?,
            io_timeout: place.optional("io-timeout", self.io_timeout.as_ref(), |seconds| {
                values::parse_io_timeout(&seconds.to_string())
            })?,
            spread: place.optional("spread", self.spread.as_ref(), |text| DistributionOption::parse(text))?,
            idle: place.optional("idle", self.idle.as_ref(), |text| IdleOption::parse(text))?,
            payload_alignment: place.optional(
                "payload-alignment",
                self.payload_alignment.as_ref(),
                |bytes| values::parse_alignment(&bytes.to_string()),
            )?,
            log_level: place
                .optional("log-level", self.log_level.as_ref(), |text| values::parse_level(text))?,
            log_format: place
                .optional("log-format", self.log_format.as_ref(), |text| LogFormat::parse(text))?,
            log_target: place
                .optional("log-target", self.log_target.as_ref(), |text| LogTarget::parse(text))?,
            exports: self
                .export
                .map(|tables| {
                    tables.iter().map(|table| export::check(table, place)).collect::<Result<Vec<_>, _>>()
                })
                .transpose()?,
        })
    }

    fn eal(&self, place: &Place<'_>) -> Result<EalOptions, LaunchError> {
        let words = |words: &[String]| words.iter().map(Into::into).collect::<Vec<std::ffi::OsString>>();
        let sentence = |error: LaunchError| error.to_string();
        let mut eal = place
            .optional("eal-options", self.eal_options.as_ref(), |options| {
                EalOptions::parse(&words(options), dpdk::eal::release()).map_err(sentence)
            })?
            .unwrap_or_default();
        if let Some(lcores) = &self.lcores {
            let chosen = place.value("lcores", lcores, |lcores| {
                let chosen =
                    EalOptions::parse(&words(&["-l".to_owned(), lcores.clone()]), dpdk::eal::release())
                        .map_err(sentence)?;
                if eal.lcores.is_empty() {
                    Ok(chosen)
                } else {
                    Err("eal-options choose the lcores too: choose them in one place".to_owned())
                }
            })?;
            (eal.lcores, eal.reactor_mask) = (chosen.lcores, chosen.reactor_mask);
        }
        for device in self.pci_devices.iter().flatten() {
            let checked = place.value("pci-devices", device, |device| {
                let (address, _) = device.split_once(',').unwrap_or((device, ""));
                address.parse::<PciAddress>().map(|_| device.clone()).map_err(|()| {
                    format!("'{device}' begins with no PCI address: write DDDD:BB:DD.F in hexadecimal, such as 0000:03:00.0")
                })
            })?;
            eal.allow(&checked);
        }
        Ok(eal)
    }
}

#[cfg(test)]
mod tests;
