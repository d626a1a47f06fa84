//! The one look that the runtime takes into a message: who is asked for what, and under which id. Everything that decides
//! by the content (limits, scopes, sessions, logs, metrics) uses it, and the bytes go on unchanged, so that unknown
//! fields and extensions survive. What is refused here never reaches a backend.

mod headers;
mod message;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::value::RawValue;

use super::error::{Failure, code};
pub(crate) use headers::accepts_events;
pub use message::Kind;

/// A client that takes longer to send its message is cut off: nothing may hold a request open for nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Both types, as the protocol wants them listed. Backends see this whatever wildcards the client wrote.
pub(crate) const ACCEPTED: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// What a message asks for. A request and a response extension, as `Arc<Envelope>`.
#[derive(Debug)]
pub struct Envelope {
    /// The message, byte for byte.
    pub bytes: Bytes,
    /// Request, notification or response.
    pub kind: Kind,
    /// The id as the client wrote it; absent in notifications.
    pub id: Option<Box<RawValue>>,
    /// The method; absent in responses.
    pub method: Option<String>,
    /// `params.name` or, without one, `params.uri`: the tool, prompt or resource.
    pub name: Option<String>,
    /// The protocol revision in `params._meta`, which every message of 2026-07-28 has.
    pub meta_version: Option<String>,
}

impl Envelope {
    /// The method, or the empty string.
    #[must_use]
    pub fn method(&self) -> &str {
        self.method.as_deref().unwrap_or_default()
    }

    /// The tool that the message calls, if it calls one.
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        if self.kind == Kind::Request && self.method() == "tools/call" { self.name.as_deref() } else { None }
    }
}

/// The layer: reads the body of a POST, checks it, and puts the [`Envelope`] into the extensions of the request and of
/// the response. `limit` is `server.max_request_body_bytes`.
pub async fn layer(State(limit): State<usize>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let request = match open(request, limit).await {
        Ok(request) => request,
        Err(response) => return *response,
    };
    let envelope = request.extensions().get::<Arc<Envelope>>().cloned();
    let mut response = next.run(request).await;
    if let Some(envelope) = envelope {
        response.extensions_mut().insert(envelope);
    }
    response
}

/// Reads and checks one POST.
async fn open(request: Request, limit: usize) -> Result<Request, Box<Response>> {
    let (mut parts, body) = request.into_parts();
    headers::check(&parts.headers).map_err(|failure| Box::new(failure.response()))?;
    let bytes = read(body, &parts.headers, limit).await.map_err(|failure| Box::new(failure.response()))?;
    let envelope = message::parse(bytes.clone()).map_err(|refused| Box::new(refused.response()))?;

    parts.headers.insert(ACCEPT, ACCEPTED);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.extensions.insert(Arc::new(envelope));
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

async fn read(body: Body, headers: &http::HeaderMap, limit: usize) -> Result<Bytes, Failure<'static>> {
    let too_large =
        || Failure::new(StatusCode::PAYLOAD_TOO_LARGE, code::INVALID_REQUEST, "The request body is too large.");
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(READ_TIMEOUT, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Failure::new(StatusCode::BAD_REQUEST, code::INVALID_REQUEST, "The request body broke off.")),
        Err(_) => {
            Err(Failure::new(StatusCode::REQUEST_TIMEOUT, code::INVALID_REQUEST, "The request body came too slowly."))
        }
    }
}
