//! Calls to the program's own RPC server, by which it reaches SPDK's methods.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use kvtools::json_rpc::{Exchange, Refusal};
use serde_json::Value;
use spdk::{AppThread, rpc::Server};

/// A server at a socket of its own, and a connection to it. One call at a time.
pub(super) struct Session {
    stream: UnixStream,
    _server: Server,
    exchange: Exchange,
    unsent: Vec<u8>,
}

impl Session {
    /// Listens at `socket` and connects to it. On the app's thread.
    pub(super) fn open(socket: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("'{}' can't be used: {error}", socket.display());
        let server = AppThread::with(|app| Server::listen(app, socket))
            .and_then(|listening| listening)
            .map_err(|error| failed(&error))?;
        let stream = UnixStream::connect(socket).map_err(|error| failed(&error))?;
        stream.set_nonblocking(true).map_err(|error| failed(&error))?;
        Ok(Self { stream, _server: server, exchange: Exchange::default(), unsent: Vec::new() })
    }

    /// Makes a call; [`Session::poll`] has its answer.
    pub(super) fn send(&mut self, method: &str, params: Option<&Value>) {
        self.unsent.extend_from_slice(self.exchange.request(method, params).as_bytes());
    }

    /// The answer to the last call, once it is there.
    ///
    /// # Errors
    /// One sentence, when the connection has failed.
    pub(super) fn poll(&mut self) -> Result<Option<Result<Value, Refusal>>, String> {
        let failed = |error: std::io::Error| format!("the connection to the RPC server: {error}");
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(failed(error)),
            }
        }
        let mut piece = [0; 4096];
        let mut ended = false;
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => {
                    ended = true;
                    break;
                }
                Ok(length) => self.exchange.push(piece.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(failed(error)),
            }
        }
        let answer =
            self.exchange.answer().map_err(|what| format!("the answer of the RPC server: {what}"))?;
        if answer.is_none() && ended {
            return Err(format!(
                "the RPC server closed the connection: it takes requests of at most {} bytes",
                32 << 10
            ));
        }
        Ok(answer)
    }
}
