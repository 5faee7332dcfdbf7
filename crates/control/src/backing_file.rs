//! A file to export: its kind, its size, and whether SPDK can open it.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// AoE's sector, in bytes; every size served is a multiple of it.
pub const SECTOR: u64 = 512;

/// A regular file or block device that exists and holds a sector at least. What follows its last whole sector is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackingFile {
    path: PathBuf,
    id: FileId,
    bytes: u64,
}

/// Identity of a file: equal for all paths to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId(Identity);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    /// Device number and inode of a regular file.
    Regular(u64, u64),
    /// A block device.
    BlockDevice {
        /// Its device number.
        number: DeviceNumber,
        /// The device number of its disk; its own if it is no partition.
        disk: DeviceNumber,
    },
}

/// Major and minor.
type DeviceNumber = (u64, u64);

impl FileId {
    /// Identifies the file at the path, following links.
    ///
    /// # Errors
    /// Errors of stat(2); `InvalidInput` if it is neither a regular file nor a block device.
    pub fn of(path: &Path) -> io::Result<Self> {
        let found = std::fs::metadata(path)?;
        Self::of_file(&found).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    fn of_file(found: &Metadata) -> Option<Self> {
        let kind = found.file_type();
        if kind.is_file() {
            Some(Self(Identity::Regular(found.dev(), found.ino())))
        } else if kind.is_block_device() {
            let number = device_number(found.rdev());
            Some(Self(Identity::BlockDevice { number, disk: disk_of(number).unwrap_or(number) }))
        } else {
            None
        }
    }

    /// True if the two have data in common: they are one file, or one is a partition of the other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (
                Identity::BlockDevice { number, disk },
                Identity::BlockDevice { number: its_number, disk: its_disk },
            ) => number == its_number || number == its_disk || disk == its_number,
            (one, other) => one == other,
        }
    }

    fn is_block_device(&self) -> bool {
        matches!(self.0, Identity::BlockDevice { .. })
    }
}

/// As Linux and glibc encode it in 64 bits (gnu_dev_major(3)).
fn device_number(encoded: u64) -> DeviceNumber {
    let major = (encoded >> 8) & 0xfff | (encoded >> 32) & 0xffff_f000;
    let minor = encoded & 0xff | (encoded >> 12) & 0xffff_ff00;
    (major, minor)
}

/// The disk of a partition, by sysfs: the directory of a partition lies in that of its disk.
fn disk_of((major, minor): DeviceNumber) -> Option<DeviceNumber> {
    let device = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    if !device.join("partition").exists() {
        return None;
    }
    let text = std::fs::read_to_string(device.join("../dev")).ok()?;
    let (major, minor) = text.trim_end().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Why a file cannot be exported.
#[derive(Debug, Error)]
#[error("cannot export '{}': {fault}", path.display())]
pub struct BackingFileError {
    /// The file, as an absolute path.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: FileFault,
}

/// What is wrong with a file.
#[derive(Debug)]
pub enum FileFault {
    /// It does not exist, or a directory above it can't be searched.
    Missing(io::Error),
    /// It is a directory.
    Directory,
    /// It is neither a regular file nor a block device.
    WrongKind,
    /// It cannot be opened for reading.
    Unreadable(io::Error),
    /// Its size, in bytes, is less than a [`SECTOR`].
    Size(u64),
    /// Its size, in bytes, is no multiple of [`SECTOR`], and SPDK's own bdev takes no other.
    PartOfSector(u64),
    /// It cannot be opened for writing and is to be written to.
    Unwritable(io::Error),
}

impl FileFault {
    /// Whether the fault may pass: the path may lead to a usable file later, when a disk is back or repaired.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Unreadable(_) | Self::Unwritable(_))
    }
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const KINDS: &str = "a regular file or block device is needed";
        match self {
            Self::Missing(error) => write!(f, "{error}; {KINDS}"),
            Self::Directory => write!(f, "it is a directory; {KINDS}"),
            Self::WrongKind => write!(f, "it holds no blocks; {KINDS}"),
            Self::Unreadable(error) => write!(f, "{error}; it must be readable"),
            Self::Size(bytes) => {
                write!(f, "its size is {bytes} bytes; at least {SECTOR} are needed")
            }
            Self::PartOfSector(bytes) => write!(
                f,
                "its size is {bytes} bytes, and SPDK's aio takes a multiple of {SECTOR} only: file: leaves the rest out"
            ),
            Self::Unwritable(error) => write!(f, "{error}; it must be writable, or exported read-only"),
        }
    }
}

