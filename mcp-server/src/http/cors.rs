//! Cross-origin resource sharing: which web pages may call, told to browsers. Every answer of the stack below carries it,
//! errors too: without it a page cannot even read a 401's challenge.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, InvalidHeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use mcp_server_config::Cors;

use super::Next;
use crate::settings::LiveState;

/// Request headers of every protocol revision. Others that begin with `mcp-` are mirrored.
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, Accept, Last-Event-ID, MCP-Protocol-Version";
/// Mirrored names at most: a page has no use for more.
const MIRRORED_AT_MOST: usize = 32;

/// The rules, ready to be put into responses.
#[derive(Debug, Clone)]
pub struct Rules {
    any: bool,
    origins: Vec<HeaderValue>,
    methods: HeaderValue,
    expose: HeaderValue,
    max_age: HeaderValue,
}

impl Rules {
    /// From the configuration, which has been checked.
    pub fn new(cors: &Cors) -> Result<Self, InvalidHeaderValue> {
        let Cors { allowed_origins, allowed_methods, expose_headers, max_age } = cors;
        Ok(Self {
            any: allowed_origins.iter().any(|origin| origin == "*"),
            origins: allowed_origins.iter().map(|origin| origin.parse()).collect::<Result<_, _>>()?,
            methods: allowed_methods.join(", ").parse()?,
            expose: expose_headers.join(", ").parse()?,
            max_age: HeaderValue::from(*max_age),
        })
    }

    /// Pages of that origin may call.
    #[must_use]
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        self.any || self.origins.contains(origin)
    }
}

/// The layer. A preflight is answered here: it has no credentials and reaches nothing.
pub async fn cors(request: Request, next: impl Next) -> Response {
    let live = request.extensions().get::<Arc<LiveState>>().cloned();
    let origin = request.headers().get(ORIGIN).cloned();
    let (Some(live), Some(origin)) = (live, origin) else { return next.run(request).await };
    let allowed = live.cors.allows(&origin);

    let mut response = if is_preflight(&request) {
        preflight(&live.cors, request.headers(), allowed)
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if allowed && !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        let origin = if live.cors.any { HeaderValue::from_static("*") } else { origin };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, live.cors.expose.clone());
    }
    response
}

/// The layer of what everybody may read: the RFC 9728 documents.
pub async fn public(request: Request, next: impl Next) -> Response {
    let mut response = if is_preflight(&request) {
        let mut response = no_content();
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET"));
        // Some clients send MCP-Protocol-Version with discovery.
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(request.headers()));
        response
    } else {
        next.run(request).await
    };
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight(rules: &Rules, asked: &HeaderMap, allowed: bool) -> Response {
    if !allowed {
        return super::refusal(StatusCode::FORBIDDEN, "This origin is not allowed");
    }
    let mut response = no_content();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, rules.methods.clone());
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(asked));
    headers.insert(ACCESS_CONTROL_MAX_AGE, rules.max_age.clone());
    response
}

fn allowed_headers(asked: &HeaderMap) -> HeaderValue {
    let asked = asked.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let ours = |name: &&str| {
        let lower = name.to_ascii_lowercase();
        lower.starts_with("mcp-") && lower != "mcp-protocol-version" && lower.parse::<http::HeaderName>().is_ok()
    };
    let mut names = ALLOWED_HEADERS.to_owned();
    for name in asked.split(',').map(str::trim).filter(ours).take(MIRRORED_AT_MOST) {
        names.push_str(", ");
        names.push_str(name);
    }
    names.parse().unwrap_or(HeaderValue::from_static(ALLOWED_HEADERS))
}

fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
