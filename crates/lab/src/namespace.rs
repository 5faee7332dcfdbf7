//! Network namespaces and veth pairs.

use std::ffi::OsStr;
use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

use crate::{Error, Result, run};

/// A network namespace, deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace. The name contains the process id and a number, so that tests can run side by side.
    ///
    /// # Errors
    /// Without root or without the `ip` command.
    pub fn create(label: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("aoe-{label}-{}-{number}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]))?;
        Ok(Self { name })
    }

    /// The name that `ip netns` shows.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run in this namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `work` on a new thread in this namespace. Sockets that `work` opens stay in the namespace.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    ///
    /// # Panics
    /// If `work` does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let failed = |error: &dyn std::fmt::Display| Error::new(format!("entering {}: {error}", self.name));
        let file = File::open(format!("/run/netns/{}", self.name)).map_err(|error| failed(&error))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| setns(&file, CloneFlags::CLONE_NEWNET).map(|()| work()));
            match thread.join() {
                Ok(result) => result.map_err(|error| failed(&error)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Runs `ip` on this namespace.
    ///
    /// # Errors
    /// With the standard error of `ip`.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        run(Command::new("ip").args(["-n", &self.name]).args(arguments)).map(drop)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("ip").args(["netns", "delete", &self.name])) {
            eprintln!("{error}");
        }
    }
}

/// A veth pair, deleted with its namespaces.
#[derive(Debug)]
pub struct Veth;

impl Veth {
    /// Connects `near_name` in `near` with `far_name` in `far`, which may be the same namespace, and sets both up with an
    /// MTU of `mtu` bytes. The interfaces get no IPv6 address: only AoE is on the wire.
    ///
    /// # Errors
    /// With the standard error of `ip`.
    pub fn create(
        near: &Namespace,
        near_name: &str,
        far: &Namespace,
        far_name: &str,
        mtu: u16,
    ) -> Result<Self> {
        let ends = [(near, near_name), (far, far_name)];
        run(Command::new("ip")
            .args(["link", "add", near_name, "netns", near.name(), "type", "veth"])
            .args(["peer", "name", far_name, "netns", far.name()]))?;
        for (namespace, name) in ends {
            namespace.ip(&["link", "set", name, "mtu", &mtu.to_string(), "addrgenmode", "none"])?;
        }
        for (namespace, name) in ends {
            namespace.ip(&["link", "set", name, "up"])?;
        }
        Ok(Self)
    }
}
