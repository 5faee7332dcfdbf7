//! Calls over SPDK's Unix socket ([`crate::json_rpc`]), each with a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use control::ErrorCode;
use control::error::Quoted;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::json_rpc::{Exchange, Refusal};

/// Default of `--rpc-socket`.
pub const DEFAULT_SOCKET: &str = "/var/tmp/spdk.sock";

/// Default limit of the time that a call takes. A deletion waits for the requests in flight.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

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
    exchange: Exchange,
}

/// For what only the socket knows, such as the process at its other end.
impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Client {
    /// Connects. `timeout` is the longest a single call may take.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path)
            .map_err(|source| ClientError::Unreachable { path: path.to_owned(), source })?;
        Ok(Self { stream, path: path.to_owned(), timeout, exchange: Exchange::default() })
    }

    /// The number of the process that listens at the socket.
    ///
    /// # Errors
    /// The kernel's.
    pub fn process(&self) -> io::Result<i32> {
        Ok(getsockopt(&self.stream, PeerCredentials)?.pid())
    }

    /// Connects again, after a call that left the connection of no further use.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub fn reconnect(&mut self) -> Result<(), ClientError> {
        *self = Self::connect(&self.path, self.timeout)?;
        Ok(())
    }

    /// As [`Client::call`], with another limit of the time that the call takes.
    ///
    /// # Errors
    /// As there.
    pub fn call_within<T: DeserializeOwned>(
        &mut self,
        timeout: Duration,
        method: &str,
        params: Option<Value>,
    ) -> Result<T, ClientError> {
        let usual = std::mem::replace(&mut self.timeout, timeout);
        let result = self.call(method, params);
        self.timeout = usual;
        result
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
        let request = self.exchange.request(method, params.as_ref());
        self.send(method, &request)?;
        match self.receive(method, deadline)? {
            Ok(result) => serde_json::from_value(result).map_err(|error| {
                let what = format!("the result is not as expected: {}", Quoted(&error.to_string()));
                self.malformed(method, what)
            }),
            Err(Refusal { code, .. }) if code == i64::from(ErrorCode::MethodNotFound.number()) => {
                Err(ClientError::NoMethod { method: method.into(), path: self.path.clone() })
            }
            Err(Refusal { code, message }) => {
                // SPDK's own methods answer with the text of strerror only, so the method is named.
                let message =
                    if method.starts_with("aoe_") { message } else { format!("{method}: {message}") };
                Err(ClientError::Refused { method: method.into(), code, message })
            }
        }
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

    /// Reads until there is one whole answer.
    fn receive(&mut self, method: &str, deadline: Instant) -> Result<Result<Value, Refusal>, ClientError> {
        let mut piece = vec![0; 64 << 10];
        loop {
            match self.exchange.answer() {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(what) => return Err(self.malformed(method, what)),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.timed_out(method));
            }
            let read = self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(&mut piece));
            match read {
                Ok(0) => return Err(ClientError::Closed { method: method.into() }),
                Ok(length) => self.exchange.push(piece.get(..length).unwrap_or_default()),
                Err(source) => match source.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Err(self.timed_out(method)),
                    ErrorKind::Interrupted => {}
                    ErrorKind::ConnectionReset => return Err(ClientError::Closed { method: method.into() }),
                    _ => return Err(ClientError::Broken { method: method.into(), source }),
                },
            }
        }
    }

    fn timed_out(&self, method: &str) -> ClientError {
        ClientError::Timeout { method: method.into(), timeout: self.timeout }
    }

    fn malformed(&self, method: &str, what: String) -> ClientError {
        ClientError::Malformed { method: method.into(), path: self.path.clone(), what }
    }
}
