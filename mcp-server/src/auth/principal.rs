//! Who a caller turned out to be.

use std::sync::Arc;

/// The owner of a verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The token's `iss`.
    pub issuer: Arc<str>,
    /// The token's `sub`; without one its `client_id`.
    pub subject: Arc<str>,
    /// The token's `client_id` or `azp`.
    pub client_id: Option<Arc<str>>,
    /// The token's scopes, sorted.
    pub scopes: Arc<[String]>,
    /// The token's `exp`, in seconds since 1970.
    pub expires_at: u64,
}

impl Principal {
    /// The token grants `scope`.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.binary_search_by(|own| own.as_str().cmp(scope)).is_ok()
    }
}

/// Who sent a request. A request extension, set by the authentication layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular: the server is open.
    Anonymous,
    /// The owner of a verified token.
    Principal(Arc<Principal>),
}
