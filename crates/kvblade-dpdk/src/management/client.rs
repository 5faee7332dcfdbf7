//! One client: its requests, one after the other.

mod sending;

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use control::{Action, ErrorCode, RpcError};
use serde_json::Value;

use super::audit::{Audit, Outcome};
use super::connections::Place;
use super::peer::Peer;
use super::request::{Incoming, Request};
use super::spdk_calls::{SpdkCalls, error_answer};
use super::unsent::{NO_ROOM, UnsentAnswers};
use crate::answer::Reply;
use crate::rpc::warn_of_former_name;
use sending::{Sending, Unsent};

/// Bytes of an answer of SPDK's that may be an error: its messages are short.
const ERROR_MAX: usize = 16 << 10;

/// The times that a client's call may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// To be carried out, if it is a call of this program's: longer than any of its own waits. It goes on after that, and its
    /// client gets an error and its thread back.
    call: Duration,
    sending: Sending,
}

const LIMITS: Limits = Limits { call: Duration::from_secs(120), sending: Sending::LIMITS };

/// What all clients share.
pub(super) struct Service {
    /// Carries out a method of this program.
    carry_out: Box<dyn Fn(Action, Reply) + Send + Sync>,
    spdk: SpdkCalls,
    unsent: UnsentAnswers,
    audit: Option<Arc<Audit>>,
    limits: Limits,
}

impl Service {
    pub(super) fn new(
        carry_out: Box<dyn Fn(Action, Reply) + Send + Sync>,
        spdk: SpdkCalls,
        audit: Option<Arc<Audit>>,
    ) -> Self {
        Self { carry_out, spdk, unsent: UnsentAnswers::default(), audit, limits: LIMITS }
    }

    /// Serves a client until it goes, loses its place or does not read its answers.
    pub(super) fn serve(&self, stream: &UnixStream, place: &Place, peer: &Peer) {
        let process = &*peer.to_string();
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
                    let sent = self.limits.sending.send(stream, &[&answer]);
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
                self.send_error(stream, &request.id, error.code().number(), error.message())
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
        let made = arrives.recv_timeout(self.limits.call).unwrap_or_else(|waited| {
            Err(match waited {
                RecvTimeoutError::Disconnected => {
                    RpcError::new(ErrorCode::Internal, "the target gave this call up")
                }
                RecvTimeoutError::Timeout => {
                    let seconds = self.limits.call.as_secs();
                    let why =
                        format!("the call has not ended for {seconds} s: it goes on, and its result is lost");
                    RpcError::new(ErrorCode::Busy, why)
                }
            })
        });
        note(made.as_ref().map_or_else(refused, |_| Outcome::Done));
        let make = match made {
            Ok(make) => make,
            Err(error) => return self.send_error(stream, id, error.code().number(), error.message()),
        };
        let result = make();
        let mut share = self.unsent.share();
        if !share.add(result.len()) {
            return self.send_error(stream, id, ErrorCode::Busy.number(), NO_ROOM);
        }
        if id.is_null() {
            return Ok(());
        }
        let head = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"#);
        self.limits.sending.send(stream, &[head.as_bytes(), result.as_bytes(), b"}\n"])
    }

    /// SPDK keeps an answer, and the place of its call, until it is read. So it is read at once, and kept here for the client.
    fn answer_from_spdk(
        &self,
        stream: &UnixStream,
        request: &Request,
        note: impl Fn(Outcome),
    ) -> Result<(), Unsent> {
        let (mut answer, mut head) = (Vec::new(), Vec::new());
        let mut share = self.unsent.share();
        let mut has_room = true;
        let result = self.spdk.call(request, |piece| {
            let left = ERROR_MAX - head.len();
            head.extend_from_slice(piece.get(..left).unwrap_or(piece));
            has_room = has_room && share.add(piece.len());
            if has_room {
                answer.extend_from_slice(piece);
            }
        });
        note(outcome_of(&head, &result));
        let (code, message) = match &result {
            Ok(0) => (ErrorCode::Internal, "SPDK's server has closed the connection without an answer"),
            Ok(_) if has_room => return self.limits.sending.send(stream, &[&answer]),
            Ok(_) => (ErrorCode::Busy, NO_ROOM),
            Err(message) => (ErrorCode::Busy, message.as_str()),
        };
        self.send_error(stream, &request.id, code.number(), message)
    }

    /// Sends an error, unless no answer is wanted.
    fn send_error(&self, stream: &UnixStream, id: &Value, code: i32, message: &str) -> Result<(), Unsent> {
        if id.is_null() {
            return Ok(());
        }
        self.limits.sending.send(stream, &[&error_answer(id, code, message)])
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

#[cfg(test)]
mod tests;
