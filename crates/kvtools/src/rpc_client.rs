//! JSON-RPC 2.0 over SPDK's Unix socket: one call at a time, each with a deadline.
//!
//! SPDK does not frame its answers: an answer ends where its JSON value ends, and may arrive in any number of pieces.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use control::ErrorCode;
use control::error::Quoted;
use serde::de::DeserializeOwned;
use serde_json::{Deserializer, Value, json};
use thiserror::Error;

/// Default of `--rpc-socket`.
pub const DEFAULT_SOCKET: &str = "/var/tmp/spdk.sock";

/// Default limit of the time that a call takes. A deletion waits for the requests in flight.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest answer that is accepted, in bytes: `SPDK_JSONRPC_SEND_BUF_SIZE_MAX` (`jsonrpc_internal.h`).
const ANSWER_MAX: usize = 32 << 20;

/// Why a call brought no result. Displays as one sentence.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens at the socket.
    #[error(
        "cannot reach kvblade-dpdk at '{}': {source}; is it running, and with that --rpc-socket?",
        path.display()
    )]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The error of connecting.
        source: std::io::Error,
    },
    /// The connection broke during a call.
    #[error("{method}: the connection to kvblade-dpdk broke: {source}")]
    Broken {
        /// The call.
        method: String,
        /// The error of the socket.
        source: std::io::Error,
    },
    /// kvblade-dpdk closed the connection without a full answer.
    #[error("{method}: kvblade-dpdk closed the connection before it answered; has it stopped?")]
    Closed {
        /// The call.
        method: String,
    },
    /// No full answer in time.
    #[error("{method}: no answer within {} s; it may still be carried out", timeout.as_secs_f32())]
    Timeout {
        /// The call.
        method: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// The data received is no answer to the call.
    #[error("{method}: the answer makes no sense: {what}; is '{}' the socket of kvblade-dpdk?", path.display())]
    Malformed {
        /// The call.
        method: String,
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The program there lacks the method.
    #[error("the program at '{}' has no method {method}: it is no kvblade-dpdk", path.display())]
    NoMethod {
        /// The call.
        method: String,
        /// The socket.
        path: PathBuf,
    },
    /// kvblade-dpdk refused.
    #[error("{message}")]
    Refused {
        /// The call.
        method: String,
        /// The error code, see [`ErrorCode`].
        code: i64,
        /// Why.
        message: String,
    },
}

/// A connection to the management socket.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    path: PathBuf,
    timeout: Duration,
    last_id: u64,
    /// Data received after the last answer.
    received: Vec<u8>,
}

impl Client {
    /// Connects. `timeout` is the longest a single call may take.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path)
            .map_err(|source| ClientError::Unreachable { path: path.to_owned(), source })?;
        Ok(Self { stream, path: path.to_owned(), timeout, last_id: 0, received: Vec::new() })
    }

    /// Makes a call and waits for its result.
    ///
    /// # Errors
    /// Every [`ClientError`] but `Unreachable`. After one other than `Refused` and `NoMethod` the connection
    /// is of no further use.
    pub fn call<T: DeserializeOwned>(
        &mut self,
        method: &str,
        params: Option<Value>,
    ) -> Result<T, ClientError> {
        let deadline = Instant::now() + self.timeout;
        self.last_id += 1;
        let mut request = json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method });
        if let Some(params) = params {
            request["params"] = params;
        }
        self.send(method, &request.to_string())?;
        let answer = self.receive(method, deadline)?;
        self.result_of(method, answer)
    }

    fn send(&mut self, method: &str, text: &str) -> Result<(), ClientError> {
        let sent = self
            .stream
            .set_write_timeout(Some(self.timeout))
            .and_then(|()| self.stream.write_all(text.as_bytes()));
        sent.map_err(|source| match source.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => self.timed_out(method),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                ClientError::Closed { method: method.into() }
            }
            _ => ClientError::Broken { method: method.into(), source },
        })
    }

    /// Reads until there is one whole JSON value.
    fn receive(&mut self, method: &str, deadline: Instant) -> Result<Value, ClientError> {
        let mut piece = vec![0; 64 << 10];
        loop {
            if let Some(answer) = self.take_answer(method)? {
                return Ok(answer);
            }
            if self.received.len() > ANSWER_MAX {
                return Err(self.malformed(method, format!("it has more than {ANSWER_MAX} bytes")));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.timed_out(method));
            }
            let read = self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(&mut piece));
            match read {
                Ok(0) => return Err(ClientError::Closed { method: method.into() }),
                Ok(length) => self.received.extend_from_slice(piece.get(..length).unwrap_or_default()),
                Err(source) => match source.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Err(self.timed_out(method)),
                    ErrorKind::Interrupted => {}
                    ErrorKind::ConnectionReset => return Err(ClientError::Closed { method: method.into() }),
                    _ => return Err(ClientError::Broken { method: method.into(), source }),
                },
            }
        }
    }

    /// The answer, if it is complete. It is an object, so it can only be complete after a `}`.
    fn take_answer(&mut self, method: &str) -> Result<Option<Value>, ClientError> {
        match self.received.trim_ascii() {
            [] => return Ok(None),
            [b'{', ..] => {}
            _ => return Err(self.malformed(method, "it is no JSON object".into())),
        }
        if !self.received.trim_ascii_end().ends_with(b"}") {
            return Ok(None);
        }
        let mut values = Deserializer::from_slice(&self.received).into_iter::<Value>();
        match values.next() {
            Some(Ok(answer)) => {
                let end = values.byte_offset();
                self.received.drain(..end);
                Ok(Some(answer))
            }
            Some(Err(error)) if !error.is_eof() => Err(self.malformed(method, error.to_string())),
            Some(Err(_)) | None => Ok(None),
        }
    }

    fn result_of<T: DeserializeOwned>(&self, method: &str, mut answer: Value) -> Result<T, ClientError> {
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let code = error.get("code").and_then(Value::as_i64);
            let message = error.get("message").and_then(Value::as_str);
            let (Some(code), Some(message)) = (code, message) else {
                return Err(self.malformed(method, "an error without code and message".into()));
            };
            if code == i64::from(ErrorCode::MethodNotFound.number()) {
                return Err(ClientError::NoMethod { method: method.into(), path: self.path.clone() });
            }
            // SPDK's own methods answer with the text of strerror only, so the method is named.
            let message =
                if method.starts_with("aoe_") { message.into() } else { format!("{method}: {message}") };
            return Err(ClientError::Refused { method: method.into(), code, message });
        }
        if answer.get("id").and_then(Value::as_u64) != Some(self.last_id) {
            return Err(self.malformed(method, format!("it is not the answer to call {}", self.last_id)));
        }
        let result = answer
            .get_mut("result")
            .map(Value::take)
            .ok_or_else(|| self.malformed(method, "it has neither a result nor an error".into()))?;
        serde_json::from_value(result).map_err(|error| {
            self.malformed(method, format!("the result is not as expected: {}", Quoted(&error.to_string())))
        })
    }

    fn timed_out(&self, method: &str) -> ClientError {
        ClientError::Timeout { method: method.into(), timeout: self.timeout }
    }

    fn malformed(&self, method: &str, what: String) -> ClientError {
        ClientError::Malformed { method: method.into(), path: self.path.clone(), what }
    }
}
