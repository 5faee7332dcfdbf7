//! A file to export: what it is, how large, and whether SPDK will be able to open it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// AoE's sector, in bytes; every size served is a multiple of it.
pub const SECTOR: u64 = 512;

/// A regular file or block device that exists and has a size AoE can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackingFile {
    path: PathBuf,
    id: FileId,
}

/// The same for two paths that lead to one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileId {
    /// Device number and inode of a regular file.
    Regular(u64, u64),
    /// Device number of the block device itself.
    BlockDevice(u64),
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
    /// It is not there, or the way to it is closed.
    Missing(io::Error),
    /// It is a directory.
    Directory,
    /// It is neither a regular file nor a block device.
    WrongKind,
    /// It cannot be opened for reading.
    Unreadable(io::Error),
    /// Its size, in bytes, is no positive multiple of [`SECTOR`].
    Size(u64),
    /// It cannot be opened for writing and is to be written to.
    Unwritable(io::Error),
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
                write!(f, "its size is {bytes} bytes; a positive multiple of {SECTOR} is needed")
            }
            Self::Unwritable(error) => write!(f, "{error}; it must be writable, or exported read-only"),
        }
    }
}

impl BackingFile {
    /// Looks at what the path leads to, following links. Reads no data.
    ///
    /// # Errors
    /// The first fault found.
    pub fn inspect(path: &Path) -> Result<Self, BackingFileError> {
        let absolute = std::path::absolute(path);
        let path = absolute.as_deref().unwrap_or(path).to_owned();
        let id = absolute.map_err(FileFault::Missing).and_then(|path| look(&path));
        match id {
            Ok(id) => Ok(Self { path, id }),
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

    /// Whether two paths lead to one file.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// Whether it is a block device. Such a one has a block size of its own, and SPDK refuses to be told a
    /// smaller one.
    #[must_use]
    pub fn is_block_device(&self) -> bool {
        matches!(self.id, FileId::BlockDevice(_))
    }

    /// Absolute, links not followed: a name under `/dev/disk` stays that name in a saved configuration.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn look(path: &Path) -> Result<FileId, FileFault> {
    let found = std::fs::metadata(path).map_err(FileFault::Missing)?;
    let kind = found.file_type();
    let id = if kind.is_file() {
        FileId::Regular(found.dev(), found.ino())
    } else if kind.is_block_device() {
        FileId::BlockDevice(found.rdev())
    } else if kind.is_dir() {
        return Err(FileFault::Directory);
    } else {
        return Err(FileFault::WrongKind);
    };
    let bytes =
        File::open(path).and_then(|mut file| file.seek(SeekFrom::End(0))).map_err(FileFault::Unreadable)?;
    if bytes == 0 || !bytes.is_multiple_of(SECTOR) {
        return Err(FileFault::Size(bytes));
    }
    Ok(id)
}
