//! One call of SPDK's JSON-RPC.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::{Error, Result};

/// Calls a method at this socket; parameters that are `null` are left out. The whole answer, with its `result` or `error`.
///
/// # Errors
/// If nobody listens there, or the connection ends before there is a whole answer.
pub fn call(socket: &Path, method: &str, params: &Value) -> Result<Value> {
    let failed =
        |error: &dyn std::fmt::Display| Error::new(format!("{method} at {}: {error}", socket.display()));
    let mut request = json!({ "jsonrpc": "2.0", "id": 1, "method": method });
    if !params.is_null() {
        request["params"] = params.clone();
    }
    let mut stream = UnixStream::connect(socket).map_err(|error| failed(&error))?;
    stream.write_all(request.to_string().as_bytes()).map_err(|error| failed(&error))?;
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut piece).map_err(|error| failed(&error))?;
        if length == 0 {
            return Err(failed(&format_args!("no answer but {:?}", String::from_utf8_lossy(&answer))));
        }
        answer.extend_from_slice(&piece[..length]);
        // An answer ends where its JSON does.
        if let Ok(whole) = serde_json::from_slice(&answer) {
            return Ok(whole);
        }
    }
}
