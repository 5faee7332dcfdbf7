//! Changes of exports, asked for by the status page: each is one call of one method, whose parameters the target checks.
//!
//! Each call has a connection and a thread of its own, so that a deletion that waits for a disk keeps no scrape waiting.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::StatusCode;
use hyper::body::Body;
use rpc_client::{Client, ClientError};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::log::log;

/// Changes in progress at most.
const CHANGES_MAX: usize = 4;

/// Largest body of a request, in bytes.
const BODY_MAX: usize = 16 << 10;

/// How long a client may take to send it.
const BODY_TIME: Duration = Duration::from_secs(10);

/// How long a change may take: a deletion waits 10 s for its disk.
const CHANGE_TIME: Duration = Duration::from_secs(30);

/// The paths, and the method that each calls.
const METHODS: [(&str, &str); 3] = [
    ("/exports/create", "aoe_create_export"),
    ("/exports/delete", "aoe_delete_export"),
    ("/exports/limit", "aoe_set_qos"),
];

/// The method behind a path.
pub(crate) fn method_of(path: &str) -> Option<&'static str> {
    METHODS.iter().find(|(known, _)| *known == path).map(|(_, method)| *method)
}

/// The way to the target.
#[derive(Debug)]
pub(crate) struct Changes {
    socket: PathBuf,
    room: Arc<Semaphore>,
}

/// Why a body could not be read.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// What comes of a request.
pub(crate) type Outcome = (StatusCode, Value);

fn refused(status: StatusCode, sentence: impl Into<String>) -> Outcome {
    (status, json!({ "error": sentence.into() }))
}

impl Changes {
    /// For the target at this socket.
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), room: Arc::new(Semaphore::new(CHANGES_MAX)) }
    }

    /// Carries out a request of which everything but the body is in order.
    pub(crate) async fn carry_out<B>(&self, method: &'static str, body: B) -> Outcome
    where
        B: Body<Error: Into<BodyError>>,
    {
        let params = match read(body).await {
            Ok(params) => params,
            Err((status, sentence)) => return refused(status, sentence),
        };
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            let sentence = format!("{CHANGES_MAX} changes are in progress: wait for the end of one");
            return refused(StatusCode::SERVICE_UNAVAILABLE, sentence);
        };
        let socket = self.socket.clone();
        let change = tokio::task::spawn_blocking(move || {
            let outcome = change(&socket, method, params);
            drop(permit);
            outcome
        });
        // Connecting has no time limit of its own.
        match tokio::time::timeout(CHANGE_TIME + Duration::from_secs(1), change).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                refused(StatusCode::INTERNAL_SERVER_ERROR, format!("the change broke off: {error}"))
            }
            Err(_) => refused(
                StatusCode::GATEWAY_TIMEOUT,
                format!(
                    "{method}: no answer within {} s; it may still be carried out",
                    CHANGE_TIME.as_secs()
                ),
            ),
        }
    }
}

/// The parameters in a body.
async fn read<B>(body: B) -> Result<Map<String, Value>, (StatusCode, String)>
where
    B: Body<Error: Into<BodyError>>,
{
    let body = tokio::time::timeout(BODY_TIME, Limited::new(body, BODY_MAX).collect()).await;
    let Ok(body) = body else {
        return Err((StatusCode::REQUEST_TIMEOUT, format!("no body within {} s", BODY_TIME.as_secs())));
    };
    let Ok(body) = body else {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("a body has {BODY_MAX} bytes at most")));
    };
    match serde_json::from_slice(&body.to_bytes()) {
        Ok(Value::Object(params)) => Ok(params),
        Ok(_) => Err((StatusCode::BAD_REQUEST, "the body must be an object of parameters".into())),
        Err(error) => Err((StatusCode::BAD_REQUEST, format!("the body is no JSON: {error}"))),
    }
}

/// Makes the call and notes it in the log. The target's audit log has it too.
fn change(socket: &Path, method: &'static str, params: Map<String, Value>) -> Outcome {
    let params = Value::Object(params);
    let noted = params.to_string();
    let result = Client::connect(socket, CHANGE_TIME)
        .and_then(|mut client| client.call::<Value>(method, Some(params)));
    match result {
        Ok(result) => {
            log(&format!("{method} {noted}: done"));
            (StatusCode::OK, json!({ "result": result }))
        }
        Err(error) => {
            let status = match error {
                ClientError::Refused { .. } | ClientError::NoMethod { .. } => {
                    StatusCode::UNPROCESSABLE_ENTITY
                }
                ClientError::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            };
            log(&format!("{method} {noted}: {error}"));
            refused(status, error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use hyper::body::Bytes;

    use super::*;

    fn outcome(body: &str) -> Outcome {
        let changes = Changes::new(Path::new("/nowhere/rpc.sock"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let body = Full::new(Bytes::from(body.to_owned()));
        runtime.block_on(changes.carry_out("aoe_set_qos", body))
    }

    #[test]
    fn bodies_that_are_no_parameters_reach_no_target() {
        for (body, status, part) in [
            ("", StatusCode::BAD_REQUEST, "no JSON"),
            ("[1]", StatusCode::BAD_REQUEST, "must be an object"),
            (&" ".repeat(BODY_MAX + 1), StatusCode::PAYLOAD_TOO_LARGE, "16384 bytes"),
            ("{}", StatusCode::BAD_GATEWAY, "cannot reach kvblade-dpdk at '/nowhere/rpc.sock'"),
        ] {
            let (found, answer) = outcome(body);
            assert_eq!(found, status, "{answer}");
            assert!(answer["error"].as_str().unwrap().contains(part), "{answer}");
        }
    }

    #[test]
    fn there_are_three_changes() {
        assert_eq!(method_of("/exports/limit"), Some("aoe_set_qos"));
        assert_eq!(method_of("/exports/"), None);
        assert_eq!(method_of("/metrics"), None);
    }
}
