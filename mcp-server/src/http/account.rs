//! What the layers learn about a request and only the outermost one writes down, when the response is complete: for the
//! audit stream and for traces. Where neither is on, there is none.

use std::sync::{Arc, OnceLock};

use axum::response::Response;
use http::{Extensions, StatusCode, header};

use crate::auth::Caller;

/// See the module. A request extension, as `Arc<Account>`.
#[derive(Debug, Default)]
pub struct Account {
    caller: OnceLock<Caller>,
    /// The tool call's outcome.
    succeeded: OnceLock<bool>,
}

impl Account {
    /// That of the request, if one is kept.
    pub fn of(extensions: &Extensions) -> Option<Arc<Self>> {
        extensions.get().cloned()
    }

    /// The caller is known.
    pub fn called_by(extensions: &Extensions, caller: &Caller) {
        if let Some(account) = extensions.get::<Arc<Self>>() {
            // Set once, by the one layer that knows.
            let _ = account.caller.set(caller.clone());
        }
    }

    /// The call's outcome is known. The first one counts.
    pub fn finish(&self, ok: bool) {
        let _ = self.succeeded.set(ok);
    }

    /// Who called, as far as it was found out.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.get()
    }

    /// Whether the call succeeded; `None` where there was none.
    #[must_use]
    pub fn succeeded(&self) -> Option<bool> {
        self.succeeded.get().copied()
    }
}

/// Why a request was refused, where the status does not say it. A response extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied(pub &'static str);

impl Denied {
    /// The response with that reason.
    #[must_use]
    pub fn on(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }

    /// Why that response refuses its request; `None` where it does not.
    #[must_use]
    pub fn reason(response: &Response) -> Option<&'static str> {
        if let Some(Self(reason)) = response.extensions().get() {
            return Some(reason);
        }
        let challenge = response.headers().get(header::WWW_AUTHENTICATE).map_or(&b""[..], |value| value.as_bytes());
        match response.status() {
            StatusCode::UNAUTHORIZED => Some("unauthenticated"),
            StatusCode::FORBIDDEN if challenge.windows(18).any(|part| part == b"insufficient_scope") => {
                Some("insufficient_scope")
            }
            StatusCode::FORBIDDEN => Some("forbidden"),
            StatusCode::TOO_MANY_REQUESTS => Some("rate_limited"),
            StatusCode::SERVICE_UNAVAILABLE => Some("unavailable"),
            status if status.is_client_error() => Some("invalid"),
            _ => None,
        }
    }
}
