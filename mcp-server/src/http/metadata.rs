//! RFC 9728: which authorization servers a client needs. Served at the path form and at the root form, to everybody.

use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Method, StatusCode, header};

use super::{Asked, refusal};
use crate::settings::LiveState;

/// The well-known prefix; the endpoint's path follows (RFC 9728 §3.1).
pub use crate::auth::WELL_KNOWN as PREFIX;

/// The document for the public URL that was asked; 404 where no token is needed.
pub async fn metadata(request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,HEAD"));
        return response;
    }
    let extensions = request.extensions();
    let (Some(live), Some(asked)) = (extensions.get::<Arc<LiveState>>(), extensions.get::<Asked>()) else {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal error");
    };
    let Some(document) = live.authenticator.metadata(asked) else {
        return refusal(StatusCode::NOT_FOUND, "This server needs no authorization");
    };
    let mut response = Json(document).into_response();
    // Short: a changed issuer must reach clients soon.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Host"));
    response
}
