//! The process at the other end of a connection, as the kernel has it (`SO_PEERCRED`).

use std::fmt;
use std::os::unix::net::UnixStream;

use rustix::net::sockopt;

/// A client's process when it connected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// 0 if the kernel has not said it.
    pub(super) pid: i32,
    /// Name of its program, which it may have chosen itself.
    pub(super) name: String,
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> Self {
        let Ok(peer) = sockopt::socket_peercred(stream) else {
            return Self { uid: u32::MAX, gid: u32::MAX, pid: 0, name: "unknown".into() };
        };
        let pid = peer.pid.as_raw_nonzero().get();
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Self { uid: peer.uid.as_raw(), gid: peer.gid.as_raw(), pid, name: name.trim_end().to_owned() }
    }
}

/// As the log names it.
impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, pid, name, .. } = self;
        if *pid == 0 {
            formatter.write_str("unknown")
        } else {
            write!(formatter, "{name} (process {pid}, user {uid})")
        }
    }
}
