//! `Host` and `Origin` must be ours: a web page that rebinds its own name to our address is refused (DNS rebinding; MCP
//! transports, "Security Warning"). The accepted `Host` also says under which public URL we were asked.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::extract::Request;
use axum::response::Response;
use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderValue, StatusCode};
use mcp_server_config::{Live, PublicUrl};
use tracing::debug;

use super::{Asked, Client, Denied, Next, refusal};
use crate::settings::LiveState;

/// The names of this server.
#[derive(Debug, Clone)]
pub struct Hosts {
    /// By `host[:port]`, without the scheme's default port; more than one where http and https share it.
    known: HashMap<String, Vec<Asked>>,
    loopback: bool,
    /// The loopback name that was asked for last: making a URL of it takes longer than all else here.
    last_loopback: Arc<ArcSwapOption<PublicUrl>>,
}

impl Hosts {
    /// The public URLs, and the origin of `auth.resource_server_url`: who wrote only that one meant it as the name.
    /// Loopback names are accepted where nobody else can reach the server, and where it has no name at all.
    #[must_use]
    pub fn new(live: &Live, listens_at: IpAddr) -> Self {
        let resource = live.auth.as_ref().and_then(|auth| auth.resource_server_url.as_ref());
        let resource = resource.and_then(|url| PublicUrl::try_from(url.origin().ascii_serialization()).ok());
        let mut known: HashMap<String, Vec<Asked>> = HashMap::new();
        for url in live.http.public_urls.iter().cloned().chain(resource) {
            let same = known.entry(url.authority().to_owned()).or_default();
            if !same.iter().any(|other| **other == url) {
                same.push(Asked(Arc::new(url)));
            }
        }
        let loopback = listens_at.is_loopback() || known.is_empty();
        Self { known, loopback, last_loopback: Arc::default() }
    }

    /// The public URL of that `Host`, if it is one of ours.
    #[must_use]
    pub fn find(&self, host: &str, secure: bool) -> Option<Asked> {
        let host = lower_case(host);
        let (scheme, other) = if secure { ("https", "http") } else { ("http", "https") };
        let of_scheme = |scheme: &str| {
            let default_port = if scheme == "https" { ":443" } else { ":80" };
            let urls = self.known.get(host.strip_suffix(default_port).unwrap_or(&host))?;
            urls.iter().find(|url| url.url().scheme() == scheme).cloned()
        };
        of_scheme(scheme).or_else(|| of_scheme(other)).or_else(|| self.loopback_name(&host))
    }

    fn loopback_name(&self, host: &str) -> Option<Asked> {
        if !self.loopback {
            return None;
        }
        if let Some(last) = self.last_loopback.load_full().filter(|last| last.authority() == host) {
            return Some(Asked(last));
        }
        let authority: Authority = host.parse().ok()?;
        let is_loopback = matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]");
        let url = is_loopback.then(|| PublicUrl::try_from(format!("http://{host}")).ok())??;
        let url = Arc::new(url);
        self.last_loopback.store(Some(Arc::clone(&url)));
        Some(Asked(url))
    }

    /// A page of this server itself.
    fn is_own(&self, origin: &HeaderValue, asked: &Asked) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        origin == asked.origin() || self.known.values().flatten().any(|url| url.origin() == origin)
    }
}

