//! What goes with a forwarded request: who asks, as the replica that authenticated has found, and the request's own
//! method and headers. One header carries all of it and the seal over it; the digest of the body is part of it, so that
//! a receiver reads no body of a stranger.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, HOST, USER_AGENT};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method};
use mcp_server_config::PublicUrl;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::auth::{Caller, Principal};
use crate::http::{Asked, Client, RequestId};
use crate::state::PeerKey;

/// What a clock may be wrong by, and what a request may take on its way, in seconds.
const FRESH_FOR: u64 = 30;

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) to: String,
    pub(super) from: String,
    /// Counts the requests of the sender.
    pub(super) number: u64,
    /// Seconds since 1970.
    pub(super) at: u64,
    /// SHA-256 in base64url.
    body: String,
    method: String,
    headers: Vec<(String, String)>,
    caller: Option<Person>,
    client: Option<(IpAddr, bool)>,
    request_id: Option<String>,
    asked: Option<PublicUrl>,
}

/// A principal.
#[derive(Debug, Serialize, Deserialize)]
struct Person {
    issuer: String,
    subject: String,
    client_id: Option<String>,
    scopes: Vec<String>,
    expires_at: u64,
}

/// Where a request goes to and comes from.
pub(super) struct Way<'a> {
    pub(super) to: &'a str,
    pub(super) from: &'a str,
    pub(super) number: u64,
    pub(super) now: u64,
}

impl Head {
    pub(super) fn new(way: &Way<'_>, request: &Parts, body: &[u8]) -> Self {
        let extensions = &request.extensions;
        let headers = request.headers.iter().filter(|(name, _)| passes(name));
        Self {
            to: way.to.to_owned(),
            from: way.from.to_owned(),
            number: way.number,
            at: way.now,
            body: digest(body),
            method: request.method.to_string(),
            headers: headers.filter_map(|(k, v)| Some((k.to_string(), v.to_str().ok()?.to_owned()))).collect(),
            caller: extensions.get::<Caller>().and_then(Person::of),
            client: extensions.get::<Client>().map(|client| (client.address, client.secure)),
            request_id: extensions.get::<RequestId>().map(|id| id.0.to_string()),
            asked: extensions.get::<Asked>().map(|asked| PublicUrl::clone(&asked.0)),
        }
    }

    /// The value of the header, and the seal.
    pub(super) fn seal(&self, key: &PeerKey) -> Option<(HeaderValue, [u8; 32])> {
        let json = serde_json::to_vec(self).ok()?;
        let seal = key.sign(&json);
        let value = format!("{}.{}", URL_SAFE_NO_PAD.encode(&json), URL_SAFE_NO_PAD.encode(seal));
        Some((HeaderValue::try_from(value).ok()?, seal))
    }

    /// Reads what a holder of the key has sealed.
    pub(super) fn open(value: &HeaderValue, key: &PeerKey) -> Option<(Self, Vec<u8>)> {
        let (json, seal) = value.to_str().ok()?.split_once('.')?;
        let (json, seal) = (URL_SAFE_NO_PAD.decode(json).ok()?, URL_SAFE_NO_PAD.decode(seal).ok()?);
        if !key.signed(&json, &seal) {
            return None;
        }
        Some((serde_json::from_slice(&json).ok()?, seal))
    }

    pub(super) fn is_fresh(&self, now: u64) -> bool {
        self.at.abs_diff(now) <= FRESH_FOR
    }

    pub(super) fn is_of(&self, body: &[u8]) -> bool {
        self.body == digest(body)
    }

    /// The request as it was where it came in. `None` where it cannot have been one.
    pub(super) fn into_request(self) -> Option<(Method, HeaderMap, Extensions)> {
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, value) in self.headers {
            headers.append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
        }
        let mut extensions = Extensions::new();
        extensions.insert(self.caller.map_or(Caller::Anonymous, Person::into_caller));
        if let Some((address, secure)) = self.client {
            extensions.insert(Client { address, secure });
        }
        if let Some(id) = self.request_id {
            extensions.insert(RequestId(id.into()));
        }
        if let Some(asked) = self.asked {
            extensions.insert(Asked(Arc::new(asked)));
        }
        Some((Method::from_bytes(self.method.as_bytes()).ok()?, headers, extensions))
    }
}

