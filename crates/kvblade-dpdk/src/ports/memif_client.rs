//! A memif port of the client's role: it connects again when its server has ended and is there again.
//!
//! DPDK's PMD connects only when its port starts, so the port is stopped and started. That needs care: connect(2) blocks while
//! the server's backlog is full, and a connection that the server has not accepted yet, or is about to set up, must not be given
//! up for another. So nothing is tried before somebody listens, nor as long as the socket of the last attempt is open.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use dpdk::Port;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getpeername, socket};

use super::packet_ring::arguments_of;

/// Looks at a port without a link before the first attempt: five seconds for the connection that its start has begun.
const FIRST_LOOKS: u32 = 50;

/// DPDK's default of `socket` (`rte_eth_memif.h`, `ETH_MEMIF_DEFAULT_SOCKET_FILENAME`).
const DEFAULT_SOCKET: &str = "/run/memif.sock";

/// A client, and its way back to its server.
#[derive(Debug)]
pub(super) struct MemifClient {
    server: UnixAddr,
    /// Looks to wait for.
    wait: u32,
    /// The sockets that the last attempt has opened, as Linux names them.
    sockets: BTreeSet<String>,
    /// The cause of the last failed attempt.
    failure: Option<String>,
}

impl MemifClient {
    /// The client behind the port of this name. `None` if that is another kind of port.
    pub(super) fn of(name: &str, driver: &str, vdevs: &[String]) -> Option<Self> {
        if driver != "net_memif" {
            return None;
        }
        let server = server_of(arguments_of(name, vdevs).unwrap_or_default())?;
        Some(Self { server, wait: FIRST_LOOKS, sockets: BTreeSet::new(), failure: None })
    }

    /// Looks at the port while its link is down: connects it if its server listens.
    pub(super) fn look(&mut self, name: &str, port: &Port) {
        let before = open_sockets();
        if self.wait > 0 || !self.sockets.is_disjoint(&before) {
            self.wait = self.wait.saturating_sub(1);
            return;
        }
        if !self.has_server() {
            return;
        }
        match port.connect_again() {
            Ok(()) => {
                self.failure = None;
                self.sockets = open_sockets().difference(&before).cloned().collect();
                tracing::info!(port = name, "the port's server listens again: connecting");
            }
            // An lcore is in a burst.
            Err(error) if error.is_temporary() => {}
            Err(error) => {
                let failure = error.to_string();
                if self.failure.as_ref() != Some(&failure) {
                    tracing::warn!(
                        port = name,
                        "the port can't connect to its server, which is tried again: {failure}"
                    );
                    self.failure = Some(failure);
                }
            }
        }
    }

    /// Whether a memif server has the address. It refuses a socket of another type, and is not disturbed by that. One that does
    /// not listen yet refuses the connection, too, which is tried again.
    fn has_server(&self) -> bool {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let Ok(probe) = socket(AddressFamily::Unix, SockType::Stream, flags, None) else { return false };
        connect(probe.as_raw_fd(), &self.server) == Err(Errno::EPROTOTYPE)
    }
}

/// The address of a client's server, by the arguments of its vdev; `None` for a server. As the PMD understands them: the last one
/// of a name counts, and clients and abstract addresses are the defaults.
fn server_of(arguments: &str) -> Option<UnixAddr> {
    let value =
        |key: &str| arguments.split(',').rev().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    if matches!(value("role"), Some("server" | "master")) {
        return None;
    }
    let path = value("socket").unwrap_or(DEFAULT_SOCKET);
    let address = match value("socket-abstract") {
        Some("no") => UnixAddr::new(Path::new(path)),
        _ => UnixAddr::new_abstract(path.as_bytes()),
    };
    // The PMD has checked its length.
    address.ok()
}

/// This process's sockets that are connected to a named one of Unix's, as Linux names them.
fn open_sockets() -> BTreeSet<String> {
    let Ok(directory) = fs::read_dir("/proc/self/fd") else { return BTreeSet::new() };
    let connected = directory.filter_map(|entry| {
        let path = entry.ok()?.path();
        let number: RawFd = path.file_name()?.to_str()?.parse().ok()?;
        let peer = getpeername::<UnixAddr>(number).ok()?;
        (peer.path().is_some() || peer.as_abstract().is_some()).then_some(())?;
        fs::read_link(&path).ok()?.into_os_string().into_string().ok()
    });
    connected.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use nix::sys::socket::{Backlog, bind, listen};

    use super::*;

    #[test]
    fn a_clients_server_is_found_in_its_arguments() {
        let path = |path: &str| UnixAddr::new(Path::new(path)).ok();
        let name = |name: &str| UnixAddr::new_abstract(name.as_bytes()).ok();
        assert_eq!(server_of("role=client,socket=/a,socket-abstract=no"), path("/a"));
        assert_eq!(server_of("socket=/a,socket-abstract=no,socket=/b"), path("/b"));
        assert_eq!(server_of("role=slave,socket=/a"), name("/a"));
        assert_eq!(server_of(""), name(DEFAULT_SOCKET));
        assert_eq!(server_of("role=server,socket=/a"), None);
        assert_eq!(server_of("socket=/a,role=master"), None);
    }

    #[test]
    fn a_memif_server_is_told_from_none_and_from_others() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let path = directory.path().join("memif");
        let server = UnixAddr::new(&path).expect("a short path");
        let client = MemifClient { server, wait: 0, sockets: BTreeSet::new(), failure: None };
        assert!(!client.has_server(), "there is no file");
        let stream = UnixListener::bind(&path).expect("a listener of another type");
        assert!(!client.has_server());
        drop(stream);
        assert!(!client.has_server(), "nobody has the file");
        fs::remove_file(&path).expect("the listener has left it");
        let packets =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        bind(packets.as_raw_fd(), &server).expect("the path is free");
        listen(&packets, Backlog::new(1).expect("a number")).expect("it is bound");
        assert!((0..10).all(|_| client.has_server()), "without filling the backlog");
    }

    #[test]
    fn a_socket_is_open_until_it_is_closed() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).expect("a listener");
        let peer_of = |socket: &UnixStream| fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd()));
        let stream = UnixStream::connect(&path).expect("it listens");
        let name = peer_of(&stream).expect("Linux").into_os_string().into_string().expect("ASCII");
        assert!(open_sockets().contains(&name), "nobody has accepted it yet");
        drop((listener, stream));
        assert!(!open_sockets().contains(&name));
    }
}
