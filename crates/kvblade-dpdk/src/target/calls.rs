//! Calls to the program's own RPC server, by which it reaches SPDK's methods.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Deserializer, Value, json};
use spdk::{AppThread, rpc::Server};

use crate::loading::Refusal;

/// A server at a socket of its own, and a connection to it. One call at a time.
pub(super) struct Session {
    stream: UnixStream,
    _server: Server,
    last_id: u64,
    unsent: Vec<u8>,
    received: Vec<u8>,
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
        Ok(Self { stream, _server: server, last_id: 0, unsent: Vec::new(), received: Vec::new() })
    }

    /// Makes a call; [`Session::poll`] has its answer.
    pub(super) fn send(&mut self, method: &str, params: Option<&Value>) {
        self.last_id += 1;
        let mut request = json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method });
        if let Some(params) = params {
            request["params"] = params.clone();
        }
        self.unsent.extend_from_slice(request.to_string().as_bytes());
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
                Ok(length) => self.received.extend_from_slice(piece.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(failed(error)),
            }
        }
        match self.answer()? {
            None if ended => Err(format!(
                "the RPC server closed the connection: it takes requests of at most {} bytes",
                32 << 10
            )),
            answer => Ok(answer),
        }
    }

    fn answer(&mut self) -> Result<Option<Result<Value, Refusal>>, String> {
        let mut values = Deserializer::from_slice(&self.received).into_iter::<Value>();
        let mut answer = match values.next() {
            Some(Ok(answer)) => answer,
            Some(Err(error)) if !error.is_eof() => {
                return Err(format!("the RPC server answers no JSON: {error}"));
            }
            _ => return Ok(None),
        };
        let end = values.byte_offset();
        self.received.drain(..end);
        if answer["id"] != self.last_id {
            return Err(format!("the RPC server answers call {} instead of {}", answer["id"], self.last_id));
        }
        Ok(Some(match answer.get("error") {
            Some(error) => Err(Refusal {
                code: error["code"].as_i64().unwrap_or_default(),
                message: error["message"].as_str().unwrap_or_default().to_owned(),
            }),
            None => Ok(answer["result"].take()),
        }))
    }
}
