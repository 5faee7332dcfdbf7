//! The answer to a request that is refused: SPDK's error code and one sentence.

use std::fmt;

use serde_json::Value;
use thiserror::Error;

/// Longest message an [`RpcError`] carries, in bytes.
///
/// A log line shows the whole error answer. SPDK cuts its lines at 1024 bytes (`lib/log/log.c`), and the answer's JSON and
/// its escapes need a part of them.
pub const MESSAGE_MAX: usize = 400;

/// Code of an error answer, as SPDK uses them: `SPDK_JSONRPC_ERROR_*` (`spdk/jsonrpc.h`) for a malformed request, a negated
/// errno for a request that can't be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum ErrorCode {
    /// `SPDK_JSONRPC_ERROR_METHOD_NOT_FOUND`.
    MethodNotFound = -32601,
    /// `SPDK_JSONRPC_ERROR_INVALID_PARAMS`: a value of the wrong type or out of range.
    InvalidParams = -32602,
    /// `SPDK_JSONRPC_ERROR_INTERNAL_ERROR`.
    Internal = -32603,
    /// `-ENOENT`: no such export.
    NoSuchExport = -2,
    /// `-ENOMEM`: no memory or no free place for one more.
    NoMemory = -12,
    /// `-EBUSY`: the export is being created or deleted by another request.
    Busy = -16,
    /// `-EEXIST`: the address is taken on that port.
    Exists = -17,
    /// `-ENODEV`: no such bdev or port.
    NoDevice = -19,
    /// `-EINVAL`: the bdev exists but cannot be exported.
    Unsuitable = -22,
}

impl ErrorCode {
    /// The number for `spdk_jsonrpc_send_error_response`.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }
}

/// A refused request. The message is one sentence that names the offending value and what is allowed; it is
/// at most [`MESSAGE_MAX`] bytes long and holds no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct RpcError {
    code: ErrorCode,
    message: String,
}

impl RpcError {
    /// Builds an error; a message over [`MESSAGE_MAX`] bytes is cut and ends in `...`.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut message: String =
            message.into().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if message.len() > MESSAGE_MAX {
            let mut end = MESSAGE_MAX - 3;
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
            message.push_str("...");
        }
        Self { code, message }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidParams, message)
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The sentence for the user.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// The name nearest to a misspelt one, if at most a third of its letters differ.
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |other: &str| strsim::damerau_levenshtein(name, other);
    let nearest = names.into_iter().min_by_key(|other| distance(other))?;
    (distance(nearest) <= name.len().max(6) / 3).then_some(nearest)
}

/// Shows a value from outside in an error message: quoted, escaped, and cut after 60 characters.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("'")?;
        for c in self.0.chars().take(60) {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        f.write_str(if self.0.chars().nth(60).is_some() { "...'" } else { "'" })
    }
}

/// The kind of a JSON value, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A JSON value in an error message, bounded in length.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => Quoted(text).to_string(),
        Value::Array(list) if list.is_empty() => "an empty list".into(),
        Value::Array(_) | Value::Object(_) => kind(value).into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_spdk() {
        assert_eq!(ErrorCode::InvalidParams.number(), -32602);
        assert_eq!(ErrorCode::Exists.number(), -17);
        assert_eq!(ErrorCode::NoDevice.number(), -19);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let error = RpcError::invalid("é".repeat(1000));
        assert!(error.message().len() <= MESSAGE_MAX);
        assert!(error.message().ends_with("é..."));
        assert_eq!(RpcError::invalid("a\nb").message(), "a b");
        assert_eq!(RpcError::invalid("short").message(), "short");
    }

    #[test]
    fn quoted_values_are_escaped_and_bounded() {
        assert_eq!(Quoted("a\nb").to_string(), "'a\\nb'");
        assert_eq!(Quoted(&"x".repeat(60)).to_string(), format!("'{}'", "x".repeat(60)));
        assert_eq!(Quoted(&"x".repeat(61)).to_string(), format!("'{}...'", "x".repeat(60)));
    }
}
