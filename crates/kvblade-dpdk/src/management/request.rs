//! JSON-RPC requests in the bytes that a client sends, as SPDK's server takes them: one after the other, without framing.

use serde_json::{Deserializer, Value};

/// Longest request, in bytes.
const REQUEST_MAX: usize = 1 << 20;

/// JSON-RPC's codes of requests that are none (`spdk/jsonrpc.h`).
const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    /// Its text, as it came.
    pub(super) text: Vec<u8>,
    /// A request with the id `null`, or without one, gets no answer.
    pub(super) id: Value,
    pub(super) method: String,
    pub(super) params: Option<Value>,
}

/// Data that is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) code: i32,
    /// One sentence.
    pub(super) message: String,
    /// Where the next request begins is unknown.
    pub(super) is_last: bool,
}

/// What a client has sent and nobody has looked at.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
}

impl Incoming {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next request, if all of it is there.
    pub(super) fn next(&mut self) -> Result<Option<Request>, Malformed> {
        let mut values = Deserializer::from_slice(&self.bytes).into_iter::<Value>();
        let value = match values.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) if !error.is_eof() => {
                return Err(Malformed {
                    code: PARSE_ERROR,
                    message: format!("the request is no JSON: {error}"),
                    is_last: true,
                });
            }
            _ if self.bytes.len() > REQUEST_MAX => {
                return Err(Malformed {
                    code: INVALID_REQUEST,
                    message: format!("the request has more than {REQUEST_MAX} bytes, which is the limit"),
                    is_last: true,
                });
            }
            _ => return Ok(None),
        };
        let end = values.byte_offset();
        let text = self.bytes.drain(..end).collect();
        request_of(value, text).map(Some)
    }
}

fn request_of(value: Value, text: Vec<u8>) -> Result<Request, Malformed> {
    let invalid = |message: &str| Malformed {
        code: INVALID_REQUEST,
        message: format!("the request {message}"),
        is_last: false,
    };
    let Value::Object(mut object) = value else {
        return Err(invalid("is no JSON object: batches are not supported"));
    };
    if object.get("jsonrpc").is_some_and(|version| version != "2.0") {
        return Err(invalid("is not of JSON-RPC 2.0, as its 'jsonrpc' says"));
    }
    let id = object.remove("id").unwrap_or_default();
    if !matches!(id, Value::Null | Value::String(_) | Value::Number(_)) {
        return Err(invalid("has an 'id' that is neither a string nor a number"));
    }
    let Some(Value::String(method)) = object.remove("method") else {
        return Err(invalid("has no 'method' that is a string"));
    };
    let params = object.remove("params").filter(|params| !params.is_null());
    if !matches!(params, None | Some(Value::Array(_) | Value::Object(_))) {
        return Err(invalid("has 'params' that are neither an object nor a list"));
    }
    Ok(Request { text, id, method, params })
}

/// The number of values that SPDK's parser makes of a JSON value: names, and both ends of objects and lists, count.
pub(super) fn spdk_values(value: &Value) -> usize {
    match value {
        Value::Object(object) => 2 + object.values().map(|value| 1 + spdk_values(value)).sum::<usize>(),
        Value::Array(list) => 2 + list.iter().map(spdk_values).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn all(pieces: &[&str]) -> Vec<Result<Request, Malformed>> {
        let mut incoming = Incoming::default();
        let mut all = Vec::new();
        for piece in pieces {
            incoming.push(piece.as_bytes());
            while let Some(next) = incoming.next().transpose() {
                let is_last = next.as_ref().is_err_and(|malformed| malformed.is_last);
                all.push(next);
                if is_last {
                    return all;
                }
            }
        }
        all
    }

    #[test]
    fn requests_come_in_any_pieces_and_keep_their_text() {
        let text = r#" {"id":18446744073709551616,"method":"a"}{"jsonrpc": "2.0", "method": "b", "id": "x", "params": {"p": [1]}}"#;
        let whole = all(&[text]);
        let pieces: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(all(&pieces.iter().map(String::as_str).collect::<Vec<_>>()), whole);
        let [Ok(first), Ok(second)] = &whole[..] else { panic!("{whole:?}") };
        assert_eq!((first.method.as_str(), &first.params), ("a", &None));
        assert!(
            first.text.ends_with(br#"{"id":18446744073709551616,"method":"a"}"#),
            "numbers stay as they are"
        );
        assert_eq!((second.id.clone(), second.params.clone()), (json!("x"), Some(json!({"p": [1]}))));
        assert!(all(&["", "  \n", r#"{"method""#]).is_empty());
    }

    #[test]
    fn data_that_is_no_request_is_refused_in_words() {
        for (text, words, is_last) in [
            ("x", "is no JSON", true),
            (r#"{"method":"a",}"#, "is no JSON", true),
            (r#"[{"method":"a"}]"#, "batches", false),
            ("1 ", "no JSON object", false),
            (r#"{"id":1}"#, "'method'", false),
            (r#"{"method":1}"#, "'method'", false),
            (r#"{"method":"a","id":[]}"#, "'id'", false),
            (r#"{"method":"a","params":1}"#, "'params'", false),
            (r#"{"method":"a","jsonrpc":"1.0"}"#, "2.0", false),
        ] {
            let all = all(&[text]);
            let [Err(malformed)] = &all[..] else { panic!("{text}: {all:?}") };
            assert!(malformed.message.contains(words), "{text}: {malformed:?}");
            assert_eq!(malformed.is_last, is_last, "{text}");
        }
        let valid = r#"{"method":"a","params":null,"id":null}"#;
        assert!(
            matches!(&all(&[valid])[..], [Ok(request)] if request.params.is_none() && request.id.is_null())
        );
    }

    #[test]
    fn a_request_that_does_not_end_is_refused_at_the_limit() {
        let mut incoming = Incoming::default();
        incoming.push(br#"{"method":""#);
        incoming.push(&vec![b'x'; REQUEST_MAX]);
        assert!(incoming.next().unwrap_err().is_last);
    }

    #[test]
    fn values_are_counted_as_spdk_does() {
        assert_eq!(spdk_values(&json!({"method": "a", "params": {"list": [1, 2]}})), 1 + 2 + 1 + 3 + 1 + 4);
    }
}
