//! SPDK's bdevs by `bdev_get_bdevs`, as far as the commands need them.

use std::path::Path;

use control::{BackingFile, ErrorCode, RbdImage, file_bdev};
use serde::Deserialize;
use serde_json::{Value, json};

use rpc_client::{Client, ClientError};

/// One bdev.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BdevInfo {
    /// Its name.
    pub name: String,
    /// Further names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Another SPDK module has claimed it.
    #[serde(default)]
    pub claimed: bool,
    /// The part that its module adds.
    #[serde(default)]
    driver_specific: Value,
}

impl BdevInfo {
    /// The file or block device behind a bdev of one, and the RPC that deletes the bdev.
    fn file_and_deletion(&self) -> Option<(&str, &'static str)> {
        let of = |kind: &str| self.driver_specific.get(kind)?.get("filename")?.as_str();
        let ours = of("file").map(|path| (path, file_bdev::DELETE));
        ours.or_else(|| of("aio").map(|path| (path, file_bdev::DELETE_AIO)))
    }

    /// The file or block device behind it.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.file_and_deletion().map(|(path, _)| path)
    }

    /// The image behind a bdev of Ceph's RBD, as `kvadd` takes it.
    #[must_use]
    pub fn rbd_image(&self) -> Option<String> {
        let rbd = self.driver_specific.get("rbd")?;
        let text = |name: &str| rbd.get(name).and_then(Value::as_str).map(str::to_owned);
        let image = RbdImage {
            pool: text("pool_name")?,
            namespace: text("namespace_name"),
            image: text("rbd_name")?,
            ..RbdImage::default()
        };
        Some(image.to_string())
    }

    /// Whether it was opened for writing, if it is this image by the same user and configuration.
    #[must_use]
    pub fn opens(&self, image: &RbdImage) -> Option<bool> {
        image.found_in(&self.driver_specific)
    }

    /// The file or image beneath it, as `kvadd` takes it.
    #[must_use]
    pub fn path(&self) -> Option<String> {
        self.file().map(str::to_owned).or_else(|| self.rbd_image())
    }

    /// The RPC that deletes it, if it is of a kind that is made for an export.
    #[must_use]
    pub fn deletion(&self) -> Option<&'static str> {
        match (self.file_and_deletion(), self.rbd_image()) {
            (Some((_, deletion)), _) => Some(deletion),
            (_, Some(_)) => Some(control::rbd::DELETE),
            _ => None,
        }
    }

    /// Whether this is one of its names.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// Whether it is made of this very file, by whatever path.
    #[must_use]
    pub fn is_on(&self, file: &BackingFile) -> bool {
        self.file()
            .and_then(|path| BackingFile::inspect(Path::new(path)).ok())
            .is_some_and(|its_file| its_file.is_same(file))
    }
}

/// Every bdev. SPDK makes the list in one piece, while it does nothing else: where the name is known, [`find`] is the call.
///
/// # Errors
/// Errors of the call.
pub fn fetch(client: &mut Client) -> Result<Vec<BdevInfo>, ClientError> {
    client.call("bdev_get_bdevs", None)
}

/// The bdev of this name, `None` if there is none.
///
/// # Errors
/// Errors of the call.
pub fn find(client: &mut Client, name: &str) -> Result<Option<BdevInfo>, ClientError> {
    match client.call::<Vec<BdevInfo>>("bdev_get_bdevs", Some(json!({ "name": name }))) {
        // SPDK finds it by its further names, too.
        Ok(found) => Ok(found.into_iter().find(|bdev| bdev.name == name)),
        Err(ClientError::Refused { code, .. }) if code == i64::from(ErrorCode::NoDevice.number()) => Ok(None),
        Err(error) => Err(error),
    }
}