impl BackingFile {
    /// Inspects the file at the path, following links. Reads no data.
    ///
    /// # Errors
    /// The first fault found.
    pub fn inspect(path: &Path) -> Result<Self, BackingFileError> {
        let absolute = std::path::absolute(path);
        let path = absolute.as_deref().unwrap_or(path).to_owned();
        let id = absolute.map_err(FileFault::Missing).and_then(|path| look(&path));
        match id {
            Ok((id, bytes)) => Ok(Self { path, id, bytes }),
            Err(fault) => Err(BackingFileError { path, fault }),
        }
    }

    /// Whether SPDK will be able to open it. `read_only` says that no export of it takes writes.
    ///
    /// # Errors
    /// [`FileFault::Unwritable`].
    pub fn check_access(&self, read_only: bool) -> Result<(), BackingFileError> {
        if read_only {
            return Ok(());
        }
        let Err(error) = OpenOptions::new().read(true).write(true).open(&self.path) else { return Ok(()) };
        Err(BackingFileError { path: self.path.clone(), fault: FileFault::Unwritable(error) })
    }

    /// Whether SPDK's own bdev of a file takes its size.
    ///
    /// # Errors
    /// [`FileFault::PartOfSector`].
    pub fn check_whole_sectors(&self) -> Result<(), BackingFileError> {
        if self.bytes.is_multiple_of(SECTOR) {
            return Ok(());
        }
        Err(BackingFileError { path: self.path.clone(), fault: FileFault::PartOfSector(self.bytes) })
    }

    /// Whether two paths lead to one file.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// Whether it is a block device. A block device has a block size of its own, and SPDK refuses a smaller one.
    #[must_use]
    pub fn is_block_device(&self) -> bool {
        self.id.is_block_device()
    }

    /// Absolute, links not followed: a name under `/dev/disk` stays that name in a saved configuration.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn look(path: &Path) -> Result<(FileId, u64), FileFault> {
    let found = std::fs::metadata(path).map_err(FileFault::Missing)?;
    let id = FileId::of_file(&found);
    let id = id.ok_or(if found.is_dir() { FileFault::Directory } else { FileFault::WrongKind })?;
    let bytes =
        File::open(path).and_then(|mut file| file.seek(SeekFrom::End(0))).map_err(FileFault::Unreadable)?;
    if bytes < SECTOR {
        return Err(FileFault::Size(bytes));
    }
    Ok((id, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_same_by_every_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        std::fs::write(&path, [0; 512]).unwrap();
        let (link, hard, other) =
            (path.with_extension("s"), path.with_extension("h"), path.with_extension("o"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        std::fs::hard_link(&path, &hard).unwrap();
        std::fs::write(&other, [0; 512]).unwrap();
        let id = FileId::of(&path).unwrap();
        for (same, yes) in [(&link, true), (&hard, true), (&other, false)] {
            assert_eq!(id.overlaps(&FileId::of(same).unwrap()), yes, "{}", same.display());
        }
        assert_eq!(FileId::of(directory.path()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(FileId::of(&path.join("x")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_partition_overlaps_its_disk_and_no_other_partition() {
        let device = |number, disk| FileId(Identity::BlockDevice { number, disk });
        let (disk, first, second) = (device((8, 0), (8, 0)), device((8, 1), (8, 0)), device((8, 2), (8, 0)));
        let other = device((8, 16), (8, 16));
        for (one, two, yes) in [
            (disk, disk, true),
            (disk, first, true),
            (second, disk, true),
            (first, first, true),
            (first, second, false),
            (other, disk, false),
            (other, first, false),
            (disk, FileId(Identity::Regular(8, 0)), false),
        ] {
            assert_eq!(one.overlaps(&two), yes, "{one:?} {two:?}");
        }
    }

    #[test]
    fn device_numbers_are_those_of_sysfs() {
        assert_eq!(device_number(0x801), (8, 1));
        assert_eq!(device_number(0x0000_1000_1230_0845), (0x1008, 0x1_2345));
        assert_eq!(disk_of((0, 0)), None);
    }
}
