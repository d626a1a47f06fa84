//! The outermost layer: gives the request an id, the configuration that holds for all of it, and the client's address;
//! when the response is complete, writes the access line and counts.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderName, HeaderValue};
use tracing::field::Empty;

use super::observed::{Observed, logged_path, observe};
use super::recording::Recording;
use super::{Activity, Client, Next, RequestId, client};
use crate::app::App;
use crate::telemetry;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The layer.
pub async fn begin(State(app): State<Arc<App>>, mut request: Request, next: impl Next) -> Response {
    let started = Instant::now();
    let in_flight = app.metrics.request_begins();
    let busy = request.extensions().get::<Arc<Activity>>().map(Activity::request);

    // One configuration for the whole request, whatever is loaded meanwhile.
    let live = app.live.current();
    let client = client::of(&request, &live.live.http.trusted_proxies);
    let id = RequestId::random();

    // At level error, so that lines of every level carry the id.
    let span = tracing::error_span!("request", request_id = &*id.0, trace_id = Empty, user_id = Empty);
    let (method, path) = (request.method().clone(), logged_path(request.uri().path()));
    let sent = telemetry::sent(request.headers());
    let trace = app.tracer.as_ref().map(|tracer| tracer.begin(sent)).or(sent);
    if let Some(trace) = trace {
        trace.note(&span);
        trace.mark(request.headers_mut());
        request.extensions_mut().insert(trace);
    }
    let recording = Recording::begin(&app, &mut request, &id, trace);
    let extensions = request.extensions_mut();
    extensions.insert(live);
    extensions.insert::<Client>(client);
    extensions.insert(id.clone());
    // Written out: tracing's own way to do this moves the future, and all layers below are in it.
    let mut below = pin!(next.run(request));
    let mut response = poll_fn(|context| span.in_scope(|| below.as_mut().poll(context))).await;

    app.metrics.request_answered(response.status().as_u16(), started.elapsed());
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let _held = (in_flight, busy);
    observe(response, Observed { app, span, method, path, client: client.address, started, recording, _held })
}
