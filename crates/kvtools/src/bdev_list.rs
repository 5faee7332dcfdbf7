//! SPDK's bdevs as `bdev_get_bdevs` lists them, as far as the commands look.

use std::path::Path;

use control::BackingFile;
use serde::Deserialize;
use serde_json::Value;

use crate::rpc_client::{Client, ClientError};

/// One bdev.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BdevInfo {
    /// Its name.
    pub name: String,
    /// Further names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Another SPDK module keeps it for itself.
    #[serde(default)]
    pub claimed: bool,
    /// What its module adds.
    #[serde(default)]
    driver_specific: Value,
}

impl BdevInfo {
    /// The file behind an aio bdev.
    #[must_use]
    pub fn aio_file(&self) -> Option<&str> {
        self.driver_specific.get("aio")?.get("filename")?.as_str()
    }

    /// Whether it goes by this name.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// Whether it is an aio bdev on this very file, by whatever path.
    #[must_use]
    pub fn is_on(&self, file: &BackingFile) -> bool {
        self.aio_file()
            .and_then(|path| BackingFile::inspect(Path::new(path)).ok())
            .is_some_and(|its_file| its_file.is_same(file))
    }
}

/// Every bdev.
///
/// # Errors
/// What the call says.
pub fn fetch(client: &mut Client) -> Result<Vec<BdevInfo>, ClientError> {
    client.call("bdev_get_bdevs", None)
}