impl Person {
    fn of(caller: &Caller) -> Option<Self> {
        let Caller::Principal(principal) = caller else { return None };
        // Without `..`: what a principal becomes must be thought of here.
        let Principal { issuer, subject, client_id, scopes, expires_at } = &**principal;
        Some(Self {
            issuer: issuer.to_string(),
            subject: subject.to_string(),
            client_id: client_id.as_deref().map(str::to_owned),
            scopes: scopes.to_vec(),
            expires_at: *expires_at,
        })
    }

    fn into_caller(self) -> Caller {
        let Self { issuer, subject, client_id, scopes, expires_at } = self;
        Caller::Principal(Arc::new(Principal {
            issuer: issuer.into(),
            subject: subject.into(),
            client_id: client_id.map(Into::into),
            scopes: scopes.into(),
            expires_at,
        }))
    }
}

/// A list of what may pass: a token never does, whatever a layer above forgets.
fn passes(name: &HeaderName) -> bool {
    matches!(*name, ACCEPT | ACCEPT_LANGUAGE | CONTENT_TYPE | HOST | USER_AGENT)
        || matches!(name.as_str(), "last-event-id" | "traceparent" | "tracestate" | "baggage")
        || name.as_str().starts_with("mcp-")
}

fn digest(body: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(body))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::Request;

    use super::*;

    fn key(byte: u8) -> PeerKey {
        PeerKey::of_bytes(&[byte; 32])
    }

    fn request() -> Parts {
        let mut request = Request::get("/mcp").header("mcp-session-id", "s").header("authorization", "Bearer t");
        let principal = Principal {
            issuer: "https://a".into(),
            subject: "alice".into(),
            client_id: None,
            scopes: Arc::new(["read".to_owned()]),
            expires_at: 7,
        };
        request = request.extension(Caller::Principal(Arc::new(principal)));
        request = request.extension(Client { address: [192, 0, 2, 1].into(), secure: true });
        request.extension(RequestId("r".into())).body(()).unwrap().into_parts().0
    }

    const WAY: Way<'_> = Way { to: "b", from: "a", number: 1, now: 1000 };

    #[test]
    fn a_request_arrives_as_it_was_and_without_a_token() {
        let sent = request();
        let (value, seal) = Head::new(&WAY, &sent, b"body").seal(&key(1)).unwrap();
        let (head, read) = Head::open(&value, &key(1)).unwrap();
        assert_eq!(read, seal);
        assert!(head.is_of(b"body") && !head.is_of(b"bode"));
        assert!(head.is_fresh(970) && head.is_fresh(1030) && !head.is_fresh(1031) && !head.is_fresh(969));
        let (method, headers, extensions) = head.into_request().unwrap();
        assert_eq!(
            (method, headers.len(), &headers["mcp-session-id"]),
            (Method::GET, 1, &HeaderValue::from_static("s"))
        );
        assert_eq!(extensions.get::<Caller>(), sent.extensions.get::<Caller>());
        assert_eq!(extensions.get::<Client>(), sent.extensions.get::<Client>());
        assert_eq!(extensions.get::<RequestId>(), sent.extensions.get::<RequestId>());
    }

    #[test]
    fn nobody_else_seals_and_nothing_is_changed_on_the_way() {
        let (value, _) = Head::new(&WAY, &request(), b"").seal(&key(1)).unwrap();
        assert!(Head::open(&value, &key(2)).is_none());
        let text = value.to_str().unwrap();
        for index in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = HeaderValue::from_bytes(&changed).unwrap();
            // The last character of each part has bits that mean nothing; those are refused as well.
            assert!(Head::open(&changed, &key(1)).is_none(), "{index}");
        }
        for junk in ["", ".", "a.b", "e30.e30"] {
            assert!(Head::open(&HeaderValue::from_static(junk), &key(1)).is_none());
        }
    }
}
