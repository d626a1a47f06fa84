//! JSON-RPC errors that the runtime itself gives: fixed wording, no text of a library, no address.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Error codes of JSON-RPC 2.0 and of MCP 2026-07-28.
pub(crate) mod code {
    pub(crate) const PARSE_ERROR: i32 = -32700;
    pub(crate) const INVALID_REQUEST: i32 = -32600;
    pub(crate) const METHOD_NOT_FOUND: i32 = -32601;
    pub(crate) const INVALID_PARAMS: i32 = -32602;
    pub(crate) const INTERNAL_ERROR: i32 = -32603;
    pub(crate) const HEADER_MISMATCH: i32 = -32020;
    pub(crate) const UNSUPPORTED_PROTOCOL_VERSION: i32 = -32022;
    /// Of the range that JSON-RPC leaves to servers; what the official SDKs use for errors of the transport.
    pub(crate) const TRANSPORT: i32 = -32000;
    /// What the official SDKs use for a session that is not there.
    pub(crate) const SESSION_NOT_FOUND: i32 = -32001;
}

/// Builds one error response.
#[derive(Debug)]
pub(crate) struct Failure<'a> {
    status: StatusCode,
    code: i32,
    message: &'static str,
    data: Option<Value>,
    id: Option<&'a RawValue>,
    retry_after: Option<Duration>,
}

impl<'a> Failure<'a> {
    pub(crate) fn new(status: StatusCode, code: i32, message: &'static str) -> Self {
        Self { status, code, message, data: None, id: None, retry_after: None }
    }

    /// 503: the client may try again after that time.
    pub(crate) fn busy(message: &'static str, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code::TRANSPORT, message) }
    }

    /// 429: the client may try again after that time.
    pub(crate) fn too_many(message: &'static str, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::TOO_MANY_REQUESTS, code::TRANSPORT, message) }
    }

    /// The id of the request that failed. Without one the member is left out, as MCP asks.
    pub(crate) fn of(mut self, id: Option<&'a RawValue>) -> Self {
        self.id = id;
        self
    }

    pub(crate) fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    pub(crate) fn response(self) -> Response {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(data) = self.data {
            error["data"] = data;
        }
        // By hand: the id is echoed byte for byte, so that a large number stays what it was.
        let body = match self.id {
            Some(id) => format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, id.get()),
            None => format!(r#"{{"jsonrpc":"2.0","error":{error}}}"#),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = self.retry_after {
            // Rounded up: who comes back earlier would be refused again.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}
