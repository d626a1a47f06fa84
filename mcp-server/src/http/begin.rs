//! The outermost layer: gives the request an id, the configuration that holds for all of it, and the client's address;
//! when the response is complete, writes the access line and counts.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};
use tracing::Instrument as _;

use super::observed::{Observed, observe};
use super::{Activity, Client, Peer, RequestId, client};
use crate::app::App;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The layer.
pub async fn begin(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let in_flight = app.metrics.request_begins();
    let busy = request.extensions().get::<Arc<Activity>>().map(Activity::request);

    // One configuration for the whole request, whatever is loaded meanwhile.
    let live = app.live.current();
    let peer = request.extensions().get::<Peer>().map_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), |peer| peer.0);
    let client = client::resolve(peer, request.headers(), &live.live.http.trusted_proxies);
    let id = RequestId(uuid::Uuid::new_v4().to_string().into());

    // At level error, so that lines of every level carry the id.
    let span = tracing::error_span!("request", request_id = %id, user_id = tracing::field::Empty);
    let method = request.method().clone();
    let path = shortened(request.uri().path());

    let extensions = request.extensions_mut();
    extensions.insert(live);
    extensions.insert::<Client>(client);
    extensions.insert(id.clone());
    let mut response = next.run(request).instrument(span.clone()).await;

    let status = response.status();
    app.metrics.request_answered(status.as_u16(), started.elapsed());
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    observe(response, Observed::new(span, method, path, status, client.address, started, (in_flight, busy)))
}

/// A path is as long as the client likes.
fn shortened(path: &str) -> String {
    path.chars().take(200).collect()
}
