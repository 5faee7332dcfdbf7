//! Calls to the program's own RPC server, by which it reaches SPDK's methods.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rpc_client::json_rpc::{Exchange, Refusal};
use serde_json::Value;
use spdk::{AppThread, rpc::Server};

/// A server at a socket of its own, and a connection to it. One call at a time.
pub(super) struct Session {
    connection: Connection,
    _server: Server,
}

/// A connection that never waits.
struct Connection {
    stream: UnixStream,
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
        let connection = Connection::new(stream).map_err(|error| failed(&error))?;
        Ok(Self { connection, _server: server })
    }

    /// Makes a call; [`Session::poll`] has its answer.
    pub(super) fn send(&mut self, method: &str, params: Option<&Value>) {
        self.connection.send(method, params);
    }

    /// The answer to the last call, once it is there.
    ///
    /// # Errors
    /// One sentence, when the connection has failed.
    pub(super) fn poll(&mut self) -> Result<Option<Result<Value, Refusal>>, String> {
        self.connection.poll()
    }
}

impl Connection {
    fn new(stream: UnixStream) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, exchange: Exchange::default(), unsent: Vec::new() })
    }

    fn send(&mut self, method: &str, params: Option<&Value>) {
        self.unsent.extend_from_slice(self.exchange.request(method, params).as_bytes());
    }

    fn poll(&mut self) -> Result<Option<Result<Value, Refusal>>, String> {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pair() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Connection::new(ours).unwrap(), theirs)
    }

    /// Reads one call, which may come in pieces: each poll sends what the socket takes.
    fn receive(connection: &mut Connection, server: &mut UnixStream) -> Value {
        server.set_nonblocking(true).unwrap();
        let (mut received, mut piece) = (Vec::new(), vec![0; 64 << 10]);
        while serde_json::from_slice::<Value>(&received).is_err() {
            assert_eq!(connection.poll(), Ok(None));
            if let Ok(length) = server.read(&mut piece) {
                received.extend_from_slice(&piece[..length]);
            }
        }
        serde_json::from_slice(&received).unwrap()
    }

    #[test]
    fn calls_of_any_size_are_sent_and_answered_one_by_one() {
        let (mut connection, mut server) = pair();
        for (id, size) in [(1, 10), (2, 1 << 20)] {
            let params = json!({ "text": "x".repeat(size) });
            connection.send("method", Some(&params));
            let call = receive(&mut connection, &mut server);
            assert_eq!(
                (&call["id"], &call["method"], &call["params"]),
                (&json!(id), &json!("method"), &params)
            );
            let answer = json!({ "jsonrpc": "2.0", "id": id, "result": [size] }).to_string();
            let (one, other) = answer.as_bytes().split_at(7);
            server.write_all(one).unwrap();
            assert_eq!(connection.poll(), Ok(None));
            server.write_all(other).unwrap();
            assert_eq!(connection.poll(), Ok(Some(Ok(json!([size])))));
        }
    }

    #[test]
    fn refusals_and_broken_connections_are_told_apart() {
        let (mut connection, mut server) = pair();
        connection.send("method", None);
        assert!(receive(&mut connection, &mut server).get("params").is_none());
        server.write_all(br#"{"id":1,"error":{"code":-17,"message":"File exists"}}"#).unwrap();
        let refusal = Refusal { code: -17, message: "File exists".into() };
        assert_eq!(connection.poll(), Ok(Some(Err(refusal))));
        connection.send("method", None);
        server.write_all(br#"{"id":9,"result":1}"#).unwrap();
        let sentence = connection.poll().unwrap_err();
        assert!(sentence.ends_with("it is not the answer to call 2"), "{sentence}");

        let (mut connection, server) = pair();
        drop(server);
        assert!(connection.poll().unwrap_err().starts_with("the RPC server closed the connection"));
    }
}
