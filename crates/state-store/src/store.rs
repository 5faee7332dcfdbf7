//! The directory: a lock for one writer and one file for each export. Damaged files are set aside.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use thiserror::Error;

use crate::directory::{Directory, LockedDirectory, Written};
use crate::name;
use crate::record;

/// The file that the one writer holds locked. The kernel gives the lock back however the process ends.
const LOCK: &str = "lock";

/// A state directory that this process may write to.
#[derive(Debug)]
pub struct Store<D = LockedDirectory> {
    directory: D,
}

/// The state of an export that the directory has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored<T> {
    /// As it was saved last.
    Intact(T),
    /// State was saved and can't be read, so who may use the export is unknown. The sentence says why.
    ///
    /// It stays unknown, over restarts, until state is saved for the export: a file that was set aside and has no
    /// successor marks it.
    Unknown(String),
}

/// A file that was damaged, and where it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The export's file name.
    pub name: String,
    /// Where the file is now; `None` if it could not be renamed and lies where it was.
    pub moved_to: Option<PathBuf>,
    /// The fault.
    pub reason: String,
}

/// A store with its contents.
#[derive(Debug)]
pub struct Opened<T, D = LockedDirectory> {
    /// The store.
    pub store: Store<D>,
    /// By the name that [`name::of_export`] makes. Exports that are not in it never had state saved.
    pub stored: BTreeMap<String, Stored<T>>,
    /// The files that were found damaged now.
    pub set_aside: Vec<SetAside>,
}

/// The reason for which a state directory cannot be used: one sentence that names the directory.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process writes to it.
    #[error(
        "the state directory {} is in use by another kvblade-dpdk: give this one its own with --state-dir",
        .0.display()
    )]
    InUse(PathBuf),
    /// It can't be made, read or locked.
    #[error("the state directory {}: {what}: {error}: give another with --state-dir", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// The failed operation.
        what: &'static str,
        /// Its error.
        error: io::Error,
    },
}

/// The reason for which state was not saved.
#[derive(Debug, Error)]
#[error("{}: {what}: {error}", path.display())]
pub struct SaveError {
    path: PathBuf,
    what: &'static str,
    error: io::Error,
}

impl SaveError {
    pub(crate) fn writer_ended(name: &str) -> Self {
        Self { path: name.into(), what: "it can't be saved", error: io::Error::other("the writer has ended") }
    }
}

impl Store {
    /// Opens the directory, made with mode 0700 if it is not there, and reads what is in it. `decode` makes the
    /// caller's value of a payload, or returns what is wrong with it. Blocks on the disk.
    ///
    /// # Errors
    /// [`OpenError`]. A damaged file is no error: it is renamed to `NAME.damaged-N` and reported in
    /// [`Opened::set_aside`].
    pub fn open<T>(path: &Path, decode: impl Fn(&str) -> Result<T, String>) -> Result<Opened<T>, OpenError> {
        let unusable = |what| move |error| OpenError::Unusable { path: path.to_owned(), what, error };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable("it can't be made"))?;
        let directory = File::open(path).map_err(unusable("it can't be opened"))?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(unusable("its lock file can't be opened"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
            Errno::EWOULDBLOCK => OpenError::InUse(path.to_owned()),
            error => unusable("it can't be locked")(error.into()),
        })?;
        Store::of(LockedDirectory::new(path, directory, lock), decode).map_err(unusable("it can't be read"))
    }
}

impl<D: Directory> Store<D> {
    /// Reads what is in a directory that nobody else writes to. `decode` as for [`Store::open`].
    ///
    /// # Errors
    /// The file system's.
    pub fn of<T>(directory: D, decode: impl Fn(&str) -> Result<T, String>) -> io::Result<Opened<T, D>> {
        Self { directory }.read_all(decode)
    }

    fn read_all<T>(self, decode: impl Fn(&str) -> Result<T, String>) -> io::Result<Opened<T, D>> {
        let mut stored = BTreeMap::new();
        let mut marks = BTreeMap::new();
        let mut set_aside = Vec::new();
        for file in self.directory.names()? {
            if let Some(name) = name::set_aside_from(&file) {
                marks.insert(name.to_owned(), file);
            } else if name::is_export(&file) {
                let read = self.directory.read(&file, LARGEST).and_then(|bytes| {
                    record::decode(&bytes).map_err(|damage| damage.to_string()).and_then(&decode)
                });
                match read {
                    Ok(value) => {
                        stored.insert(file, Stored::Intact(value));
                    }
                    Err(reason) => {
                        let moved_to = self.set_aside(&file);
                        stored.insert(file.clone(), Stored::Unknown(reason.clone()));
                        set_aside.push(SetAside { name: file, moved_to, reason });
                    }
                }
            } else if file.starts_with('.') && file.ends_with(".new") {
                // A crash ended this save before its rename. The next save for the export truncates what can't be removed.
                self.directory.remove(&file).ok();
            }
        }
        for (name, file) in marks {
            stored.entry(name).or_insert_with(|| Stored::Unknown(format!("{file} was set aside as damaged")));
        }
        Ok(Opened { store: self, stored, set_aside })
    }

    /// Renames a damaged file; `None` if that can't be done.
    fn set_aside(&self, name: &str) -> Option<PathBuf> {
        let aside = (1u32..)
            .map(|number| format!("{name}{}{number}", name::SET_ASIDE))
            .find(|aside| !self.directory.has(aside))?;
        self.directory.rename(name, &aside).ok()?;
        // If this fails, a crash may bring the damaged file back under its name, where the next start finds it again.
        self.directory.sync().ok();
        Some(self.directory.path(&aside))
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &D {
        &self.directory
    }

    /// Replaces the payload of `name`, wholly or not at all, and returns when the new one would survive a power failure.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`SaveError`]. The state saved before is in effect then. Only if the last step failed (making the rename durable),
    /// a restart may find the new state.
    pub fn save(&self, name: &str, payload: &str) -> Result<(), SaveError> {
        let temporary = format!(".{name}.new");
        let failed = |what| {
            let path = self.directory.path(name);
            move |error| SaveError { path, what, error }
        };
        if !name::is_export(name) || payload.len() > record::PAYLOAD_MAX {
            return Err(failed("it can't be saved")(io::ErrorKind::InvalidInput.into()));
        }
        let written = self
            .directory
            .write(&temporary, &record::encode(payload))
            .and_then(Written::sync)
            .map_err(failed("it can't be written"))
            .and_then(|()| {
                self.directory.rename(&temporary, name).map_err(failed("it can't be put in its place"))
            });
        if written.is_err() {
            // A partial file must not take up the rest of a full disk. The error of the write is the one that is returned.
            self.directory.remove(&temporary).ok();
        }
        written?;
        self.directory.sync().map_err(failed("its directory can't be synced"))
    }
}

/// The bytes that a file of ours has at most.
const LARGEST: usize = record::PAYLOAD_MAX + 100;
