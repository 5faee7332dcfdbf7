//! Debian's vblade, a target to compare with.
//!
//! Start a fresh vblade for each test: one edit of the MAC mask kills it. It serves one request at a time, advertises 17
//! sectors with an MTU of 9000, pads no frame, and reports version 0 in its advertisement.

use std::path::{Path, PathBuf};

use crate::{Daemon, Error, Namespace, Result};

/// A running vblade.
#[derive(Debug)]
pub struct Vblade {
    daemon: Daemon,
}

impl Vblade {
    /// Starts vblade in `namespace` on `interface` at `shelf`.`slot`, on core `cpu` if one is named.
    ///
    /// # Errors
    /// If vblade is not installed or cannot be started.
    pub fn start(
        namespace: &Namespace,
        interface: &str,
        (shelf, slot): (u16, u8),
        file: &Path,
        cpu: Option<usize>,
    ) -> Result<Self> {
        let program = Self::program()?;
        let mut command = match cpu {
            None => namespace.command(&program),
            Some(cpu) => {
                let mut command = namespace.command("taskset");
                command.args(["-c", &cpu.to_string()]).arg(&program);
                command
            }
        };
        // This number sizes vblade's socket buffer: more requests than any test has outstanding.
        command.args(["-b", "256", &shelf.to_string(), &slot.to_string(), interface]).arg(file);
        Ok(Self { daemon: Daemon::start(&mut command)? })
    }

    /// The process.
    pub const fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// The path of vblade.
    ///
    /// # Errors
    /// If vblade is not installed.
    pub fn program() -> Result<PathBuf> {
        ["/usr/sbin/vblade", "/usr/local/sbin/vblade"]
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.exists())
            .ok_or_else(|| Error::new("vblade is not installed: apt-get install vblade"))
    }
}
