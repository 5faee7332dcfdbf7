//! Calls of SPDK's methods, passed on to SPDK's server.
//!
//! Its thread is the app's, which may share its CPU with an lcore. It takes 64 connections, looks at each of them a few
//! hundred times a second, and holds answers until they are read. So it gets a connection for each call, on which the
//! answer is read at once.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::request::{Request, spdk_values};

/// Calls in progress at SPDK's server at most: it takes 64 connections (`SPDK_JSONRPC_MAX_CONNS`, `jsonrpc_internal.h`), and
/// frees one a moment after its call.
const CALLS_MAX: usize = 60;

/// Longest request that SPDK takes, in bytes: it reads into a buffer of 32 KiB (`SPDK_JSONRPC_RECV_BUF_SIZE`).
const REQUEST_MAX: usize = (32 << 10) - 1;

/// Values in a request that SPDK takes at most (`SPDK_JSONRPC_MAX_VALUES`).
const VALUES_MAX: usize = 1024;

/// Time that a call waits for others to end, and the first ones for SPDK to listen: it does so a moment after the start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Period of the attempts to connect meanwhile.
const PERIOD: Duration = Duration::from_millis(10);

/// The way to SPDK's server.
#[derive(Debug)]
pub(super) struct SpdkCalls {
    socket: PathBuf,
    in_progress: Mutex<usize>,
    ended: Condvar,
}

impl SpdkCalls {
    pub(super) fn at(socket: PathBuf) -> Self {
        Self { socket, in_progress: Mutex::new(0), ended: Condvar::new() }
    }

    /// Makes a call, and hands each piece of its answer to `take` as it comes. Returns the size of the answer, in bytes.
    ///
    /// # Errors
    /// One sentence. A part of the answer may have come before.
    pub(super) fn call(&self, request: &Request, mut take: impl FnMut(&[u8])) -> Result<usize, String> {
        check(request)?;
        let _turn = self.turn()?;
        let mut stream = self.connect()?;
        let failed = |error: std::io::Error| format!("SPDK's server has ended the call: {error}");
        stream.write_all(&request.text).map_err(failed)?;
        // After its answer SPDK closes a connection of which the other side sends no more.
        stream.shutdown(Shutdown::Write).map_err(failed)?;
        let mut piece = vec![0; 64 << 10];
        let mut size = 0;
        loop {
            match stream.read(&mut piece) {
                Ok(0) => return Ok(size),
                Ok(length) => {
                    take(piece.get(..length).unwrap_or_default());
                    size += length;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn connect(&self) -> Result<UnixStream, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => return Ok(stream),
                Err(_) if Instant::now() < deadline => thread::sleep(PERIOD),
                Err(error) => return Err(format!("SPDK's server can't be reached: {error}")),
            }
        }
    }

    /// Waits until one more call may be in progress.
    fn turn(&self) -> Result<Turn<'_>, String> {
        let in_progress = self.in_progress.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |in_progress: &mut usize| *in_progress >= CALLS_MAX;
        let waited = self.ended.wait_timeout_while(in_progress, PATIENCE, is_full);
        let (mut in_progress, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            return Err(format!(
                "{CALLS_MAX} calls of SPDK's methods are in progress, and none has ended for {} s",
                PATIENCE.as_secs()
            ));
        }
        *in_progress += 1;
        Ok(Turn(self))
    }
}

/// A call in progress.
struct Turn<'a>(&'a SpdkCalls);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.in_progress.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.ended.notify_one();
    }
}

/// SPDK closes the connection without an answer where a request is too large.
fn check(request: &Request) -> Result<(), String> {
    let length = request.text.len();
    if length > REQUEST_MAX {
        return Err(format!("the request has {length} bytes: SPDK's methods take at most {REQUEST_MAX}"));
    }
    // The request around them has a few names and values.
    let values = 10 + request.params.as_ref().map_or(0, spdk_values);
    if values > VALUES_MAX {
        return Err(format!(
            "the request has {values} JSON values: SPDK's methods take at most {VALUES_MAX}"
        ));
    }
    Ok(())
}

/// The answer with an error.
pub(super) fn error_answer(id: &Value, code: i32, message: &str) -> Vec<u8> {
    let error =
        serde_json::json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } });
    format!("{error}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;

    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    fn request(params: Option<Value>) -> Request {
        let text = json!({ "id": 1, "method": "m", "params": params }).to_string().into_bytes();
        Request { text, id: 1.into(), method: "m".into(), params }
    }

    #[test]
    fn an_answer_comes_in_pieces_until_spdk_closes() {
        let directory = TempDir::new().unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        let calls = SpdkCalls::at(directory.path().join("s"));
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            stream.write_all(b"an answer\n").unwrap();
            text
        });
        let mut answer = Vec::new();
        let sent = request(None);
        assert_eq!(calls.call(&sent, |piece| answer.extend_from_slice(piece)), Ok(10));
        assert_eq!(answer, b"an answer\n");
        assert_eq!(server.join().unwrap().as_bytes(), sent.text);
    }

    #[test]
    fn requests_that_spdk_would_not_answer_are_refused() {
        let calls = SpdkCalls::at("/nowhere".into());
        let long = request(Some(json!(["x".repeat(REQUEST_MAX)])));
        let many = request(Some(json!(vec![0; VALUES_MAX])));
        assert!(calls.call(&long, |_| ()).unwrap_err().contains("at most 32767"));
        assert!(calls.call(&many, |_| ()).unwrap_err().contains("at most 1024"));
    }

    #[test]
    fn calls_in_progress_are_counted_to_their_end() {
        let calls = Arc::new(SpdkCalls::at("/nowhere".into()));
        let turns: Vec<_> = (0..CALLS_MAX).map(|_| calls.turn().unwrap()).collect();
        assert_eq!(*calls.in_progress.lock().unwrap(), CALLS_MAX);
        let waiting = Arc::clone(&calls);
        let another = thread::spawn(move || waiting.turn().map(drop));
        drop(turns);
        assert_eq!(another.join().unwrap(), Ok(()));
        assert_eq!(*calls.in_progress.lock().unwrap(), 0);
    }
}
