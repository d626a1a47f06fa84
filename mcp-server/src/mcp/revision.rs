//! Protocol revisions.

use http::{HeaderMap, StatusCode};

use super::envelope::Envelope;
use super::error::{Failure, code};

/// The header that names the revision of a message.
pub(crate) const HEADER: &str = "mcp-protocol-version";
/// The first revision without sessions.
pub(crate) const STATELESS: &str = "2026-07-28";
/// The newest revision with sessions.
pub(crate) const NEWEST_LEGACY: &str = "2025-11-25";
/// What clients may use, newest first.
pub(crate) const SUPPORTED: [&str; 4] = [STATELESS, NEWEST_LEGACY, "2025-06-18", "2025-03-26"];

/// Methods of the revisions with sessions that are no more.
pub(crate) const REMOVED: [&str; 5] =
    ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];

/// A revision that nobody here speaks is refused.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Failure<'static>> {
    let Some(named) = headers.get(HEADER) else { return Ok(()) };
    let named = named.to_str().unwrap_or_default();
    if SUPPORTED.contains(&named) {
        return Ok(());
    }
    Err(Failure::new(StatusCode::BAD_REQUEST, code::UNSUPPORTED_PROTOCOL_VERSION, "Unsupported protocol version.")
        .with_data(serde_json::json!({"supported": SUPPORTED, "requested": named})))
}

/// In 2026-07-28 servers ask within their answers.
pub(crate) fn no_responses() -> Failure<'static> {
    Failure::new(StatusCode::BAD_REQUEST, code::INVALID_REQUEST, "This protocol revision has no responses of clients.")
}

/// Which of the two protocols a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// With `initialize`, sessions and a standalone stream.
    Sessions,
    /// Every request stands alone.
    Stateless,
}

impl Era {
    /// Revisions are dates, so they compare as text. Without any sign it is the older era, as the protocol wants it.
    pub(crate) fn of(envelope: Option<&Envelope>, headers: &HeaderMap) -> Self {
        let method = envelope.map_or("", Envelope::method);
        let in_body = envelope.and_then(|envelope| envelope.meta_version.as_deref());
        let named = match method {
            "server/discover" | "subscriptions/listen" => return Self::Stateless,
            // It offers the newest revision that the client knows: the header does not yet say anything.
            "initialize" => in_body,
            _ => in_body.or_else(|| headers.get(HEADER)?.to_str().ok()),
        };
        if named.is_some_and(|revision| revision >= STATELESS) { Self::Stateless } else { Self::Sessions }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;

    use super::*;
    use crate::mcp::envelope::Kind;

    fn era(method: &str, in_body: Option<&str>, header: Option<&'static str>) -> Era {
        let envelope = Envelope {
            bytes: Bytes::new(),
            kind: Kind::Request,
            id: None,
            method: Some(method.to_owned()),
            name: None,
            meta_version: in_body.map(str::to_owned),
            traceparent: None,
        };
        let header = header.map(|value| (http::HeaderName::from_static(HEADER), HeaderValue::from_static(value)));
        Era::of(Some(&envelope), &HeaderMap::from_iter(header))
    }

    #[test]
    fn the_body_decides_then_the_header_then_age() {
        assert_eq!(era("tools/list", None, None), Era::Sessions);
        assert_eq!(era("tools/list", None, Some("2025-11-25")), Era::Sessions);
        assert_eq!(era("tools/list", None, Some("2026-07-28")), Era::Stateless);
        assert_eq!(era("tools/list", Some("2025-11-25"), Some("2026-07-28")), Era::Sessions);
        assert_eq!(era("tools/list", Some("2099-01-01"), None), Era::Stateless);
        assert_eq!(era("server/discover", None, None), Era::Stateless);
        assert_eq!(era("initialize", None, Some("2026-07-28")), Era::Sessions);
        assert_eq!(era("initialize", Some("2026-07-28"), None), Era::Stateless);
    }
}
