//! Where the tests' files are.

use std::path::PathBuf;

/// The directory of this process's files. On the disk of the build: /tmp may be memory.
pub(crate) fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("file-{}", std::process::id()))
}
