//! Requests of HTTP/1.0, whose answers end with the connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use lab::Namespace;

/// Limit of every wait, for a machine that is busy with other things; each wait ends with its event.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In small letters.
    pub(crate) headers: String,
    pub(crate) body: String,
}

/// Sends a GET in a namespace and reads the answer.
#[track_caller]
pub(crate) fn get(namespace: &Namespace, address: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(namespace, address, &request("GET", path, headers))
}

/// The text of a request.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {path} HTTP/1.0\r\n{headers}\r\n")
}

/// Sends this text in a namespace and reads the answer.
#[track_caller]
pub(crate) fn send(namespace: &Namespace, address: &str, request: &str) -> Answer {
    let exchange = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        over(&mut stream, request)
    };
    parse(&namespace.enter(exchange).unwrap().unwrap())
}

/// Sends this text and reads to the end.
pub(crate) fn over(stream: &mut (impl Read + Write), request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Takes an answer apart.
#[track_caller]
pub(crate) fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer but {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status in {head:?}"));
    Answer { status, headers: head.to_lowercase(), body: body.to_owned() }
}
