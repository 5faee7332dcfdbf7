//! The client against a fake that answers in pieces, late, wrongly or not at all.

use std::path::Path;
use std::time::Duration;

use crate::fake_target::{FakeTarget, Reply};
use rpc_client::{Client, ClientError};
use serde_json::{Value, json};

const PATIENT: Duration = Duration::from_secs(60);

fn call(target: &FakeTarget, timeout: Duration) -> Result<Value, ClientError> {
    Client::connect(&target.socket(), timeout).unwrap().call("aoe_get_exports", None)
}

fn answering(pieces: &[&str]) -> FakeTarget {
    let target = FakeTarget::start();
    let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
    target.script(move |_, _| Reply::Pieces(pieces.clone()));
    target
}

#[test]
fn an_answer_may_come_in_any_pieces() {
    let text = r#"{"jsonrpc":"2.0","id":1,"result":["a{\"é",{"b":[]}]}"#;
    let bytes: Vec<Vec<u8>> = text.bytes().map(|byte| vec![byte]).collect();
    let target = FakeTarget::start();
    target.script(move |_, _| Reply::Pieces(bytes.clone()));
    assert_eq!(call(&target, PATIENT).unwrap(), json!(["a{\"é", {"b": []}]));
    assert_eq!(call(&answering(&["\n ", "{\"id\":1,\"result\":", "7", "}"]), PATIENT).unwrap(), 7);
}

#[test]
fn a_large_answer_is_taken_whole() {
    let long = "x".repeat(3 << 20);
    let target = answering(&[r#"{"id":1,"result":""#, &long, r#""}"#]);
    assert_eq!(call(&target, PATIENT).unwrap(), Value::String(long));
}

#[test]
fn one_connection_serves_many_calls() {
    let target = FakeTarget::start();
    let mut client = Client::connect(&target.socket(), PATIENT).unwrap();
    for _ in 0..3 {
        assert_eq!(client.call::<Value>("aoe_get_exports", None).unwrap(), json!([]));
    }
    assert_eq!(target.methods(), ["aoe_get_exports"; 3]);
}

#[test]
fn a_refusal_brings_code_and_message_and_the_connection_lasts() {
    let target = FakeTarget::start();
    let mut client = Client::connect(&target.socket(), PATIENT).unwrap();
    let error = client.call::<Value>("aoe_announce", Some(json!({"shelf": 9}))).unwrap_err();
    assert!(matches!(error, ClientError::Refused { code: -2, .. }), "{error:?}");
    assert!(error.to_string().starts_with("no export 9.*"), "{error}");
    let error = client.call::<Value>("bdev_aio_delete", Some(json!({"name": "x"}))).unwrap_err();
    assert_eq!(error.to_string(), "bdev_aio_delete: No such device");
    let error = client.call::<Value>("aoe_fly", None).unwrap_err();
    assert!(matches!(error, ClientError::NoMethod { .. }), "{error:?}");
    assert!(error.to_string().contains("aoe_fly"), "{error}");
    assert_eq!(client.call::<Value>("aoe_get_exports", None).unwrap(), json!([]));
}

#[test]
fn what_is_no_answer_is_told_apart() {
    for (pieces, part) in [
        (&["no json"][..], "no JSON object"),
        (&["{no json}"], "line 1"),
        (&[r#"{"id":1}"#], "neither a result nor an error"),
        (&[r#"{"id":2,"result":1}"#], "not the answer to call 1"),
        (&[r#"{"result":1}"#], "not the answer to call 1"),
        (&[r#"{"id":1,"error":"no"}"#], "code and message"),
        (&["[1]"], "no JSON object"),
    ] {
        let error = call(&answering(pieces), PATIENT).unwrap_err();
        assert!(matches!(error, ClientError::Malformed { .. }), "{pieces:?}: {error:?}");
        for part in [part, "aoe_get_exports", "rpc.sock"] {
            assert!(error.to_string().contains(part), "{pieces:?}: {error} lacks {part}");
        }
    }
    let target = answering(&[r#"{"id":1,"result":"text"}"#]);
    let result = Client::connect(&target.socket(), PATIENT).unwrap().call::<Vec<u32>>("m", None);
    assert!(result.unwrap_err().to_string().contains("not as expected"));
}

#[test]
fn silence_ends_with_a_timeout() {
    let target = FakeTarget::start();
    target.script(|_, _| Reply::Silence);
    let error = call(&target, Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
    assert!(error.to_string().contains("0.05 s"), "{error}");
    // Half an answer is none.
    let error = call(&answering(&[r#"{"id":1,"res"#]), Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
}

#[test]
fn a_closed_connection_is_told() {
    let target = FakeTarget::start();
    target.script(|_, _| Reply::Close);
    let error = call(&target, PATIENT).unwrap_err();
    assert!(matches!(error, ClientError::Closed { .. }), "{error:?}");
    assert!(error.to_string().contains("has it stopped"), "{error}");
}

#[test]
fn nobody_there_is_told_with_the_socket() {
    let error = Client::connect(Path::new("/nonexistent/kv.sock"), PATIENT).unwrap_err();
    for part in ["/nonexistent/kv.sock", "No such file", "is it running"] {
        assert!(error.to_string().contains(part), "{error} lacks {part}");
    }
}
