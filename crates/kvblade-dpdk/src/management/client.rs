//! One client: its requests, one after the other.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use control::{Action, ErrorCode, RpcError};
use serde_json::Value;

use super::audit::{Audit, Outcome};
use super::connections::Place;
use super::peer::Peer;
use super::request::{Incoming, Request};
use super::spdk_calls::{SpdkCalls, error_answer};
use crate::answer::Reply;
use crate::rpc::warn_of_former_name;

/// Time that a client has to read a piece of an answer, and all of it.
const PIECE_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Bytes of an answer that are sent at once.
const PIECE: usize = 64 << 10;

/// Bytes of an answer of SPDK's that may be an error: its messages are short.
const ERROR_MAX: usize = 16 << 10;

/// Bytes of answers that are made and not sent, for all clients. A further answer is refused.
const UNSENT_MAX: usize = 256 << 20;

/// What all clients share.
pub(super) struct Service {
    /// Carries out a method of this program.
    carry_out: Box<dyn Fn(Action, Reply) + Send + Sync>,
    spdk: SpdkCalls,
    unsent: AtomicUsize,
    audit: Option<Arc<Audit>>,
}

impl Service {
    pub(super) fn new(
        carry_out: Box<dyn Fn(Action, Reply) + Send + Sync>,
        spdk: SpdkCalls,
        audit: Option<Arc<Audit>>,
    ) -> Self {
        Self { carry_out, spdk, unsent: AtomicUsize::new(0), audit }
    }

    /// Serves a client until it goes, loses its place or does not read its answers.
    pub(super) fn serve(&self, stream: &UnixStream, place: &Place, peer: &Peer) {
        let process = &*peer.to_string();
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
                    self.answer(stream, peer, request)
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
    fn answer(&self, stream: &UnixStream, peer: &Peer, request: Request) -> Result<(), Unsent> {
        let note = |outcome: Outcome| {
            if let Some(audit) = &self.audit {
                audit.note(peer, &request.method, request.params.as_ref(), &outcome);
            }
        };
        match Action::decode(&request.method, request.params.as_ref()) {
            Ok(action) => {
                warn_of_former_name(&request.method);
                self.answer_own(stream, &request.id, action, note)
            }
            // SPDK's list has the methods of which the start makes use.
            Err(error)
                if error.code() != ErrorCode::MethodNotFound
                    || request.method.starts_with("aoe_") && spdk::rpc::phases(&request.method).is_none() =>
            {
                note(refused(&error));
                send_error(stream, &request.id, error.code().number(), error.message())
            }
            Err(_) => self.answer_from_spdk(stream, &request, note),
        }
    }

    fn answer_own(
        &self,
        stream: &UnixStream,
        id: &Value,
        action: Action,
        note: impl Fn(Outcome),
    ) -> Result<(), Unsent> {
        let (reply, arrives) = Reply::channel();
        (self.carry_out)(action, reply);
        let made = arrives
            .recv()
            .unwrap_or_else(|_| Err(RpcError::new(ErrorCode::Internal, "the target gave this call up")));
        note(made.as_ref().map_or_else(refused, |_| Outcome::Done));
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

    fn answer_from_spdk(
        &self,
        stream: &UnixStream,
        request: &Request,
        note: impl Fn(Outcome),
    ) -> Result<(), Unsent> {
        let (mut sent, mut deadline) = (Ok(()), None);
        let mut head = Vec::new();
        // SPDK's call goes on if the client has gone, and so its answer is read to the end.
        let result = self.spdk.call(request, |piece| {
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + ANSWER_LIMIT);
            let room = ERROR_MAX - head.len();
            head.extend_from_slice(piece.get(..room).unwrap_or(piece));
            if sent.is_ok() {
                sent = send_piece(stream, piece, deadline);
            }
        });
        note(outcome_of(&head, &result));
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

fn refused(error: &RpcError) -> Outcome {
    Outcome::Refused { code: error.code().number().into(), message: error.message().to_owned() }
}

/// The end of a call of SPDK's, by the beginning of its answer. An answer that is longer than an error can be is a result.
fn outcome_of(head: &[u8], result: &Result<usize, String>) -> Outcome {
    let failed = |message: &str| Outcome::Refused {
        code: ErrorCode::Internal.number().into(),
        message: message.into(),
    };
    match result {
        Err(message) => failed(message),
        Ok(0) => failed("SPDK's server has closed the connection without an answer"),
        Ok(_) => match serde_json::from_slice::<Value>(head) {
            Ok(answer) if !answer["error"].is_null() => Outcome::Refused {
                code: answer["error"]["code"].as_i64().unwrap_or_default(),
                message: answer["error"]["message"].as_str().unwrap_or_default().to_owned(),
            },
            _ => Outcome::Done,
        },
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
