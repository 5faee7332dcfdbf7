//! What the store asks of a directory. The kernel's is the program's; a simulation has one that fails and loses power at any step.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;

/// A directory's files, by their names. Each call may block on the disk.
pub trait Directory: Debug {
    /// A file that was written and is not closed yet.
    type Written: Written;

    /// The names of all entries. Those that are no text are left out.
    ///
    /// # Errors
    /// The file system's.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Whether there is an entry of this name.
    fn has(&self, name: &str) -> bool;

    /// The bytes of a plain file, if there are at most `limit`.
    ///
    /// # Errors
    /// One sentence.
    fn read(&self, name: &str, limit: usize) -> Result<Vec<u8>, String>;

    /// Makes a file of these bytes, or replaces what is in it. They survive a power failure after [`Written::sync`].
    ///
    /// # Errors
    /// The file system's. A part may have been written.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<Self::Written>;

    /// Puts a file in the place of another, which may be there or not. This survives a power failure after [`Directory::sync`].
    ///
    /// # Errors
    /// The file system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. This survives a power failure after [`Directory::sync`].
    ///
    /// # Errors
    /// The file system's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Has all renames and removals so far survive a power failure.
    ///
    /// # Errors
    /// The file system's. They may survive one all the same.
    fn sync(&self) -> io::Result<()>;

    /// The path of an entry, for sentences about it.
    fn path(&self, name: &str) -> PathBuf;
}

/// See [`Directory::write`].
pub trait Written {
    /// Has the bytes survive a power failure.
    ///
    /// # Errors
    /// The file system's. They may survive one all the same.
    fn sync(self) -> io::Result<()>;
}

impl Written for File {
    fn sync(self) -> io::Result<()> {
        self.sync_all()
    }
}

/// A directory of the kernel's, which this process holds locked.
#[derive(Debug)]
pub struct LockedDirectory {
    path: PathBuf,
    directory: File,
    _lock: Flock<File>,
}

impl LockedDirectory {
    pub(crate) fn new(path: &Path, directory: File, lock: Flock<File>) -> Self {
        Self { path: path.to_owned(), directory, _lock: lock }
    }
}

impl Directory for LockedDirectory {
    type Written = File;

    fn names(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn has(&self, name: &str) -> bool {
        fs::symlink_metadata(self.path.join(name)).is_ok()
    }

    fn read(&self, name: &str, limit: usize) -> Result<Vec<u8>, String> {
        let path = self.path.join(name);
        let unreadable = |error: io::Error| format!("it can't be read: {error}");
        // Not a FIFO, on which opening would wait.
        if !fs::symlink_metadata(&path).map_err(unreadable)?.is_file() {
            return Err("it is no plain file".into());
        }
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(unreadable)?;
        file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() > limit {
            return Err(format!("it has more than {limit} bytes"));
        }
        Ok(bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(self.path.join(name))?;
        file.write_all(bytes)?;
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}
