//! EAL's words for ports that need no NIC.

use std::path::Path;

/// Side of a memif connection: the server makes the socket, the client connects to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Listens at the socket.
    Server,
    /// Connects to the socket.
    Client,
}

/// Bytes of a memif slot that holds any jumbo frame.
pub const JUMBO_ROOM: u32 = 16_384;

/// An af_packet port on `interface`. Blocks of 64 KiB hold whole jumbo frames; 512 frames exceed the deepest queue of any
/// test.
pub fn af_packet(number: usize, interface: &str) -> String {
    format!(
        "--vdev=net_af_packet{number},iface={interface},framesz=16384,blocksz=65536,framecnt=512,qdisc_bypass=1"
    )
}

/// A memif port at `socket`, with two to the power of `ring` slots a ring of `room` bytes each.
pub fn memif(number: u32, socket: &Path, role: Role, room: u32, ring: u32) -> String {
    let role = if role == Role::Server { "server" } else { "client" };
    let socket = socket.display();
    format!(
        "--vdev=net_memif{number},role={role},socket={socket},socket-abstract=no,bsize={room},rsize={ring}"
    )
}
