//! The MCP endpoint, behind the shell's layers.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use mcp_server_config::Config;
use mcp_server_config::report::BackendReport;

use crate::metrics::Metrics;
use crate::state::State;

/// Why the endpoint cannot start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// What answers `<path>`.
pub struct Endpoint {}

impl Endpoint {
    /// Starts the backend and the handshake with it, which goes on in the background.
    pub async fn start(_config: &Config, _state: Arc<State>, _metrics: Arc<Metrics>) -> Result<Arc<Self>, StartError> {
        Ok(Arc::new(Self {}))
    }

    /// Answers one request. Its extensions hold [`crate::auth::Caller`], [`crate::http::Asked`],
    /// [`crate::http::RequestId`] and the envelope.
    pub async fn handle(&self, _request: http::Request<Body>) -> Response {
        http::StatusCode::NOT_IMPLEMENTED.into_response()
    }

    /// The handshake's result, for `/server`.
    #[must_use]
    pub fn report(&self) -> BackendReport {
        BackendReport::default()
    }

    /// The handshake has succeeded once: gates `/readyz`.
    #[must_use]
    pub fn ready_once(&self) -> bool {
        true
    }

    /// From now on new sessions and listens are refused, and idle streams end.
    pub fn begin_drain(&self) {}

    /// Resolves when no call is under way.
    pub async fn in_flight_done(&self) {}

    /// Ends every call and stream that is left.
    pub fn cancel(&self) {}
}
