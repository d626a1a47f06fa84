//! Which headers pass between clients and the backend. Lists of what may pass, not of what may not: a credential that
//! nobody thought of stays here.

use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER,
    USER_AGENT,
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};

use crate::http::{Asked, Client, RequestId};
use crate::mcp::session;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The request headers that pass as they are, with those that begin with `mcp-`. Never `Authorization` or `Cookie`: the
/// caller's token is for us. Never `Origin`: it was checked here, and the backend has another name.
fn passes_to_backend(name: &HeaderName) -> bool {
    matches!(*name, ACCEPT | ACCEPT_LANGUAGE | CONTENT_TYPE | USER_AGENT)
        || matches!(name.as_str(), "last-event-id" | "traceparent" | "tracestate" | "baggage")
        || (name.as_str().starts_with("mcp-") && name != session::HEADER)
}

/// The headers of the request to the backend. An event id is passed within a session only: without one nothing says whose
/// events those are. `Host` is made by the HTTP client from the URL.
pub(super) fn to_backend(
    from: &HeaderMap,
    extensions: &Extensions,
    upstream_session: Option<&HeaderValue>,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(from.len() + 5);
    for (name, value) in from {
        let replays = upstream_session.is_none() && name == LAST_EVENT_ID;
        if passes_to_backend(name) && !replays {
            headers.append(name, value.clone());
        }
    }
    if let Some(session) = upstream_session {
        headers.insert(session::HEADER, session.clone());
    }
    if let Some(client) = extensions.get::<Client>() {
        insert(&mut headers, FORWARDED_FOR, &client.address.to_string());
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(if client.secure { "https" } else { "http" }));
    }
    if let Some(asked) = extensions.get::<Asked>() {
        insert(&mut headers, FORWARDED_HOST, asked.authority());
    }
    if let Some(id) = extensions.get::<RequestId>() {
        insert(&mut headers, REQUEST_ID, &id.0);
    }
    headers
}

/// The headers of the response to the client. The session's name is ours and is put in by the caller.
pub(super) fn to_client(from: &HeaderMap, is_event_stream: bool) -> HeaderMap {
    let passes = |name: &HeaderName| {
        matches!(*name, CONTENT_TYPE | CONTENT_LENGTH | CONTENT_ENCODING | CACHE_CONTROL | RETRY_AFTER | ALLOW)
            || name == crate::mcp::revision::HEADER
    };
    let mut headers = HeaderMap::with_capacity(8);
    for (name, value) in from {
        // A stream may get more than the backend has counted: signs of life, an error in place of an answer.
        if passes(name) && !(is_event_stream && name == CONTENT_LENGTH) {
            headers.append(name, value.clone());
        }
    }
    if is_event_stream {
        headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    }
    headers
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn credentials_and_hop_by_hop_headers_stay_here() {
        let from = map(&[
            ("authorization", "Bearer secret"),
            ("cookie", "a=b"),
            ("x-api-key", "secret"),
            ("proxy-authorization", "x"),
            ("connection", "keep-alive, mcp-name"),
            ("te", "trailers"),
            ("host", "public.example"),
            ("origin", "https://page.example"),
            ("x-forwarded-for", "6.6.6.6"),
            ("mcp-session-id", "ours"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-param-region", "eu"),
            ("content-type", "application/json"),
            ("last-event-id", "7"),
        ]);
        let to = to_backend(&from, &Extensions::new(), Some(&HeaderValue::from_static("theirs")));
        let mut names: Vec<_> = to.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["content-type", "last-event-id", "mcp-param-region", "mcp-protocol-version", "mcp-session-id"]
        );
        assert_eq!(to[session::HEADER], "theirs");
    }

    #[test]
    fn nobody_asks_for_events_of_no_session() {
        let from = map(&[("accept", "text/event-stream"), ("last-event-id", "7")]);
        assert!(!to_backend(&from, &Extensions::new(), None).contains_key("last-event-id"));
    }

    #[test]
    fn the_backend_learns_who_asked_by_which_name() {
        let mut extensions = Extensions::new();
        extensions.insert(Client { address: [192, 0, 2, 1].into(), secure: true });
        extensions.insert(RequestId("r1".into()));
        let to = to_backend(&map(&[("x-forwarded-for", "6.6.6.6")]), &extensions, None);
        assert_eq!(to[FORWARDED_FOR], "192.0.2.1");
        assert_eq!(to[FORWARDED_PROTO], "https");
        assert_eq!(to[REQUEST_ID], "r1");
    }

    #[test]
    fn a_backend_sets_no_cookie_and_shows_no_session_of_its_own() {
        let from = map(&[
            ("set-cookie", "a=b"),
            ("mcp-session-id", "theirs"),
            ("www-authenticate", "Basic"),
            ("server", "x"),
            ("content-type", "text/event-stream"),
        ]);
        let to = to_client(&from, true);
        assert_eq!(to.len(), 3);
        assert_eq!(to[NO_BUFFERING], "no");
    }
}
