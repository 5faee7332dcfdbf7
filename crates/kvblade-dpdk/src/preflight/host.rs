//! The machine that the checks read: its `/proc` and `/sys`, or a test's.

use std::fs;
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;

use nix::unistd::geteuid;

/// The machine as the checks see it.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// The directory that contains `proc` and `sys`.
    pub(super) root: PathBuf,
    pub(super) is_root: bool,
}

impl Host {
    /// The machine this runs on.
    pub(crate) fn this() -> Self {
        Self { root: "/".into(), is_root: geteuid().is_root() }
    }

    /// A test's machine.
    #[cfg(test)]
    pub(crate) fn at_root(root: &Path) -> Self {
        Self { root: root.into(), is_root: true }
    }

    /// The real path of a path of this machine.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The contents of a file, if it can be read.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.at(path)).ok()
    }
}
