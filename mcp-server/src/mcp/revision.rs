//! Protocol revisions.

use http::HeaderMap;

use super::envelope::Envelope;

/// The header that names the revision of a message.
pub(crate) const HEADER: &str = "mcp-protocol-version";
/// The first revision without sessions.
pub(crate) const STATELESS: &str = "2026-07-28";
/// The newest revision with sessions.
pub(crate) const NEWEST_LEGACY: &str = "2025-11-25";
/// What clients may use, newest first. 2025-03-26 is not here: it demands batches, which are refused.
pub(crate) const SUPPORTED: [&str; 3] = [STATELESS, NEWEST_LEGACY, "2025-06-18"];

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
        match method {
            "initialize" => return Self::Sessions,
            "server/discover" | "subscriptions/listen" => return Self::Stateless,
            _ => {}
        }
        let in_body = envelope.and_then(|envelope| envelope.meta_version.as_deref());
        let named = in_body.or_else(|| headers.get(HEADER)?.to_str().ok());
        if named.is_some_and(|revision| revision >= STATELESS) { Self::Stateless } else { Self::Sessions }
    }
}
