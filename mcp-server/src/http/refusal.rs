//! Answers of the shell itself: a JSON-RPC error whose request id is not known (the body was not read).

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

/// The code of errors that the protocol has no code for. The range from -32020 to -32099 is the protocol's own.
const REFUSED: i32 = -32000;

/// A response with that status and a JSON-RPC error of that wording.
#[must_use]
pub fn refusal(status: StatusCode, message: &str) -> Response {
    let body = serde_json::json!({"jsonrpc": "2.0", "id": null, "error": {"code": REFUSED, "message": message}});
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
