//! Takes what other replicas forward, at the management listener.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use tracing::Instrument as _;

use super::forward::answered_to;
use super::head::Head;
use super::{Forwarded, HEADER, PATH, Peers};
use crate::auth::Caller;
use crate::http::{Activity, RequestId};
use crate::mcp::body::held;
use crate::mcp::envelope::Envelope;
use crate::mcp::{Endpoint, envelope};
use crate::state::wall_clock;

/// A replica sends what it has at once.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

struct Desk {
    peers: Arc<Peers>,
    endpoint: Arc<Endpoint>,
    /// The largest message.
    limit: usize,
}

/// What another replica sends here is answered by the endpoint.
pub fn router(peers: &Arc<Peers>, endpoint: &Arc<Endpoint>, limit: u32) -> Router {
    let desk = Desk { peers: Arc::clone(peers), endpoint: Arc::clone(endpoint), limit: limit as usize };
    Router::new().route(PATH, post(receive)).with_state(Arc::new(desk))
}

async fn receive(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let busy = request.extensions().get::<Arc<Activity>>().map(Activity::request);
    let (request, seal) = match desk.open(request).await {
        Ok(opened) => opened,
        Err((status, reason)) => {
            tracing::warn!(reason, "what came as a replica's request is refused");
            return (status, reason).into_response();
        }
    };
    let id = request.extensions().get::<RequestId>().map(tracing::field::display);
    let span = tracing::error_span!("request", request_id = id, user_id = tracing::field::Empty);
    if let Some(Caller::Principal(principal)) = request.extensions().get::<Caller>() {
        span.record("user_id", &*principal.subject);
    }
    let mut response = desk.endpoint.handle(request).instrument(span).await;
    let signature = URL_SAFE_NO_PAD.encode(desk.peers.key.sign(&answered_to(&seal)));
    if let Ok(signature) = HeaderValue::try_from(signature) {
        response.headers_mut().insert(HEADER, signature);
    }
    // A stream may be silent for longer than a connection may be idle.
    response.map(|inner| held(inner, busy))
}

impl Desk {
    /// The request that was forwarded, and its seal.
    async fn open(&self, request: Request) -> Result<(Request, Vec<u8>), (StatusCode, &'static str)> {
        let (parts, body) = request.into_parts();
        let sealed = parts.headers.get(HEADER).ok_or((StatusCode::UNAUTHORIZED, "no seal"))?;
        let (head, seal) = Head::open(sealed, &self.peers.key).ok_or((StatusCode::UNAUTHORIZED, "no such seal"))?;
        if head.to != self.peers.id() {
            return Err((StatusCode::MISDIRECTED_REQUEST, "meant for another replica"));
        }
        let now = wall_clock();
        if !head.is_fresh(now) {
            return Err((StatusCode::UNAUTHORIZED, "sealed too long ago, or the clocks differ"));
        }
        if !self.peers.replays.admit(&head.from, head.number, now) {
            return Err((StatusCode::UNAUTHORIZED, "seen before"));
        }
        let bytes = self.read(body).await.ok_or((StatusCode::BAD_REQUEST, "the body did not come"))?;
        if !head.is_of(&bytes) {
            return Err((StatusCode::UNAUTHORIZED, "the body is another"));
        }
        let (method, headers, mut extensions) = head.into_request().ok_or((StatusCode::BAD_REQUEST, "no request"))?;
        extensions.insert(Forwarded);
        if method == Method::POST {
            let envelope = envelope::read_again(bytes.clone()).ok_or((StatusCode::BAD_REQUEST, "no message"))?;
            extensions.insert::<Arc<Envelope>>(Arc::new(envelope));
        }
        let mut opened = Request::new(Body::from(bytes));
        *opened.method_mut() = method;
        *opened.headers_mut() = headers;
        *opened.extensions_mut() = extensions;
        Ok((opened, seal))
    }

    async fn read(&self, body: Body) -> Option<Bytes> {
        let read = Limited::new(body, self.limit).collect();
        Some(tokio::time::timeout(READ_TIMEOUT, read).await.ok()?.ok()?.to_bytes())
    }
}

#[cfg(test)]
#[path = "receive_tests.rs"]
mod tests;
