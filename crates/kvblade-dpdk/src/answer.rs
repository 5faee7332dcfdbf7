//! The answer to an RPC, which is given once.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use control::{ErrorCode, RpcError};
use serde_json::Value;
use spdk::rpc::Request;

/// An RPC that waits for its answer. Dropped without one, it is answered with an error.
pub(crate) struct Answer(To);

enum To {
    /// A call on SPDK's server, which is answered on the app's thread.
    Spdk(Request),
    /// A call at the management socket.
    Client(Reply),
}

impl From<Request> for Answer {
    fn from(request: Request) -> Self {
        Self(To::Spdk(request))
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self(To::Client(reply))
    }
}

impl Answer {
    /// Answers with a result.
    pub(crate) fn give(self, result: &Value) {
        match self.0 {
            To::Spdk(request) => request.result(&result.to_string()),
            To::Client(reply) => {
                let text = result.to_string();
                reply.send(Ok(Box::new(|| text)));
            }
        }
    }

    /// Answers with the JSON text that `make` returns. It is called on the thread of the client's connection, which has the time
    /// to make a long text; for a call on SPDK's server, here.
    pub(crate) fn give_text(self, make: impl FnOnce() -> String + Send + 'static) {
        match self.0 {
            To::Spdk(request) => request.result(&make()),
            To::Client(reply) => reply.send(Ok(Box::new(make))),
        }
    }

    /// Answers with an error.
    pub(crate) fn refuse(self, error: &RpcError) {
        match self.0 {
            To::Spdk(request) => request.error(error.code().number(), error.message()),
            To::Client(reply) => reply.send(Err(error.clone())),
        }
    }
}

/// Makes the text of a result.
pub(crate) type MakeText = Box<dyn FnOnce() -> String + Send>;

/// The way of an answer to the thread that waits for it.
pub(crate) struct Reply(Option<SyncSender<Result<MakeText, RpcError>>>);

impl Reply {
    /// A call's reply, and where it arrives. One arrives in any case: if the reply is dropped, an error.
    pub(crate) fn channel() -> (Self, Receiver<Result<MakeText, RpcError>>) {
        let (sender, receiver) = sync_channel(1);
        (Self(Some(sender)), receiver)
    }

    fn send(mut self, result: Result<MakeText, RpcError>) {
        self.send_once(result);
    }

    fn send_once(&mut self, result: Result<MakeText, RpcError>) {
        // There is room for one, so this does not wait. A client that has gone needs no answer.
        if let Some(sender) = self.0.take()
            && sender.try_send(result).is_err()
        {
            tracing::debug!("an answer to a client that has gone");
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.send_once(Err(RpcError::new(ErrorCode::Internal, "the target gave this call up")));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_arrives_once_and_a_dropped_one_is_an_error() {
        let (reply, arrives) = Reply::channel();
        Answer::from(reply).give(&json!({ "a": [1] }));
        assert_eq!(arrives.recv().unwrap().unwrap()(), r#"{"a":[1]}"#);
        assert!(arrives.recv().is_err(), "once");
        let (reply, arrives) = Reply::channel();
        drop(Answer::from(reply));
        let Err(error) = arrives.recv().unwrap() else { panic!("a result of nothing") };
        assert_eq!((error.code(), error.message()), (ErrorCode::Internal, "the target gave this call up"));
        // Nobody waits any more.
        let (reply, arrives) = Reply::channel();
        drop(arrives);
        Answer::from(reply).give(&Value::Null);
    }
}