/// Hosts are mostly written so already.
fn lower_case(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// The layer that accepts the `Host` and puts [`Asked`] into the request.
pub async fn host(mut request: Request, next: impl Next) -> Response {
    let Some(live) = request.extensions().get::<Arc<LiveState>>() else {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal error");
    };
    let secure = request.extensions().get::<Client>().is_some_and(|client| client.secure);
    let Some(asked) = asked_host(&request).and_then(|host| live.hosts.find(host, secure)) else {
        debug!("the Host is not one of this server");
        return Denied("host").on(refusal(StatusCode::FORBIDDEN, "This host is not served"));
    };
    request.extensions_mut().insert(asked);
    next.run(request).await
}

/// The layer that refuses foreign web pages. Clients that are no browser send no `Origin`.
pub async fn origin(request: Request, next: impl Next) -> Response {
    let extensions = request.extensions();
    let (Some(live), Some(asked)) = (extensions.get::<Arc<LiveState>>(), extensions.get::<Asked>()) else {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal error");
    };
    let mut origins = request.headers().get_all(ORIGIN).iter();
    if origins.any(|origin| !live.cors.allows(origin) && !live.hosts.is_own(origin, asked)) {
        debug!("the Origin is not allowed");
        return Denied("origin").on(refusal(StatusCode::FORBIDDEN, "This origin is not allowed"));
    }
    next.run(request).await
}

/// RFC 9112 §3.2.2: an authority in the request's target is stronger than `Host`. HTTP/2 has it always.
fn asked_host(request: &Request) -> Option<&str> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let header = hosts.next().map(|host| host.to_str().ok());
    if hosts.next().is_some() {
        return None;
    }
    match (request.uri().authority(), header) {
        (Some(target), Some(header)) if header != Some(target.as_str()) => None,
        (Some(target), _) => Some(target.as_str()),
        (None, header) => header.flatten(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use mcp_server_config::{Auth, Http};

    use super::*;

    fn hosts(urls: &[&str], listens_at: &str) -> Hosts {
        let public_urls = urls.iter().map(|url| PublicUrl::try_from((*url).to_owned()).unwrap()).collect();
        let http = Http { public_urls, ..Http::default() };
        Hosts::new(&Live { http, ..Live::default() }, listens_at.parse().unwrap())
    }

    fn found(hosts: &Hosts, host: &str, secure: bool) -> Option<String> {
        hosts.find(host, secure).map(|asked| asked.origin().to_owned())
    }

    #[test]
    fn the_public_names_are_accepted_with_or_without_their_default_port() {
        let hosts = hosts(&["https://mcp.example.com", "http://demo.team"], "0.0.0.0");
        for host in ["mcp.example.com", "MCP.example.com", "mcp.example.com:443"] {
            assert_eq!(found(&hosts, host, false).as_deref(), Some("https://mcp.example.com"), "{host}");
        }
        assert_eq!(found(&hosts, "demo.team:80", false).as_deref(), Some("http://demo.team"));
        for host in ["evil.example.com", "mcp.example.com:8443", "mcp.example.com.evil.com", "", "localhost:8000"] {
            assert_eq!(found(&hosts, host, false), None, "{host}");
        }
    }

    #[test]
    fn the_scheme_chooses_among_urls_of_one_host() {
        let hosts = hosts(&["http://mcp.example.com", "https://mcp.example.com"], "0.0.0.0");
        assert_eq!(found(&hosts, "mcp.example.com", true).as_deref(), Some("https://mcp.example.com"));
        assert_eq!(found(&hosts, "mcp.example.com", false).as_deref(), Some("http://mcp.example.com"));
    }

    #[test]
    fn loopback_names_are_accepted_only_where_they_are_the_way_in() {
        for (urls, listens_at, accepted) in [
            (&[][..], "127.0.0.1", true),
            (&[][..], "0.0.0.0", true),
            (&["https://mcp.example.com"][..], "127.0.0.1", true),
            (&["https://mcp.example.com"][..], "0.0.0.0", false),
        ] {
            let hosts = hosts(urls, listens_at);
            for host in ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "localhost"] {
                assert_eq!(found(&hosts, host, false).is_some(), accepted, "{host} {urls:?} {listens_at}");
            }
            assert_eq!(found(&hosts, "user@localhost", false), None);
        }
    }

    #[test]
    fn the_resource_url_is_a_name_too() {
        let auth =
            Auth { resource_server_url: Some("https://mcp.example.com/mcp".parse().unwrap()), ..Auth::default() };
        let hosts = Hosts::new(&Live { auth: Some(auth), ..Live::default() }, "0.0.0.0".parse().unwrap());
        assert_eq!(found(&hosts, "mcp.example.com", false).as_deref(), Some("https://mcp.example.com"));
    }
}
