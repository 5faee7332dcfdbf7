//! The directory in which EAL keeps the files of a process.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file prefix for one DPDK process at a time. EAL never removes its directory; this removes it when dropped.
#[derive(Debug)]
pub struct DpdkFiles {
    prefix: String,
}

impl DpdkFiles {
    /// A prefix that begins with `label` and that no other process has.
    pub fn new(label: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { prefix: format!("{label}-{}-{number}", std::process::id()) }
    }

    /// The prefix, for `--file-prefix`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The directory, which exists once EAL has started.
    pub fn directory(&self) -> PathBuf {
        // EAL's default for root; XDG_RUNTIME_DIR or /tmp for other users.
        let runtime = match std::env::var_os("XDG_RUNTIME_DIR") {
            _ if nix::unistd::geteuid().is_root() => PathBuf::from("/var/run"),
            Some(directory) => directory.into(),
            None => PathBuf::from("/tmp"),
        };
        runtime.join("dpdk").join(&self.prefix)
    }
}

impl Drop for DpdkFiles {
    fn drop(&mut self) {
        let directory = self.directory();
        if Path::new(&directory).exists()
            && let Err(error) = std::fs::remove_dir_all(&directory)
        {
            eprintln!("removing {}: {error}", directory.display());
        }
    }
}
