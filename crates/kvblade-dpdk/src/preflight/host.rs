//! The machine that the checks read: its `/proc` and `/sys`, or a test's.

use std::fs;
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;

use nix::unistd::geteuid;

/// The machine as the checks see it.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// What `/proc` and `/sys` stand below.
    pub(super) root: PathBuf,
    pub(super) is_root: bool,
}

impl Host {
    /// The machine this runs on.
    pub(crate) fn this() -> Self {
        Self { root: "/".into(), is_root: geteuid().is_root() }
    }

    /// A made-up one.
    #[cfg(test)]
    pub(crate) fn at_root(root: &Path) -> Self {
        Self { root: root.into(), is_root: true }
    }

    /// Where a path of the machine's is.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// What a file of the machine's says, if it can be read.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.at(path)).ok()
    }
}
