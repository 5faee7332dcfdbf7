//! The wire end: a packet socket bound to one interface, EtherType AoE, one frame or a batch per system call.
//!
//! Why plain `sendmmsg`/`recvmmsg` and not a packet ring: a receive ring makes the *sender's* core copy each
//! payload, so the target would pay for the initiator's copies and a comparison of targets would measure the
//! wrong thing; and mapping it needs unsafe code, which this crate forbids. The socket is created for AoE
//! alone, so that frames this host sends are not looped back to it (they are only to sockets for all
//! protocols).
//!
//! A socket belongs to the network namespace of the thread that opened it and may be used from any thread
//! after.

mod tag;

use crate::error::{Error, Result};
use crate::wire::{ETHERTYPE, Mac};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{self, LinkAddr, MsgFlags, MultiHeaders, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

/// Most frames in one `sendmmsg` or `recvmmsg`.
pub const BATCH: usize = 64;

/// Room for one frame of the largest jumbo MTU in use (9000) and then some.
pub const FRAME_ROOM: usize = 10 * 1024;

/// Socket buffers, bytes. The kernel charges a 9 kB frame as 16 kB and more, so the default of about 200 kB
/// would drop the replies of a window of 32; this holds 256 of them.
const SOCKET_BUFFER: usize = 16 << 20;

/// An interface AoE frames are sent on and received from.
#[derive(Debug)]
pub struct Link {
    socket: Socket,
    interface: String,
    mac: Mac,
}

impl Link {
    /// Opens `interface` of the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::Socket`] without the right to, [`Error::NoInterface`], or [`Error::Interface`] from a socket
    /// call.
    pub fn open(interface: &str) -> Result<Self> {
        Self::open_for(interface, ETHERTYPE)
    }

    fn open_for(interface: &str, protocol: u16) -> Result<Self> {
        let protocol = Protocol::from(i32::from(protocol.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).map_err(Error::Socket)?;
        let failed = |call| move |source| Error::Interface { interface: interface.to_owned(), call, source };
        let address = link_address(interface).map_err(failed("getifaddrs"))?;
        let address =
            address.map_err(|present| Error::NoInterface { name: interface.to_owned(), present })?;
        let mac = address.addr().map(Mac).unwrap_or(Mac([0; 6]));
        // The address carries protocol 0, which leaves the one the socket was made with.
        socket::bind(socket.as_raw_fd(), &address).map_err(failed("bind"))?;
        let buffers = [
            socket::setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER),
            socket::setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER),
        ];
        for result in buffers {
            result.map_err(failed("setting the socket's buffer sizes"))?;
        }
        let link = Self { socket, interface: interface.to_owned(), mac };
        link.drop_early_frames()?;
        Ok(link)
    }

    /// Between creation and bind a packet socket receives from every interface of the namespace.
    fn drop_early_frames(&self) -> Result<()> {
        let mut buffer = [0; 64];
        while self.receive_now(&mut buffer)?.is_some() {}
        Ok(())
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The interface's Ethernet address.
    pub const fn mac(&self) -> Mac {
        self.mac
    }

    /// Sends one frame. `false`: the kernel had no room and the frame is lost, as it might be on any wire.
    ///
    /// # Errors
    /// [`Error::FrameTooLong`] beyond the MTU, [`Error::Interface`] for anything else, a link that is down
    /// included.
    pub fn send(&self, frame: &[u8]) -> Result<bool> {
        match socket::send(self.fd(), frame, MsgFlags::empty()) {
            Ok(_) => Ok(true),
            Err(Errno::ENOBUFS | Errno::EAGAIN) => Ok(false),
            Err(Errno::EMSGSIZE) => {
                Err(Error::FrameTooLong { interface: self.interface.clone(), len: frame.len() })
            }
            Err(source) => Err(self.failed("send", source)),
        }
    }

    /// Takes one frame if there is one, and does not wait. A frame longer than `buffer` is cut.
    ///
    /// # Errors
    /// [`Error::Interface`], a link that went down included.
    #[inline]
    pub fn receive_now(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        match socket::recv(self.fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(len) => Ok(Some(len)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(source) => Err(self.failed("receive", source)),
        }
    }

    /// Waits until `deadline` at most for one frame, asleep.
    ///
    /// # Errors
    /// As [`Link::receive_now`].
    pub fn receive_until(&self, buffer: &mut [u8], deadline: Instant) -> Result<Option<usize>> {
        self.repeat_until(deadline, || self.receive_now(buffer))
    }

    /// Calls `receive` until it has something or `deadline` has passed; sleeps until a frame comes in between.
    fn repeat_until<T>(
        &self,
        deadline: Instant,
        mut receive: impl FnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        loop {
            if let Some(received) = receive()? {
                return Ok(Some(received));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.wait(left)?;
        }
    }

    /// Sleeps until a frame is there or `limit` has passed.
    ///
    /// # Errors
    /// [`Error::Interface`] if the socket cannot be polled.
    pub fn wait(&self, limit: Duration) -> Result<()> {
        let millis = u16::try_from(limit.as_millis().saturating_add(1)).unwrap_or(u16::MAX);
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match nix::poll::poll(&mut fds, PollTimeout::from(millis)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(source) => Err(self.failed("poll", source)),
        }
    }

    fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    #[cold]
    fn failed(&self, call: &'static str, source: nix::Error) -> Error {
        Error::Interface { interface: self.interface.clone(), call, source }
    }
}

/// The packet address of `interface`, or the names that exist.
fn link_address(interface: &str) -> nix::Result<std::result::Result<LinkAddr, String>> {
    let mut present = Vec::new();
    for entry in nix::ifaddrs::getifaddrs()? {
        let Some(address) = entry.address.as_ref().and_then(|address| address.as_link_addr()) else {
            continue;
        };
        if entry.interface_name == interface {
            return Ok(Ok(*address));
        }
        present.push(entry.interface_name);
    }
    Ok(Err(present.join(", ")))
}

/// Receives up to [`BATCH`] frames in one call into its own buffers.
#[derive(Debug)]
pub struct RxBatch {
    headers: MultiHeaders<()>,
    buffers: Box<[u8]>,
    stride: usize,
    lengths: [usize; BATCH],
    received: usize,
}

impl RxBatch {
    /// Buffers for frames of up to `room` bytes; longer ones are cut.
    pub fn new(room: usize) -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
            buffers: vec![0; room * BATCH].into(),
            stride: room,
            lengths: [0; BATCH],
            received: 0,
        }
    }

    /// Takes at most `most` frames that are there, and does not wait. Returns their number.
    ///
    /// # Errors
    /// [`Error::Interface`], a link that went down included.
    #[inline]
    pub fn receive(&mut self, link: &Link, most: usize) -> Result<usize> {
        self.received = 0;
        if most <= 1 {
            if let Some(len) = link.receive_now(&mut self.buffers[..self.stride])? {
                self.lengths[0] = len;
                self.received = 1;
            }
            return Ok(self.received);
        }
        let mut rooms = self.buffers.chunks_exact_mut(self.stride);
        let mut iovecs: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(rooms.next().unwrap_or_default())]);
        let wanted = iovecs.iter_mut().take(most);
        match socket::recvmmsg(link.fd(), &mut self.headers, wanted, MsgFlags::MSG_DONTWAIT, None) {
            Ok(messages) => {
                for message in messages {
                    self.lengths[self.received] = message.bytes;
                    self.received += 1;
                }
                Ok(self.received)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
            Err(source) => Err(link.failed("receive", source)),
        }
    }

    /// The frames of the last call.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.buffers.chunks_exact(self.stride).zip(self.lengths).take(self.received).map(|(b, len)| &b[..len])
    }
}

