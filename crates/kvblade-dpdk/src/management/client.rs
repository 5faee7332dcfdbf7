//! One client: its requests, one after the other.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use control::{Action, ErrorCode, RpcError};
use serde_json::Value;

use super::connections::Place;
use super::request::{Incoming, Request};
use super::spdk_calls::{SpdkCalls, error_answer};
use crate::answer::Reply;
use crate::rpc::warn_of_former_name;

/// Time that a client has to read a piece of an answer, and all of it.
const PIECE_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Bytes of an answer that are sent at once.
const PIECE: usize = 64 << 10;

/// Bytes of answers that are made and not sent, for all clients. A further answer is refused.
const UNSENT_MAX: usize = 256 << 20;

/// What all clients share.
pub(super) struct Service {
    /// Carries out a method of this program.
    carry_out: Box<dyn Fn(Action, Reply) + Send + Sync>,
    spdk: SpdkCalls,
    unsent: AtomicUsize,
}

impl Service {
    pub(super) fn new(carry_out: Box<dyn Fn(Action, Reply) + Send + Sync>, spdk: SpdkCalls) -> Self {
        Self { carry_out, spdk, unsent: AtomicUsize::new(0) }
    }

    /// Serves a client until it goes, loses its place or does not read its answers. `process` names it in the log.
    pub(super) fn serve(&self, stream: &UnixStream, place: &Place, process: &str) {
        if let Err(error) = stream.set_write_timeout(Some(PIECE_LIMIT)) {
            return tracing::error!(client = process, %error, "a client can't be served");
        }
        let mut incoming = Incoming::default();
        let mut piece = vec![0; 16 << 10];
        loop {
            let answered = match incoming.next() {
                Ok(None) => match { stream }.read(&mut piece) {
                    Ok(0) => return,
                    Ok(length) => {
                        incoming.push(piece.get(..length).unwrap_or_default());
                        continue;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => {
                        return tracing::debug!(client = process, %error, "the connection broke");
                    }
                },
                Ok(Some(request)) => {
                    if !place.begin_call() {
                        return;
                    }
                    self.answer(stream, request)
                }
                Err(malformed) => {
                    let answer = error_answer(&Value::Null, malformed.code, &malformed.message);
                    let sent = send(stream, &[&answer]);
                    if malformed.is_last {
                        return;
                    }
                    sent
                }
            };
            let stays = place.end_call();
            if let Err(unsent) = answered {
                return unsent.log(process);
            }
            if !stays {
                return;
            }
        }
    }

    /// Carries out a request and sends its answer.
    fn answer(&self, stream: &UnixStream, request: Request) -> Result<(), Unsent> {
        match Action::decode(&request.method, request.params.as_ref()) {
            Ok(action) => {
                warn_of_former_name(&request.method);
                self.answer_own(stream, &request.id, action)
            }
            Err(error) if error.code() != ErrorCode::MethodNotFound => {
                send_error(stream, &request.id, error.code().number(), error.message())
            }
            // SPDK's list has the methods of which the start makes use.
            Err(error)
                if request.method.starts_with("aoe_") && spdk::rpc::phases(&request.method).is_none() =>
            {
                send_error(stream, &request.id, error.code().number(), error.message())
            }
            Err(_) => self.answer_from_spdk(stream, &request),
        }
    }

    fn answer_own(&self, stream: &UnixStream, id: &Value, action: Action) -> Result<(), Unsent> {
        let (reply, arrives) = Reply::channel();
        (self.carry_out)(action, reply);
        let made = arrives
            .recv()
            .unwrap_or_else(|_| Err(RpcError::new(ErrorCode::Internal, "the target gave this call up")));
        match made {
            Ok(make) => {
                let result = make();
                let length = result.len();
                let before = self.unsent.fetch_add(length, Ordering::Relaxed);
                let sent = if before > 0 && before.saturating_add(length) > UNSENT_MAX {
                    let message =
                        "other clients have not read their answers: there is no room for another one";
                    send_error(stream, id, ErrorCode::Busy.number(), message)
                } else if id.is_null() {
                    Ok(())
                } else {
                    let head = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"#);
                    send(stream, &[head.as_bytes(), result.as_bytes(), b"}\n"])
                };
                self.unsent.fetch_sub(length, Ordering::Relaxed);
                sent
            }
            Err(error) => send_error(stream, id, error.code().number(), error.message()),
        }
    }

    fn answer_from_spdk(&self, stream: &UnixStream, request: &Request) -> Result<(), Unsent> {
        let (mut sent, mut deadline) = (Ok(()), None);
        // SPDK's call goes on if the client has gone, and so its answer is read to the end.
        let result = self.spdk.call(request, |piece| {
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + ANSWER_LIMIT);
            if sent.is_ok() {
                sent = send_piece(stream, piece, deadline);
            }
        });
        sent?;
        match result {
            Ok(0) => {
                let message = "SPDK's server has closed the connection without an answer";
                send_error(stream, &request.id, ErrorCode::Internal.number(), message)
            }
            Ok(_) => Ok(()),
            Err(message) => send_error(stream, &request.id, ErrorCode::Busy.number(), &message),
        }
    }
}

/// An answer was not sent; displays as a sentence.
#[derive(Debug)]
struct Unsent {
    bytes: usize,
    error: std::io::Error,
}

impl Unsent {
    fn is_late(&self) -> bool {
        matches!(self.error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
    }

    /// A client that goes before its answer is nothing unusual.
    fn log(&self, process: &str) {
        if self.is_late() {
            tracing::warn!(client = process, "a connection to the management socket is closed: {self}");
        } else {
            tracing::debug!(client = process, "a client has gone before its answer: {self}");
        }
    }
}

impl std::fmt::Display for Unsent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bytes, error } = self;
        if self.is_late() {
            let seconds = PIECE_LIMIT.as_secs();
            write!(formatter, "it has not read {bytes} bytes of its answer for {seconds} s")
        } else {
            write!(formatter, "{bytes} bytes of its answer can't be sent: {error}")
        }
    }
}

/// Sends an error, unless no answer is wanted.
fn send_error(stream: &UnixStream, id: &Value, code: i32, message: &str) -> Result<(), Unsent> {
    if id.is_null() { Ok(()) } else { send(stream, &[&error_answer(id, code, message)]) }
}

/// Sends all parts.
fn send(stream: &UnixStream, parts: &[&[u8]]) -> Result<(), Unsent> {
    let deadline = Instant::now() + ANSWER_LIMIT;
    let mut left: usize = parts.iter().map(|part| part.len()).sum();
    for piece in parts.iter().flat_map(|part| part.chunks(PIECE)) {
        send_piece(stream, piece, deadline).map_err(|unsent| Unsent { bytes: left, ..unsent })?;
        left -= piece.len();
    }
    Ok(())
}

fn send_piece(mut stream: &UnixStream, piece: &[u8], deadline: Instant) -> Result<(), Unsent> {
    let sent =
        if Instant::now() > deadline { Err(ErrorKind::TimedOut.into()) } else { stream.write_all(piece) };
    sent.map_err(|error| Unsent { bytes: piece.len(), error })
}
