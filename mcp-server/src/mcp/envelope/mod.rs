//! The one look that the runtime takes into a message: who is asked for what, and under which id. Everything that decides
//! by the content (limits, scopes, sessions, logs, metrics) uses it, and the bytes go on unchanged, so that unknown
//! fields and extensions survive. What is refused here never reaches a backend.

mod batch;
mod bodies;
mod headers;
mod message;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
pub(crate) mod standard_headers;
mod unambiguous;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde_json::value::RawValue;

use self::bodies::Unread;
use super::error::{Failure, code};
use crate::http::Next;
use crate::telemetry;
pub use bodies::Bodies;
pub(crate) use headers::accepts_events;
pub use message::Kind;

/// A client that takes longer to send its message is cut off: nothing may hold a request open for nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// When messages leave no room for another. Most are short-lived.
const ROOM_AFTER: Duration = Duration::from_secs(1);
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
    /// The W3C trace context in `params._meta` (SEP-414), as the client wrote it.
    pub traceparent: Option<String>,
}

impl Envelope {
    /// One that asks for nothing.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { bytes: Bytes::new(), kind, id: None, method: None, name: None, meta_version: None, traceparent: None }
    }

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
/// the response.
pub async fn layer(State(bodies): State<Bodies>, request: Request, next: impl Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let request = match open(request, &bodies).await {
        Ok(Opened::One(request)) => request,
        // Boxed: what batches need is not room that every request should take.
        Ok(Opened::Batch(parts, messages)) => return Box::pin(batch::run(parts, messages, &next)).await,
        Err(response) => return *response,
    };
    let envelope = request.extensions().get::<Arc<Envelope>>().cloned();
    let mut response = next.run(request).await;
    if let Some(envelope) = envelope {
        response.extensions_mut().insert(envelope);
    }
    response
}

/// What a POST has brought.
enum Opened {
    One(Request),
    /// To be gone through one by one.
    Batch(Parts, Vec<Envelope>),
}

/// A message that another replica has checked.
pub(crate) fn read_again(bytes: Bytes) -> Option<Envelope> {
    message::parse(bytes).ok()
}

/// Reads and checks one POST.
async fn open(request: Request, bodies: &Bodies) -> Result<Opened, Box<Response>> {
    let (mut parts, body) = request.into_parts();
    headers::check(&parts.headers).map_err(|failure| Box::new(failure.response()))?;
    let bytes = read(body, &parts.headers, bodies).await.map_err(|failure| Box::new(failure.response()))?;
    parts.headers.insert(ACCEPT, ACCEPTED);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));

    let refuse = |refused: message::Refused| Box::new(refused.response());
    if message::is_batch(&bytes) && batch::may_come(&parts.headers) {
        let messages = message::parse_batch(&bytes).map_err(refuse)?;
        return Ok(Opened::Batch(parts, messages));
    }
    let envelope = message::parse(bytes.clone()).map_err(refuse)?;
    telemetry::join(&mut parts, envelope.traceparent.as_deref());
    parts.extensions.insert(Arc::new(envelope));
    Ok(Opened::One(Request::from_parts(parts, Body::from(bytes))))
}

async fn read(body: Body, headers: &http::HeaderMap, bodies: &Bodies) -> Result<Bytes, Failure<'static>> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| !bodies.admits(length)) {
        return Err(unread(&Unread::TooLarge));
    }
    match tokio::time::timeout(READ_TIMEOUT, bodies.read(body)).await {
        Ok(read) => read.map_err(|why| unread(&why)),
        Err(_) => {
            Err(Failure::new(StatusCode::REQUEST_TIMEOUT, code::INVALID_REQUEST, "The request body came too slowly."))
        }
    }
}

fn unread(why: &Unread) -> Failure<'static> {
    let failure = |status, message| Failure::new(status, code::INVALID_REQUEST, message);
    match why {
        Unread::TooLarge => failure(StatusCode::PAYLOAD_TOO_LARGE, "The request body is too large."),
        Unread::NoRoom => Failure::busy("The server has no room for another message now.", ROOM_AFTER),
        Unread::BrokeOff => failure(StatusCode::BAD_REQUEST, "The request body broke off."),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn without_room_a_client_is_told_to_try_again() {
        let router = Router::new().layer(from_fn_with_state(Bodies::with_room(1000, 10), layer));
        let request = Request::post("/mcp").header(CONTENT_TYPE, "application/json").header(ACCEPT, ACCEPTED);
        let message = r#"{"jsonrpc": "2.0", "id": 1, "method": "ping"}"#;
        let response = router.oneshot(request.body(Body::from(message)).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "1");
    }
}
