//! The deployment document's security headers, and those that keep proxies from buffering a stream.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Client, Next, client};
use crate::app::App;

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The layer for paths that [`super::begin`] is not in front of.
pub async fn of_health(State(app): State<Arc<App>>, mut request: Request, next: impl Next) -> Response {
    let client = client::of(&request, &app.live.current().live.http.trusted_proxies);
    request.extensions_mut().insert::<Client>(client);
    security(request, next).await
}

/// The layer.
pub async fn security(request: Request, next: impl Next) -> Response {
    let secure = request.extensions().get::<Client>().is_some_and(|client| client.secure);
    let mut response = next.run(request).await;
    let streams = is_event_stream(response.headers());

    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    if secure {
        // RFC 6797 §7.2: never over plain HTTP.
        let year = HeaderValue::from_static("max-age=31536000; includeSubDomains");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    if streams {
        headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    }
    response
}

/// The response is a stream of server-sent events.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let essence = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    essence.starts_with(b"text/event-stream")
}
