//! Debian's vblade as a target to compare with.
//!
//! Start a fresh one for each test: a single MAC-mask edit kills it. It serves one request at a time,
//! advertises 17 sectors with an MTU of 9000, pads nothing, and says version 0 in its advertisement.

use super::{Daemon, Namespace};
use crate::error::{Error, Result};
use crate::wire::ShelfSlot;
use std::path::{Path, PathBuf};

/// A running vblade.
#[derive(Debug)]
pub struct Vblade {
    daemon: Daemon,
}

impl Vblade {
    /// Starts vblade in `namespace` on `interface`, kept on core `cpu` if one is named.
    ///
    /// # Errors
    /// [`Error::Lab`] if it is not installed or cannot be started.
    pub fn start(
        namespace: &Namespace,
        interface: &str,
        address: ShelfSlot,
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
        // Room for more requests than any test has outstanding: its socket buffer is sized by this number.
        command
            .args(["-b", "256", &address.shelf.to_string(), &address.slot.to_string(), interface])
            .arg(file);
        Ok(Self { daemon: Daemon::start(&mut command)? })
    }

    /// The process alone.
    pub fn into_daemon(self) -> Daemon {
        self.daemon
    }

    /// The process.
    pub const fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Where vblade is.
    ///
    /// # Errors
    /// [`Error::Lab`] if it is not installed.
    pub fn program() -> Result<PathBuf> {
        ["/usr/sbin/vblade", "/usr/local/sbin/vblade"]
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.exists())
            .ok_or_else(|| Error::Lab("vblade is not installed: apt-get install vblade".into()))
    }
}
