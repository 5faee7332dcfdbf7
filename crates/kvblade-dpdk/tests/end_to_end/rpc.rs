//! The management socket as any JSON-RPC client sees it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Deserializer, Value, json};

/// Time for an answer on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection.
pub(crate) struct Rpc {
    stream: UnixStream,
    last_id: u64,
}

/// An error answer.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: i64,
    pub(crate) message: String,
}

impl Rpc {
    #[track_caller]
    pub(crate) fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("the target listens at its RPC socket");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, last_id: 0 }
    }

    /// Makes a call without waiting for its answer.
    pub(crate) fn send(&mut self, method: &str, params: Value) {
        self.last_id += 1;
        let mut request = json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method });
        if !params.is_null() {
            request["params"] = params;
        }
        self.stream.write_all(request.to_string().as_bytes()).unwrap();
    }

    /// The answer to the last call; an I/O error if the target closes the connection instead.
    pub(crate) fn receive(&mut self) -> std::io::Result<Result<Value, Refusal>> {
        let mut received = Vec::new();
        let mut piece = [0; 16 << 10];
        loop {
            let length = self.stream.read(&mut piece)?;
            if length == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            received.extend_from_slice(&piece[..length]);
            let Some(Ok(mut answer)) = Deserializer::from_slice(&received).into_iter::<Value>().next() else {
                continue;
            };
            assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(self.last_id)));
            return Ok(match answer.get("error") {
                Some(error) => Err(Refusal {
                    code: error["code"].as_i64().expect("an error has a code"),
                    message: error["message"].as_str().expect("an error has a message").to_owned(),
                }),
                None => Ok(answer["result"].take()),
            });
        }
    }

    /// Makes a call that is to succeed.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.send(method, params.clone());
        match self.receive() {
            Ok(Ok(result)) => result,
            other => panic!("{method} {params}: {other:?}"),
        }
    }

    /// Makes a call that is to be refused with this code and a sentence that holds each of `parts`.
    #[track_caller]
    pub(crate) fn refused(&mut self, method: &str, params: Value, code: i64, parts: &[&str]) {
        self.send(method, params.clone());
        match self.receive() {
            Ok(Err(refusal)) => {
                assert_eq!(refusal.code, code, "{method} {params}: {}", refusal.message);
                for part in parts {
                    assert!(
                        refusal.message.contains(part),
                        "{method} {params}: {} lacks {part}",
                        refusal.message
                    );
                }
            }
            other => panic!("{method} {params} was not refused: {other:?}"),
        }
    }

    /// The state of an export: `online`, `offline`..., or `None` if there is no such export.
    #[track_caller]
    pub(crate) fn state(&mut self, shelf: u16, slot: u8) -> Option<String> {
        let exports = self.call("aoe_get_exports", Value::Null);
        let found =
            exports.as_array().unwrap().iter().find(|one| one["shelf"] == shelf && one["slot"] == slot)?;
        Some(found["state"].as_str().unwrap().to_owned())
    }

    /// The number of frames that port `port` has dropped for `reason`.
    #[track_caller]
    pub(crate) fn drops(&mut self, port: usize, reason: &str) -> u64 {
        let stats = self.call("aoe_get_stats", Value::Null);
        stats["ports"][port]["drops"][reason]
            .as_u64()
            .unwrap_or_else(|| panic!("no reason {reason} in {stats}"))
    }

    /// Requests that bdevs have now, on all lcores.
    #[track_caller]
    pub(crate) fn under_way(&mut self) -> u64 {
        let stats = self.call("aoe_get_stats", Value::Null);
        stats["lcores"].as_array().unwrap().iter().map(|lcore| lcore["in_flight"].as_u64().unwrap()).sum()
    }
}
