//! The management listener: `/livez`, `/readyz`, `/health`, `/metrics`, `/server`. It is never routed from outside, so it
//! asks for nothing. What it tells has no secret and no tool's name. Other replicas forward requests here too
//! ([`crate::peers`]): those are sealed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use mcp_server_config::report::ServerReport;
use tracing::error;

use crate::app::App;
use crate::health;
use crate::http::headers;
use crate::peers;
use crate::serve::Tls;

/// Ready once is ready until the end: a shared dependency that is lost later must not take every replica out at once.
#[derive(Debug, Default)]
pub struct Readiness(AtomicBool);

/// The listener's paths.
pub fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/server", get(server))
        // Here too: `mcp-server healthcheck` has no certificate that the other listener might ask for.
        .route("/health", get(health::health));
    if app.config.metrics.enabled {
        router = router.route(&app.config.metrics.path, get(metrics));
    }
    let router = router.layer(from_fn(headers::security)).with_state(Arc::clone(app));
    let Some(peers) = app.state.peers() else { return router };
    // Forwarded requests get the configuration of this replica, as those of the MCP listener do.
    let forwarded = peers::router(peers, &app.endpoint, app.config.server.max_request_body_bytes);
    router.merge(forwarded.layer(from_fn_with_state(Arc::clone(app), with_configuration)))
}

async fn with_configuration(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(app.live.current());
    next.run(request).await
}

async fn readyz(State(app): State<Arc<App>>) -> Response {
    let waiting_for = waiting_for(&app).await;
    let status = if waiting_for.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let ready = waiting_for.is_empty();
    let mut answer = serde_json::json!({"ready": ready, "waitingFor": waiting_for});
    // Told, but no reason to take traffic away: the earlier file is in use.
    if let Some(why) = app.live.report().error {
        answer["reload"] = why.into();
    }
    (status, Json(answer)).into_response()
}

/// What keeps us from being ready, in words for `kubectl describe`.
async fn waiting_for(app: &App) -> Vec<&'static str> {
    if app.drain.is_leaving() {
        return vec!["nothing: the process is ending"];
    }
    if app.readiness.0.load(Ordering::Acquire) {
        return Vec::new();
    }
    let mut reasons = Vec::new();
    if !app.endpoint.ready_once() {
        reasons.push("backend: no handshake has succeeded yet");
    }
    if !app.live.current().authenticator.loaded_once() {
        reasons.push("auth_server: the signing keys are not loaded yet");
    }
    if !app.state.first_success() && !matches!(app.state.ping().await, None | Some(Ok(()))) {
        reasons.push("redis: it has not answered yet");
    }
    if app.database.as_ref().is_some_and(|database| !database.answered_once()) {
        reasons.push("database: it has not answered yet");
    }
    if reasons.is_empty() {
        app.readiness.0.store(true, Ordering::Release);
    }
    reasons
}

async fn server(State(app): State<Arc<App>>) -> Json<ServerReport> {
    Json(ServerReport {
        name: app.config.server.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        live: app.live.report(),
        backend: app.endpoint.report(),
        issuers: app.live.current().authenticator.reports(),
        tls: app.tls.as_deref().map(Tls::report),
        session_store: app.state.session_store().to_owned(),
        forwarding: app.state.peers().is_some_and(|peers| peers.is_announced()),
        draining: app.drain.is_leaving(),
    })
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.metrics.render() {
        Ok(text) => {
            let kind = HeaderValue::from_static("text/plain; version=0.0.4");
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(problem) => {
            error!(error = &problem as &dyn std::error::Error, "cannot render the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
