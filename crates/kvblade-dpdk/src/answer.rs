//! The answer to an RPC, which is given once.

use control::RpcError;
use serde_json::Value;
use spdk::rpc::Request;

/// An RPC that waits for its answer. Dropped without one, it is answered with an error.
pub(crate) struct Answer(Request);

impl From<Request> for Answer {
    fn from(request: Request) -> Self {
        Self(request)
    }
}

impl Answer {
    /// Answers with a result.
    pub(crate) fn give(self, result: &Value) {
        self.0.result(&result.to_string());
    }

    /// Answers with an error.
    pub(crate) fn refuse(self, error: &RpcError) {
        self.0.error(error.code().number(), error.message());
    }
}