/// Sends up to [`BATCH`] frames in one call.
#[derive(Debug)]
pub struct TxBatch {
    headers: MultiHeaders<()>,
}

impl TxBatch {
    /// Nothing but the message headers the kernel wants.
    pub fn new() -> Self {
        Self { headers: MultiHeaders::preallocate(BATCH, None) }
    }

    /// Sends the first [`BATCH`] of `frames`. Returns how many the kernel took; the rest is the caller's to
    /// send again.
    ///
    /// # Errors
    /// [`Error::FrameTooLong`] beyond the MTU, [`Error::Interface`] for anything else but a lack of room.
    #[inline]
    pub fn send<'f>(&mut self, link: &Link, frames: impl Iterator<Item = &'f [u8]>) -> Result<usize> {
        let mut longest = 0;
        let mut count = 0;
        let mut frames = frames.take(BATCH);
        let iovecs: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(|_| {
            [IoSlice::new(frames.next().map_or(&[], |frame| {
                longest = longest.max(frame.len());
                count += 1;
                frame
            }))]
        });
        if count == 1 {
            return link.send(&iovecs[0][0]).map(usize::from);
        }
        let nowhere: [Option<()>; BATCH] = [None; BATCH];
        let result =
            socket::sendmmsg(link.fd(), &mut self.headers, &iovecs[..count], nowhere, [], MsgFlags::empty());
        match result {
            Ok(sent) => Ok(sent.count()),
            Err(Errno::ENOBUFS | Errno::EAGAIN) => Ok(0),
            Err(Errno::EMSGSIZE) => {
                Err(Error::FrameTooLong { interface: link.interface.clone(), len: longest })
            }
            Err(source) => Err(link.failed("send", source)),
        }
    }
}

impl Default for TxBatch {
    fn default() -> Self {
        Self::new()
    }
}
