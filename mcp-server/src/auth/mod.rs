//! Who calls: OAuth 2.1 resource server (RFC 6750, RFC 9728). The shell calls [`Authenticator::authenticate`] for every
//! request to the MCP endpoint and puts the [`Caller`] into the request's extensions.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use mcp_server_config::report::IssuerReport;
use mcp_server_config::{Auth, Http, PublicUrl};

use crate::metrics::AuthResult;

/// The owner of a verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The token's `iss`.
    pub issuer: Arc<str>,
    /// The token's `sub`.
    pub subject: Arc<str>,
    /// The token's `client_id` or `azp`.
    pub client_id: Option<Arc<str>>,
    /// The token's scopes, sorted.
    pub scopes: Arc<[String]>,
    /// The token's `exp`, in seconds since 1970.
    pub expires_at: u64,
}

/// Who sent a request. A request extension, set by the authentication layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular: the server is open.
    Anonymous,
    /// The owner of a verified token.
    Principal(Arc<Principal>),
}

/// What an [`Authenticator`] is made of.
pub struct Setup<'a> {
    /// The live file's section; absent only where `loopback` is set.
    pub auth: Option<&'a Auth>,
    /// The public URLs.
    pub http: &'a Http,
    /// `server.path`.
    pub path: &'a str,
    /// The authenticator in use until now: key sets of unchanged issuers are kept.
    pub previous: Option<&'a Authenticator>,
}

/// Why an [`Authenticator`] cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(pub String);

/// Decides who a caller is. One for each live configuration.
pub struct Authenticator {}

impl Authenticator {
    /// Makes one, and starts to fetch the keys of its issuers. Call within a tokio runtime.
    pub fn new(_setup: &Setup<'_>) -> Result<Self, SetupError> {
        Ok(Self {})
    }

    /// Checks the request's token. `asked` is the public URL under which the client reached us.
    pub async fn authenticate(&self, _parts: &http::request::Parts, _asked: &PublicUrl) -> Result<Caller, Rejection> {
        Ok(Caller::Anonymous)
    }

    /// The RFC 9728 document for that public URL; `None` where every caller is served.
    #[must_use]
    pub fn metadata(&self, _asked: &PublicUrl) -> Option<serde_json::Value> {
        None
    }

    /// Each issuer, for `/server` and `/health`.
    #[must_use]
    pub fn reports(&self) -> Vec<IssuerReport> {
        Vec::new()
    }

    /// The keys of every issuer have been there once: gates `/readyz`.
    #[must_use]
    pub fn loaded_once(&self) -> bool {
        true
    }
}

/// A refused request: the answer for the client and the result for the metrics.
#[derive(Debug)]
pub struct Rejection {}

impl Rejection {
    /// The label of `mcp_auth_attempts_total`.
    #[must_use]
    pub fn result(&self) -> AuthResult {
        AuthResult::Invalid
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        http::StatusCode::UNAUTHORIZED.into_response()
    }
}
