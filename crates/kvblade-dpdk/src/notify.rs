//! Notifications to systemd (sd_notify(3)): datagrams of `KEY=VALUE` lines to the socket that `NOTIFY_SOCKET` names.
//!
//! The app thread shares its CPU with an lcore, so a datagram must not wait: the socket is non-blocking and kept open.
//! The published crates for this protocol open a blocking socket for each message, so this code is our own.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The service manager, if there is one.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    /// A failed notification was logged. Further ones are not, until one succeeds.
    complained: AtomicBool,
}

/// The service manager that started this process.
pub(crate) fn service_manager() -> &'static ServiceManager {
    static MANAGER: LazyLock<ServiceManager> =
        LazyLock::new(|| ServiceManager::of(|name| std::env::var_os(name), std::process::id()));
    &MANAGER
}

impl ServiceManager {
    /// The service manager that the environment names, for the process `pid`.
    fn of(variable: impl Fn(&str) -> Option<OsString>, pid: u32) -> Self {
        let path = variable("NOTIFY_SOCKET").filter(|path| !path.is_empty());
        let socket = path.and_then(|path| {
            let opened = open(&path);
            if let Err(error) = &opened {
                tracing::warn!(
                    "NOTIFY_SOCKET is {path:?}, which can't be reached ({error}): the service manager is told nothing"
                );
            }
            opened.ok()
        });
        let number = |name| variable(name).and_then(|text| text.to_str()?.parse::<u64>().ok());
        // WATCHDOG_PID names the process that is to feed the watchdog.
        let ours = variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(pid.into());
        let watchdog = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0).map(Duration::from_micros);
        Self { watchdog: watchdog.filter(|_| socket.is_some()), socket, complained: AtomicBool::new(false) }
    }

    /// The longest time between two keep-alive messages, if there is a watchdog.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sends lines. False if they were not delivered.
    pub(crate) fn tell(&self, lines: &str) -> bool {
        let Some(socket) = &self.socket else { return true };
        match socket.send(lines.as_bytes()) {
            Ok(_) => {
                self.complained.store(false, Ordering::Relaxed);
                true
            }
            Err(error) => {
                if !self.complained.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the service manager can't be told: {}", lines.replace('\n', ", "));
                }
                false
            }
        }
    }

    /// Reports that the configuration is being read again. READY=1 follows.
    pub(crate) fn tell_reloading(&self) -> bool {
        match clock_gettime(ClockId::CLOCK_MONOTONIC) {
            Ok(now) => {
                let now = Duration::from(now).as_micros();
                self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reading the settings again"))
            }
            Err(error) => {
                tracing::warn!(%error, "the monotonic clock can't be read: the reload is not announced");
                false
            }
        }
    }
}

/// A name that begins with @ is in the abstract namespace.
fn open(path: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match path.as_bytes() {
        [b'@', name @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        [b'/', ..] => socket.connect(path)?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it begins with neither / nor @")),
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(variables: &[(&str, &str)]) -> ServiceManager {
        let value =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        ServiceManager::of(value, 7)
    }

    fn receive(socket: &UnixDatagram) -> String {
        let mut text = [0; 4096];
        let length = socket.recv(&mut text).expect("a datagram");
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    #[test]
    fn sockets_with_a_path_and_abstract_ones_are_reached() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let name = format!("kvblade-test-{}", std::process::id());
        let abstract_socket = SocketAddr::from_abstract_name(&name).expect("a name");
        for (socket, variable) in [
            (UnixDatagram::bind(&path).expect("bound"), path.display().to_string()),
            (UnixDatagram::bind_addr(&abstract_socket).expect("bound"), format!("@{name}")),
        ] {
            let manager = manager(&[("NOTIFY_SOCKET", &variable), ("WATCHDOG_USEC", "3000000")]);
            assert_eq!(manager.watchdog(), Some(Duration::from_secs(3)));
            assert!(manager.tell("READY=1\nSTATUS=x"));
            assert_eq!(receive(&socket), "READY=1\nSTATUS=x");
            assert!(manager.tell_reloading());
            let told = receive(&socket);
            assert!(told.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{told}");
        }
    }

    #[test]
    fn a_full_or_closed_socket_is_no_reason_to_wait() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        let manager = manager(&[("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))]);
        assert!((0..100_000).any(|_| !manager.tell("WATCHDOG=1")), "it is never full");
        drop(socket);
        assert!(!manager.tell("WATCHDOG=1"));
    }

    #[test]
    fn without_a_manager_nothing_is_missed() {
        for variables in [
            &[][..],
            &[("NOTIFY_SOCKET", "")],
            &[("NOTIFY_SOCKET", "/nonexistent/notify"), ("WATCHDOG_USEC", "3000000")],
            &[("NOTIFY_SOCKET", "vsock:2:1234")],
        ] {
            let manager = manager(variables);
            assert!(manager.tell("READY=1"), "{variables:?}");
            assert_eq!(manager.watchdog(), None, "{variables:?}");
        }
    }

    #[test]
    fn the_watchdog_of_another_process_is_not_ours() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let _socket = UnixDatagram::bind(&path).expect("bound");
        let socket = ("NOTIFY_SOCKET", path.to_str().expect("UTF-8"));
        let watchdog =
            |pid, usec| manager(&[socket, ("WATCHDOG_PID", pid), ("WATCHDOG_USEC", usec)]).watchdog();
        assert_eq!(watchdog("7", "1000"), Some(Duration::from_millis(1)));
        assert_eq!(watchdog("8", "1000"), None);
        assert_eq!(watchdog("7", "0"), None);
        assert_eq!(watchdog("7", "soon"), None);
    }
}
