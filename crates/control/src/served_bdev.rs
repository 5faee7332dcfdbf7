//! The bdev of an export, and the rules by which exports share a bdev, or the files beneath it.

use std::path::PathBuf;

use aoe_target::ShelfSlot;

use crate::backing_file::FileId;
use crate::error::{ErrorCode, Quoted, RpcError};
use crate::options::ExportOptions;
use crate::request::CreateExport;

/// A bdev at the moment when it was opened for an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedBdev {
    /// Its own name; never an alias.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// Its size in sectors of 512 bytes.
    pub sectors: u64,
    /// The files and block devices beneath it, directly or beneath other bdevs.
    pub files: Vec<ServedFile>,
}

impl ServedBdev {
    /// The sectors that an export with these options has on this bdev. `name` is the bdev's name as it was given.
    ///
    /// # Errors
    /// The bdev has no sectors, or not those of the options.
    pub(crate) fn sectors_for(&self, name: &str, options: &ExportOptions) -> Result<u64, RpcError> {
        let unsuitable =
            |why: String| RpcError::new(ErrorCode::Unsuitable, format!("bdev {}{why}", Quoted(name)));
        if self.sectors == 0 {
            return Err(unsuitable(" has no whole sector of 512 bytes: at least one is needed".into()));
        }
        options.check_range(self.sectors).map_err(|message| unsuitable(format!(": {message}")))?;
        Ok(options.range_in(self.sectors).1)
    }
}

/// A file or block device beneath a bdev.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedFile {
    /// The bdev on it: the one that is served, or one beneath that.
    pub bdev: String,
    /// Its path, for messages.
    pub path: PathBuf,
    /// Which file it is.
    pub id: FileId,
}

/// The use of a bdev by an export, as far as it concerns other exports of the bdev.
#[derive(Debug, Clone, Copy)]
pub struct Use<'a> {
    /// The export's address.
    pub address: ShelfSlot,
    /// Its options.
    pub options: &'a ExportOptions,
}

impl Use<'_> {
    /// Whether initiators would take two exports of one bdev for two disks, so that writes to one would damage the data on
    /// the other. One address on several ports is one disk with several paths. Two read-only exports, and parts that do not
    /// overlap, do no harm.
    #[must_use]
    pub fn is_second_disk(&self, other: &Use<'_>) -> bool {
        self.address != other.address
            && !(self.options.read_only && other.options.read_only)
            && self.options.overlaps(other.options)
    }
}

/// An export that is served already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neighbour<'a> {
    /// Its address and VLAN, for messages.
    pub(crate) place: &'a str,
    /// How it uses its bdev.
    pub(crate) used: Use<'a>,
    /// Its bdev.
    pub(crate) bdev: &'a ServedBdev,
}

/// Refuses an export of sectors that an export which was deleted by force may still write.
pub(crate) fn check_quarantine(
    request: &CreateExport,
    bdev: &ServedBdev,
    there: &Neighbour<'_>,
) -> Result<(), RpcError> {
    let options = there.used.options;
    if there.bdev.name != bdev.name || options.read_only || !request.options.overlaps(options) {
        return Ok(());
    }
    Err(RpcError::new(
        ErrorCode::Busy,
        format!(
            "bdev {} still has requests in flight of {}, which was deleted by force: they may write the same sectors, so \
             wait until they have ended (aoe_get_exports lists them as quarantined), or use another bdev",
            Quoted(&request.bdev_name),
            there.place
        ),
    ))
}

/// Refuses an export that may not be served beside another one.
///
/// Two bdevs on one file are refused whatever parts are served, because SPDK does not know that they share data. Bdevs on a
/// common bdev are allowed: that bdev gives each a share of its own.
pub(crate) fn check_beside(
    request: &CreateExport,
    bdev: &ServedBdev,
    there: &Neighbour<'_>,
) -> Result<(), RpcError> {
    let wanted = Use { address: request.address, options: &request.options };
    let has = there.used;
    if there.bdev.name == bdev.name {
        if !wanted.is_second_disk(&has) {
            return Ok(());
        }
        return Err(RpcError::new(
            ErrorCode::Exists,
            format!(
                "bdev {} is exported as {} already, and as {} it would look like a second disk: make both read-only, \
                 use the same shelf and slot on another port, or serve parts that do not overlap (offset, length)",
                Quoted(&request.bdev_name),
                there.place,
                request.address
            ),
        ));
    }
    if wanted.options.read_only && has.options.read_only {
        return Ok(());
    }
    let mut pairs =
        bdev.files.iter().flat_map(|file| there.bdev.files.iter().map(move |other| (file, other)));
    match pairs.find(|(file, other)| file.bdev != other.bdev && file.id.overlaps(&other.id)) {
        None => Ok(()),
        Some((file, other)) => Err(RpcError::new(
            ErrorCode::Exists,
            format!(
                "bdev {} is on {}, and so is bdev {}, which {} serves: export one bdev of a file or block device only, \
                 or make both exports read-only",
                Quoted(&file.bdev),
                Quoted(&file.path.to_string_lossy()),
                Quoted(&other.bdev),
                there.place
            ),
        )),
    }
}
