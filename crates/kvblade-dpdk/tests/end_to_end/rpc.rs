//! The management socket as any JSON-RPC client sees it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rpc_client::json_rpc::{Exchange, Refusal};
use serde_json::Value;

/// Time for an answer on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection.
pub(crate) struct Rpc {
    stream: UnixStream,
    exchange: Exchange,
}

impl Rpc {
    #[track_caller]
    pub(crate) fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("the target listens at its RPC socket");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, exchange: Exchange::default() }
    }

    /// Makes a call without waiting for its answer.
    pub(crate) fn send(&mut self, method: &str, params: Value) {
        let request = self.exchange.request(method, Some(&params).filter(|params| !params.is_null()));
        self.stream.write_all(request.as_bytes()).unwrap();
    }

    /// The answer to the last call; an I/O error if the target closes the connection instead.
    pub(crate) fn receive(&mut self) -> std::io::Result<Result<Value, Refusal>> {
        let mut piece = [0; 16 << 10];
        loop {
            if let Some(answer) = self.exchange.answer().expect("an answer to the call") {
                return Ok(answer);
            }
            let length = self.stream.read(&mut piece)?;
            if length == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.exchange.push(&piece[..length]);
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
