//! The answers to requests that are refused (RFC 6750, section 3; RFC 9728, section 5.1).

use std::fmt::Write as _;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::json;
use serde_json::value::RawValue;

use super::resource::OFFLINE_ACCESS;
use crate::mcp::error::{Failure, code};
use crate::metrics::AuthResult;

/// Why a request is refused. No variant holds anything of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It has no token.
    Missing,
    /// It is malformed; the words are for the client.
    Malformed(&'static str),
    /// The token is not one of ours to accept; the words are for the client.
    Invalid(&'static str),
    /// The token has ended.
    Expired,
    /// The token lacks a scope.
    InsufficientScope,
    /// The token cannot be checked: the issuer's keys are not there.
    Unavailable,
}

/// A refused request: the answer for the client and the result for the metrics.
#[derive(Debug)]
pub struct Rejection {
    reason: Reason,
    metadata_url: String,
    scopes: String,
}

impl Rejection {
    /// `metadata_url`: where the client finds our RFC 9728 document. `scopes`: all that the operation needs, so that the
    /// client asks for them at once.
    pub(super) fn new<S: AsRef<str>>(reason: Reason, metadata_url: String, scopes: &[S]) -> Self {
        // That one is between client and issuer: a resource does not ask for it.
        let scopes: Vec<&str> = scopes.iter().map(AsRef::as_ref).filter(|scope| *scope != OFFLINE_ACCESS).collect();
        Self { reason, metadata_url, scopes: scopes.join(" ") }
    }

    /// The label of `mcp_auth_attempts_total`.
    #[must_use]
    pub fn result(&self) -> AuthResult {
        match self.reason {
            Reason::Missing => AuthResult::Missing,
            Reason::Malformed(_) | Reason::Invalid(_) => AuthResult::Invalid,
            Reason::Expired => AuthResult::Expired,
            Reason::InsufficientScope => AuthResult::InsufficientScope,
            Reason::Unavailable => AuthResult::Unavailable,
        }
    }

    /// Why, in words without anything of the token: for logs.
    #[must_use]
    pub fn description(&self) -> &'static str {
        match self.reason {
            Reason::Missing => "a token is needed",
            Reason::Malformed(words) | Reason::Invalid(words) => words,
            Reason::Expired => "the token has expired",
            Reason::InsufficientScope => "the token lacks a scope",
            Reason::Unavailable => "tokens cannot be checked at the moment",
        }
    }

    fn status(&self) -> StatusCode {
        match self.reason {
            Reason::Missing | Reason::Invalid(_) | Reason::Expired => StatusCode::UNAUTHORIZED,
            Reason::Malformed(_) => StatusCode::BAD_REQUEST,
            Reason::InsufficientScope => StatusCode::FORBIDDEN,
            Reason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The `error` of the challenge. A request without a token gets none (RFC 6750, section 3.1).
    fn error(&self) -> Option<&'static str> {
        match self.reason {
            Reason::Missing | Reason::Unavailable => None,
            Reason::Malformed(_) => Some("invalid_request"),
            Reason::Invalid(_) | Reason::Expired => Some("invalid_token"),
            Reason::InsufficientScope => Some("insufficient_scope"),
        }
    }

    fn challenge(&self) -> String {
        let mut challenge = String::from("Bearer");
        let mut separator = " ";
        let mut add = |name: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = write!(challenge, "{separator}{name}=\"{value}\"");
            separator = ", ";
        };
        if let Some(error) = self.error() {
            add("error", error);
            add("error_description", self.description());
        }
        add("resource_metadata", &self.metadata_url);
        if !self.scopes.is_empty() {
            add("scope", &self.scopes);
        }
        challenge
    }

    fn body(&self) -> String {
        let error = match self.reason {
            Reason::Missing => "unauthorized",
            Reason::Unavailable => "temporarily_unavailable",
            Reason::Malformed(_) | Reason::Invalid(_) | Reason::Expired | Reason::InsufficientScope => {
                self.error().unwrap_or_default()
            }
        };
        json!({ "error": error, "error_description": self.description() }).to_string()
    }

    /// The answer to a message that has been read: a JSON-RPC error with its id. The result for the metrics is an
    /// extension of it.
    pub(crate) fn response_to(self, id: Option<&RawValue>) -> Response {
        let message = match self.reason {
            Reason::InsufficientScope => "The token lacks a scope.",
            _ => "A token is needed.",
        };
        let failure = Failure::new(self.status(), code::TRANSPORT, message).of(id);
        let mut response = failure.with_data(json!({"scope": self.scopes})).response();
        self.challenge_in(&mut response);
        response.extensions_mut().insert(self.result());
        response
    }

    fn challenge_in(&self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.reason == Reason::Unavailable {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        } else if let Ok(challenge) = HeaderValue::from_str(&self.challenge()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.body()).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.challenge_in(&mut response);
        response
    }
}
