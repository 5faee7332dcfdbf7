//! JSON-RPC 2.0 as SPDK speaks it, without I/O: one call at a time.
//!
//! SPDK does not frame its answers: an answer ends where its JSON value ends, and may arrive in any number of pieces.

use serde_json::{Deserializer, Value, json};

/// Longest answer that is accepted, in bytes: `SPDK_JSONRPC_SEND_BUF_SIZE_MAX` (`jsonrpc_internal.h`).
const ANSWER_MAX: usize = 32 << 20;

/// The calls and answers of one connection.
#[derive(Debug, Default)]
pub struct Exchange {
    last_id: u64,
    /// Data received after the last answer.
    received: Vec<u8>,
}

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// JSON-RPC's code, or a negative errno.
    pub code: i64,
    /// The message.
    pub message: String,
}

impl Exchange {
    /// The text of the next call.
    pub fn request(&mut self, method: &str, params: Option<&Value>) -> String {
        self.last_id += 1;
        let mut request = json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method });
        if let Some(params) = params {
            request["params"] = params.clone();
        }
        request.to_string()
    }

    /// Takes data that was received.
    pub fn push(&mut self, data: &[u8]) {
        self.received.extend_from_slice(data);
    }

    /// The answer to the last call, if all of it was received.
    ///
    /// # Errors
    /// A sentence on data that is no answer to it. The connection is of no further use then.
    pub fn answer(&mut self) -> Result<Option<Result<Value, Refusal>>, String> {
        let Some(mut answer) = self.next_value()? else { return Ok(None) };
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let code = error.get("code").and_then(Value::as_i64);
            let message = error.get("message").and_then(Value::as_str);
            let (Some(code), Some(message)) = (code, message) else {
                return Err("an error without code and message".into());
            };
            return Ok(Some(Err(Refusal { code, message: message.to_owned() })));
        }
        if answer.get("id").and_then(Value::as_u64) != Some(self.last_id) {
            return Err(format!("it is not the answer to call {}", self.last_id));
        }
        match answer.get_mut("result").map(Value::take) {
            Some(result) => Ok(Some(Ok(result))),
            None => Err("it has neither a result nor an error".into()),
        }
    }

    /// The next JSON object, if it is complete.
    fn next_value(&mut self) -> Result<Option<Value>, String> {
        match self.received.trim_ascii() {
            [] => return Ok(None),
            [b'{', ..] => {}
            _ => return Err("it is no JSON object".into()),
        }
        if self.received.len() > ANSWER_MAX {
            return Err(format!("it has more than {ANSWER_MAX} bytes"));
        }
        // An object can only be complete after a `}`, so long answers are not parsed again with each piece.
        if !self.received.trim_ascii_end().ends_with(b"}") {
            return Ok(None);
        }
        let mut values = Deserializer::from_slice(&self.received).into_iter::<Value>();
        match values.next() {
            Some(Ok(answer)) => {
                let end = values.byte_offset();
                self.received.drain(..end);
                Ok(Some(answer))
            }
            Some(Err(error)) if !error.is_eof() => Err(error.to_string()),
            Some(Err(_)) | None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_in_any_pieces() {
        let mut exchange = Exchange::default();
        assert_eq!(exchange.request("m", None), r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#);
        let answer = br#" {"jsonrpc": "2.0", "id": 1, "result": {"a": [1, {}]}}"#;
        for byte in &answer[..answer.len() - 1] {
            exchange.push(&[*byte]);
            assert_eq!(exchange.answer(), Ok(None));
        }
        exchange.push(b"}");
        assert_eq!(exchange.answer(), Ok(Some(Ok(json!({ "a": [1, {}] })))));
        assert_eq!(exchange.answer(), Ok(None));
    }

    #[test]
    fn refusals_and_what_is_no_answer_are_told_apart() {
        let after = |data: &str| {
            let mut exchange = Exchange::default();
            exchange.request("m", Some(&json!({})));
            exchange.push(data.as_bytes());
            exchange.answer()
        };
        let refusal = Refusal { code: -19, message: "none".into() };
        assert_eq!(after(r#"{"id":1,"error":{"code":-19,"message":"none"}}"#), Ok(Some(Err(refusal))));
        for (data, sentence) in [
            ("[1]", "no JSON object"),
            (r#"{"id":2,"result":1}"#, "not the answer to call 1"),
            (r#"{"id":1}"#, "neither a result nor an error"),
            (r#"{"id":1,"error":{}}"#, "without code and message"),
            ("{x}", "key must be a string"),
        ] {
            let error = after(data).unwrap_err();
            assert!(error.contains(sentence), "{data}: {error}");
        }
    }
}
